#include "vmm/memory/mapping_table.h"

#include "vmm/base/verify.h"

namespace vmm {

uint32_t MappingTable::state(const Slot& slot, uint32_t page) const {
    if (page >= kLinearPages || slot.leaves.empty()) // the guards; nothing yet
        return 0;
    const auto& leaf = slot.leaves[page >> kLeafShift];
    return leaf != nullptr ? (*leaf)[page & (kLeafPages - 1)].state : 0;
}

MappingTable::Page MappingTable::at(unsigned slot, uint32_t page) const {
    const uint32_t bits = state(slots_[slot], page);
    return {(bits & kMapped) != 0, (bits & kWritable) != 0, bits & kBackingMask};
}

uint64_t MappingTable::boundaries_near(unsigned slot, uint32_t page, uint32_t count) const {
    const Slot& in = slots_[slot];
    uint64_t found = 0;
    uint32_t before = state(in, page - 1); // page 0: wraps to the guard
    for (uint32_t at = page; at <= page + count; ++at) {
        const uint32_t now = state(in, at);
        // Backing is in the low bits: consecutive pages of one mapping differ by exactly one.
        const bool merged = (before & kMapped) != 0 ? now == before + 1 : (now & kMapped) == 0;
        found += merged ? 0 : 1;
        before = now;
    }
    return found;
}

void MappingTable::link(uint32_t id, uint32_t backing, uint32_t flags) {
    Entry& mapping = entry(id);
    mapping = {flags | backing, heads_[backing], kNone};
    if (mapping.next != kNone)
        entry(mapping.next).previous = id;
    heads_[backing] = id;
}

void MappingTable::unlink(uint32_t id) {
    Entry& mapping = entry(id);
    if (mapping.next != kNone)
        entry(mapping.next).previous = mapping.previous;
    if (mapping.previous != kNone)
        entry(mapping.previous).next = mapping.next;
    else
        heads_[mapping.state & kBackingMask] = mapping.next;
    mapping = {};
    ++revocations_;
}

void MappingTable::unlink_range(unsigned slot, uint32_t page, uint32_t count) {
    for (uint32_t at = page; at < page + count; ++at)
        if ((state(slots_[slot], at) & kMapped) != 0)
            unlink(id_of(slot, at));
}

bool MappingTable::map(unsigned slot, uint32_t page, uint32_t count, uint32_t backing,
                       Protection protection) {
    VERIFY(uint64_t{backing} + count <= heads_.size());
    if (!space_.map(slot, page, count, backing, protection))
        return false;
    Slot& in = slots_[slot];
    const uint64_t before = boundaries_near(slot, page, count);
    unlink_range(slot, page, count);
    const uint32_t flags = kMapped | (protection == Protection::ReadWrite ? kWritable : 0);
    if (in.leaves.empty())
        in.leaves.resize(kLinearPages / kLeafPages);
    for (uint32_t i = 0; i < count; ++i) {
        auto& leaf = in.leaves[(page + i) >> kLeafShift];
        if (leaf == nullptr) {
            leaf = std::make_unique<Leaf>();
            in.used.push_back(static_cast<uint16_t>((page + i) >> kLeafShift));
            ++leaves_;
        }
        link(id_of(slot, page + i), backing + i, flags);
    }
    boundaries_ += boundaries_near(slot, page, count) - before;
    return true;
}

bool MappingTable::make_writable(unsigned slot, uint32_t page, uint32_t count) {
    if (!space_.protect(slot, page, count, Protection::ReadWrite))
        return false;
    const uint64_t before = boundaries_near(slot, page, count);
    for (uint32_t i = 0; i < count; ++i)
        entry(id_of(slot, page + i)).state |= kWritable;
    boundaries_ += boundaries_near(slot, page, count) - before;
    return true;
}

void MappingTable::unmap(unsigned slot, uint32_t page, uint32_t count) {
    if (!space_.unmap(slot, page, count)) {
        reset(slot); // a hole in the middle needs a mapping more; dropping everything never does
        return;
    }
    const uint64_t before = boundaries_near(slot, page, count);
    unlink_range(slot, page, count);
    boundaries_ += boundaries_near(slot, page, count) - before;
}

void MappingTable::reset(unsigned slot) {
    Slot& in = slots_[slot];
    if (in.used.empty())
        return;
    space_.reset(slot);
    for (const uint16_t index : in.used) {
        const uint32_t first = uint32_t{index} << kLeafShift;
        boundaries_ -= boundaries_near(slot, first, kLeafPages);
        unlink_range(slot, first, kLeafPages);
        boundaries_ += boundaries_near(slot, first, kLeafPages);
        in.leaves[index].reset();
        --leaves_;
    }
    in.used.clear();
}

void MappingTable::write_protect(uint32_t backing) {
    VERIFY(backing < heads_.size());
    for (uint32_t id = heads_[backing]; id != kNone;) {
        Entry& mapping = entry(id);
        if ((mapping.state & kWritable) == 0) {
            id = mapping.next;
            continue;
        }
        const unsigned slot = slot_of(id);
        const uint32_t page = id & 0xFFFFF;
        if (!space_.protect(slot, page, 1, Protection::ReadOnly)) {
            reset(slot); // changes the list
            id = heads_[backing];
            continue;
        }
        const uint64_t before = boundaries_near(slot, page, 1);
        mapping.state &= ~kWritable;
        boundaries_ += boundaries_near(slot, page, 1) - before;
        id = mapping.next;
    }
}

void MappingTable::write_protect_all() {
    for (unsigned slot = 0; slot < slots_.size(); ++slot) {
        // By value: where protecting fails, the slot starts afresh.
        const std::vector<uint16_t> used = slots_[slot].used;
        for (const uint16_t index : used) {
            const uint32_t end = (uint32_t{index} + 1) << kLeafShift;
            const auto writable = [&](uint32_t page) { return (state(slots_[slot], page) & kWritable) != 0; };
            for (uint32_t page = uint32_t{index} << kLeafShift; page < end; ++page) {
                if (!writable(page))
                    continue;
                uint32_t count = 1;
                while (page + count < end && writable(page + count))
                    ++count;
                if (!space_.protect(slot, page, count, Protection::ReadOnly)) {
                    reset(slot);
                    break;
                }
                const uint64_t before = boundaries_near(slot, page, count);
                for (uint32_t i = 0; i < count; ++i)
                    entry(id_of(slot, page + i)).state &= ~kWritable;
                boundaries_ += boundaries_near(slot, page, count) - before;
                page += count - 1;
            }
        }
    }
}

void MappingTable::revoke(uint32_t backing) {
    VERIFY(backing < heads_.size());
    while (heads_[backing] != kNone)
        unmap(slot_of(heads_[backing]), heads_[backing] & 0xFFFFF, 1);
}

} // namespace vmm
