#include "vmm/code_cache/code_cache.h"

#include "vmm/base/verify.h"
#include "vmm/code_cache/contexts.h"
#include "vmm/memory/guest_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace vmm {

base::Result<std::unique_ptr<CodeCache>> CodeCache::create(uint32_t bytes, uint64_t backing_pages,
                                                           const uint8_t* guest, uint64_t readable_pages) {
    auto cache = std::make_unique<CodeCache>();
    cache->memory_ = TRY(CodeMemory::create(bytes));
    cache->cursor_ = cache->stub_end_ = cache->memory_.executable();
    cache->buckets_.resize(kBuckets);
    cache->pages_.resize(backing_pages);
    cache->guest_ = guest;
    cache->readable_pages_ = readable_pages;
    return cache;
}

void CodeCache::set_stub_end(uint32_t host) { stub_end_ = cursor_ = (host + 63) & ~63u; }

void CodeCache::set_exit_stubs(uint32_t indirect_miss, uint32_t return_miss, uint32_t leave_link,
                               const LinkStub& link_stub) {
    indirect_miss_ = indirect_miss;
    return_miss_ = return_miss;
    leave_link_ = leave_link;
    link_stub_ = link_stub;
}

Block* CodeCache::find(uint32_t backing, uint16_t offset, uint32_t eip, const ModeKey& key) {
    for (Block* block = buckets_[hash(backing, offset, eip, key.bits)]; block != nullptr;
         block = block->hash_next)
        if (block->backing == backing && block->offset == offset && block->eip == eip && block->key == key)
            return block;
    return nullptr;
}

Block* CodeCache::find_host(uint64_t host) {
    auto after = std::upper_bound(by_host_.begin(), by_host_.end(), host,
                                  [](uint64_t at, const Block* block) { return at < block->entry; });
    if (after == by_host_.begin())
        return nullptr;
    Block* block = *(after - 1);
    return host < block->host_end ? block : nullptr;
}

SidePoint CodeCache::side_point(const Block& block, uint64_t host) const {
    const auto offset = static_cast<uint32_t>(host - block.entry);
    SidePoint point;
    auto step = side_steps_.begin() + block.side_first;
    for (const auto last = step + block.side_count; step != last; ++step) {
        if (step->guest == SideStep::kStack) {
            point.stack = static_cast<int16_t>(static_cast<int8_t>(step->host) * SidePoint::kStackUnit);
            continue;
        }
        if (point.host + step->host > static_cast<int64_t>(offset))
            break;
        point.host = static_cast<uint16_t>(point.host + step->host);
        point.guest = static_cast<uint16_t>(point.guest + step->guest);
    }
    return point;
}

void CodeCache::set_side_points(Block& block, std::span<const SidePoint> points) {
    block.side_first = static_cast<uint32_t>(side_steps_.size());
    SidePoint before;
    for (const SidePoint& point : points) {
        constexpr int kFarthest = 255;
        int host = point.host - before.host;
        const int guest = point.guest - before.guest;
        VERIFY(host >= 0 && guest > SideStep::kStack && guest <= INT8_MAX);
        for (; host > kFarthest; host -= kFarthest)
            side_steps_.push_back({kFarthest, 0});
        side_steps_.push_back({static_cast<uint8_t>(host), static_cast<int8_t>(guest)});
        if (point.stack != before.stack) {
            VERIFY(point.stack % SidePoint::kStackUnit == 0 &&
                   std::abs(point.stack) <= SidePoint::kFarthestStack);
            side_steps_.push_back(
                {static_cast<uint8_t>(point.stack / SidePoint::kStackUnit), SideStep::kStack});
        }
        before = point;
    }
    block.side_count = static_cast<uint32_t>(side_steps_.size()) - block.side_first;
}

Block* CodeCache::add(const Block& block) {
    blocks_.push_back(block);
    Block* added = &blocks_.back();
    by_host_.push_back(added);
    added->marks = marks_within(*added);
    enlist(*added);
    if (block.key.has(ModeKey::kBreakpoints))
        breakpoint_blocks_.push_back(added);
    for (uint32_t i = 0; i < block.link_count; ++i)
        links[block.link_first + i].from = added;
    cursor_ = (block.host_end + 15) & ~15u;
    statistics.blocks += 1;
    statistics.host_bytes += block.host_end - block.entry;
    statistics.guest_bytes += block.guest_bytes;
    return added;
}

// Where find() and invalidations look.
void CodeCache::enlist(Block& block) {
    Block*& bucket = buckets_[hash(block.backing, block.offset, block.eip, block.key.bits)];
    block.hash_next = bucket;
    bucket = &block;
    page_or_new(block.backing).blocks.push_back(&block);
    if (block.second_backing != kNoPage)
        page_or_new(block.second_backing).blocks.push_back(&block);
    if (block.relocatable)
        originals_[origin(block)] = &block;
}

// Of a block that is dead: its entry or a landing, where an EIP has arrived.
void CodeCache::overwrite_with_jump(uint32_t at, uint32_t target) {
    uint8_t* jump = memory_.writable(at);
    *jump = 0xE9;
    patch_jump(memory_, at + 1, target);
    if (patch_check_ != nullptr)
        patch_check_->branch_patched(jump, at, kJumpBytes, target);
}

void CodeCache::patch_link(const Link& link, uint32_t target) {
    patch_jump(memory_, link.site, target);
    if (patch_check_ == nullptr)
        return;
    // E8 or E9 before the distance, or 0F 8x.
    const uint8_t opcode = *memory_.writable(link.site - 1);
    const uint32_t first = link.site - (opcode == 0xE8 || opcode == 0xE9 ? 1 : 2);
    patch_check_->branch_patched(memory_.writable(first), first, link.site + 4 - first, target);
}

