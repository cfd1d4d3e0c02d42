#include "vmm/code_cache/page_links.h"

namespace vmm {

uint64_t PageLinks::admit(uint64_t root, uint32_t page) {
    if (owners_.size() >= kMostOwners && !owners_.contains(page)) {
        // Too many to know: whoever has entries for a page that nobody owns must not find jumps out of it.
        undo_all();
        for (auto& [other, owner] : owners_)
            owner.shared = true;
        return 0;
    }
    Owner& owner = owners_[page];
    if (owner.root == root || owner.shared)
        return 0;
    const uint64_t former = owner.root;
    owner.root = root;
    if (former == 0)
        return 0;
    ++statistics.handed_over;
    undo(by_source_, page);
    if (++owner.handed_over == kMostHandedOver) {
        owner.shared = true;
        ++statistics.shared;
        return 0;
    }
    undo(by_target_, page);
    return former;
}

void PageLinks::made(uint32_t link, uint64_t root, uint32_t from, uint32_t to) {
    if (made_ >= kMostMade)
        undo_all();
    ++made_;
    ++statistics.made;
    by_source_[from].push_back(link);
    by_target_[to].push_back(link);
    by_root_[root].push_back(link);
}

void PageLinks::dropped(uint64_t root, uint32_t first, uint32_t count) {
    constexpr uint32_t kMany = 4096;
    if (count > kMany) {
        if (const auto known = by_root_.find(root); known != by_root_.end()) {
            undo(known->second);
            by_root_.erase(known);
        }
        std::erase_if(owners_, [&](const auto& known) {
            return known.second.root == root && !known.second.shared && known.first - first < count;
        });
        return;
    }
    for (uint32_t page = first; page != first + count; ++page) {
        undo(by_target_, page);
        if (owns(root, page)) {
            undo(by_source_, page);
            owners_.erase(page);
        }
    }
}

void PageLinks::clear() {
    owners_.clear();
    by_source_.clear();
    by_target_.clear();
    by_root_.clear();
    made_ = 0;
}

void PageLinks::undo(std::unordered_map<uint32_t, Numbers>& by_page, uint32_t page) {
    const auto known = by_page.find(page);
    if (known == by_page.end())
        return;
    undo(known->second);
    by_page.erase(known);
}

// Some may have been undone already, or made again since: that costs the next run a moment.
void PageLinks::undo(const Numbers& numbers) {
    for (const uint32_t number : numbers)
        statistics.undone += cache_.unlink(cache_.links[number]) ? 1 : 0;
}

void PageLinks::undo_all() {
    for (const auto& [root, numbers] : by_root_)
        undo(numbers);
    by_source_.clear();
    by_target_.clear();
    by_root_.clear();
    made_ = 0;
}

} // namespace vmm
