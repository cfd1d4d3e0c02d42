// Guest-physical memory: one memfd holding RAM, ROM images and video RAM, and the page map that says
// what answers at each guest-physical page. Devices' DMA and page walks use the bounds-checked
// accessors here, never a window. RAM lies in two extents, below the 32-bit devices' addresses and from 4 GiB
// up; both are one run of the memfd. What answers in the first 4 GiB is said page by page, above by extents.
//
// A machine opened at a saved moment starts with RAM *absent*: a page's content is fetched from a PageSource
// at its first touch, whoever touches it. Until its first write a page is *watched*: no window maps it
// writable, and what it held is kept in the undo log before it changes. Whoever goes around the accessors
// (data(), the windows) calls make_present() and before_write() first.
#pragma once
#include "vmm/arch/physical.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/base/zeroed_vector.h"
#include "vmm/memory/page_source.h"
#include "vmm/memory/page_undo.h"
#include "vmm/memory/write_watch.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace vmm {

inline constexpr uint32_t kPageSize = 4096;
inline constexpr uint32_t kPageShift = 12;
inline constexpr uint32_t kNoPage = 0xFFFFFFFFu;
constexpr uint32_t page_of(Physical address) { return static_cast<uint32_t>(address >> kPageShift); }
inline constexpr uint32_t kLinearPages = 1u << 20; // 4 GiB
// RAM from physical 0 ends here at the latest; the rest of the first 4 GiB is the devices'.
inline constexpr uint64_t kMostLowRam = 3ull << 30;
inline constexpr uint32_t kFirstHighPage = 1u << 20; // 4 GiB: where the rest of RAM is
inline constexpr uint64_t kMostRam = 64ull << 30;
inline constexpr uint64_t kMaxAddedBackingBytes = 256ull << 20;

// Whether a page holds nothing but zeros.
inline bool is_zero_page(const uint8_t* page) {
    return page[0] == 0 && __builtin_memcmp(page, page + 1, kPageSize - 1) == 0;
}

// What answers at a guest-physical page.
enum class PageKind : uint8_t {
    None, // reads as all ones, writes are dropped
    Ram,  // reads and writes hit memfd page `backing`
    Rom,  // reads hit memfd page `backing`, writes are dropped
    Mmio, // the bus handler registered for the address
};

struct PageEntry {
    PageKind kind = PageKind::None;
    uint32_t backing = kNoPage; // page index into the memfd
};

// Answers accesses to Mmio pages. `size` is 1, 2 or 4 and never crosses its natural alignment.
class MmioHandler {
  public:
    virtual ~MmioHandler() = default;
    virtual uint32_t mmio_read(Physical address, unsigned size) = 0;
    virtual void mmio_write(Physical address, unsigned size, uint32_t value) = 0;
};

// Told before the answer at a physical page changes or its contents are changed behind the CPU's
// back, so that windows and translated code can be revoked.
class MemoryObserver {
  public:
    virtual ~MemoryObserver() = default;
    virtual void page_remapped(uint32_t physical_page) = 0;
    // DMA or a physical write is about to change bytes [offset, offset+length) of the memfd page
    // `backing`, which holds translated code.
    virtual void code_written(uint32_t backing, uint32_t offset, uint32_t length) = 0;
    // The memfd page `backing` has lost its content: nothing may map it, and no code made from it may run.
    virtual void page_dropped(uint32_t /*backing*/) {}
    // The memfd page `backing` is watched again: no mapping of it may be writable.
    virtual void page_watched(uint32_t /*backing*/) {}
    // A page's content could not be had: no further guest instruction may run.
    virtual void page_failed() {}
    // Any page may answer differently from now on (the A20 gate). Equivalent to page_remapped for every
    // page.
    virtual void all_remapped() = 0;
};

