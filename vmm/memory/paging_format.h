// The bits of paging-structure entries and how the control registers make them be read (SDM Vol. 3A 4.3 to
// 4.5). Shared by the page walk and by the windows' copies of page tables; private to memory/.
#pragma once
#include "vmm/arch/promise.h"
#include "vmm/arch/state.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/memory/page_walk.h"

#include <cstdint>

namespace vmm::paging {

inline constexpr uint64_t kPresent = 1u << 0, kWrite = 1u << 1, kUser = 1u << 2, kAccessed = 1u << 5,
                          kDirty = 1u << 6, kLarge = 1u << 7, kGlobal = 1u << 8, kNoExecute = 1ull << 63;
inline constexpr Physical kFrame =
    kPhysicalAddressMask & ~Physical{kPageSize - 1}; // 32-bit entries end below
inline constexpr uint64_t kPcidMask = 0xFFF;         // of CR3, with CR4.PCIDE
inline constexpr unsigned kMostLevels = 4;

// Address bits from MAXPHYADDR up to and including bit 62: reserved in every PAE entry. In 4-level paging
// those from bit 52 on are ignored.
inline constexpr uint64_t kPaeHighReserved = (kNoExecute - 1) & ~kPhysicalAddressMask;
inline constexpr uint64_t kLongHighReserved = ((1ull << 52) - 1) & ~kPhysicalAddressMask;

// The physical page that an entry names.
constexpr uint32_t frame_of(uint64_t entry) { return static_cast<uint32_t>((entry & kFrame) >> kPageShift); }

// How linear addresses are translated. Level 1 is the page table, 2 the page directory.
struct Mode {
    bool enabled = false, pae = false; // entries of eight bytes
    bool pse = false;      // 4 MiB pages of 32-bit paging; the others have large pages whatever CR4.PSE says
    bool nxe = false;      // not 32-bit paging
    bool pages_1g = false; // 4-level paging
    bool reports_fetch = false; // in page faults' error codes
    uint8_t levels = 2;         // in memory: PAE's third are the PDPTE registers

    static Mode of(const CpuState& cpu) {
        Mode mode;
        mode.enabled = cpu.paging();
        mode.pae = mode.enabled && (cpu.cr4 & cr4::kPae) != 0;
        mode.pse = mode.enabled && !mode.pae && (cpu.cr4 & cr4::kPse) != 0;
        mode.nxe = mode.pae && (cpu.efer & efer::kNxe) != 0;
        mode.reports_fetch = mode.nxe || (cpu.cr4 & cr4::kSmep) != 0; // SDM Vol. 3A 4.7
        if (__builtin_expect(mode.enabled && cpu.ia32e(), 0)) {
            mode.levels = kMostLevels;
            mode.pages_1g = cpu.promises(promise::kPages1G);
        }
        return mode;
    }

    [[nodiscard]] unsigned entry_bytes() const { return pae ? 8 : 4; }
    [[nodiscard]] unsigned entries() const { return pae ? 512 : 1024; } // in a paging structure
    // Pages spanned by one page-directory entry, as a shift and a count.
    [[nodiscard]] unsigned region_shift() const { return pae ? 9 : 10; }
    [[nodiscard]] uint32_t region_pages() const { return 1u << region_shift(); }

    // Whether an entry above the page table maps a page; bit 7 may be reserved all the same.
    [[nodiscard]] bool maps_page(unsigned level, uint64_t entry) const {
        return (entry & kLarge) != 0 && (level == 2 ? pae || pse : level == 3 && pages_1g);
    }
    [[nodiscard]] bool is_large(uint64_t directory_entry) const { return maps_page(2, directory_entry); }

    // Bits that must be zero in a present entry. 32-bit paging: bits 21:13 of a 4 MiB page hold address bits
    // 39:32 and one reserved bit, all zero without PSE-36 (Table 4-4). PAE: Tables 4-9 to 4-11. 4-level
    // paging: Tables 4-15 to 4-20; bit 12 of a large page is PAT.
    [[nodiscard]] uint64_t reserved(unsigned level, uint64_t entry) const {
        const bool large = level > 1 && maps_page(level, entry);
        if (!pae)
            return large ? 0x003FE000 : 0;
        const uint64_t in_all = (levels == 2 ? kPaeHighReserved : kLongHighReserved) | (nxe ? 0 : kNoExecute);
        if (large)
            return in_all | (level == 2 ? 0x001FE000 : 0x3FFFE000);
        return level > 2 ? in_all | kLarge : in_all;
    }
    [[nodiscard]] uint64_t reserved_in_directory(uint64_t entry) const { return reserved(2, entry); }
    [[nodiscard]] uint64_t reserved_in_table() const { return reserved(1, 0); }
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
