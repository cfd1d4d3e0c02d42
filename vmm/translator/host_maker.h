// Who made the host's processor. The guest sees an Intel processor everywhere; where makers differ in what
// the manuals leave open, a host of another maker's gets lowerings that make up for it (README, "One
// processor").
#pragma once
#include <cpuid.h>

#include <cstdint>

namespace vmm {

enum class HostMaker : uint8_t { Intel, Other };

inline HostMaker host_maker() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    const bool intel = __get_cpuid(0, &eax, &ebx, &ecx, &edx) != 0 && ebx == signature_INTEL_ebx &&
                       edx == signature_INTEL_edx && ecx == signature_INTEL_ecx;
    return intel ? HostMaker::Intel : HostMaker::Other;
}

} // namespace vmm
