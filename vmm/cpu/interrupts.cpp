// Interrupt and exception delivery: real mode, protected mode with and without a change of level, out of v86
// mode, VME redirection, and what happens when delivery itself faults (SDM Vol. 3A ch. 6 and 20, Vol. 2A
// "INT n").
#include "vmm/cpu/internals.h"

#include <array>

namespace vmm {
namespace {

using namespace eflags;

constexpr uint32_t kDr6Bd = 1u << 13, kDr7Gd = 1u << 13;
constexpr uint32_t kTssIoMapBase = 0x66, kRedirectionBytes = 32;

enum class FaultClass : uint8_t { Benign, Contributory, Page };

// SDM Vol. 3A table 6-4.
FaultClass class_of(Vector vector) {
    switch (vector) {
    case Vector::DivideError:
    case Vector::InvalidTss:
    case Vector::SegmentNotPresent:
    case Vector::StackFault:
    case Vector::GeneralProtection:
        return FaultClass::Contributory;
    case Vector::PageFault:
        return FaultClass::Page;
    default:
        return FaultClass::Benign;
    }
}

// SDM Vol. 3A table 6-5: whether `second`, met while delivering `first`, makes a double fault.
bool is_double_fault(FaultClass first, FaultClass second) {
    if (first == FaultClass::Contributory)
        return second == FaultClass::Contributory;
    return first == FaultClass::Page && second != FaultClass::Benign;
}

// SDM Vol. 3A 17.3.1.1: faults push RF=1, so that the handler's return does not hit the same breakpoint.
bool pushes_rf(Vector vector) {
    switch (vector) {
    case Vector::Nmi:
    case Vector::Breakpoint:
    case Vector::Overflow:
    case Vector::DoubleFault:
    case Vector::MachineCheck:
        return false;
    default:
        return true;
    }
}

CpuInternals::Event event_of(const CpuState& state, const Fault& fault) {
    return {static_cast<uint8_t>(fault.vector),
            EventKind::Exception,
            fault.has_error_code,
            fault.error_code,
            state.rip(),
            state.eflags | (pushes_rf(fault.vector) ? kRf : 0)};
}

} // namespace

GuestResult<void> CpuInternals::deliver_real(const Event& event) const {
    const uint32_t at = uint32_t{event.vector} * 4;
    if (at + 3 > state.idtr.limit)
        return guest_fault(Vector::GeneralProtection, uint32_t{event.vector} * 8 + kIdtErrorBit + ext);
    const uint32_t target = TRY(read_system<uint32_t>(wrap(state.idtr.base + at)));
    const std::array<uint32_t, 3> frame{event.flags_image, state.segment(SegReg::Cs).selector,
                                        static_cast<uint32_t>(event.return_ip)};
    state.reg(Reg::Esp) = TRY(push_frame(state.segment(SegReg::Ss), state.reg(Reg::Esp), frame.data(),
                                         frame.size(), Width::Word, Privilege::Supervisor, ext));
    state.eflags &= ~(kIf | kTf | kAc | kRf);
    load_real_segment(SegReg::Cs, static_cast<uint16_t>(target >> 16));
    state.eip = target & 0xFFFF;
    return {};
}

GuestResult<void> CpuInternals::deliver(const Event& event) const {
    if (state.ia32e())
        return deliver_long(event);
    if (!state.protected_mode())
        return deliver_real(event);
    const uint32_t at = uint32_t{event.vector} * 8;
    const auto gate_fault = [&](Vector vector) { return guest_fault(vector, at + kIdtErrorBit + ext); };
    if (at + 7 > state.idtr.limit)
        return gate_fault(Vector::GeneralProtection);
    const Linear address = wrap(state.idtr.base + at);
    const uint64_t raw = TRY(read_system<uint64_t>(address));
    const Descriptor gate{static_cast<uint32_t>(raw), static_cast<uint32_t>(raw >> 32), address};

    constexpr uint32_t kGateTypes = (1u << system_type::kTaskGate) | (1u << system_type::kInterruptGate16) |
                                    (1u << system_type::kTrapGate16) | (1u << system_type::kInterruptGate32) |
                                    (1u << system_type::kTrapGate32);
    if (gate.is_segment() || ((kGateTypes >> gate.type()) & 1) == 0)
        return gate_fault(Vector::GeneralProtection);
    const bool software = event.kind == EventKind::SoftwareInt || event.kind == EventKind::Int3OrInto;
    if (software && gate.dpl() < state.cpl)
        return gate_fault(Vector::GeneralProtection);
    if (!gate.present())
        return gate_fault(Vector::SegmentNotPresent);
    if (gate.type() != system_type::kTaskGate)
        return deliver_through_gate(event, gate);

    TaskSwitch task;
    task.selector = gate.gate_selector();
    task.reason = Cpu::TaskSwitchReason::Interrupt;
    task.return_eip = static_cast<uint32_t>(event.return_ip);
    task.flags_image = event.flags_image;
    task.push_error = event.has_error;
    task.error = event.error;
    return switch_task(task);
}

GuestResult<void> CpuInternals::deliver_through_gate(const Event& event, const Descriptor& gate) const {
    const uint16_t selector = gate.gate_selector();
    if (is_null(selector))
        return selector_fault(Vector::GeneralProtection, 0);
    Descriptor code = TRY(fetch(selector, Vector::GeneralProtection));
    const unsigned cpl = state.cpl;
    if (!code.is_code() || code.dpl() > cpl)
        return selector_fault(Vector::GeneralProtection, selector);
    if (!code.present())
        return selector_fault(Vector::SegmentNotPresent, selector);
    const bool from_v86 = state.v86();
    const bool inner = !code.conforming() && code.dpl() < cpl;
    // Out of v86 mode the only way is to level 0.
    if (from_v86 && (!inner || code.dpl() != 0))
        return selector_fault(Vector::GeneralProtection, selector);

    std::array<uint32_t, 10> frame;
    unsigned count = 0;
    const unsigned level = inner ? code.dpl() : cpl;
    uint16_t ss_selector = 0;
    Descriptor stack;
    Segment ss;
    uint32_t esp;
    if (inner) {
        const StackPointer pointer = TRY(inner_stack(level));
        ss_selector = pointer.selector;
        esp = pointer.esp;
        stack = TRY(fetch_stack(ss_selector, level, Vector::InvalidTss));
        ss = stack.to_segment(ss_selector);
        if (from_v86) {
            for (const SegReg reg : {SegReg::Gs, SegReg::Fs, SegReg::Ds, SegReg::Es})
                frame[count++] = state.segment(reg).selector;
        }
        frame[count++] = state.segment(SegReg::Ss).selector;
        frame[count++] = state.reg(Reg::Esp);
    } else {
        ss = state.segment(SegReg::Ss);
        esp = state.reg(Reg::Esp);
    }
    frame[count++] = event.flags_image;
    frame[count++] = state.segment(SegReg::Cs).selector;
    frame[count++] = static_cast<uint32_t>(event.return_ip);
    if (event.has_error)
        frame[count++] = event.error;

    const Width width = gate.gate_is_32bit() ? Width::Dword : Width::Word;
    const uint32_t stack_error = (ss_selector & ~uint32_t{kRplMask}) | ext;
    if (gate.gate_offset() > code.limit())
        return frame_fits(ss, esp, count, width) ? guest_fault(Vector::GeneralProtection, ext)
                                                 : guest_fault(Vector::StackFault, stack_error);
    esp = TRY(push_frame(ss, esp, frame.data(), count, width, privilege_of(level), stack_error));
    if (inner)
        TRY(mark_accessed(stack));
    TRY(mark_accessed(code));

    uint32_t cleared = kTf | kNt | kRf | kVm;
    if ((gate.type() & 1) == 0) // interrupt gate
        cleared |= kIf;
    state.eflags &= ~cleared;
    if (inner) {
        state.cpl = static_cast<uint8_t>(level);
        ss.set_attributes(ss.attributes() | kDescriptorAccessed);
        state.segment(SegReg::Ss) = ss;
        if (from_v86) {
            for (const SegReg reg : {SegReg::Gs, SegReg::Fs, SegReg::Ds, SegReg::Es})
                null_segment(reg, 0);
        }
    }
    install_code(selector, code);
    state.reg(Reg::Esp) = esp;
    state.eip = gate.gate_offset();
    return {};
}

// SDM Vol. 3A 20.3.3: 32 bytes below the I/O permission bitmap, a set bit keeps the monitor in charge.
GuestResult<bool> CpuInternals::vme_redirects(uint8_t vector) const {
    const Segment& tss = state.tr;
    if (!tss.usable || (tss.type() & system_type::k32BitBit) == 0 || tss.limit < kTssIoMapBase + 1)
        return guest_fault(Vector::GeneralProtection, 0);
    const uint32_t io_map = TRY(read_system<uint16_t>(tss.base + kTssIoMapBase));
    const uint32_t at = io_map - kRedirectionBytes + vector / 8u;
    if (io_map < kRedirectionBytes || at > tss.limit)
        return guest_fault(Vector::GeneralProtection, 0);
    const uint8_t bits = TRY(read_system<uint8_t>(tss.base + at));
    return ((bits >> (vector & 7)) & 1) == 0;
}

// Methods 5 and 6 of SDM Vol. 3A 20.3.3: the handler is the 8086 program's own, by the table at linear 0.
GuestResult<void> CpuInternals::deliver_redirected(uint8_t vector, uint32_t next_eip) const {
    const bool virtual_if = state.iopl() < 3;
    uint32_t image = state.eflags & ~kRf;
    if (virtual_if) {
        image |= kIopl;
        image = (state.eflags & kVif) ? image | kIf : image & ~kIf;
    }
    const uint32_t target = TRY(read_system<uint32_t>(uint32_t{vector} * 4));
    const std::array<uint32_t, 3> frame{image, state.segment(SegReg::Cs).selector, next_eip};
    state.reg(Reg::Esp) = TRY(push_frame(state.segment(SegReg::Ss), state.reg(Reg::Esp), frame.data(),
                                         frame.size(), Width::Word, Privilege::User, 0));
    state.eflags &= ~(kTf | kRf | (virtual_if ? kVif : kIf));
    load_real_segment(SegReg::Cs, static_cast<uint16_t>(target >> 16));
    state.eip = target & 0xFFFF;
    return {};
}

// SDM Vol. 3A 17.2.4: the processor clears GD on entry to the debug handler.
void CpuInternals::enter_debug_handler() const {
    if ((state.dr[7] & kDr7Gd) == 0)
        return;
    state.dr[7] &= ~kDr7Gd;
    tlb().debug_registers_changed();
}

void CpuInternals::deliver_or_escalate(Event event) const {
    // Ends: what goes wrong in delivery is contributory or a page fault, and each round of table 6-5 moves
    // from benign to contributory to page fault to double fault to shutdown.
    for (;;) {
        const auto delivered = deliver(event);
        const bool exception = event.kind == EventKind::Exception;
        if (delivered) {
            state.interrupt_shadow = 0;
            if (exception && event.vector == static_cast<uint8_t>(Vector::Debug))
                enter_debug_handler();
            return;
        }
        const Fault& second = delivered.error();
        if (second.vector == Vector::PageFault)
            state.cr2 = second.linear_address;
        const auto first = static_cast<Vector>(event.vector);
        if (exception && first == Vector::DoubleFault) {
            state.shutdown = 1;
            return;
        }
        if (exception && is_double_fault(class_of(first), class_of(second.vector)))
            event = event_of(state, Fault{Vector::DoubleFault, true, 0, 0});
        else
            event = event_of(state, second);
    }
}

void CpuInternals::debug_trap(uint32_t dr6_bits) const {
    state.dr[6] |= dr6_bits;
    state.halted = 0;
    Event event;
    event.vector = static_cast<uint8_t>(Vector::Debug);
    event.return_ip = state.rip();
    // General detect is the one #DB here that is a fault and not about an instruction breakpoint.
    event.flags_image = state.eflags | ((dr6_bits & kDr6Bd) ? kRf : 0);
    deliver_or_escalate(event);
}

GuestResult<void> Cpu::software_interrupt(uint8_t vector, EventKind kind, uint64_t next_ip) {
    // INT1 counts as external to the program, the others do not (SDM Vol. 3A 6.13).
    const bool external = kind == EventKind::Exception || kind == EventKind::External;
    const CpuInternals in(*this, external ? 1 : 0);
    if (kind == EventKind::SoftwareInt && state_.protected_mode() && state_.v86()) {
        if ((state_.cr4 & cr4::kVme) && TRY(in.vme_redirects(vector))) {
            TRY(in.deliver_redirected(vector, static_cast<uint32_t>(next_ip)));
            state_.interrupt_shadow = 0;
            return {};
        }
        if (state_.iopl() < 3)
            return guest_fault(Vector::GeneralProtection, 0);
    }
    CpuInternals::Event event;
    event.vector = vector;
    event.kind = kind;
    event.return_ip = next_ip;
    event.flags_image = state_.eflags & ~kRf;
    TRY(in.deliver(event));
    state_.interrupt_shadow = 0;
    if (external && vector == static_cast<uint8_t>(Vector::Debug))
        in.enter_debug_handler();
    return {};
}

void Cpu::raise(const Fault& fault) {
    if (fault.vector == Vector::PageFault)
        state_.cr2 = fault.linear_address;
    CpuInternals(*this, 1).deliver_or_escalate(event_of(state_, fault));
}

void Cpu::raise_debug(uint32_t dr6_bits) { CpuInternals(*this, 1).debug_trap(dr6_bits); }

void Cpu::external_interrupt(uint8_t vector) {
    state_.halted = 0;
    if (vector == static_cast<uint8_t>(Vector::Nmi))
        state_.nmi_blocked = 1;
    CpuInternals::Event event;
    event.vector = vector;
    event.kind = EventKind::External;
    event.return_ip = state_.rip();
    event.flags_image = state_.eflags;
    CpuInternals(*this, 1).deliver_or_escalate(event);
}

} // namespace vmm
