// Far RET, to the same and to an outer level (SDM Vol. 2B "RET").
#include "vmm/cpu/internals.h"

#include <array>

namespace vmm {

GuestResult<void> Cpu::far_return(Width width, uint16_t release_bytes) {
    const CpuInternals in(*this);
    if (state_.ia32e())
        return in.far_return_long(width, release_bytes);
    const uint32_t slot = bytes_of(width);
    const uint32_t esp = state_.reg(Reg::Esp);
    std::array<uint32_t, 2> frame; // EIP, CS
    TRY(in.read_frame(0, frame.data(), 2, width));
    const uint32_t eip = frame[0];
    const auto selector = static_cast<uint16_t>(frame[1]);
    const uint32_t released = 2 * slot + release_bytes;

    if (in.real_or_v86()) {
        if (eip > state_.segment(SegReg::Cs).limit)
            return guest_fault(Vector::GeneralProtection, 0);
        in.load_real_segment(SegReg::Cs, selector);
        state_.reg(Reg::Esp) = merge_sp(state_.segment(SegReg::Ss), esp, esp + released);
        state_.eip = eip;
        return {};
    }

    Descriptor code = TRY(in.fetch_return_code(selector));
    const unsigned rpl = rpl_of(selector);
    if (rpl == state_.cpl) {
        if (eip > code.limit())
            return guest_fault(Vector::GeneralProtection, 0);
        TRY(in.mark_accessed(code));
        in.install_code(selector, code);
        state_.reg(Reg::Esp) = merge_sp(state_.segment(SegReg::Ss), esp, esp + released);
        state_.eip = eip;
        return {};
    }

    std::array<uint32_t, 2> outer; // ESP, SS
    TRY(in.read_frame(released, outer.data(), 2, width));
    const auto ss_selector = static_cast<uint16_t>(outer[1]);
    Descriptor stack = TRY(in.fetch_stack(ss_selector, rpl, Vector::GeneralProtection));
    if (eip > code.limit())
        return guest_fault(Vector::GeneralProtection, 0);
    TRY(in.mark_accessed(stack));
    TRY(in.mark_accessed(code));

    state_.cpl = static_cast<uint8_t>(rpl);
    in.install_code(selector, code);
    const Segment ss = stack.to_segment(ss_selector);
    state_.segment(SegReg::Ss) = ss;
    // Into a 16-bit stack only SP is loaded. The caller's parameters are released there as well.
    const uint32_t outer_esp = merge_sp(ss, esp, outer[0]);
    state_.reg(Reg::Esp) = merge_sp(ss, outer_esp, outer_esp + release_bytes);
    state_.eip = eip;
    in.drop_inaccessible_segments();
    return {};
}

} // namespace vmm
