// Guest-physical addresses. Page numbers fit 32 bits: 2^40 bytes are 2^28 pages.
#pragma once
#include <cstdint>

namespace vmm {

using Physical = uint64_t;

// MAXPHYADDR, what CPUID 80000008h says (SDM Vol. 3A 4.1.4): higher bits of paging-structure entries are
// reserved.
inline constexpr unsigned kPhysicalAddressBits = 40;
inline constexpr Physical kPhysicalAddressMask = (Physical{1} << kPhysicalAddressBits) - 1;

} // namespace vmm
