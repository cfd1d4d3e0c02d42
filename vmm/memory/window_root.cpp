#include "vmm/memory/window_root.h"

namespace vmm {
namespace {

// Unmapping across pages that were not mapped costs less than one more call, up to about this many.
constexpr uint32_t kBridgePages = 64;
// More than this many ranges waiting for a flush are reported as everything.
constexpr size_t kMaxDropped = 1024;

} // namespace

void WindowRoot::add_dropped(LinearRange range) {
    if (!dropped_.empty() && dropped_.back().first + dropped_.back().count == range.first) {
        dropped_.back().count += range.count;
        return;
    }
    if (dropped_.size() == kMaxDropped)
        dropped_.assign(1, {0, kLinearPages});
    else if (dropped_.empty() || dropped_.front().count != kLinearPages)
        dropped_.push_back(range);
}

void WindowRoot::drop_unless(uint32_t page, uint32_t backing) {
    for (const unsigned slot : slots) {
        if (slot == kNoSlot)
            continue;
        const MappingTable::Page present = mappings_.at(slot, page);
        if (present.mapped && present.backing != backing)
            mappings_.unmap(slot, page, 1);
    }
}

void WindowRoot::unmap_changed(unsigned slot, uint32_t first, uint32_t count, const PageSet& changed) {
    uint32_t begin = 0, end = 0; // the range to unmap, empty at first
    const auto bridges = [&](uint32_t to) {
        if (to - end > kBridgePages)
            return false;
        for (uint32_t i = end; i < to; ++i)
            if (mappings_.at(slot, first + i).mapped)
                return false;
        return true;
    };
    for (uint32_t i = 0; i < count; ++i) {
        if (changed.words[i >> 6] == 0) {
            i |= 63;
            continue;
        }
        if (!changed.contains(i) || !mappings_.at(slot, first + i).mapped)
            continue;
        if (begin != end && !bridges(i)) {
            mappings_.unmap(slot, first + begin, end - begin);
            begin = i;
        } else if (begin == end) {
            begin = i;
        }
        end = i + 1;
    }
    if (begin != end)
        mappings_.unmap(slot, first + begin, end - begin);
}

void WindowRoot::translations_changed(uint32_t first, uint32_t count, const PageSet& changed,
                                      const PageSet& executed) {
    for (const unsigned slot : slots)
        if (slot != kNoSlot && mappings_.touched(slot, first))
            unmap_changed(slot, first, count, changed);
    for (uint32_t i = 0; i < count; ++i) {
        if ((executed.words[i >> 6] & changed.words[i >> 6]) == 0)
            i |= 63;
        else if (executed.contains(i) && changed.contains(i))
            add_dropped({first + i, 1});
    }
}

} // namespace vmm
