// What the host's processor has to have: for the translator itself, and for what a scene's guest was promised
// by CPUID when it was captured (a running guest does not ask again). Names are those of /proc/cpuinfo, which
// the manifest keeps.
#pragma once
#include "vmm/base/result.h"

#include <string>
#include <vector>

namespace player {

// base::Error::code and the exit status when this computer lacks something a session needs.
inline constexpr int kHostLacks = 10;

// What the virtual processor promises its guest (vmm/cpu/cpuid.cpp), sorted.
[[nodiscard]] std::vector<std::string> promised_cpu_features();

// What this host's processor lacks to run a guest that was promised `promised`; the translator's own needs
// are always included. A name that this player does not know counts as missing. Empty: all is there.
[[nodiscard]] std::vector<std::string>
missing_host_features(const std::vector<std::string>& promised = promised_cpu_features());

// The same as an error for the person, kHostLacks; `who` is what needs them ("X.encore", "scene ready").
base::Result<void> check_host_features(const std::string& who,
                                       const std::vector<std::string>& promised = promised_cpu_features());

} // namespace player
