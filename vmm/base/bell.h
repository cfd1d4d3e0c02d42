// eventfd(2) as a bell: readable, for poll(2), from ring() until hear(). Neither ever blocks. They take plain
// descriptors, because bells are passed between processes.
#pragma once
#include "vmm/base/unique_fd.h"

#include <cstdint>
#include <sys/eventfd.h>
#include <unistd.h>

namespace base {

// Not valid: errno says why.
[[nodiscard]] inline UniqueFd make_bell() { return UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

inline void ring(int bell) {
    const uint64_t one = 1;
    // Fails only when the counter is full, and then it is readable.
    [[maybe_unused]] const ssize_t written = ::write(bell, &one, sizeof one);
}

inline void hear(int bell) {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(bell, &count, sizeof count);
}

} // namespace base
