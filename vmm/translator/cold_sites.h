// Instructions that keep meeting pages their window does not map: first touches of fresh memory, one access a
// page. A host fault and a new mapping cost some ten microseconds each time, a call-out that walks the page
// tables a tenth of one. So a site that faults on page after page is tried as a call-out, and stays one for
// as long as a good part of its accesses are cold; one that mostly stays within pages is put back, and has to
// fault twice as often before the next try.
#pragma once
#include <array>
#include <cstdint>

namespace vmm {

class ColdSites {
  public:
    struct Site {
        uint32_t eip = 0, backing = ~0u;
        uint16_t offset = 0;
        bool called_out = false;
        uint16_t faults = 0, threshold = kFirstThreshold; // distinct pages in a row
        uint16_t executions = 0, cold = 0;                // as a call-out, since the last decision
        uint32_t last_page = ~0u;
    };

    // A window fault at a site that accesses memory directly. True: make it a call-out.
    bool faulted(uint32_t backing, uint16_t offset, uint32_t eip, uint32_t page) {
        Site& site = sites_[eip % kSites];
        if (site.eip != eip || site.backing != backing || site.offset != offset) {
            if (site.called_out) // it must be watched
                return false;
            site = {};
            site.eip = eip;
            site.backing = backing;
            site.offset = offset;
        }
        if (site.called_out) // another block has it too, or the page's marks were lost with its code
            return true;
        if (page == site.last_page)
            return false;
        site.last_page = page;
        if (++site.faults < site.threshold)
            return false;
        site.faults = 0;
        return true;
    }
    void calls_out(uint32_t eip) {
        sites_[eip % kSites].called_out = true;
        sites_[eip % kSites].executions = sites_[eip % kSites].cold = 0;
    }

    // A call-out accessed memory at `eip`; `cold`: it had to walk the page tables. Answers the site when it
    // should access memory directly again.
    const Site* executed(uint32_t eip, bool cold) {
        Site& site = sites_[eip % kSites];
        if (!site.called_out || site.eip != eip)
            return nullptr;
        site.cold += cold;
        if (++site.executions < kTrial)
            return nullptr;
        const bool stays = site.cold >= kTrial / 4;
        site.executions = site.cold = 0;
        if (stays)
            return nullptr;
        site.called_out = false;
        site.threshold =
            static_cast<uint16_t>(site.threshold < kLastThreshold ? site.threshold * 2 : kLastThreshold);
        return &site;
    }

  private:
    static constexpr uint16_t kFirstThreshold = 24, kLastThreshold = 24 << 10, kTrial = 64;
    static constexpr unsigned kSites = 509; // a prime: call sites are often aligned
    std::array<Site, kSites> sites_{};
};

} // namespace vmm
