#include "player/host_features.h"

#include <algorithm>
#include <cpuid.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <string_view>

namespace player {
namespace {

enum class Need : uint8_t {
    Nothing,     // carried out by routines of ours
    Leaf1Edx,    // the guest's instructions run as themselves: the bit of CPUID leaf 1 EDX must be set
    Leaf1Ecx,    // of ECX
    Extended1Ecx // of leaf 80000001h ECX
};

struct Feature {
    std::string_view name;
    Need need;
    unsigned bit = 0;
    bool of_guest = true; // in the guest's CPUID
};

// SDM Vol. 2A "CPUID", tables 3-11 and 3-8; AMD64 Manual Vol. 3, appendix E.4.2 for LahfSahf.
constexpr Feature kFeatures[] = {
    {"clflush", Need::Leaf1Edx, 19},
    {"cmov", Need::Leaf1Edx, 15},
    {"cx8", Need::Leaf1Edx, 8},
    {"de", Need::Nothing},
    {"fpu", Need::Leaf1Edx, 0},
    {"fxsr", Need::Leaf1Edx, 24},
    // Every 32-bit processor has LAHF and SAHF, so the guest has no bit for them; in 64-bit mode, where the
    // translator runs them, the first x86-64 processors lack them.
    {"lahf_lm", Need::Extended1Ecx, 0, false},
    {"mmx", Need::Leaf1Edx, 23},
    {"msr", Need::Nothing},
    {"nx", Need::Nothing},
    {"pae", Need::Nothing},
    {"pat", Need::Nothing},
    {"pge", Need::Nothing},
    {"pse", Need::Nothing},
    {"sep", Need::Nothing},
    {"sse", Need::Leaf1Edx, 25},
    {"sse2", Need::Leaf1Edx, 26},
    {"sse3", Need::Leaf1Ecx, 0},
    {"ssse3", Need::Leaf1Ecx, 9},
    {"tsc", Need::Leaf1Edx, 4},
    {"vme", Need::Nothing},
};

bool host_has(const Feature& feature) {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    switch (feature.need) {
    case Need::Nothing:
        return true;
    case Need::Leaf1Edx:
        return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (edx >> feature.bit & 1) != 0;
    case Need::Leaf1Ecx:
        return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx >> feature.bit & 1) != 0;
    case Need::Extended1Ecx:
        return __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) != 0 && (ecx >> feature.bit & 1) != 0;
    }
    return false;
}

} // namespace

std::vector<std::string> promised_cpu_features() {
    std::vector<std::string> names;
    for (const Feature& feature : kFeatures)
        if (feature.of_guest)
            names.emplace_back(feature.name);
    return names;
}

std::vector<std::string> missing_host_features(const std::vector<std::string>& promised) {
    std::vector<std::string> missing;
    for (const std::string& name : promised) {
        const auto* known = std::ranges::find(kFeatures, name, &Feature::name);
        if (known == std::end(kFeatures) || !host_has(*known))
            missing.push_back(name);
    }
    // What the guest's CPUID says today counts, too: a bundle that was packed before a feature came sees it.
    for (const Feature& feature : kFeatures)
        if (!host_has(feature) && std::ranges::find(missing, feature.name) == missing.end())
            missing.emplace_back(feature.name);
    return missing;
}

base::Result<void> check_host_features(const std::string& who, const std::vector<std::string>& promised) {
    const auto missing = missing_host_features(promised);
    if (missing.empty())
        return {};
    return base::fail(
        fmt::format("{} needs a processor with {}, which this computer's does not have; play it on "
                    "another computer",
                    who, fmt::join(missing, ", ")),
        kHostLacks);
}

} // namespace player
