// Far JMP, CALL and RET in IA-32e mode: between its sub-modes, and through 64-bit call gates (SDM Vol. 2A
// "CALL", "JMP", Vol. 2B "RET"; Vol. 3A 5.8.3.1). There are no 16-bit or 32-bit call gates, no task gates and
// no tasks.
#include "vmm/cpu/internals.h"

#include <array>

namespace vmm {

GuestResult<void> CpuInternals::check_target(const Descriptor& code, uint64_t rip) const {
    if (code.code64() ? is_canonical(rip) : rip <= code.limit())
        return {};
    return guest_fault(Vector::GeneralProtection, 0);
}

void CpuInternals::go_to(uint16_t selector, const Descriptor& code, uint64_t rip) const {
    install_code(selector, code);
    state.set_rip(rip);
}

GuestResult<void> CpuInternals::transfer_code_long(uint16_t selector, Descriptor target, uint64_t offset,
                                                   Width width, bool is_call, uint64_t next_ip) const {
    if (target.code64() && target.big())
        return selector_fault(Vector::GeneralProtection, selector);
    const bool allowed = target.conforming() ? target.dpl() <= state.cpl
                                             : rpl_of(selector) <= state.cpl && target.dpl() == state.cpl;
    if (!allowed)
        return selector_fault(Vector::GeneralProtection, selector);
    if (!target.present())
        return selector_fault(Vector::SegmentNotPresent, selector);
    uint64_t rsp = state.wide(Reg::Esp).whole();
    // Lack of stack space is reported before a bad target, but nothing may be pushed for one.
    if (is_call && !push_fits(2, width))
        return guest_fault(Vector::StackFault, 0);
    TRY(check_target(target, offset));
    if (is_call) {
        const std::array<uint64_t, 2> frame{state.segment(SegReg::Cs).selector, next_ip};
        rsp = TRY(push_current(frame, width));
    }
    TRY(mark_accessed(target));
    go_to(selector, target, offset);
    state.wide(Reg::Esp).set(rsp);
    return {};
}

GuestResult<void> CpuInternals::transfer_gate_long(uint16_t gate_selector, Descriptor gate, bool is_call,
                                                   uint64_t next_ip) const {
    TRY(fetch_upper(gate_selector, gate));
    if (gate.dpl() < state.cpl || gate.dpl() < rpl_of(gate_selector))
        return selector_fault(Vector::GeneralProtection, gate_selector);
    if (!gate.present())
        return selector_fault(Vector::SegmentNotPresent, gate_selector);
    const uint16_t selector = gate.gate_selector();
    if (is_null(selector))
        return selector_fault(Vector::GeneralProtection, 0);
    Descriptor target = TRY(fetch(selector, Vector::GeneralProtection));
    const bool level_only = !is_call && !target.conforming();
    if (!target.is_code() || (level_only ? target.dpl() != state.cpl : target.dpl() > state.cpl))
        return selector_fault(Vector::GeneralProtection, selector);
    if (!target.code64() || target.big())
        return selector_fault(Vector::GeneralProtection, selector);
    if (!target.present())
        return selector_fault(Vector::SegmentNotPresent, selector);
    const uint64_t rip = gate.gate_offset64();
    const unsigned level = target.dpl();
    if (!is_call || target.conforming() || level == state.cpl)
        // The selector in a gate has no RPL check, so pass it on as CPL's.
        return transfer_code_long(static_cast<uint16_t>((selector & ~kRplMask) | state.cpl), target, rip,
                                  Width::Qword, is_call, next_ip);

    // Inwards: the stack is the TSS's, SS is null, and no parameters are copied.
    const uint64_t inner = TRY(tss64_pointer(kTss64Rsp0 + 8 * level));
    const std::array<uint64_t, 4> frame{state.segment(SegReg::Ss).selector, state.wide(Reg::Esp).whole(),
                                        state.segment(SegReg::Cs).selector, next_ip};
    TRY(check_target(target, rip));
    const uint64_t rsp = TRY(push_flat(inner, frame, Width::Qword, privilege_of(level), 0));
    TRY(mark_accessed(target));
    state.cpl = static_cast<uint8_t>(level);
    null_segment(SegReg::Ss, static_cast<uint16_t>(level));
    go_to(selector, target, rip);
    state.wide(Reg::Esp).set(rsp);
    return {};
}

GuestResult<void> CpuInternals::transfer_long(uint16_t selector, uint64_t offset, Width width, bool is_call,
                                              uint64_t next_ip) const {
    if (width != Width::Qword)
        offset &= width == Width::Word ? 0xFFFF : 0xFFFFFFFF;
    if (is_null(selector))
        return selector_fault(Vector::GeneralProtection, 0);
    const Descriptor target = TRY(fetch(selector, Vector::GeneralProtection));
    if (target.is_code())
        return transfer_code_long(selector, target, offset, width, is_call, next_ip);
    if (target.is_segment() || target.type() != system_type::kCallGate32)
        return selector_fault(Vector::GeneralProtection, selector);
    return transfer_gate_long(selector, target, is_call, next_ip);
}

GuestResult<Descriptor> CpuInternals::fetch_return_stack(uint16_t selector, unsigned level,
                                                         const Descriptor& code) const {
    if (!is_null(selector))
        return fetch_stack(selector, level, Vector::GeneralProtection);
    if (!code.code64() || level == 3 || rpl_of(selector) != level)
        return selector_fault(Vector::GeneralProtection, 0);
    return Descriptor{0, kDescriptorAccessed, 0, 0}; // nothing to mark
}

void CpuInternals::install_stack(uint16_t selector, const Descriptor& stack, uint64_t rsp) const {
    if (is_null(selector))
        null_segment(SegReg::Ss, selector);
    else
        state.segment(SegReg::Ss) = stack.to_segment(selector);
    // Into a 16-bit stack only SP is loaded, and what is above it stays; into a 32-bit one, ESP.
    const auto old = state.reg(Reg::Esp);
    state.wide(Reg::Esp).set(
        state.mode64() ? rsp : merge_sp(state.segment(SegReg::Ss), old, static_cast<uint32_t>(rsp)));
}

GuestResult<void> CpuInternals::far_return_long(Width width, uint16_t release_bytes) const {
    const uint32_t slot = bytes_of(width), released = 2 * slot + release_bytes;
    std::array<uint64_t, 2> frame; // RIP, CS
    TRY(read_current(0, frame, width));
    const uint64_t rip = frame[0];
    const auto selector = static_cast<uint16_t>(frame[1]);
    Descriptor code = TRY(fetch_return_code(selector));
    const unsigned rpl = rpl_of(selector);
    if (rpl == state.cpl) {
        TRY(check_target(code, rip));
        TRY(mark_accessed(code));
        const uint64_t rsp = popped(released);
        go_to(selector, code, rip);
        state.wide(Reg::Esp).set(rsp);
        return {};
    }

    std::array<uint64_t, 2> outer; // RSP, SS
    TRY(read_current(released, outer, width));
    const auto ss = static_cast<uint16_t>(outer[1]);
    Descriptor stack = TRY(fetch_return_stack(ss, rpl, code));
    TRY(check_target(code, rip));
    TRY(mark_accessed(stack));
    TRY(mark_accessed(code));
    state.cpl = static_cast<uint8_t>(rpl);
    go_to(selector, code, rip);
    install_stack(ss, stack, outer[0]);
    state.wide(Reg::Esp).set(popped(release_bytes)); // the caller's parameters are released there as well
    drop_inaccessible_segments();
    return {};
}

} // namespace vmm
