// Direct jumps from one page's code to another's, in user mode under paging. Such a jump takes for granted
// where its target's page is mapped, but the block it leaves belongs to whoever has the same bytes at the
// same EIP. So each linear page has an owner, the one address space whose jump tables may lead to it; its
// jumps out are made for that owner and are undone
//  - when another address space comes to the page: it becomes the owner, and the former has to ask again;
//  - when the owner's mapping of their target changes (Windows tells).
// A page that changes hands again and again, as one that processes share by turns, belongs to nobody and goes
// through the jump tables.
#pragma once
#include "vmm/code_cache/code_cache.h"

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace vmm {

class PageLinks {
  public:
    explicit PageLinks(CodeCache& cache) : cache_(cache) {}

    // Code of `page` is about to run under `root`. Answers the root that must ask again from now on: its jump
    // tables and return stacks shall forget the page. Zero: none.
    uint64_t admit(uint64_t root, uint32_t page);
    // May a jump out of the page be direct?
    [[nodiscard]] bool owns(uint64_t root, uint32_t page) const {
        const auto known = owners_.find(page);
        return known != owners_.end() && known->second.root == root && !known->second.shared;
    }
    // cache.links[link] was just made so, from one page to another. The owner of the first is `root`.
    void made(uint32_t link, uint64_t root, uint32_t from, uint32_t to);
    // The mapping of pages has changed under `root`.
    void dropped(uint64_t root, uint32_t first, uint32_t count);
    void clear(); // the links are gone

    struct Statistics {
        uint64_t made = 0, undone = 0, handed_over = 0, shared = 0;
    };
    Statistics statistics;

  private:
    struct Owner {
        uint64_t root = 0;
        uint8_t handed_over = 0;
        bool shared = false;
    };
    using Numbers = std::vector<uint32_t>;

    void undo(std::unordered_map<uint32_t, Numbers>& by_page, uint32_t page);
    void undo(const Numbers& numbers);
    void undo_all();

    static constexpr uint8_t kMostHandedOver = 8;
    static constexpr size_t kMostMade = 1u << 20, kMostOwners = 1u << 17;

    CodeCache& cache_;
    std::unordered_map<uint32_t, Owner> owners_;
    std::unordered_map<uint32_t, Numbers> by_source_, by_target_;
    std::unordered_map<uint64_t, Numbers> by_root_;
    size_t made_ = 0; // in the lists
};

} // namespace vmm
