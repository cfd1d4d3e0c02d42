// CPUID (SDM Vol. 2A "CPUID"): what the virtual processor promises, which is exactly what is implemented.
//
// Family 6, model 1Ch, stepping 10 (the in-order "Bonnell" Atom). Guests know that this model does not
// speculate, so they neither isolate page tables nor emit retpolines: the host kernel keeps its own
// mitigations and the guest's would be paid twice. Steppings up to 2 would make Linux drop PSE (erratum
// AAE44); models up to 0Eh would make it drop PAT. SSE3 and SSSE3 are that model's, too: without SSSE3 the C
// library copies memory by REP MOVS, and whole programs run a quarter slower. Nothing past them, no MTRRs, no
// machine check. The local APIC is promised while it is enabled (SDM Vol. 3A 11.4.3). The highest basic leaf
// is 2, which the oldest guests (Windows NT 4) need; there is no leaf 7 and so no IA32_ARCH_CAPABILITIES.
//
// A machine with long mode has the same processor, with what CpuState::promised says beside it.
//
// Hypervisor leaves follow VMware's interface ("Mechanisms to determine if software is running in a VMware
// virtual machine", KB 1009458): 40000000h names the vendor, 40000010h gives TSC and bus frequency in kHz so
// that guests skip calibration. FreeBSD and others read the leaf; Linux, having seen the vendor, asks the
// backdoor port 5658h (command 2Dh GETHZ) instead.
#include "vmm/arch/promise.h"
#include "vmm/arch/tsc.h"
#include "vmm/cpu/cpu.h"
#include "vmm/memory/page_walk.h"

#include <cstring>

