// The execution engine: runs one virtual CPU through translated code. Owns the code cache, the windows and
// the call-outs; everything it knows about the machine is CPU state, guest memory and the I/O bus.
//
// Threads: run() belongs to one thread (the vCPU thread), which gets signal handlers and a sigaltstack of its
// own for the duration. kick() and request_stop() may be called from any thread.
#pragma once
#include "vmm/base/result.h"
#include "vmm/bus/io_bus.h"
#include "vmm/bus/irq.h"
#include "vmm/cpu/cpu.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/translator/host_maker.h"

#include <functional>
#include <memory>
#include <string>
#include <sys/ucontext.h>

namespace vmm {

class Addressing;

// How translated code is formed; tests run guests in all three.
enum class BlockMode : uint8_t { SingleInstruction, Unlinked, Linked };

struct EngineConfig {
    BlockMode block_mode = BlockMode::Linked;
    bool verify_containment = false;          // check every block, and not a sample (see Containment)
    uint32_t code_cache_bytes = 0;            // 0: by the size of RAM
    bool find_idle_loops = false;             // run() may end with Stop::Idle
    HostMaker host_maker = vmm::host_maker(); // tests also try the lowerings for the other one
    const Addressing* addressing = nullptr;   // null: kWindow32; tests also try another register plan
    bool host_rotates = __builtin_cpu_supports("bmi2") != 0; // RORX; tests also do without
};

// What translated code takes; totals since the engine began, except `bytes`.
struct CodeUse {
    uint64_t bytes = 0; // of the cache, up to where the next block goes
    uint64_t translated = 0, copied = 0, revived = 0, invalidated = 0, flushes = 0;
};

// Places in guest code made in another form than the plain one, now and in all, the accesses made by call-out
// on account of it (see Sites), and the pages mapped by those and in all.
struct SpecialForms {
    uint64_t callouts = 0, callouts_made = 0, arrivals = 0, arrivals_made = 0, wraps = 0, wraps_made = 0;
    uint64_t needed = 0, needless = 0;
    uint64_t mapped_by_callouts = 0, mapped = 0;
};

class Engine {
  public:
    static base::Result<std::unique_ptr<Engine>> create(CpuState& state, GuestMemory& memory, IoBus& io,
                                                        EngineConfig config);
    ~Engine();

    enum class Stop : uint8_t {
        Requested,   // request_stop()
        Intercepted, // the fault intercept asked to stop; state.eip is the faulting instruction
        Halted,      // HLT executed and nothing is pending; call run() again after an interrupt
        Idle,        // the guest waits in a loop that only an event, a timer or an interrupt can end
        Shutdown,    // triple fault
    };
    // Runs from `state` until something above happens; `state` is whole and precise on return.
    Stop run();

    // Leave translated code promptly at an instruction boundary and call the `boundary` hook.
    void kick();
    void request_stop();
    // For a signal on the vCPU thread: a repeated string instruction, which sees no poll until it is done,
    // ends where it is if something was asked for.
    void leave_string(ucontext_t& interrupted);

    // Called on the vCPU thread at instruction boundaries after a kick (drain events, run timers).
    void set_boundary_hook(std::function<void()> hook);
    void set_interrupt_source(InterruptSource* source);
    void set_apic(ApicMsrs* apic); // null (the start): the processor has none
    // Null (the start): x87 errors are #MF whatever CR0.NE says.
    void set_math_error_wires(MathErrorWires* wires);
    // The INTR level may have changed (vCPU thread only).
    void interrupt_line_changed();
    // For tests: sees each exception before delivery; true stops run() with Stop::Intercepted.
    void set_fault_intercept(std::function<bool(const Fault&)> intercept);

    [[nodiscard]] Cpu& cpu();
    // State or guest memory was replaced from outside (load, revert): forget what was derived from it.
    void state_replaced();
    // The same after GuestMemory::revert(): what was derived from memory that did not change stays.
    void state_reverted();

    // Why nothing runs any more: code that was refused (see Containment). Empty: all is well.
    [[nodiscard]] std::string failure() const;
    [[nodiscard]] std::string statistics() const;
    [[nodiscard]] CodeUse code_use() const;
    [[nodiscard]] SpecialForms special_forms() const;

  private:
    Engine();
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace vmm
