// The system half of the processor, in C++: what translated code calls out to. Segment loads, far transfers,
// interrupts and exceptions, tasks, control and debug registers, MSRs, CPUID, flags, port and string
// call-outs. Ordinary integer, x87 and SSE instructions never come here.
//
// Protocol. On entry state.eip is the address of the instruction and `next_eip` that of the one after it.
// On success state.eip is where execution continues (unless the comment says otherwise) and everything
// architectural has been committed. Instruction pointers, offsets and addresses are 64 bits wide, and in
// legacy mode their upper halves are zero. What belongs to IA-32e mode (SDM Vol. 3A 2.2) needs
// state.promised. On failure nothing has changed but what the SDM says changes, and the Fault is returned;
// the engine hands it to raise(). Operand widths are arguments, never globals.
#pragma once
#include "vmm/arch/fault.h"
#include "vmm/arch/state.h"
#include "vmm/bus/apic_bus.h"
#include "vmm/bus/io_bus.h"
#include "vmm/memory/linear_memory.h"

#include <cstdint>

namespace vmm {

enum class Width : uint8_t { Byte = 1, Word = 2, Dword = 4, Qword = 8 };

// Told about changes that address translation depends on. Implemented by the engine over Windows.
class TlbControl {
  public:
    virtual ~TlbControl() = default;
    virtual void cr3_loaded() = 0;
    virtual void paging_changed() = 0;
    virtual void invlpg(Linear linear) = 0;
    virtual void debug_registers_changed() = 0;
    virtual void pcid_flushed(uint16_t /*pcid*/) { paging_changed(); } // INVPCID of one context
};

// How a vector came about (SDM Vol. 3A 6.4): decides gate DPL checks, the EXT bit and what is pushed.
enum class EventKind : uint8_t { SoftwareInt, Int3OrInto, Exception, External };

// String instructions carried out by C++ (port I/O; and memory forms at sites that touch MMIO).
enum class StringOp : uint8_t { Ins, Outs, Movs, Stos, Lods, Cmps, Scas };
enum class Repeat : uint8_t { None, RepOrRepe, Repne };

class Cpu {
  public:
    Cpu(CpuState& state, LinearMemory& memory, IoBus& io, TlbControl& tlb)
        : state_(state), memory_(memory), io_(io), tlb_(tlb) {}

    CpuState& state() { return state_; }
    // Null (the start): the processor has no local APIC.
    void set_apic(ApicMsrs* apic) { apic_ = apic; }
    void reset(); // power-on state, SDM Vol. 3A 9.1.1 (EIP FFF0h, CS base FFFF0000h)

    // -- segmentation.cpp ---------------------------------------------------------------------------
    // Checked segment:offset -> linear for an access of `size` bytes (type, null, limit incl. expand-down,
    // wrap). #GP(0) or #SS(0).
    GuestResult<uint32_t> linear_address(SegReg segment, uint32_t offset, uint32_t size,
                                         AccessKind access) const;
    // The same in 64-bit mode: only FS and GS have a base, and the address must be canonical.
    [[nodiscard]] GuestResult<Linear> linear_address64(SegReg segment, uint64_t offset, uint32_t size) const;
    // MOV Sreg / POP Sreg / LDS.. : loads the register with all checks for the current mode. Does not
    // move eip. Sets interrupt_shadow for SS.
    GuestResult<void> load_segment(SegReg segment, uint16_t selector);
    GuestResult<void> lldt(uint16_t selector);
    GuestResult<void> ltr(uint16_t selector);
    // LGDT/LIDT with the 6-byte or 10-byte operand already read; width Word keeps 24 bits of base.
    GuestResult<void> lgdt(uint16_t limit, Linear base, Width width);
    GuestResult<void> lidt(uint16_t limit, Linear base, Width width);
    // SGDT, SIDT, SLDT, STR, SMSW: #GP(0) outside of ring 0 with CR4.UMIP.
    GuestResult<void> may_store_system_registers() const;
    // LAR/LSL: ZF set and value returned when accessible, else ZF clear and `old` returned. #UD in real
    // and v86 mode.
    GuestResult<uint32_t> lar(uint16_t selector, uint32_t old);
    GuestResult<uint32_t> lsl(uint16_t selector, uint32_t old);
    GuestResult<void> verify_segment(uint16_t selector, bool for_write); // VERR / VERW: ZF

    // -- far_transfer.cpp ---------------------------------------------------------------------------
    GuestResult<void> far_jump(uint16_t selector, uint64_t offset, Width width, uint64_t next_ip);
    GuestResult<void> far_call(uint16_t selector, uint64_t offset, Width width, uint64_t next_ip);
    GuestResult<void> far_return(Width width, uint16_t release_bytes);
    GuestResult<void> iret(Width width, uint64_t next_ip); // incl. NT task return, to/from v86
    GuestResult<void> sysenter();
    GuestResult<void> sysexit(Width width = Width::Dword);
    GuestResult<void> syscall(uint64_t next_ip);
    GuestResult<void> sysret(Width width);

