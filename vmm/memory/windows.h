// Windows: the guest's MMU in the host's. A window is 4 GiB of host address space, 4 GiB-aligned so that the
// low 32 bits of a host address are the guest-linear address, with PROT_NONE guards on each side (see
// WindowSpace). Guest pages appear in it lazily, mapped MAP_SHARED from GuestMemory's memfd.
//
// A window belongs to one (paging root, view); it behaves as that root's TLB: entries stay until the
// architecture says they may not. Page tables are not write-protected. Instead each window keeps a copy
// of the paging-structure entries that its mappings were made from, and a flush compares: a CR3 load
// costs one memcmp per paging-structure page in use and revokes exactly what changed.
//
// Pages holding translated code are mapped read-only everywhere (GuestMemory::is_code); a reverse map
// from memfd page to (window, linear page) serves that and every other revocation.
#pragma once
#include "vmm/arch/fault.h"
#include "vmm/arch/state.h"
#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/memory/page_walk.h"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>

namespace vmm {

// What became of a host fault inside a window.
struct WindowFault {
    enum class Outcome : uint8_t {
        Mapped,      // the page is there now: retry the access
        GuestFault,  // deliver `fault`
        Mmio,        // not memory (Mmio or None page, or a write to Rom): needs a call-out
        Guarded,     // the guest's tables allow it, a guard does not
        CodeWrite,   // a write to a page with translated code: `backing` says which
        HostFailure, // the page's content could not be had (GuestMemory::failure()): run no further
    };
    Outcome outcome = Outcome::Mapped;
    Fault fault{};
    Physical physical = 0;
    uint32_t backing = kNoPage;
};

class Windows {
  public:
    struct Limits {
        unsigned max_windows = 96;
        unsigned max_mappings = 48000; // of the kernel's vm.max_map_count (65530 by default)
    };
    static base::Result<std::unique_ptr<Windows>> create(CpuState& cpu, GuestMemory& memory, Limits limits);
    static base::Result<std::unique_ptr<Windows>> create(CpuState& cpu, GuestMemory& memory) {
        return create(cpu, memory, Limits{});
    }
    ~Windows();

    // Names the address space of the CPU's present CR3, CR0.PG, CR4.PAE/PSE and EFER.NXE: what flushes below
    // are about. Zero without paging, at least 2^32 with it.
    [[nodiscard]] static uint64_t root_of(const CpuState& cpu);

    // Host base of the window for the CPU's present CR3/CR0.PG/CR0.WP/CR4.PAE/PSE and CPL (user view for
    // CPL 3 while paging is on). Cheap when nothing changed since the last call (a compare) or when only the
    // view flips. Evicts the least recently used window if needed. Never returns an evicted base later for
    // the same window without having reset it.
    uint64_t select();

    // Resolves a host fault at guest-linear `linear` in the window select() returned last.
    // Maps in runs: neighbours whose entries are present (and accessed; and dirty if writable), and
    // aligned runs of large pages, up to kRunPages. Clean pages are filled read-only; the first
    // write fault sets D.
    WindowFault resolve(uint32_t linear, AccessKind access);

    // Whether an access to that page in the window select() returned last would raise no host fault.
    [[nodiscard]] bool maps(uint32_t linear, AccessKind access) const;

    // Linear pages, in whatever root, that no window maps (`reads`) or maps writable from now on, in place of
    // those said before; for data breakpoints.
    struct Guards {
        struct Page {
            uint32_t page = 0;
            bool reads = false;
            bool operator==(const Page&) const = default;
        };
        std::array<Page, 4> pages{};
        unsigned count = 0;
        bool operator==(const Guards&) const = default;
    };
    void set_guards(const Guards& guards);

    // The architecture's flushes. cr3_loaded: after CR3 was written (same or other root); paging_changed:
    // after CR0.PG/WP, CR4.PAE/PSE/PGE, EFER.NX.
    void cr3_loaded();
    void paging_changed();
    void invlpg(uint32_t linear);

    // Revocations. `backing` is a memfd page.
    void write_protect(uint32_t backing); // before translating code from it
    void write_protect_all();             // before watching for writes
    void revoke(uint32_t backing);        // drop every mapping of it
    void revoke_all();                    // A20, large remaps, revert

    // Called for each linear page range of the *currently selected root* through which code was fetched
    // (note_executed) and whose translation a flush found changed, so that cached look-ups of its code are
    // dropped. May be over-reported, never under-reported: a root seen for the first time, or again after
    // its eviction, reports all pages. Comes from within select() and the flushes.
    using CodeDropped = std::function<void(uint32_t first, uint32_t count)>;
    void set_code_dropped(CodeDropped callback);
    // The engine fetched code through this linear page in the present root: keep its page-table entry
    // under comparison, and report it. Call it right after
    // LinearMemory::translate(Execute), and again after the page was reported dropped.
    void note_executed(uint32_t linear);

    struct Statistics {
        uint64_t faults = 0, maps = 0, mapped_pages = 0, revocations = 0, evictions = 0, flushes = 0;
        uint64_t live_mappings = 0, live_windows = 0;
    };
    [[nodiscard]] const Statistics& statistics() const;

  private:
    Windows();
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace vmm
