// EFLAGS as the system sees it: CLI, STI, PUSHF and POPF with the IOPL, v86 and virtual-interrupt rules (SDM
// Vol. 2 under each mnemonic, Vol. 3A 20.3 and 20.4).
#include "vmm/cpu/cpu.h"

namespace vmm {

namespace {

// Where CLI and STI, and the IF of PUSHF and POPF, find their flag.
enum class InterruptFlag : uint8_t { Real, Virtual, Forbidden };

InterruptFlag interrupt_flag(const CpuState& state) {
    if (!state.protected_mode())
        return InterruptFlag::Real;
    if (state.v86()) {
        if (state.iopl() == 3)
            return InterruptFlag::Real;
        return (state.cr4 & cr4::kVme) != 0 ? InterruptFlag::Virtual : InterruptFlag::Forbidden;
    }
    if (state.iopl() >= state.cpl)
        return InterruptFlag::Real;
    if ((state.cr4 & cr4::kPvi) != 0 && state.cpl == 3)
        return InterruptFlag::Virtual;
    return InterruptFlag::Forbidden;
}

tl::unexpected<Fault> refused() { return guest_fault(Vector::GeneralProtection, 0); }

// Bits any POPF may change, by operand size.
constexpr uint32_t kWordBits = eflags::kArithmetic | eflags::kTf | eflags::kDf | eflags::kNt;
constexpr uint32_t kDwordBits = kWordBits | eflags::kAc | eflags::kId;

} // namespace

GuestResult<void> Cpu::cli() {
    switch (interrupt_flag(state_)) {
    case InterruptFlag::Real:
        state_.eflags &= ~eflags::kIf;
        return {};
    case InterruptFlag::Virtual:
        state_.eflags &= ~eflags::kVif;
        return {};
    default:
        return refused();
    }
}

GuestResult<void> Cpu::sti() {
    switch (interrupt_flag(state_)) {
    case InterruptFlag::Real:
        if ((state_.eflags & eflags::kIf) == 0)
            state_.interrupt_shadow = kShadowSti;
        state_.eflags |= eflags::kIf;
        return {};
    case InterruptFlag::Virtual:
        if ((state_.eflags & eflags::kVip) != 0)
            return refused();
        state_.eflags |= eflags::kVif;
        return {};
    default:
        return refused();
    }
}

GuestResult<uint32_t> Cpu::pushf_image(Width width) {
    uint32_t image = state_.eflags & ~(eflags::kVm | eflags::kRf);
    if (state_.v86() && state_.iopl() < 3) {
        // SDM Vol. 3A 20.3.2: the 16-bit form shows VIF as IF and an IOPL of 3; the 32-bit form has no
        // virtual counterpart.
        if ((state_.cr4 & cr4::kVme) == 0 || width != Width::Word)
            return refused();
        image = (image & ~eflags::kIf) | eflags::kIopl;
        if ((state_.eflags & eflags::kVif) != 0)
            image |= eflags::kIf;
    }
    return width == Width::Word ? image & 0xFFFF : image;
}

GuestResult<void> Cpu::popf(uint32_t image, Width width) {
    uint32_t changeable = width == Width::Word ? kWordBits : kDwordBits;
    if (state_.v86()) {
        if (state_.iopl() == 3) {
            changeable |= eflags::kIf;
        } else {
            if ((state_.cr4 & cr4::kVme) == 0 || width != Width::Word)
                return refused();
            const bool virtual_if = (image & eflags::kIf) != 0;
            if ((virtual_if && (state_.eflags & eflags::kVip) != 0) || (image & eflags::kTf) != 0)
                return refused();
            state_.eflags = virtual_if ? state_.eflags | eflags::kVif : state_.eflags & ~eflags::kVif;
        }
    } else if (!state_.protected_mode() || state_.cpl == 0) {
        changeable |= eflags::kIf | eflags::kIopl;
    } else if (state_.cpl <= state_.iopl()) {
        changeable |= eflags::kIf;
    }
    // VIP, VIF and VM stay; RF is cleared.
    state_.eflags = (((state_.eflags & ~changeable) | (image & changeable)) & ~eflags::kRf) | eflags::kFixed1;
    return {};
}

} // namespace vmm
