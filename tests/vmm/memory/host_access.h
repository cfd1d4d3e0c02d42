// Touches host memory the way translated code does: a real load or store, with SIGSEGV handled.
#pragma once
#include "vmm/memory/windows.h"

#include <cstdint>
#include <optional>

namespace vmm::test {

// Installs a SIGSEGV handler on an alternate stack for its lifetime.
class HostAccess {
  public:
    HostAccess();
    ~HostAccess();
    HostAccess(const HostAccess&) = delete;
    HostAccess& operator=(const HostAccess&) = delete;

    // Plain accesses: false/empty when the host refuses.
    std::optional<uint32_t> try_read(uint64_t host);
    bool try_write(uint64_t host, uint32_t value);

    // Accesses through the selected window: faults go to resolve() until it is Mapped or something else.
    struct Result {
        WindowFault::Outcome outcome = WindowFault::Outcome::Mapped;
        WindowFault fault;
        uint32_t value = 0;
        unsigned faults = 0;
    };
    Result read(Windows& windows, uint32_t linear);
    Result write(Windows& windows, uint32_t linear, uint32_t value);
};

} // namespace vmm::test
