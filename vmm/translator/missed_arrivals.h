// Indirect arrivals that fault because the wrong EIP came (see RuntimeMemory): a host fault takes some
// microseconds, a compare and branch a few cycles each time. Where it happens again and again, the block is
// made anew with the latter.
#pragma once
#include <array>
#include <cstdint>

namespace vmm {

class MissedArrivals {
  public:
    // The check at that host address failed.
    bool too_many(uint32_t host) {
        Site& site = sites_[host % kSites];
        if (site.host != host)
            site = {host, 0};
        return ++site.misses >= kPatience;
    }

  private:
    struct Site {
        uint32_t host = 0, misses = 0;
    };
    static constexpr uint32_t kPatience = 4;
    static constexpr unsigned kSites = 509; // a prime: entries are aligned
    std::array<Site, kSites> sites_{};
};

} // namespace vmm
