// RDMSR and WRMSR (SDM Vol. 2B, Vol. 4): the registers that the processor described in cpuid.cpp must have,
// and those of long mode where that is promised. The local APIC has its own. All others, the MTRRs among
// them, raise #GP(0) as on a processor without the feature.
#include "vmm/arch/promise.h"
#include "vmm/arch/tsc.h"
#include "vmm/base/operation.h"
#include "vmm/cpu/cpu.h"

namespace vmm {

namespace {

enum Msr : uint32_t { // SDM Vol. 4, table 2-2
    kTsc = 0x10,
    kPlatformId = 0x17,
    kBiosUpdateTrigger = 0x79,
    kBiosSignId = 0x8B,
    kSysenterCs = 0x174,
    kSysenterEsp = 0x175,
    kSysenterEip = 0x176,
    kMiscEnable = 0x1A0,
    kDebugCtl = 0x1D9,
    kPat = 0x277,
    kEfer = 0xC0000080,
    kStar = 0xC0000081,
    kLstar = 0xC0000082,
    kCstar = 0xC0000083,
    kFmask = 0xC0000084,
    kFsBase = 0xC0000100,
    kGsBase = 0xC0000101,
    kKernelGsBase = 0xC0000102,
};

constexpr uint64_t kMicrocodeRevision = 0x107ull << 32; // IA32_BIOS_SIGN_ID bits 63:32

// IA32_MISC_ENABLE: fast strings, limit CPUID, XD disable can be written; BTS and PEBS read as unavailable.
constexpr uint64_t kMiscWritable = (1ull << 0) | (1ull << 22) | (1ull << 34);
constexpr uint64_t kMiscXdDisable = 1ull << 34;
constexpr uint64_t kMiscFixed = (1ull << 11) | (1ull << 12);

tl::unexpected<Fault> refused() { return guest_fault(Vector::GeneralProtection, 0); }

// Registers that exist with long mode only.
uint64_t read_long_msr(const CpuState& state, uint32_t index) {
    switch (index) {
    case kStar:
        return state.star;
    case kLstar:
        return state.lstar;
    case kCstar:
        return state.cstar;
    case kFmask:
        return state.fmask;
    case kFsBase:
        return state.segment(SegReg::Fs).linear_base();
    case kGsBase:
        return state.segment(SegReg::Gs).linear_base();
    default:
        return state.kernel_gs_base;
    }
}

// False: the register cannot hold the value (SDM Vol. 2B "WRMSR": addresses are canonical).
bool write_long_msr(CpuState& state, uint32_t index, uint64_t value) {
    if (index == kStar) {
        state.star = value;
        return true;
    }
    if (index == kFmask && value >> 32 == 0) {
        state.fmask = value;
        return true;
    }
    if (!is_canonical(value))
        return false;
    switch (index) {
    case kLstar:
        state.lstar = value;
        return true;
    case kCstar:
        state.cstar = value;
        return true;
    case kFsBase:
        state.segment(SegReg::Fs).set_linear_base(value);
        return true;
    case kGsBase:
        state.segment(SegReg::Gs).set_linear_base(value);
        return true;
    case kKernelGsBase:
        state.kernel_gs_base = value;
        return true;
    default:
        return false;
    }
}

bool is_long_msr(uint32_t index) {
    return (index >= kStar && index <= kFmask) || (index >= kFsBase && index <= kKernelGsBase);
}

} // namespace

GuestResult<void> Cpu::rdmsr() {
    if (state_.cpl != 0)
        return refused();
    uint64_t value = 0;
    switch (state_.reg(Reg::Ecx)) {
    case kTsc:
        value = guest_tsc(state_);
        break;
    case kPlatformId:
    case kDebugCtl:
        break;
    case kBiosSignId:
        value = kMicrocodeRevision;
        break;
    case kSysenterCs:
        value = state_.sysenter_cs;
        break;
    case kSysenterEsp:
        value = state_.sysenter_esp;
        break;
    case kSysenterEip:
        value = state_.sysenter_eip;
        break;
    case kMiscEnable:
        value = state_.misc_enable | kMiscFixed;
        break;
    case kPat:
        value = state_.pat;
        break;
    case kEfer:
        if ((state_.misc_enable & kMiscXdDisable) != 0)
            return refused();
        value = state_.efer;
        break;
    default: {
        if (state_.promises(promise::kLongMode) && is_long_msr(state_.reg(Reg::Ecx))) {
            value = read_long_msr(state_, state_.reg(Reg::Ecx));
            break;
        }
        const base::Operation operation;
        const auto answer = apic_ != nullptr ? apic_->read_msr(state_.reg(Reg::Ecx)) : std::nullopt;
        if (!answer)
            return refused();
        value = *answer;
    }
    }
    state_.wide(Reg::Eax).set(static_cast<uint32_t>(value)); // the upper halves are cleared
    state_.wide(Reg::Edx).set(value >> 32);
    return {};
}

GuestResult<void> Cpu::wrmsr() {
    if (state_.cpl != 0)
        return refused();
    const uint64_t value = state_.reg(Reg::Eax) | uint64_t{state_.reg(Reg::Edx)} << 32;
    switch (state_.reg(Reg::Ecx)) {
    case kTsc:
        set_guest_tsc(state_, value);
        return {};
    case kBiosUpdateTrigger: // an update for another processor: the signature does not match, nothing is
                             // loaded
    case kBiosSignId:        // software writes 0 before asking for the revision
        return {};
    case kSysenterCs:
        state_.sysenter_cs = static_cast<uint32_t>(value);
        return {};
    case kSysenterEsp:
    case kSysenterEip: {
        const bool wide = state_.promises(promise::kLongMode);
        if (wide && !is_canonical(value))
            return refused();
        (state_.reg(Reg::Ecx) == kSysenterEsp ? state_.sysenter_esp : state_.sysenter_eip) =
            wide ? value : static_cast<uint32_t>(value);
        return {};
    }
    case kMiscEnable:
        if ((value & ~(kMiscWritable | kMiscFixed)) != 0)
            return refused();
        state_.misc_enable = value & kMiscWritable;
        return {};
    case kDebugCtl: // neither last-branch records nor branch stepping exist
        if (value != 0)
            return refused();
        return {};
    case kPat:
        if (!valid_pat(value))
            return refused();
        state_.pat = value;
        return {};
    case kEfer: {
        if ((value & ~efer_defined(state_.promised)) != 0 || (state_.misc_enable & kMiscXdDisable) != 0)
            return refused();
        const uint64_t wanted = (value & ~efer::kLma) | (state_.efer & efer::kLma); // LMA only reports
        const uint64_t changed = wanted ^ state_.efer;
        if ((changed & efer::kLme) != 0 && state_.paging()) // SDM Vol. 3A 9.8.5
            return refused();
        state_.efer = wanted;
        if ((changed & efer::kNxe) == 0)
            return {};
        memory_.flush();
        tlb_.paging_changed();
        return {};
    }
    default: {
        if (state_.promises(promise::kLongMode) && is_long_msr(state_.reg(Reg::Ecx))) {
            if (!write_long_msr(state_, state_.reg(Reg::Ecx), value))
                return refused();
            return {};
        }
        const base::Operation operation;
        if (apic_ == nullptr || !apic_->write_msr(state_.reg(Reg::Ecx), value))
            return refused();
        return {};
    }
    }
}

} // namespace vmm
