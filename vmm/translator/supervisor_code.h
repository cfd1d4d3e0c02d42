// Where ring 0 has run code while CR4.PGE is set. Its one context serves all address spaces (see
// Contexts), so what is not global must leave it at every CR3 load, and what is global must be looked at when
// the guest flushes global translations. Both lists are the guest's to grow, and both are bounded: too many
// local pages count as all of them; of too many global ones the caller forgets everything.
#pragma once
#include <algorithm>
#include <bitset>
#include <cstdint>
#include <optional>
#include <unordered_map>
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

    // False when there are too many.
    [[nodiscard]] bool add_global(uint32_t page, uint32_t physical_page) {
        regions_.set(page >> kRegionShift);
        global_[page] = physical_page;
        return global_.size() <= kMostGlobal;
    }
    // Where a page's code was last fetched from.
    [[nodiscard]] std::optional<uint32_t> global_frame(uint32_t page) const {
        const auto known = global_.find(page);
        return known != global_.end() ? std::optional(known->second) : std::nullopt;
    }
    [[nodiscard]] bool has_global() const { return !global_.empty(); }
    // The 4 MiB around a page, which one INVLPG may flush, if it has global code; else nothing.
    struct Pages {
        uint32_t first = 0, count = 0;
    };
    [[nodiscard]] Pages global_around(uint32_t page) const {
        const uint32_t region = page >> kRegionShift;
        return regions_.test(region) ? Pages{region << kRegionShift, 1u << kRegionShift} : Pages{};
    }
    // Asks gone(page, physical page) of each in [first, first+count), and forgets those that are.
    template <class F> void recheck_global(uint32_t first, uint32_t count, F&& gone) {
        std::erase_if(global_, [&](const auto& known) {
            return known.first - first < count && gone(known.first, known.second);
        });
    }
    void clear() {
        clear_local();
        global_.clear();
        regions_.reset();
    }

  private:
    static constexpr unsigned kRegionShift = 10;

    std::vector<uint32_t> local_;
    bool all_local_ = false;
    std::unordered_map<uint32_t, uint32_t> global_; // linear page -> physical page
    std::bitset<1024> regions_;
};

} // namespace vmm
