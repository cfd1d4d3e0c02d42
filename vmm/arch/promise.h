// What the processor promises beyond the 32-bit one that cpuid.cpp describes (nothing, for an i686), and
// which control bits exist by that. What is not promised does not exist for the guest: its bits are reserved.
#pragma once
#include "vmm/arch/state.h"

namespace vmm {

namespace promise {
inline constexpr uint32_t kLongMode = 1u << 0; // with SYSCALL and NX
inline constexpr uint32_t kPages1G = 1u << 1;
inline constexpr uint32_t kPcid = 1u << 2;
inline constexpr uint32_t kInvpcid = 1u << 3;
inline constexpr uint32_t kSmep = 1u << 4;
inline constexpr uint32_t kSmap = 1u << 5;
inline constexpr uint32_t kUmip = 1u << 6;
inline constexpr uint32_t kFsGsBase = 1u << 7;
inline constexpr uint32_t kXsave = 1u << 8;
inline constexpr uint32_t kAvx = 1u << 9; // of XCR0
inline constexpr uint32_t kAll = (1u << 10) - 1;
} // namespace promise

// CR4.MCE is reserved: there is no machine-check architecture.
[[nodiscard]] constexpr uint32_t cr4_defined(uint32_t promised) {
    constexpr struct {
        uint32_t feature, bit;
    } kExtensions[] = {{promise::kPcid, cr4::kPcide},        {promise::kSmep, cr4::kSmep},
                       {promise::kSmap, cr4::kSmap},         {promise::kUmip, cr4::kUmip},
                       {promise::kFsGsBase, cr4::kFsGsBase}, {promise::kXsave, cr4::kOsxsave}};
    uint32_t bits = cr4::kVme | cr4::kPvi | cr4::kTsd | cr4::kDe | cr4::kPse | cr4::kPae | cr4::kPge |
                    cr4::kPce | cr4::kOsfxsr | cr4::kOsxmmexcpt;
    for (const auto& extension : kExtensions)
        bits |= (promised & extension.feature) != 0 ? extension.bit : 0;
    return bits;
}

[[nodiscard]] constexpr uint64_t efer_defined(uint32_t promised) {
    return (promised & promise::kLongMode) != 0 ? efer::kSce | efer::kLme | efer::kLma | efer::kNxe
                                                : efer::kNxe;
}

// SDM Vol. 1 13.3: x87 is always on, AVX needs SSE.
[[nodiscard]] constexpr bool valid_xcr0(uint64_t value, uint32_t promised) {
    constexpr uint64_t kX87 = 1, kSse = 2, kAvx = 4;
    const uint64_t defined = kX87 | kSse | ((promised & promise::kAvx) != 0 ? kAvx : 0);
    return (value & ~defined) == 0 && (value & kX87) != 0 && ((value & kAvx) == 0 || (value & kSse) != 0);
}

} // namespace vmm
