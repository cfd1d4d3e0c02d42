// One virtual processor: its state and Runtime, its view of memory, its jump tables and host stacks, what it
// has learnt of late, and the requests that other threads have of it; for the dispatcher, the call-outs and
// the fault handler. It runs on one thread at a time, which is how a signal finds it. What it has in common
// with others is Translations and guest memory.
#pragma once
#include "vmm/code_cache/contexts.h"
#include "vmm/cpu/cpu.h"
#include "vmm/memory/linear_memory.h"
#include "vmm/memory/windows.h"
#include "vmm/translator/breakpoints.h"
#include "vmm/translator/engine.h"
#include "vmm/translator/idle_loops.h"
#include "vmm/translator/runtime_memory.h"
#include "vmm/translator/supervisor_code.h"
#include "vmm/translator/translations.h"

#include <array>
#include <atomic>
#include <csignal>
#include <memory>
#include <vector>

namespace vmm {

struct Vcpu final : TlbControl, CodeSource {
    // Translations::add() makes it whole.
    static base::Result<std::unique_ptr<Vcpu>> create(GuestMemory& memory, IoBus& io);
    ~Vcpu() override;

    Engine::Stop run();

    // -- dispatcher ---------------------------------------------------------------------------------
    // The block for cpu.eip, translating it if needed; null when fetching it raised an exception (delivered).
    // `whole`: not a brief one, for a loop begins here.
    Block* current_block(bool whole);
    Block* translate_here(uint32_t linear, PageEntry page, uint16_t offset, const ModeKey& key, bool global,
                          bool whole);
    Block* translate_uncached(uint32_t linear, Physical physical, const ModeKey& key);
    void enter(uint32_t code);
    void make_busy_whole();
    void apply_pending(); // flushes asked for while translated code was on the stack
    [[nodiscard]] uint64_t root_identity() const { return Windows::root_of(rt->cpu); }
    void select_context(const ModeKey& key);
    // Guest-physical address to fetch from, keeping the page under comparison; `global` as below.
    GuestResult<Physical> fetch_address(uint32_t linear, bool& global);
    void drop_code_pages(uint64_t root, uint32_t first, uint32_t count);
    // May its code jump to other pages directly, as PageLinks has it?
    [[nodiscard]] bool crosses_pages(const ModeKey& key) const;
    void admit(const ModeKey& key, uint32_t page);
    void drop_local_supervisor_code(); // all of it
    bool drop_if_changed(uint32_t page, uint32_t physical_page);
    void check_shadow_stack() const;
    void forget_fetches() { fetches_.fill({}); }
    void forget_fetches(uint32_t first, uint32_t count);

    // EFLAGS is kept in pieces while translated code runs; whole while C++ looks.
    void gather_flags();
    void scatter_flags();

    // Delivers (or hands to the intercept) an exception at cpu.eip.
    void raise(const Fault& fault);

    // -- what call-outs and the handler use ----------------------------------------------------------
    void arm_poll(); // any thread
    void leave_string(ucontext_t& uc);
    void disarm_poll();
    [[nodiscard]] bool poll_armed() const { return poll_armed_.load(std::memory_order_acquire); }
    void interrupt_line_changed(); // vCPU thread; IF as in cpu.eflags
    [[nodiscard]] bool interrupt_pending() const {
        return interrupts_ != nullptr && interrupts_->interrupt_pending();
    }
    // A non-maskable interrupt that the processor may take (SDM Vol. 3A 6.7.1).
    [[nodiscard]] bool nmi_due() const {
        return interrupts_ != nullptr && interrupts_->nmi_pending() && rt->cpu.nmi_blocked == 0;
    }
    [[nodiscard]] Privilege privilege() const {
        return rt->cpu.cpl == 3 ? Privilege::User : Privilege::Supervisor;
    }
    void remember_segment(unsigned reg);
    // An access by call-out, to the first of `count` elements: data breakpoints, and whether the site needs
    // it.
    void note_data_access(uint32_t linear, uint32_t bytes, bool write, uint32_t count = 1);
    void follow_breakpoints();
    // Must the dispatcher look before the instruction at CS:EIP?
    [[nodiscard]] bool stops_here(const ModeKey& key) const;

    // -- signals -------------------------------------------------------------------------------------
    bool handle_signal(int signal, siginfo_t* info, void* context); // false: not ours
    void handle_page_fault(ucontext_t& uc, Block* block, uint64_t address);
    void wrong_arrival(ucontext_t& uc, Block& block);
    void shadow_stack_full(ucontext_t& uc);
    void stub_fault(ucontext_t& uc, uint64_t address);
    Fault first_fault_of_compare(const ucontext_t& uc, const Fault& found);
    void leave_from_handler(ucontext_t& uc, ExitReason32 reason, uint32_t eip);
    void window_fault(ucontext_t& uc, Block& block, uint32_t linear);

