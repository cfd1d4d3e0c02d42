// Dead blocks that come back, because their guest code did. See code_cache.h.
#include "vmm/code_cache/code_cache.h"
#include "vmm/memory/guest_memory.h"

#include <algorithm>
#include <cstring>

namespace vmm {

// How many of a block's bytes lie on the page it begins on.
static uint32_t first_part(const Block& block) {
    return std::min<uint32_t>(block.guest_bytes, kPageSize - block.offset);
}

// When there is no room for more: the older half of each page's.
void CodeCache::thin_out_dormant() {
    for (auto& page : pages_) {
        if (page == nullptr || page->dormant.empty())
            continue;
        const auto half = static_cast<std::ptrdiff_t>((page->dormant.size() + 1) / 2);
        page->dormant.erase(page->dormant.begin(), page->dormant.begin() + half);
        statistics.dormant -= static_cast<uint64_t>(half);
        statistics.dormant_dropped += static_cast<uint64_t>(half);
    }
}

void CodeCache::keep_dormant(Block& block) {
    if (!block.valid || block.key.has(ModeKey::kBreakpoints) || block.backing >= readable_pages_ ||
        (block.second_backing != kNoPage && block.second_backing >= readable_pages_))
        return;
    auto& list = page_or_new(block.backing).dormant;
    if (list.size() >= kMaxDormantOfPage) {
        list.erase(list.begin());
        --statistics.dormant;
        ++statistics.dormant_dropped;
    }
    if (statistics.dormant >= kMaxDormant)
        thin_out_dormant();
    DormantBlock kept;
    kept.block = &block;
    const uint8_t* first = guest_ + (uint64_t{block.backing} << kPageShift) + block.offset;
    kept.guest.assign(first, first + first_part(block));
    if (block.second_backing != kNoPage) {
        const uint8_t* second = guest_ + (uint64_t{block.second_backing} << kPageShift);
        kept.guest.insert(kept.guest.end(), second, second + (block.guest_bytes - first_part(block)));
    }
    for_each_arrival(block, [&](uint32_t at) {
        const uint8_t* code = memory_.writable(at);
        kept.host.insert(kept.host.end(), code, code + kJumpBytes);
    });
    list.push_back(std::move(kept));
    ++statistics.dormant;
}

bool CodeCache::holds(const Block& block, const std::vector<uint8_t>& bytes) const {
    const uint32_t first = first_part(block);
    if (std::memcmp(guest_ + (uint64_t{block.backing} << kPageShift) + block.offset, bytes.data(), first) !=
        0)
        return false;
    return first == bytes.size() || std::memcmp(guest_ + (uint64_t{block.second_backing} << kPageShift),
                                                bytes.data() + first, bytes.size() - first) == 0;
}

Block* CodeCache::revive(uint32_t backing, uint16_t offset, uint32_t eip, const ModeKey& key, bool global,
                         const std::function<uint32_t()>& second_page) {
    if (pages_[backing] == nullptr)
        return nullptr;
    auto& list = pages_[backing]->dormant;
    for (auto at = list.rbegin(); at != list.rend(); ++at) {
        Block& block = *at->block;
        if (block.offset != offset || block.eip != eip || !(block.key == key) ||
            block.marks != marks_within(block) || !holds(block, at->guest))
            continue;
        // Only now: asking may raise the page fault that fetching this instruction does raise.
        if (block.second_backing != kNoPage && second_page() != block.second_backing)
            continue;
        const uint8_t* saved = at->host.data();
        for_each_arrival(block, [&](uint32_t host) {
            std::memcpy(memory_.writable(host), saved, kJumpBytes);
            saved += kJumpBytes;
        });
        block.valid = true;
        block.global = global;
        list.erase(std::next(at).base());
        --statistics.dormant;
        enlist(block);
        statistics.revived += 1;
        return &block;
    }
    return nullptr;
}

} // namespace vmm
