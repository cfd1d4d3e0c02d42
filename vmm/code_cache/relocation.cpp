// Blocks at another EIP. Programs and libraries are loaded somewhere else each time they start, from the same
// pages; making their code anew each time would be most of what a short program costs. So a block says what
// in it depends on its EIP or its place, and is copied.
#include "vmm/code_cache/code_cache.h"
#include "vmm/code_cache/contexts.h"
#include "vmm/memory/guest_memory.h"

#include <cstring>

namespace vmm {

namespace {

constexpr uint32_t kLine = 64; // loops are aligned to it

void add_to(uint8_t* at, uint32_t delta) {
    uint32_t value = 0;
    std::memcpy(&value, at, sizeof value);
    value += delta;
    std::memcpy(at, &value, sizeof value);
}

} // namespace

Block* CodeCache::copy(uint32_t backing, uint16_t offset, uint32_t eip, const ModeKey& key, bool global,
                       bool whole) {
    const auto known = originals_.find(origin(backing, offset, key));
    if (known == originals_.end())
        return nullptr;
    const Block& original = *known->second;
    if (original.backing != backing || original.offset != offset || !(original.key == key) ||
        original.global != global || (whole && !original.whole) || marked_since(original) ||
        !relocatable_at(eip))
        return nullptr;

    const uint32_t base = cursor_ + ((original.entry - cursor_) & (kLine - 1));
    const uint32_t moved = base - original.entry, eip_moved = eip - original.eip;
    uint8_t* code = memory_.writable(base);
    std::memcpy(code, memory_.writable(original.entry), original.host_end - original.entry);
    for (uint32_t i = 0; i < original.fixup_count; ++i) {
        const Fixup& fixup = fixups[original.fixup_first + i];
        uint8_t* at = code + fixup.at;
        switch (fixup.kind) {
        case Fixup::Kind::Eip:
            add_to(at, eip_moved);
            break;
        case Fixup::Kind::MinusEip:
            add_to(at, -eip_moved);
            break;
        case Fixup::Kind::BranchOut:
            add_to(at, -moved);
            break;
        case Fixup::Kind::TableEntry: {
            constexpr size_t kLoadOpcode = 3;
            uint32_t target = 0;
            std::memcpy(&target, at - kLoadOpcode - sizeof target, sizeof target);
            const uint32_t displacement = Contexts::index_of(target) * 4;
            std::memcpy(at, &displacement, sizeof displacement);
            break;
        }
        }
    }

    Block block = original;
    block.eip = eip;
    block.entry += moved;
    block.body += moved;
    block.host_end += moved;
    block.incoming = nullptr;
    block.hash_next = nullptr;
    block.link_first = static_cast<uint32_t>(links.size());
    for (uint32_t i = 0; i < original.link_count; ++i) {
        const Link& from = links[original.link_first + i];
        const Link link{.target_eip = from.target_eip + eip_moved,
                        .site = from.site + moved,
                        .stub = from.stub + moved,
                        .call = from.call,
                        .crosses = from.crosses};
        patch_jump(memory_, link.site, link.stub);
        link_stub_.write_leave(memory_.writable(link.stub) + LinkStub::kMoveEip,
                               static_cast<uint32_t>(links.size()),
                               leave_link_ - (link.stub + LinkStub::kBytes));
        links.push_back(link);
    }
    block.landing_first = static_cast<uint32_t>(landings.size());
    for (uint32_t i = 0; i < original.landing_count; ++i)
        landings.push_back(landings[original.landing_first + i] + moved);
    ++statistics.copied;
    Block* added = add(block);
    if (patch_check_ != nullptr)
        patch_check_->block_copied(original, *added);
    return added;
}

} // namespace vmm