class GuestMemory {
  public:
    // `ram_bytes`: 16 MiB to kMostRam, a multiple of 4 KiB. What the first kMostLowRam bytes do not hold is
    // at 4 GiB. Errors: a size out of these bounds; no memory file, or no room for its mapping.
    static base::Result<std::unique_ptr<GuestMemory>> create(uint64_t ram_bytes);
    ~GuestMemory();
    GuestMemory(const GuestMemory&) = delete;
    GuestMemory& operator=(const GuestMemory&) = delete;

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] uint64_t ram_bytes() const { return ram_bytes_; }
    // Bytes of RAM from physical 0, and from 4 GiB.
    [[nodiscard]] static uint64_t low_ram(uint64_t ram_bytes) { return std::min(ram_bytes, kMostLowRam); }
    [[nodiscard]] static uint64_t high_ram(uint64_t ram_bytes) { return ram_bytes - low_ram(ram_bytes); }
    // The VMM's own linear view of the memfd (read/write), `backing_bytes()` long.
    [[nodiscard]] uint8_t* data() { return data_; }
    [[nodiscard]] uint64_t backing_bytes() const { return backing_bytes_; }

    // Appends zeroed pages to the memfd (ROM, VRAM); returns the first backing page. At most 256 MiB
    // in all, before the machine runs.
    uint32_t add_backing(uint32_t pages);

    // Changes what answers at physical pages [first, first+count); tells the observer about each page
    // whose entry differs. Ram/Rom: page i gets backing + i.
    void map(uint32_t first, uint32_t count, PageKind kind, uint32_t backing = kNoPage);
    // A range of Mmio pages and its handler. Where ranges overlap (a guest can place BARs so) the one
    // registered first answers.
    void map_mmio(uint32_t first, uint32_t count, MmioHandler* handler);
    // Forgets every range of `handler`; its pages that are still Mmio answer as None, or by the next
    // handler registered for them.
    void unmap_mmio(MmioHandler* handler);
    // What answers at a page now, A20 applied.
    [[nodiscard]] PageEntry entry(uint32_t physical_page) const;

    // Address bit 20 is forced to zero while false (the A20 gate). Tells the observer (all_remapped).
    void set_a20(bool enabled);
    [[nodiscard]] bool a20() const { return a20_; }
    [[nodiscard]] Physical mask(Physical physical) const { return physical & a20_mask_; }

    // Accessors, A20 applied, any alignment and length; parts that hit None read as FFh, Mmio goes to
    // the handler in naturally aligned pieces.
    void read(Physical physical, void* to, size_t length);
    void write(Physical physical, const void* from, size_t length);
    template <class T> T read(Physical physical) {
        T value;
        if (const uint8_t* fast = ram_pointer(physical, sizeof(T)))
            __builtin_memcpy(&value, fast, sizeof(T));
        else
            read(physical, &value, sizeof(T));
        return value;
    }
    template <class T> void write(Physical physical, T value) { write(physical, &value, sizeof(T)); }

    // Host pointer to [physical, physical+length) when it lies within one readable Ram or Rom page,
    // else null. For reading, or for compare-and-swap of page-table entries in Ram.
    [[nodiscard]] uint8_t* ram_pointer(Physical physical, size_t length) {
        const Physical address = physical & a20_mask_;
        const Packed packed = at(address >> kPageShift);
        if ((address & (kPageSize - 1)) + length > kPageSize || !packed.readable())
            return nullptr;
        if (__builtin_expect(absent_pages_ != 0, 0))
            make_present(packed.backing());
        return data_ + (uint64_t{packed.backing()} << kPageShift) + (address & (kPageSize - 1));
    }

    // -- pages that come from a saved moment ---------------------------------------------------------
    // From now on RAM holds what `source` says, and revert() brings that back. `undo_bytes` bounds the
    // copies kept for it. What RAM held before is void; nothing has mapped it or run code from it.
    base::Result<void> attach(std::shared_ptr<PageSource> source, uint64_t undo_bytes);
    [[nodiscard]] bool attached() const { return undo_ != nullptr; }
    // Undoes every write to RAM since attach(). The observer hears of code that changes.
    PageUndo::Report revert();
    [[nodiscard]] bool is_absent(uint32_t backing) const {
        return absent_pages_ != 0 && ((absent_bits_[backing >> 6] >> (backing & 63)) & 1) != 0;
    }
    [[nodiscard]] uint32_t absent_pages() const { return absent_pages_; }
    // Fetches a memfd page's content unless it is there. False: that failed (failure() says why), now or
    // before; the page holds zeros and the machine must not go on.
    bool make_present(uint32_t backing) { return !is_absent(backing) || fetch(backing); }
    // A memfd page, present, is about to be written: keeps what it holds if that is needed for a revert.
    void before_write(uint32_t backing) {
        if (__builtin_expect(is_watched(backing), 0))
            keep(backing);
    }
    [[nodiscard]] bool is_watched(uint32_t backing) const {
        return kept_for_revert(backing) || (write_watch_ != nullptr && !write_watch_->knows(backing));
    }
    // All pages are watched on this one's behalf, too, from now on; null: for nobody but revert(). Whoever
    // begins write-protects the windows.
    void watch_writes(WriteWatch* watch) { write_watch_ = watch; }
    [[nodiscard]] bool failed() const { return failed_; }
    [[nodiscard]] const base::Error& failure() const { return failure_; }
    // Told of each page fetched, for whoever records which are needed first; null: nobody.
    void set_fetch_listener(std::function<void(uint32_t page)> listener) { on_fetch_ = std::move(listener); }

    // The runs of memfd pages within [first, first+count) that take memory; all others are zero.
    struct Run {
        uint32_t first = 0, count = 0;
    };
    [[nodiscard]] std::vector<Run> resident(uint32_t first, uint32_t count) const;

    void set_observer(MemoryObserver* observer) { observer_ = observer; }

    // One bit per memfd page: translated code was made from it, so writes must be observed.
    [[nodiscard]] bool is_code(uint32_t backing) const {
        return (code_bits_[backing >> 6] >> (backing & 63)) & 1;
    }
    void set_code(uint32_t backing, bool code);
    // Bytes of a memfd page are about to change through ram_pointer(): likewise.
    void before_code_write(uint32_t backing, uint32_t offset, uint32_t length) {
        if (is_code(backing) && observer_ != nullptr)
            observer_->code_written(backing, offset, length);
    }
    // A whole memfd page is about to change through data(): the observer hears of it if code was made from
    // it.
    void note_code_change(uint32_t backing) {
        if (is_code(backing) && observer_ != nullptr)
            observer_->code_written(backing, 0, kPageSize);
    }

  private:
    // kind in bits 30-31, backing in bits 0-29; 0xFFFFFFFF-free by construction.
    struct Packed {
        uint32_t bits = 0;
        [[nodiscard]] PageKind kind() const { return static_cast<PageKind>(bits >> 30); }
        [[nodiscard]] uint32_t backing() const { return bits & 0x3FFFFFFF; }
        [[nodiscard]] bool readable() const { return kind() == PageKind::Ram || kind() == PageKind::Rom; }
    };
    struct Extent { // of pages from kFirstHighPage on; Ram/Rom: page first + i has backing packed + i
        uint32_t first, count;
        Packed packed;
    };
    struct MmioRange {
        uint32_t first, count;
        MmioHandler* handler;
    };

    GuestMemory() = default;
    [[nodiscard]] MmioHandler* mmio_at(uint32_t physical_page) const;
    void set_page(uint32_t physical_page, Packed packed);
    void set_extent(uint32_t first, uint32_t count, Packed packed);
    [[nodiscard]] Packed at(uint64_t physical_page) const {
        return __builtin_expect(physical_page < kFirstHighPage, 1) ? map_[physical_page]
                                                                   : at_high(physical_page);
    }
    [[nodiscard]] Packed at_high(uint64_t physical_page) const;
    [[nodiscard]] bool kept_for_revert(uint32_t backing) const {
        return undo_ != nullptr && ((watched_bits_[backing >> 6] >> (backing & 63)) & 1) != 0;
    }
    bool fetch(uint32_t backing);
    void keep(uint32_t backing);
    void read_mmio(Physical physical, uint8_t* to, uint32_t length);
    void write_mmio(Physical physical, const uint8_t* from, uint32_t length);

    base::UniqueFd fd_;
    uint64_t ram_bytes_ = 0, backing_bytes_ = 0, capacity_bytes_ = 0;
    uint8_t* data_ = nullptr;
    bool a20_ = true;
    Physical a20_mask_ = ~Physical{0};
    base::ZeroedVector<Packed> map_; // by physical page, below kFirstHighPage
    std::vector<Extent> extents_;    // above, apart from each other
    std::vector<MmioRange> mmio_;
    std::vector<uint64_t> code_bits_;
    MemoryObserver* observer_ = nullptr;

    std::shared_ptr<PageSource> source_;
    std::unique_ptr<PageUndo> undo_;
    std::vector<uint64_t> absent_bits_, watched_bits_; // by memfd page; empty before attach()
    uint32_t absent_pages_ = 0;
    WriteWatch* write_watch_ = nullptr;
    bool failed_ = false;
    base::Error failure_;
    std::function<void(uint32_t)> on_fetch_;
};

} // namespace vmm
