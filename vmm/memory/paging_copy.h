// A copy of the paging-structure entries that one root's mappings (and its executed pages) were made from.
// A flush compares the copy with guest memory and reports the linear pages whose entries changed in a
// way that takes something away; whatever only grants more is left to the next fault.
//
// Structures are copied and compared by 64-byte lines, and only lines in use, so that an unchanged
// process costs a few hundred bytes of memcmp per page table.
#pragma once
#include "vmm/arch/state.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/memory/paging_format.h"

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace vmm {

// A set of up to 1024 pages or entries.
struct PageSet {
    std::array<uint64_t, 16> words{};
    void insert(unsigned i) { words[i >> 6] |= 1ull << (i & 63); }
    [[nodiscard]] bool contains(unsigned i) const { return (words[i >> 6] >> (i & 63)) & 1; }
    void erase(const PageSet& other) {
        for (unsigned i = 0; i < words.size(); ++i)
            words[i] &= ~other.words[i];
    }
};

class PagingCopy {
  public:
    class Listener {
      public:
        virtual ~Listener() = default;
        // The translations of pages first + i, for i in `changed` (i < count), may no longer be used;
        // `executed` says which of the count pages had been noted as executed.
        virtual void translations_changed(uint32_t first, uint32_t count, const PageSet& changed,
                                          const PageSet& executed) = 0;
    };

    // `live_tables` counts copies over all roots.
    PagingCopy(GuestMemory& memory, paging::Mode mode, Listener& listener, uint64_t& live_tables);
    ~PagingCopy();
    PagingCopy(const PagingCopy&) = delete;
    PagingCopy& operator=(const PagingCopy&) = delete;

    [[nodiscard]] const paging::Mode& mode() const { return mode_; }

    // Where the page directories are now: CR3, or the PDPTE registers. Drops what hung off others.
    void set_directories(const CpuState& cpu);
    // Compares everything in use.
    void sync();
    // Compares the entries that translate `page`.
    void sync_page(uint32_t page);

    // The entries that translate a group of pages, as recorded.
    struct Entries {
        bool present = false;           // the directory entry is, and is not malformed
        bool large = false;             // it maps the pages itself
        uint64_t directory = 0;         // its value
        const uint8_t* table = nullptr; // the recorded page table, when not large
    };
    // The recorded page-table entry of one of the pages given to track().
    [[nodiscard]] uint64_t table_entry(const Entries& entries, uint32_t page) const {
        return value(entries.table, page & (mode_.region_pages() - 1));
    }
    // Records (or brings up to date) what translates [page, page+count), which lies within one region, and
    // keeps it under comparison from now on.
    Entries track(uint32_t page, uint32_t count);
    void note_executed(uint32_t page); // after track() of it

  private:
    static constexpr unsigned kLineBytes = 64;
    struct Structure { // a page directory or page table
        Physical physical = 0;
        uint64_t lines = 0; // bit per line in use
        alignas(kLineBytes) std::array<uint8_t, kPageSize> bytes{};
    };
    struct Region {                       // what one directory entry spans
        std::unique_ptr<Structure> table; // null: a large page, or nothing recorded
        PageSet executed;
    };

    [[nodiscard]] uint64_t value(const uint8_t* structure, unsigned index) const;
    [[nodiscard]] bool takes_away(uint64_t before, uint64_t now) const;
    [[nodiscard]] bool in_use(const Structure& structure, unsigned index) const;
    // Brings entries [first, first+count) up to date. Those that lost something are added to `lost`; true
    // if there are any.
    bool refresh(Structure& structure, unsigned first, unsigned count, PageSet& lost);
    bool refresh_used(Structure& structure, PageSet& lost); // all lines in use
    void report(unsigned region, const PageSet& changed);
    void drop_region(unsigned region);

    GuestMemory& memory_;
    const paging::Mode mode_;
    Listener& listener_;
    uint64_t& live_tables_;
    std::array<uint64_t, 4> pointers_{}; // PDPTEs, or CR3 as if it were one
    std::array<std::unique_ptr<Structure>, 4> directories_;
    std::vector<std::unique_ptr<Region>> regions_; // by directory entry over the whole 4 GiB
    std::vector<uint16_t> with_table_;             // regions that have a table recorded
};

} // namespace vmm
