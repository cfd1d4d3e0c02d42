// SYSENTER and SYSEXIT, SYSCALL and SYSRET (SDM Vol. 2B; Vol. 3A 5.8.7 and 5.8.8): fixed flat segments, no
// memory access at all.
#include "vmm/cpu/internals.h"

namespace vmm {
namespace {

// Present, accessed, readable code / writable data, 4 GiB; DPL in bits 13-14.
constexpr uint32_t kFlatCode = 0x00C09B00, kFlatCode64 = 0x00A09B00, kFlatData = 0x00C09300;
constexpr unsigned kDplShift = 13;
constexpr unsigned kStarSyscall = 32, kStarSysret = 48; // where IA32_STAR has the selectors
// What SYSRET takes from R11: neither RF and VM nor reserved flags.
constexpr uint32_t kSysretFlags = 0x003C7FD7;

void load_flat(CpuState& state, uint16_t code_selector, uint16_t stack_selector, unsigned cpl, bool code64) {
    const uint32_t dpl = cpl << kDplShift;
    state.segment(SegReg::Cs) =
        Segment{code_selector, 1, 0, 0xFFFFFFFF, (code64 ? kFlatCode64 : kFlatCode) | dpl};
    state.segment(SegReg::Ss) = Segment{stack_selector, 1, 0, 0xFFFFFFFF, kFlatData | dpl};
    state.cpl = static_cast<uint8_t>(cpl);
}

uint16_t user(uint32_t selector) { return static_cast<uint16_t>(selector | 3); }

// SDM Vol. 2B "SYSCALL": not in compatibility mode, on this maker's processors.
bool has_syscall(const CpuState& state) { return state.mode64() && (state.efer & efer::kSce) != 0; }

} // namespace

GuestResult<void> Cpu::sysenter() {
    const auto selector = static_cast<uint16_t>(state_.sysenter_cs & ~uint32_t{kRplMask});
    if (!state_.protected_mode() || selector == 0)
        return guest_fault(Vector::GeneralProtection, 0);
    state_.eflags &= ~(eflags::kVm | eflags::kIf | eflags::kRf);
    load_flat(state_, selector, static_cast<uint16_t>(selector + 8), 0, state_.ia32e());
    if (state_.ia32e()) {
        state_.wide(Reg::Esp).set(state_.sysenter_esp);
        state_.set_rip(state_.sysenter_eip);
    } else {
        state_.reg(Reg::Esp) = static_cast<uint32_t>(state_.sysenter_esp);
        state_.eip = static_cast<uint32_t>(state_.sysenter_eip);
    }
    return {};
}

GuestResult<void> Cpu::sysexit(Width width) {
    const auto selector = static_cast<uint16_t>(state_.sysenter_cs & ~uint32_t{kRplMask});
    if (!state_.protected_mode() || selector == 0 || state_.cpl != 0)
        return guest_fault(Vector::GeneralProtection, 0);
    const bool to64 = width == Width::Qword;
    const uint64_t rsp = state_.wide(Reg::Ecx).whole(), rip = state_.wide(Reg::Edx).whole();
    if (to64 && (!is_canonical(rsp) || !is_canonical(rip)))
        return guest_fault(Vector::GeneralProtection, 0);
    const uint32_t code = to64 ? selector + 32u : selector + 16u;
    load_flat(state_, user(code), user(code + 8), 3, to64);
    if (to64) {
        state_.wide(Reg::Esp).set(rsp);
        state_.set_rip(rip);
    } else {
        state_.wide(Reg::Esp).set(static_cast<uint32_t>(rsp));
        state_.set_rip(static_cast<uint32_t>(rip));
    }
    return {};
}

GuestResult<void> Cpu::syscall(uint64_t next_ip) {
    if (!has_syscall(state_))
        return guest_fault(Vector::InvalidOpcode);
    state_.wide(Reg::Ecx).set(next_ip);
    state_.wide(Reg::R11).set(state_.eflags);
    state_.eflags = (state_.eflags & ~(static_cast<uint32_t>(state_.fmask) | eflags::kRf)) | eflags::kFixed1;
    const auto selectors = static_cast<uint32_t>(state_.star >> kStarSyscall) & 0xFFFF;
    load_flat(state_, static_cast<uint16_t>(selectors & ~uint32_t{kRplMask}),
              static_cast<uint16_t>(selectors + 8), 0, true);
    state_.set_rip(state_.lstar);
    return {};
}

GuestResult<void> Cpu::sysret(Width width) {
    if (!has_syscall(state_))
        return guest_fault(Vector::InvalidOpcode);
    const bool to64 = width == Width::Qword;
    const uint64_t rip = state_.wide(Reg::Ecx).whole();
    // At CPL 0 still, with the stack that the program chose: the kernel's to avoid.
    if (state_.cpl != 0 || (to64 && !is_canonical(rip)))
        return guest_fault(Vector::GeneralProtection, 0);
    state_.eflags = (state_.wide(Reg::R11).low & kSysretFlags) | eflags::kFixed1;
    const auto selectors = static_cast<uint32_t>(state_.star >> kStarSysret) & 0xFFFF;
    load_flat(state_, user(to64 ? selectors + 16 : selectors), user(selectors + 8), 3, to64);
    state_.set_rip(to64 ? rip : static_cast<uint32_t>(rip));
    return {};
}

} // namespace vmm
