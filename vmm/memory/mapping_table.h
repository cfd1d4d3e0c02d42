// What is mapped in every window: a shadow of each window by linear page, and the reverse map from memfd page
// to the (window, linear page) pairs that map it. The reverse map is a doubly linked list threaded
// through the shadow entries themselves, so that unmapping is O(1) however often a page is shared.
//
// Also counts the kernel's mappings exactly: neighbouring pages with equal protection and
// consecutive backing are one mapping, everything else is a boundary.
#pragma once
#include "vmm/base/zeroed_vector.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/memory/window_space.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace vmm {

class MappingTable {
  public:
    static constexpr unsigned kMaxSlots = 2048; // slot and linear page share one 32-bit id

    MappingTable(WindowSpace& space, unsigned slots, uint32_t backing_pages)
        : space_(space), slots_(slots), heads_(backing_pages) {}

    struct Page {
        bool mapped = false, writable = false;
        uint32_t backing = 0;
    };
    [[nodiscard]] Page at(unsigned slot, uint32_t page) const;
    // False if nothing was mapped in the 4 MiB around `page` since the slot's last reset.
    [[nodiscard]] bool touched(unsigned slot, uint32_t page) const {
        constexpr uint32_t kLeaves = 1024 / kLeafPages;
        if (slots_[slot].leaves.empty())
            return false;
        const auto* first = &slots_[slot].leaves[(page >> kLeafShift) & ~(kLeaves - 1)];
        return std::any_of(first, first + kLeaves, [](const auto& leaf) { return leaf != nullptr; });
    }

    // False when the kernel's limit on mappings is reached; nothing has changed then.
    [[nodiscard]] bool map(unsigned slot, uint32_t page, uint32_t count, uint32_t backing,
                           Protection protection);
    [[nodiscard]] bool make_writable(unsigned slot, uint32_t page, uint32_t count); // all of it mapped
    // Drops [page, page+count) in one call; pages that are not mapped do not matter.
    void unmap(unsigned slot, uint32_t page, uint32_t count);
    void reset(unsigned slot); // drops everything and the shadow with it

    void write_protect(uint32_t backing);
    void write_protect_all();
    void revoke(uint32_t backing);

    [[nodiscard]] uint64_t host_mappings() const { return boundaries_ + 1; }
    [[nodiscard]] uint64_t shadow_leaves() const { return leaves_; }
    [[nodiscard]] uint64_t revocations() const { return revocations_; } // pages dropped so far

  private:
    static constexpr uint32_t kNone = 0; // no id
    // Small: what is mapped lies in runs of sixteen all over the kernel's half.
    static constexpr unsigned kLeafShift = 7, kLeafPages = 1u << kLeafShift;
    static constexpr uint32_t kMapped = 1u << 31, kWritable = 1u << 30, kBackingMask = kWritable - 1;

    struct Entry {
        uint32_t state = 0; // kMapped | kWritable | backing page
        uint32_t next = kNone, previous = kNone;
    };
    using Leaf = std::array<Entry, kLeafPages>;
    struct Slot {
        std::vector<std::unique_ptr<Leaf>> leaves; // kLinearPages / kLeafPages from the first mapping on
        std::vector<uint16_t> used;                // indices of leaves that exist
    };

    static uint32_t id_of(unsigned slot, uint32_t page) { return (slot + 1) << 20 | page; }
    static unsigned slot_of(uint32_t id) { return (id >> 20) - 1; }
    Entry& entry(uint32_t id) {
        return (*slots_[slot_of(id)].leaves[(id & 0xFFFFF) >> kLeafShift])[id & (kLeafPages - 1)];
    }
    [[nodiscard]] uint32_t state(const Slot& slot, uint32_t page) const;
    // Boundaries between mappings at or next to [page, page+count).
    [[nodiscard]] uint64_t boundaries_near(unsigned slot, uint32_t page, uint32_t count) const;
    void link(uint32_t id, uint32_t backing, uint32_t flags);
    void unlink(uint32_t id);
    void unlink_range(unsigned slot, uint32_t page, uint32_t count);

    WindowSpace& space_;
    std::vector<Slot> slots_;
    base::ZeroedVector<uint32_t> heads_; // by backing page: first mapping's id
    uint64_t boundaries_ = 0, leaves_ = 0, revocations_ = 0;
};

} // namespace vmm
