// Far JMP and CALL: direct, through call gates, and into tasks (SDM Vol. 2A "CALL", "JMP"; Vol. 3A 5.8).
#include "vmm/cpu/internals.h"

#include <array>

namespace vmm {

GuestResult<void> CpuInternals::transfer_real(uint16_t selector, uint32_t offset, Width width, bool is_call,
                                              uint32_t next_eip) const {
    const Segment& cs = state.segment(SegReg::Cs);
    // The new CS has the old one's limit (v86: 64 KiB), so the old one's decides.
    if (offset > cs.limit)
        return guest_fault(Vector::GeneralProtection, 0);
    if (is_call) {
        const std::array<uint32_t, 2> frame{cs.selector, next_eip};
        state.reg(Reg::Esp) = TRY(push_frame(state.segment(SegReg::Ss), state.reg(Reg::Esp), frame.data(),
                                             frame.size(), width, privilege_of(state.cpl), 0));
    }
    load_real_segment(SegReg::Cs, selector);
    state.eip = offset;
    return {};
}

// A code segment named directly: the privilege level never changes.
GuestResult<void> CpuInternals::transfer_code(uint16_t selector, Descriptor target, uint32_t offset,
                                              Width width, bool is_call, uint32_t next_eip) const {
    const bool allowed = target.conforming() ? target.dpl() <= state.cpl
                                             : rpl_of(selector) <= state.cpl && target.dpl() == state.cpl;
    if (!allowed)
        return selector_fault(Vector::GeneralProtection, selector);
    if (!target.present())
        return selector_fault(Vector::SegmentNotPresent, selector);
    uint32_t esp = state.reg(Reg::Esp);
    const bool in_limit = offset <= target.limit();
    if (is_call) {
        // Lack of stack space is reported before a bad target, but nothing may be pushed for one.
        const std::array<uint32_t, 2> frame{state.segment(SegReg::Cs).selector, next_eip};
        const Segment& ss = state.segment(SegReg::Ss);
        if (!in_limit)
            return guest_fault(frame_fits(ss, esp, 2, width) ? Vector::GeneralProtection : Vector::StackFault,
                               0);
        esp = TRY(push_frame(ss, esp, frame.data(), frame.size(), width, privilege_of(state.cpl), 0));
    }
    if (!in_limit)
        return guest_fault(Vector::GeneralProtection, 0);
    TRY(mark_accessed(target));
    install_code(selector, target);
    state.reg(Reg::Esp) = esp;
    state.eip = offset;
    return {};
}

GuestResult<void> CpuInternals::transfer_call_gate(uint16_t gate_selector, const Descriptor& gate,
                                                   bool is_call, uint32_t next_eip) const {
    if (gate.dpl() < state.cpl || gate.dpl() < rpl_of(gate_selector))
        return selector_fault(Vector::GeneralProtection, gate_selector);
    if (!gate.present())
        return selector_fault(Vector::SegmentNotPresent, gate_selector);
    const uint16_t selector = gate.gate_selector();
    if (is_null(selector))
        return selector_fault(Vector::GeneralProtection, 0);
    Descriptor target = TRY(fetch(selector, Vector::GeneralProtection));
    // CALL may go inwards; JMP only to conforming code or the same level (SDM Vol. 3A table 5-1).
    const bool level_only = !is_call && !target.conforming();
    if (!target.is_code() || (level_only ? target.dpl() != state.cpl : target.dpl() > state.cpl))
        return selector_fault(Vector::GeneralProtection, selector);
    if (!target.present())
        return selector_fault(Vector::SegmentNotPresent, selector);
    if (is_call && !target.conforming() && target.dpl() < state.cpl)
        return call_inner(selector, target, gate, next_eip);
    // The selector in a gate has no RPL check, so pass it on as CPL's.
    return transfer_code(static_cast<uint16_t>((selector & ~kRplMask) | state.cpl), target,
                         gate.gate_offset(), gate.gate_is_32bit() ? Width::Dword : Width::Word, is_call,
                         next_eip);
}

// "MORE-PRIVILEGE" of SDM Vol. 2A "CALL": new stack from the TSS, parameters copied, then the return address.
GuestResult<void> CpuInternals::call_inner(uint16_t selector, Descriptor target, const Descriptor& gate,
                                           uint32_t next_eip) const {
    const unsigned level = target.dpl();
    const StackPointer inner = TRY(inner_stack(level));
    Descriptor stack = TRY(fetch_stack(inner.selector, level, Vector::InvalidTss));
    const Segment ss = stack.to_segment(inner.selector);

    const Width width = gate.gate_is_32bit() ? Width::Dword : Width::Word;
    const unsigned count = gate.gate_parameters();
    std::array<uint32_t, kMaxFrame> frame;
    frame[0] = state.segment(SegReg::Ss).selector;
    frame[1] = state.reg(Reg::Esp);
    if (count > 0) {
        // The deepest parameter (highest address) is pushed first.
        std::array<uint32_t, 31> parameters;
        TRY(read_frame(0, parameters.data(), count, width));
        for (unsigned i = 0; i < count; ++i)
            frame[2 + i] = parameters[count - 1 - i];
    }
    frame[2 + count] = state.segment(SegReg::Cs).selector;
    frame[3 + count] = next_eip;
    if (gate.gate_offset() > target.limit()) {
        if (!frame_fits(ss, inner.esp, 4 + count, width))
            return selector_fault(Vector::StackFault, inner.selector);
        return guest_fault(Vector::GeneralProtection, 0);
    }
    const uint32_t esp = TRY(push_frame(ss, inner.esp, frame.data(), 4 + count, width, privilege_of(level),
                                        inner.selector & ~uint32_t{kRplMask}));
    TRY(mark_accessed(stack));
    TRY(mark_accessed(target));

    state.cpl = static_cast<uint8_t>(level);
    state.segment(SegReg::Ss) = stack.to_segment(inner.selector);
    install_code(selector, target);
    state.reg(Reg::Esp) = esp;
    state.eip = gate.gate_offset();
    return {};
}

GuestResult<void> CpuInternals::transfer(uint16_t selector, uint32_t offset, Width width, bool is_call,
                                         uint32_t next_eip) const {
    if (width == Width::Word)
        offset &= 0xFFFF;
    if (real_or_v86())
        return transfer_real(selector, offset, width, is_call, next_eip);
    if (is_null(selector))
        return selector_fault(Vector::GeneralProtection, 0);
    const Descriptor target = TRY(fetch(selector, Vector::GeneralProtection));
    if (target.is_code())
        return transfer_code(selector, target, offset, width, is_call, next_eip);
    if (target.is_segment())
        return selector_fault(Vector::GeneralProtection, selector);

    TaskSwitch task;
    task.reason = is_call ? Cpu::TaskSwitchReason::Call : Cpu::TaskSwitchReason::Jump;
    task.return_eip = next_eip;
    task.flags_image = state.eflags;
    switch (target.type()) {
    case system_type::kCallGate16:
    case system_type::kCallGate32:
        return transfer_call_gate(selector, target, is_call, next_eip);
    case system_type::kTaskGate:
        if (target.dpl() < state.cpl || target.dpl() < rpl_of(selector))
            return selector_fault(Vector::GeneralProtection, selector);
        if (!target.present())
            return selector_fault(Vector::SegmentNotPresent, selector);
        task.selector = target.gate_selector();
        return switch_task(task);
    case system_type::kTss16:
    case system_type::kTss32:
        if (target.dpl() < state.cpl || target.dpl() < rpl_of(selector))
            return selector_fault(Vector::GeneralProtection, selector);
        task.selector = selector;
        return switch_task(task);
    default:
        return selector_fault(Vector::GeneralProtection, selector);
    }
}

GuestResult<void> Cpu::far_jump(uint16_t selector, uint64_t offset, Width width, uint64_t next_ip) {
    const CpuInternals in(*this);
    if (state_.ia32e())
        return in.transfer_long(selector, offset, width, false, next_ip);
    return in.transfer(selector, static_cast<uint32_t>(offset), width, false, static_cast<uint32_t>(next_ip));
}

GuestResult<void> Cpu::far_call(uint16_t selector, uint64_t offset, Width width, uint64_t next_ip) {
    const CpuInternals in(*this);
    if (state_.ia32e())
        return in.transfer_long(selector, offset, width, true, next_ip);
    return in.transfer(selector, static_cast<uint32_t>(offset), width, true, static_cast<uint32_t>(next_ip));
}

} // namespace vmm
