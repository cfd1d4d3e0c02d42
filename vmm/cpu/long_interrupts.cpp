// Interrupt and exception delivery and IRET in IA-32e mode (SDM Vol. 3A 6.14; Vol. 2A "INT n", "IRET"): gates
// of 16 bytes into 64-bit code, a stack that is aligned and always gets SS:RSP, and IST.
#include "vmm/cpu/internals.h"

#include <array>

namespace vmm {
namespace {

using namespace eflags;

constexpr unsigned kGateBytes = 16;
constexpr uint32_t kIstMask = 7;

} // namespace

GuestResult<void> CpuInternals::deliver_long(const Event& event) const {
    const uint32_t at = uint32_t{event.vector} * kGateBytes;
    const auto gate_fault = [&](Vector vector) {
        return guest_fault(vector, uint32_t{event.vector} * 8 + kIdtErrorBit + ext);
    };
    if (at + kGateBytes - 1 > state.idtr.limit)
        return gate_fault(Vector::GeneralProtection);
    const auto raw = TRY((read_system<std::array<uint32_t, 4>>(state.idtr.base + at)));
    const Descriptor gate{raw[0], raw[1], state.idtr.base + at, raw[2]};
    const bool interrupt_gate = gate.type() == system_type::kInterruptGate32;
    if (gate.is_segment() || (!interrupt_gate && gate.type() != system_type::kTrapGate32))
        return gate_fault(Vector::GeneralProtection);
    const bool software = event.kind == EventKind::SoftwareInt || event.kind == EventKind::Int3OrInto;
    if (software && gate.dpl() < state.cpl)
        return gate_fault(Vector::GeneralProtection);
    if (!gate.present())
        return gate_fault(Vector::SegmentNotPresent);

    const uint16_t selector = gate.gate_selector();
    if (is_null(selector))
        return selector_fault(Vector::GeneralProtection, 0);
    Descriptor code = TRY(fetch(selector, Vector::GeneralProtection));
    const unsigned cpl = state.cpl;
    if (!code.is_code() || code.dpl() > cpl || !code.code64() || code.big())
        return selector_fault(Vector::GeneralProtection, selector);
    if (!code.present())
        return selector_fault(Vector::SegmentNotPresent, selector);
    const bool inner = !code.conforming() && code.dpl() < cpl;
    const unsigned level = inner ? code.dpl() : cpl;

    const unsigned ist = raw[1] & kIstMask;
    uint64_t rsp = state.wide(Reg::Esp).whole();
    if (ist != 0)
        rsp = TRY(tss64_pointer(kTss64Ist1 + 8 * (ist - 1)));
    else if (inner)
        rsp = TRY(tss64_pointer(kTss64Rsp0 + 8 * level));
    if (!is_canonical(gate.gate_offset64()))
        return guest_fault(Vector::GeneralProtection, ext);
    rsp &= ~uint64_t{15};

    const std::array<uint64_t, 6> frame{state.segment(SegReg::Ss).selector,
                                        state.wide(Reg::Esp).whole(),
                                        event.flags_image,
                                        state.segment(SegReg::Cs).selector,
                                        event.return_ip,
                                        event.error};
    rsp = TRY(push_flat(rsp, std::span(frame).first(event.has_error ? 6 : 5), Width::Qword,
                        privilege_of(level), ext));
    TRY(mark_accessed(code));

    state.eflags &= ~(kTf | kNt | kRf | kVm | (interrupt_gate ? kIf : 0));
    if (inner) {
        state.cpl = static_cast<uint8_t>(level);
        null_segment(SegReg::Ss, static_cast<uint16_t>(level));
    }
    go_to(selector, code, gate.gate_offset64());
    state.wide(Reg::Esp).set(rsp);
    return {};
}

// What pops: RIP, CS, RFLAGS; and RSP, SS as well where the instruction began in 64-bit mode or goes
// outwards.
GuestResult<void> CpuInternals::iret_long(Width width) const {
    if (state.eflags & kNt)
        return guest_fault(Vector::GeneralProtection, 0);
    const unsigned cpl = state.cpl;
    const uint32_t slot = bytes_of(width);
    std::array<uint64_t, 3> frame;
    TRY(read_current(0, frame, width));
    const uint64_t rip = frame[0];
    const auto selector = static_cast<uint16_t>(frame[1]);
    const auto image = static_cast<uint32_t>(frame[2]);
    Descriptor code = TRY(fetch_return_code(selector));
    const unsigned rpl = rpl_of(selector);
    const bool pops_stack = state.mode64() || rpl > cpl;
    std::array<uint64_t, 2> outer{}; // RSP, SS
    Descriptor stack;
    if (pops_stack) {
        TRY(read_current(3 * slot, outer, width));
        stack = TRY(fetch_return_stack(static_cast<uint16_t>(outer[1]), rpl, code));
    }
    TRY(check_target(code, rip));
    if (pops_stack)
        TRY(mark_accessed(stack));
    TRY(mark_accessed(code));

    merge_flags(image, returned_flags(cpl, width));
    const uint64_t rsp = popped(3 * slot);
    state.cpl = static_cast<uint8_t>(rpl);
    go_to(selector, code, rip);
    if (pops_stack)
        install_stack(static_cast<uint16_t>(outer[1]), stack, outer[0]);
    else
        state.wide(Reg::Esp).set(rsp);
    if (rpl > cpl)
        drop_inaccessible_segments();
    return {};
}

} // namespace vmm
