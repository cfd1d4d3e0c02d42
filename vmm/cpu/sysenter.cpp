// SYSENTER and SYSEXIT (SDM Vol. 2B): fixed flat segments, no memory access at all.
#include "vmm/cpu/internals.h"

namespace vmm {
namespace {

// Present, accessed, readable code / writable data, 4 GiB, 32-bit; DPL in bits 13-14.
constexpr uint32_t kFlatCode = 0x00C09B00, kFlatData = 0x00C09300;
constexpr unsigned kDplShift = 13;

void load_flat(CpuState& state, uint16_t code_selector, uint16_t stack_selector, unsigned cpl) {
    const uint32_t dpl = cpl << kDplShift;
    state.segment(SegReg::Cs) = Segment{code_selector, 1, 0, 0xFFFFFFFF, kFlatCode | dpl};
    state.segment(SegReg::Ss) = Segment{stack_selector, 1, 0, 0xFFFFFFFF, kFlatData | dpl};
    state.cpl = static_cast<uint8_t>(cpl);
}

} // namespace

GuestResult<void> Cpu::sysenter() {
    const auto selector = static_cast<uint16_t>(state_.sysenter_cs & ~uint32_t{kRplMask});
    if (!state_.protected_mode() || selector == 0)
        return guest_fault(Vector::GeneralProtection, 0);
    state_.eflags &= ~(eflags::kVm | eflags::kIf | eflags::kRf);
    load_flat(state_, selector, static_cast<uint16_t>(selector + 8), 0);
    state_.reg(Reg::Esp) = state_.sysenter_esp;
    state_.eip = state_.sysenter_eip;
    return {};
}

GuestResult<void> Cpu::sysexit() {
    const auto selector = static_cast<uint16_t>(state_.sysenter_cs & ~uint32_t{kRplMask});
    if (!state_.protected_mode() || selector == 0 || state_.cpl != 0)
        return guest_fault(Vector::GeneralProtection, 0);
    load_flat(state_, static_cast<uint16_t>((selector + 16) | 3), static_cast<uint16_t>((selector + 24) | 3),
              3);
    state_.reg(Reg::Esp) = state_.reg(Reg::Ecx);
    state_.eip = state_.reg(Reg::Edx);
    return {};
}

} // namespace vmm