namespace vmm {

namespace {

struct Registers {
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

constexpr uint32_t kMaxBasicLeaf = 2, kFeatureLeaf = 7, kXsaveLeaf = 0xD;
constexpr uint32_t kFirstHypervisorLeaf = 0x40000000, kTimingLeaf = 0x40000010;
constexpr uint32_t kFirstExtendedLeaf = 0x80000000, kMaxExtendedLeaf = 0x80000008;

constexpr uint32_t kSignature = 0x000106CA;

// Leaf 1 EDX, by bit position.
constexpr uint32_t kFpu = 1u << 0, kVme = 1u << 1, kDe = 1u << 2, kPse = 1u << 3, kTsc = 1u << 4,
                   kMsr = 1u << 5, kPae = 1u << 6, kCx8 = 1u << 8, kApic = 1u << 9, kSep = 1u << 11,
                   kPge = 1u << 13, kCmov = 1u << 15, kPat = 1u << 16, kClflush = 1u << 19, kMmx = 1u << 23,
                   kFxsr = 1u << 24, kSse = 1u << 25, kSse2 = 1u << 26;
constexpr uint32_t kLeaf1Edx = kFpu | kVme | kDe | kPse | kTsc | kMsr | kPae | kCx8 | kSep | kPge | kCmov |
                               kPat | kClflush | kMmx | kFxsr | kSse | kSse2;
constexpr uint32_t kSse3 = 1u << 0, kSsse3 = 1u << 9, kHypervisor = 1u << 31;
constexpr uint32_t kLeaf1Ecx = kSse3 | kSsse3 | kHypervisor;
constexpr uint32_t kLeaf1Ebx = (1u << 16) | (8u << 8); // one logical processor, CLFLUSH line of 8 quadwords

// Leaf 2 descriptors (SDM Vol. 2A table 3-12): B0h instruction TLB 4 KiB x 128, B3h data TLB 4 KiB x 128,
// 2Ch L1D 32 KiB, 30h L1I 32 KiB, 7Dh L2 2 MiB. AL = 01h: one execution tells it all.
constexpr Registers kLeaf2{0x00B3B001, 0, 0, 0x7D302C00};

constexpr uint32_t kExtendedEdxNx = 1u << 20;
constexpr uint64_t kMiscEnableXdDisable = 1ull << 34;
constexpr uint32_t kLeaf6Ecx = (2048u << 16) | (6u << 12) | 64; // L2: 2 MiB, 8-way, 64-byte lines
constexpr uint32_t kInvariantTsc = 1u << 8;
constexpr uint32_t kAddressSizes = (32u << 8) | kPhysicalAddressBits; // linear, physical
constexpr uint32_t kAddressSizesLong = (48u << 8) | kPhysicalAddressBits;
constexpr uint32_t kExtendedEdxLong = 1u << 29, kExtendedEdxSyscall = 1u << 11; // the latter in 64-bit mode
constexpr uint32_t kExtendedEcxLahf = 1u << 0;
constexpr uint32_t kLeaf1EcxOsxsave = 1u << 27;
// SDM Vol. 1 13.4: legacy region and header; AVX state behind them.
constexpr uint32_t kXsaveLegacyBytes = 512 + 64, kXsaveAvxBytes = 256;

// Features of CpuState::promised and the bit that tells of them.
struct Told {
    uint32_t feature, bit;
};
constexpr Told kLeaf1EcxTold[] = {
    {promise::kPcid, 1u << 17}, {promise::kXsave, 1u << 26}, {promise::kAvx, 1u << 28}};
constexpr Told kLeaf7EbxTold[] = {{promise::kFsGsBase, 1u << 0},
                                  {promise::kSmep, 1u << 7},
                                  {promise::kInvpcid, 1u << 10},
                                  {promise::kSmap, 1u << 20}};
constexpr Told kLeaf7EcxTold[] = {{promise::kUmip, 1u << 2}};
constexpr Told kExtendedEdxTold[] = {{promise::kPages1G, 1u << 26}, {promise::kLongMode, kExtendedEdxLong}};

template <size_t N> uint32_t told(const CpuState& state, const Told (&features)[N]) {
    uint32_t bits = 0;
    for (const Told& one : features)
        bits |= state.promises(one.feature) ? one.bit : 0;
    return bits;
}

constexpr char kVendor[] = "GenuineIntel";
constexpr char kHypervisorVendor[] = "VMwareVMware";
constexpr char kBrand[48] = "Encore Virtual CPU";

uint32_t four_bytes(const char* from) {
    uint32_t value = 0;
    std::memcpy(&value, from, sizeof value);
    return value;
}

uint32_t max_basic_leaf(const CpuState& state) {
    if (!state.promises(promise::kLongMode))
        return kMaxBasicLeaf;
    return state.promises(promise::kXsave) ? kXsaveLeaf : kFeatureLeaf;
}

Registers xsave_leaf(const CpuState& state, uint32_t part) {
    constexpr uint64_t kAvx = 4;
    const bool avx = state.promises(promise::kAvx);
    const auto bytes = [](bool with_avx) { return kXsaveLegacyBytes + (with_avx ? kXsaveAvxBytes : 0); };
    if (part == 0)
        return {avx ? 7u : 3u, bytes((state.xcr0 & kAvx) != 0), bytes(avx), 0};
    return part == 2 && avx ? Registers{kXsaveAvxBytes, kXsaveLegacyBytes, 0, 0} : Registers{};
}

Registers basic_leaf(uint32_t leaf, uint32_t part, const CpuState& state, const ApicMsrs* apic) {
    switch (leaf) {
    case 0:
        return {max_basic_leaf(state), four_bytes(kVendor), four_bytes(kVendor + 8), four_bytes(kVendor + 4)};
    case 1: {
        const uint32_t ecx = kLeaf1Ecx | told(state, kLeaf1EcxTold) |
                             ((state.cr4 & cr4::kOsxsave) != 0 ? kLeaf1EcxOsxsave : 0);
        if (apic != nullptr && apic->enabled())
            return {kSignature, kLeaf1Ebx | uint32_t{apic->initial_id()} << 24, ecx, kLeaf1Edx | kApic};
        return {kSignature, kLeaf1Ebx, ecx, kLeaf1Edx};
    }
    case 2:
        return kLeaf2;
    case kFeatureLeaf:
        return part == 0 ? Registers{0, told(state, kLeaf7EbxTold), told(state, kLeaf7EcxTold), 0}
                         : Registers{};
    case kXsaveLeaf:
        return xsave_leaf(state, part);
    default:
        return {};
    }
}

Registers hypervisor_leaf(uint32_t leaf, uint32_t khz) {
    switch (leaf) {
    case kFirstHypervisorLeaf:
        return {kTimingLeaf, four_bytes(kHypervisorVendor), four_bytes(kHypervisorVendor + 4),
                four_bytes(kHypervisorVendor + 8)};
    case kTimingLeaf:
        return {khz, kApicBusKhz, 0, 0};
    default:
        return {};
    }
}

Registers extended_leaf(uint32_t leaf, const CpuState& state) {
    const bool long_mode = state.promises(promise::kLongMode);
    switch (leaf) {
    case kFirstExtendedLeaf:
        return {kMaxExtendedLeaf, 0, 0, 0};
    case 0x80000001:
        return {0, 0, long_mode ? kExtendedEcxLahf : 0,
                ((state.misc_enable & kMiscEnableXdDisable) == 0 ? kExtendedEdxNx : 0) |
                    (long_mode && state.mode64() ? kExtendedEdxSyscall : 0) | told(state, kExtendedEdxTold)};
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: {
        const char* part = kBrand + (leaf - 0x80000002) * 16;
        return {four_bytes(part), four_bytes(part + 4), four_bytes(part + 8), four_bytes(part + 12)};
    }
    case 0x80000006:
        return {0, 0, kLeaf6Ecx, 0};
    case 0x80000007:
        return {0, 0, 0, kInvariantTsc};
    case 0x80000008:
        return {long_mode ? kAddressSizesLong : kAddressSizes, 0, 0, 0};
    default:
        return {};
    }
}

} // namespace

void Cpu::cpuid() {
    const uint32_t leaf = state_.reg(Reg::Eax), part = state_.reg(Reg::Ecx);
    const uint32_t max_basic = max_basic_leaf(state_);
    Registers out;
    if (leaf <= max_basic)
        out = basic_leaf(leaf, part, state_, apic_);
    else if (leaf >= kFirstHypervisorLeaf && leaf <= kFirstHypervisorLeaf + 0xFF)
        out = hypervisor_leaf(leaf, leaf == kTimingLeaf ? guest_tsc_khz(state_) : 0);
    else if (leaf >= kFirstExtendedLeaf && leaf <= kMaxExtendedLeaf)
        out = extended_leaf(leaf, state_);
    else // "the data for the highest basic information leaf is returned"
        out = basic_leaf(max_basic, part, state_, apic_);
    state_.wide(Reg::Eax).set(out.eax);
    state_.wide(Reg::Ebx).set(out.ebx);
    state_.wide(Reg::Ecx).set(out.ecx);
    state_.wide(Reg::Edx).set(out.edx);
}

} // namespace vmm
