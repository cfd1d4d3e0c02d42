// RDMSR and WRMSR (SDM Vol. 2B, Vol. 4): the registers that the processor described in cpuid.cpp must have.
// The local APIC has its own. All others, the MTRRs among them, raise #GP(0) as on a processor without the
// feature.
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
};

constexpr uint64_t kMicrocodeRevision = 0x107ull << 32; // IA32_BIOS_SIGN_ID bits 63:32
constexpr uint64_t kEferNxe = 1ull << 11;

// IA32_MISC_ENABLE: fast strings, limit CPUID, XD disable can be written; BTS and PEBS read as unavailable.
constexpr uint64_t kMiscWritable = (1ull << 0) | (1ull << 22) | (1ull << 34);
constexpr uint64_t kMiscXdDisable = 1ull << 34;
constexpr uint64_t kMiscFixed = (1ull << 11) | (1ull << 12);

tl::unexpected<Fault> refused() { return guest_fault(Vector::GeneralProtection, 0); }

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
        const base::Operation operation;
        const auto answer = apic_ != nullptr ? apic_->read_msr(state_.reg(Reg::Ecx)) : std::nullopt;
        if (!answer)
            return refused();
        value = *answer;
    }
    }
    state_.reg(Reg::Eax) = static_cast<uint32_t>(value);
    state_.reg(Reg::Edx) = static_cast<uint32_t>(value >> 32);
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
        state_.sysenter_esp = static_cast<uint32_t>(value);
        return {};
    case kSysenterEip:
        state_.sysenter_eip = static_cast<uint32_t>(value);
        return {};
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
        if ((value & ~kEferNxe) != 0 || (state_.misc_enable & kMiscXdDisable) != 0)
            return refused();
        if (state_.efer == value)
            return {};
        state_.efer = value;
        memory_.flush();
        tlb_.paging_changed();
        return {};
    }
    default: {
        const base::Operation operation;
        if (apic_ == nullptr || !apic_->write_msr(state_.reg(Reg::Ecx), value))
            return refused();
        return {};
    }
    }
}

} // namespace vmm
