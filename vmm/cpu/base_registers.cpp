// The bases of FS and GS as 64-bit code sees them: SWAPGS, RDFSBASE and its kin (SDM Vol. 2B; Vol. 3A 3.4.4).
#include "vmm/cpu/cpu.h"

namespace vmm {
namespace {

GuestResult<void> require_base_instructions(const CpuState& state) {
    if (!state.mode64() || (state.cr4 & cr4::kFsGsBase) == 0)
        return guest_fault(Vector::InvalidOpcode);
    return {};
}

} // namespace

GuestResult<void> Cpu::swapgs() {
    if (!state_.mode64())
        return guest_fault(Vector::InvalidOpcode);
    if (state_.cpl != 0)
        return guest_fault(Vector::GeneralProtection, 0);
    Segment& gs = state_.segment(SegReg::Gs);
    const Linear base = gs.linear_base();
    gs.set_linear_base(state_.kernel_gs_base);
    state_.kernel_gs_base = base;
    return {};
}

GuestResult<uint64_t> Cpu::read_segment_base(SegReg segment, Width width) {
    TRY(require_base_instructions(state_));
    const Linear base = state_.segment(segment).linear_base();
    return width == Width::Qword ? base : base & 0xFFFFFFFF;
}

GuestResult<void> Cpu::write_segment_base(SegReg segment, uint64_t value, Width width) {
    TRY(require_base_instructions(state_));
    if (width != Width::Qword)
        value &= 0xFFFFFFFF;
    if (!is_canonical(value))
        return guest_fault(Vector::GeneralProtection, 0);
    state_.segment(segment).set_linear_base(value);
    return {};
}

} // namespace vmm