    // -- base_registers.cpp -------------------------------------------------------------------------
    // Do not move eip. RD/WRFSBASE and RD/WRGSBASE: width Dword zero-extends.
    GuestResult<void> swapgs();
    GuestResult<uint64_t> read_segment_base(SegReg segment, Width width);
    GuestResult<void> write_segment_base(SegReg segment, uint64_t value, Width width);

    // -- interrupts.cpp -----------------------------------------------------------------------------
    // INT n, INT3, INTO, ICEBP. Pushes next_ip. v86 IOPL and VME rules included.
    GuestResult<void> software_interrupt(uint8_t vector, EventKind kind, uint64_t next_ip);
    // Delivers an exception at state.eip (fault) -- contributory rules, #DF, shutdown included. Sets CR2.
    void raise(const Fault& fault);
    // Delivers #DB: `dr6_bits` are ORed into DR6. Trap: state.eip is already the next instruction.
    void raise_debug(uint32_t dr6_bits);
    // Delivers an external interrupt or NMI (vector 2) at state.eip; clears halted.
    void external_interrupt(uint8_t vector);

    // -- tasks.cpp ----------------------------------------------------------------------------------
    enum class TaskSwitchReason : uint8_t { Jump, Call, Iret, Interrupt };
    GuestResult<void> task_switch(uint16_t tss_selector, TaskSwitchReason reason, uint32_t next_eip,
                                  bool push_error = false, uint32_t error_code = 0);

    // -- control.cpp --------------------------------------------------------------------------------
    // None of these move eip.
    GuestResult<uint64_t> read_cr(unsigned index); // 8: in 64-bit mode
    GuestResult<void> write_cr(unsigned index, uint64_t value);
    GuestResult<uint64_t> read_dr(unsigned index);
    GuestResult<void> write_dr(unsigned index, uint64_t value);
    GuestResult<void> lmsw(uint16_t value);
    GuestResult<void> clts();
    GuestResult<void> invlpg(Linear linear);
    // The descriptor (SDM Vol. 2A "INVPCID", figure 3-25) already read: its PCID half and its address.
    GuestResult<void> invpcid(uint64_t type, uint64_t pcid, Linear linear);
    GuestResult<void> xgetbv(); // ECX -> EDX:EAX
    GuestResult<void> xsetbv();
    GuestResult<void> hlt();   // sets halted
    GuestResult<void> rdmsr(); // ECX -> EDX:EAX
    GuestResult<void> wrmsr();
    GuestResult<void> rdtsc();
    GuestResult<void> rdpmc();
    void cpuid();               // EAX, ECX in; see cpuid.cpp for what is promised
    GuestResult<void> wbinvd(); // privilege check only; also INVD

    // -- flags.cpp ----------------------------------------------------------------------------------
    GuestResult<void> cli();
    GuestResult<void> sti();                        // sets interrupt_shadow when IF goes 0 -> 1
    GuestResult<uint32_t> pushf_image(Width width); // value to push; #GP(0) in v86 with IOPL<3 unless VME
    GuestResult<void> popf(uint32_t image, Width width);
    // DAA DAS AAA AAS AAM AAD on AL/AX and flags; undefined flags as Intel's processors leave them.
    void daa();
    void das();
    void aaa();
    void aas();
    GuestResult<void> aam(uint8_t divisor); // #DE
    void aad(uint8_t multiplier);

    // -- stack.cpp ----------------------------------------------------------------------------------
    // Pushes and pops by SS and its B bit through linear memory, with checks (#SS).
    GuestResult<void> push(uint32_t value, Width width);
    // PUSH Sreg: a slot of `width` of which two bytes are written.
    GuestResult<void> push_selector(uint16_t selector, Width width);
    GuestResult<uint32_t> pop(Width width);
    GuestResult<void> enter(uint16_t size, uint8_t level, Width width);
    GuestResult<void> pusha(Width width);
    GuestResult<void> popa(Width width);

    // -- port_io.cpp --------------------------------------------------------------------------------
    // IN/OUT with IOPL and TSS I/O bitmap checks. Do not move eip.
    GuestResult<uint32_t> port_in(uint16_t port, Width width);
    GuestResult<void> port_out(uint16_t port, Width width, uint32_t value);

    // -- strings.cpp --------------------------------------------------------------------------------
    // Carries out a whole (repeated) string instruction with ECX/CX, ESI/SI, EDI/DI and DF, updating
    // registers after each element so that a fault leaves them restartable. Returns true when finished
    // (eip = next_eip); false when it stopped early at an element boundary because `should_stop` became
    // nonzero or after 4096 elements (eip unchanged: run it again). Cmps/Scas set the arithmetic flags
    // when they have finished.
    GuestResult<bool> string_instruction(StringOp op, Repeat repeat, Width width, unsigned address_bits,
                                         SegReg source_segment, uint32_t next_eip,
                                         const volatile uint32_t& should_stop);

  private:
    friend struct CpuInternals; // helpers shared between the .cpp files of cpu/
    CpuState& state_;
    LinearMemory& memory_;
    IoBus& io_;
    TlbControl& tlb_;
    ApicMsrs* apic_ = nullptr;
};

} // namespace vmm