    // -- forms of code, by what happens (site_forms.cpp) -----------------------------------------------
    void retry_with_callout(ucontext_t& uc, Block& block, uint32_t eip, Sites::Reason reason);
    void address_wrapped(ucontext_t& uc, Block& block, uint32_t eip);
    [[nodiscard]] bool turns_cold(const Block& block, uint32_t eip, uint32_t address);
    void store_into_code(ucontext_t& uc, Block& block, uint32_t eip, uint32_t address, uint32_t backing);
    void note_wrong_arrival(Block& block, uint32_t eip);
    void note_site_access(uint32_t linear, uint32_t bytes, AccessKind kind, uint32_t count);
    void note_site_fault(const Fault& fault);
    void note_site_without_access(); // it did what its plain form does without us
    [[nodiscard]] Sites::Need need_of(uint16_t site, uint32_t linear, uint32_t bytes, AccessKind kind);
    void make_plain(uint16_t site);
    void review_timed_forms(); // now and then

    // TlbControl
    void cr3_loaded() override;
    void paging_changed() override;
    void invlpg(Linear linear) override;
    void debug_registers_changed() override {}
    // CodeSource
    const uint8_t* next_page(uint32_t& backing) override;

    Translations* shared = nullptr;
    std::unique_ptr<RuntimeMemory> runtime_memory;
    Runtime* rt = nullptr; // in there
    std::unique_ptr<LinearMemory> linear;
    std::unique_ptr<Cpu> cpu;
    std::unique_ptr<Windows> windows;
    Contexts contexts;
    SegmentCache segments;

    std::function<void()> boundary_hook;
    std::function<bool(const Fault&)> intercept;
    InterruptSource* interrupts_ = nullptr;
    MathErrorWires* math_errors = nullptr;
    bool ferr = false; // FERR# may be up: look before each turn
    std::atomic<bool> stop_requested{false}, attention{false};
    std::atomic_flag poll_busy_; // keeps poll_armed_ and the page's protection in step
    std::atomic<bool> poll_armed_{false};

    // The last page fault delivered to ring 3: once the guest has returned to that instruction, its page is
    // mapped without waiting for the host's fault.
    struct Refill {
        bool pending = false, write = false;
        uint32_t eip = 0, linear = 0;
    } refill_;
    bool intercepted = false;
    bool interrupt_due = false; // INTR rose during a call-out: cheaper to say here than by the poll page
    bool code_changed = false;  // translated code died: leave the block at the next chance
    bool flush_requested = false;
    bool contexts_stale = false;
    bool step_suppressed = false; // this exit is not the end of an instruction (fault, INT n)
    Breakpoints breakpoints;
    Breakpoints::Stops code_stops_;  // what blocks under kBreakpoints were made for
    unsigned alone_left = 0;         // instructions still to be carried out under kWatched
    Block* caught_polling = nullptr; // brief, and perhaps busy: to be made whole
    bool again_alone = false;        // the call-out did nothing: once more, under kWatched
    uint32_t breakpoint_hits = 0;    // DR6 bits
    uint32_t held_hits = 0;          // those of a MOV SS, for after the next instruction
    bool was_paging = false;
    IdleLoops idle_loops;
    Fault pending_fault{};
    ModeKey running_key{};
    Context* context = nullptr;
    bool running = false; // in translated code
    Fault fetch_fault{};  // set by next_page when it answers null
    uint32_t fetch_next_linear = 0;
    std::array<uint8_t, 32> fetch_bytes{};
    std::vector<uint8_t> uncached_page;
    volatile uint32_t string_stop = 0;
    // Recent code fetches: a page stays here until Windows or the guest's INVLPG says its translation
    // changed.
    struct Fetch {
        uint64_t root = 0;
        uint32_t page = 0, physical_page = 0;
        bool global = false;
    };
    std::array<Fetch, 1024> fetches_{};
    Fetch& fetch_of(uint32_t page) { return fetches_[page & (fetches_.size() - 1)]; }
    SupervisorCode supervisor_code;

    Sites::Microseconds forms_reviewed_ = 0;
    // Accesses by call-out to pages that the window lacks, by the low bits of the page's number: pages that
    // share a place are mapped a little earlier.
    uint8_t& touches_of(uint32_t address) { return touches_[(address >> kPageShift) % touches_.size()]; }
    std::array<uint8_t, 65536> touches_{};
    // INVLPGs, by the low bits of the page's number.
    uint16_t& flushes_of(uint32_t address) {
        return page_flushes_[(address >> kPageShift) % page_flushes_.size()];
    }
    std::array<uint16_t, 1024> page_flushes_{};
    uint64_t trap_page_ = 0;         // PROT_NONE: armed polls after STI
    uint64_t null_segment_page_ = 0; // PROT_NONE: bases of null FS/GS
    std::vector<uint8_t> signal_stack_;

    struct Counters {
        uint64_t exits = 0, links = 0, indirect = 0, callout_exits = 0, faults = 0, polls = 0, retries = 0,
                 host_faults = 0, translated = 0, guest_exceptions = 0, interrupts = 0;
        uint64_t callout_maps = 0, made_whole = 0;
    } counters;
};

// Installs the process-wide handlers once; they act only on a thread that runs a Vcpu.
void install_signal_handlers();

} // namespace vmm
