// Indirect arrivals that fault because the wrong EIP came (see RuntimeMemory): a host fault takes some
// microseconds, a compare and branch a few cycles each time. Where it happens again and again, the block is
// made anew with the latter.
//
// Again and again is several times within a second; older misses count no more. What has been made anew stays
// so: right or wrong, it costs those cycles, and a try of the other form would cost faults.
#pragma once
#include <array>
#include <chrono>
#include <cstdint>

namespace vmm {

class MissedArrivals {
  public:
    using Time = std::chrono::steady_clock::time_point;

    // The check at that host address failed.
    bool too_many(uint32_t host, Time now) {
        Site& site = sites_[host % kSites];
        if (site.host != host || now - site.first >= kMemory)
            site = {host, 0, now};
        return ++site.misses >= kPatience;
    }

  private:
    struct Site {
        uint32_t host = 0, misses = 0;
        Time first; // of those misses
    };
    static constexpr uint32_t kPatience = 4;
    static constexpr auto kMemory = std::chrono::seconds(1);
    static constexpr unsigned kSites = 509; // a prime: entries are aligned
    std::array<Site, kSites> sites_{};
};

} // namespace vmm
