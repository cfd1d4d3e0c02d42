// The bits of paging-structure entries and how the control registers make them be read (SDM Vol. 3A 4.3,
// 4.4). Shared by the page walk and by the windows' copies of page tables; private to memory/.
#pragma once
#include "vmm/arch/state.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/memory/page_walk.h"

#include <cstdint>

namespace vmm::paging {

inline constexpr uint64_t kPresent = 1u << 0, kWrite = 1u << 1, kUser = 1u << 2, kAccessed = 1u << 5,
                          kDirty = 1u << 6, kLarge = 1u << 7, kGlobal = 1u << 8, kNoExecute = 1ull << 63;
inline constexpr Physical kFrame =
    kPhysicalAddressMask & ~Physical{kPageSize - 1}; // 32-bit entries end below
inline constexpr uint64_t kEferNxe = 1u << 11;

// Address bits from MAXPHYADDR up to and including bit 62: reserved in every PAE entry.
inline constexpr uint64_t kPaeHighReserved = (kNoExecute - 1) & ~kPhysicalAddressMask;

// The physical page that an entry names.
constexpr uint32_t frame_of(uint64_t entry) { return static_cast<uint32_t>((entry & kFrame) >> kPageShift); }

struct Mode {
    bool enabled = false, pae = false;
    bool pse = false; // 4 MiB pages of 32-bit paging; PAE has large pages whatever CR4.PSE says
    bool nxe = false; // PAE only

    static Mode of(const CpuState& cpu) {
        Mode mode;
        mode.enabled = cpu.paging();
        mode.pae = mode.enabled && (cpu.cr4 & cr4::kPae) != 0;
        mode.pse = mode.enabled && !mode.pae && (cpu.cr4 & cr4::kPse) != 0;
        mode.nxe = mode.pae && (cpu.efer & kEferNxe) != 0;
        return mode;
    }

    [[nodiscard]] unsigned entry_bytes() const { return pae ? 8 : 4; }
    [[nodiscard]] unsigned entries() const { return pae ? 512 : 1024; } // in a directory or table
    // Pages spanned by one page-directory entry, as a shift and a count.
    [[nodiscard]] unsigned region_shift() const { return pae ? 9 : 10; }
    [[nodiscard]] uint32_t region_pages() const { return 1u << region_shift(); }

    [[nodiscard]] bool is_large(uint64_t directory_entry) const {
        return (directory_entry & kLarge) != 0 && (pae || pse);
    }
    // Bits that must be zero in a present page-directory entry. 32-bit paging: bits 21:13 of a 4 MiB
    // page hold address bits 39:32 and one reserved bit, all zero without PSE-36 (Table 4-4). PAE: Tables 4-9
    // and 4-10.
    [[nodiscard]] uint64_t reserved_in_directory(uint64_t entry) const {
        if (!pae)
            return is_large(entry) ? 0x003FE000 : 0;
        return reserved_in_table() | (is_large(entry) ? 0x001FE000 : 0);
    }
    [[nodiscard]] uint64_t reserved_in_table() const {
        return pae ? kPaeHighReserved | (nxe ? 0 : kNoExecute) : 0;
    }
    // Physical page of `page` within the large page mapped by `entry`.
    [[nodiscard]] uint32_t large_frame(uint64_t entry, uint32_t page) const {
        const uint32_t within = region_pages() - 1;
        return (frame_of(entry) & ~within) | (page & within);
    }
    friend bool operator==(const Mode&, const Mode&) = default;
};

// One entry. Paging structures outside RAM and ROM read as all ones: a walk has no side effects on
// devices. `at` is aligned to the entry, so it never crosses a page.
inline uint64_t read_entry(GuestMemory& memory, Mode mode, Physical at) {
    if (mode.pae) {
        const uint8_t* live = memory.ram_pointer(at, 8);
        return live != nullptr ? __atomic_load_n(reinterpret_cast<const uint64_t*>(live), __ATOMIC_RELAXED)
                               : ~0ull;
    }
    const uint8_t* live = memory.ram_pointer(at, 4);
    return live != nullptr ? __atomic_load_n(reinterpret_cast<const uint32_t*>(live), __ATOMIC_RELAXED)
                           : 0xFFFFFFFFull;
}

} // namespace vmm::paging
