// Where ring 0 has run code while CR4.PGE is set. Its one context serves all address spaces (see
// Contexts), so what is not global must leave it at every CR3 load, and what is global must be looked at when
// the guest flushes global translations. Both lists are the guest's to grow, and both are bounded: too many
// local pages count as all of them; of too many global ones the caller forgets everything.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace vmm {

class SupervisorCode {
  public:
    static constexpr size_t kMostLocal = 256, kMostGlobal = 16384;

    void add_local(uint32_t page) {
        if (all_local_ || std::find(local_.begin(), local_.end(), page) != local_.end())
            return;
        all_local_ = local_.size() == kMostLocal;
        if (all_local_)
            local_.clear();
        else
            local_.push_back(page);
    }
    [[nodiscard]] bool has_local() const { return all_local_ || !local_.empty(); }
    // Calls drop(first, count) for what lies in [first, first+count).
    template <class F> void for_local(uint32_t first, uint32_t count, F&& drop) const {
        if (all_local_)
            drop(first, count);
        for (const uint32_t page : local_)
            if (page - first < count)
                drop(page, 1u);
    }
    void clear_local() {
        local_.clear();
        all_local_ = false;
    }

    // False when there are too many. `large`: translated by a page of 2 or 4 MiB.
    [[nodiscard]] bool add_global(uint32_t page, uint32_t physical_page, bool large) {
        auto& region = regions_[page >> kRegionShift];
        if (region == nullptr)
            region = std::make_unique<Region>();
        uint32_t& known = (*region)[page & (kRegionPages - 1)];
        global_ += known == 0 ? 1 : 0;
        known = kKnown | (large ? kLarge : 0) | physical_page;
        return global_ <= kMostGlobal;
    }
    // Where a page's code was last fetched from.
    [[nodiscard]] std::optional<uint32_t> global_frame(uint32_t page) const {
        const auto& region = regions_[page >> kRegionShift];
        const uint32_t known = region != nullptr ? (*region)[page & (kRegionPages - 1)] : 0;
        return known != 0 ? std::optional(known & kFrame) : std::nullopt;
    }
    [[nodiscard]] bool has_global() const { return global_ != 0; }
    // What an INVLPG of `page` flushes: asks gone(page, physical page) of it and of what one large page may
    // translate with it, and forgets those that are.
    template <class F> void recheck_around(uint32_t page, F&& gone) {
        if (const auto& region = regions_[page >> kRegionShift])
            recheck(*region, page & ~(kRegionPages - 1), gone,
                    [&](uint32_t other, uint32_t known) { return other == page || (known & kLarge) != 0; });
    }
    template <class F> void recheck_all(F&& gone) {
        for (uint32_t i = 0; i < regions_.size(); ++i)
            if (regions_[i] != nullptr)
                recheck(*regions_[i], i << kRegionShift, gone, [](uint32_t, uint32_t) { return true; });
    }
    void clear() {
        clear_local();
        for (auto& region : regions_)
            region.reset();
        global_ = 0;
    }

  private:
    static constexpr unsigned kRegionShift = 10;
    static constexpr uint32_t kRegionPages = 1u << kRegionShift; // 4 MiB
    static constexpr uint32_t kKnown = 1u << 31, kLarge = 1u << 30, kFrame = kLarge - 1;
    using Region = std::array<uint32_t, kRegionPages>; // by page: kKnown | kLarge | physical page, or 0

    template <class F, class Concerned>
    void recheck(Region& region, uint32_t first, F& gone, Concerned&& concerned) {
        for (uint32_t i = 0; i < kRegionPages; ++i)
            if (region[i] != 0 && concerned(first + i, region[i]) && gone(first + i, region[i] & kFrame)) {
                region[i] = 0;
                --global_;
            }
    }

    std::vector<uint32_t> local_;
    bool all_local_ = false;
    std::array<std::unique_ptr<Region>, 1024> regions_; // by linear page
    size_t global_ = 0;
};

} // namespace vmm