void CodeCache::link(Link& link, Block& target) {
    if (link.to != nullptr || link.from == nullptr || !link.from->valid)
        return;
    link.to = &target;
    link.next_incoming = target.incoming;
    link.incoming_at = &target.incoming;
    if (link.next_incoming != nullptr)
        link.next_incoming->incoming_at = &link.next_incoming;
    target.incoming = &link;
    patch_link(link, target.body);
    statistics.links += 1;
}

bool CodeCache::unlink(Link& link) {
    if (link.to == nullptr)
        return false;
    *link.incoming_at = link.next_incoming;
    if (link.next_incoming != nullptr)
        link.next_incoming->incoming_at = link.incoming_at;
    link.to = nullptr;
    link.next_incoming = nullptr;
    link.incoming_at = nullptr;
    patch_link(link, link.stub);
    return true;
}

void CodeCache::link_through_table(Link& link) {
    link_stub_.write_table(memory_.writable(link.stub) + LinkStub::kMoveEip,
                           Contexts::index_of(link.target_eip) * 4);
    if (patch_check_ != nullptr)
        patch_check_->stub_patched(memory_.writable(link.stub), link.stub, LinkStub::kBytes);
}

void CodeCache::invalidate(Block& block) {
    if (!block.valid)
        return;
    block.valid = false;
    statistics.invalidated += 1;
    while (block.incoming != nullptr)
        unlink(*block.incoming);
    for (uint32_t i = 0; i < block.link_count; ++i)
        unlink(links[block.link_first + i]);
    overwrite_with_jump(block.entry, indirect_miss_);
    for (uint32_t i = 0; i < block.landing_count; ++i)
        overwrite_with_jump(landings[block.landing_first + i], return_miss_);
    for (Block** at = &buckets_[hash(block.backing, block.offset, block.eip, block.key.bits)]; *at != nullptr;
         at = &(*at)->hash_next)
        if (*at == &block) {
            *at = block.hash_next;
            break;
        }
    if (const auto at = originals_.find(origin(block)); at != originals_.end() && at->second == &block)
        originals_.erase(at);
    for (uint32_t backing : {block.backing, block.second_backing}) {
        if (backing == kNoPage || pages_[backing] == nullptr)
            continue;
        auto& list = pages_[backing]->blocks;
        list.erase(std::remove(list.begin(), list.end(), &block), list.end());
    }
}

void CodeCache::remake(Block& block) {
    keep_dormant(block);
    invalidate(block);
}

void CodeCache::invalidate_page(uint32_t backing) {
    if (pages_[backing] == nullptr)
        return;
    const std::vector<Block*> doomed = pages_[backing]->blocks;
    for (Block* block : doomed)
        remake(*block);
}

bool CodeCache::invalidate_range(uint32_t backing, uint32_t offset, uint32_t length) {
    if (pages_[backing] == nullptr)
        return false;
    std::vector<Block*> doomed;
    for (Block* block : pages_[backing]->blocks) {
        uint32_t first = block->offset, last = block->offset + block->guest_bytes;
        if (block->backing != backing) { // the tail of a block that began on another page
            first = 0;
            last -= kPageSize;
        }
        if (first < offset + length && offset < last)
            doomed.push_back(block);
    }
    for (Block* block : doomed)
        remake(*block);
    return !doomed.empty();
}

void CodeCache::flush() {
    statistics.flushes += 1;
    cursor_ = stub_end_;
    const bool in_tables = !blocks_.empty(); // at the start they are untouched, and stay so
    by_host_.clear();
    breakpoint_blocks_.clear();
    blocks_.clear();
    links.clear();
    fixups.clear();
    originals_.clear();
    side_steps_.clear();
    landings.clear();
    if (!in_tables)
        return;
    std::fill(buckets_.begin(), buckets_.end(), nullptr);
    for (auto& page : pages_) {
        if (page == nullptr)
            continue;
        page->blocks.clear();
        page->dormant.clear();
        if (page->marks[0].empty() && page->marks[1].empty())
            page.reset();
    }
    statistics.dormant = 0;
}

bool CodeCache::strike(uint32_t backing, Sites::Microseconds now) {
    constexpr uint8_t kMixedPage = 6;
    constexpr Sites::Microseconds kOfLate = 1000; // beyond that, a strike costs less than two per cent
    CodePage& page = page_or_new(backing);
    if (now - page.struck >= kOfLate)
        page.strikes = 0;
    page.struck = now;
    if (page.strikes < kMixedPage) {
        ++page.strikes;
        return false;
    }
    ++statistics.mixed_pages;
    return true;
}

bool CodeCache::store_beside_code(uint32_t backing) {
    constexpr uint32_t kFirstPatience = 256; // stores; each doubling halves what a wrong try costs
    constexpr uint8_t kMostPatience = 6;
    CodePage& page = page_or_new(backing);
    if (++page.bystanders < kFirstPatience << page.patience)
        return false;
    page.bystanders = 0;
    if (page.patience < kMostPatience)
        ++page.patience;
    ++statistics.code_dropped;
    return true;
}

CodePage& CodeCache::page_or_new(uint32_t backing) {
    VERIFY(backing < pages_.size());
    if (pages_[backing] == nullptr)
        pages_[backing] = std::make_unique<CodePage>();
    return *pages_[backing];
}

} // namespace vmm
