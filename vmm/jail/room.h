// The empty room: what a program of ours (program.h) does to itself before it looks at anything of a guest's.
// Afterwards it has its memory and the descriptors that it was handed, and asks the kernel for what its table
// of system calls lists (filters/); anything else ends it.
//
//   int main() {
//       ... load libraries, read one's orders ...
//       const auto walls = jail::enter({.descriptors = 2, .calls = jail::kNetworkCalls});
//       if (!walls || !walls->filter) ...
//       ... the guest's work; say to the starter which walls stand ...
//   }
#pragma once
#include "vmm/base/result.h"
#include "vmm/jail/filter.h"
#include "vmm/jail/walls.h"

#include <optional>

namespace jail {

struct Room {
    // 0 to 2, and as many from 3 on, stay open.
    int descriptors = 0;
    const CallTable& calls;
    // More of its own than these it cannot have. `memory` is address space; 0: no limit.
    uint64_t memory = 0;
    unsigned files = 16;
    uint64_t file_size = 0; // that it may make a file of
    unsigned threads = 1;
    // TCP connections to elsewhere are its work.
    bool connects = false;
    // Carries out the lines that say Answer::Ask, in a signal handler: the call's result, or -errno. Nothing:
    // it may not do that, and ends.
    std::optional<long> (*answer)(int call, const std::array<uint64_t, 6>& arguments) = nullptr;
    // Of a program being developed: what is not allowed ends it with a sentence on standard error that names
    // the call, and status kExplained.
    bool explain = false;
};
inline constexpr int kExplained = 159;
// Not with AddressSanitizer, whose shadow takes 16 TiB of address space.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kLimitsMemory = false;
#else
inline constexpr bool kLimitsMemory = true;
#endif

// By a process of one thread; threads that it starts later are in the same room, and may tighten their filter
// (Filter::install). Errors: a limit cannot be set. A wall that this computer does not offer is no error: the
// answer says which stand. With namespaces, user and group are 0 of the room's own, without privileges.
base::Result<Walls> enter(const Room& room);

} // namespace jail
