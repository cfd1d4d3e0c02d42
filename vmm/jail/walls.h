// Which walls stand around a jailed process: a value, so that `encore doctor` and a session's status can say
// so.
#pragma once
#include <cstdint>
#include <string>

namespace jail {

struct Walls {
    // User, process, mount, IPC and host name namespaces of its own, and an empty read-only root.
    bool namespaces = false;
    bool landlock = false; // no name of a file leads anywhere
    bool filter = false;   // system calls that it has no use for end it

    [[nodiscard]] uint32_t bits() const {
        return uint32_t{namespaces} | uint32_t{landlock} << 1 | uint32_t{filter} << 2;
    }
    static Walls from_bits(uint32_t bits) { return {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0}; }
    bool operator==(const Walls&) const = default;
};

// "user namespaces, seccomp; not here: Landlock"
[[nodiscard]] std::string to_string(const Walls& walls);

} // namespace jail
