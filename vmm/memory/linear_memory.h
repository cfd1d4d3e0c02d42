// Guest-linear accesses made by C++ (descriptor tables, stacks of far transfers, call-outs from
// translated code): paging applies, faults come back as data, nothing is partly written. A small
// software TLB in front of page_walk follows the same flush rules as the hardware's.
#pragma once
#include "vmm/arch/fault.h"
#include "vmm/arch/state.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/memory/page_walk.h"

#include <array>
#include <bitset>
#include <cstdint>
#include <vector>

namespace vmm {

class LinearMemory {
  public:
    LinearMemory(CpuState& cpu, GuestMemory& memory) : cpu_(cpu), memory_(memory) {}

    // T: u8, u16, u32 or u64, any alignment; may cross a page (both pages are checked first).
    template <class T> GuestResult<T> read(Linear linear, Privilege privilege) {
        T value{};
        if (auto done = read_bytes(linear, &value, sizeof(T), privilege); !done)
            return tl::make_unexpected(done.error());
        return value;
    }
    template <class T> GuestResult<void> write(Linear linear, T value, Privilege privilege) {
        return write_bytes(linear, &value, sizeof(T), privilege);
    }
    // length <= 4096. Linear addresses wrap at 4 GiB outside of IA-32e mode.
    GuestResult<void> read_bytes(Linear linear, void* to, uint32_t length, Privilege privilege);
    GuestResult<void> write_bytes(Linear linear, const void* from, uint32_t length, Privilege privilege);
    // Faults as a write of `length` bytes there would, and sets A/D, but stores nothing.
    GuestResult<void> check_write(Linear linear, uint32_t length, Privilege privilege);

    // Guest-physical address of one byte; for code fetch use AccessKind::Execute. Execute always walks
    // the tables as they are now, so that Windows::note_executed right after it records the very
    // entries the fetch went through.
    GuestResult<Physical> translate(Linear linear, AccessKind access, Privilege privilege);

    void flush();                   // CR0/CR4 paging bits, A20, remap
    void flush_local();             // CR3 load: all but global pages (SDM Vol. 3A 4.10.4.1)
    void flush_page(Linear linear); // INVLPG; INVPCID of one address, whatever its PCID
    // With CR4.PCIDE: CR3 has another PCID now, whose translations are flushed unless they are to be kept.
    void switch_pcid(uint16_t pcid, bool keep);
    void flush_pcid(uint16_t pcid); // INVPCID of one context
    void flush_all_local();         // INVPCID of all contexts, but for global pages

    [[nodiscard]] Privilege current_privilege() const {
        return cpu_.cpl == 3 ? Privilege::User : Privilege::Supervisor;
    }
    [[nodiscard]] GuestMemory& physical() { return memory_; }

  private:
    struct Entry {
        Linear tag = ~Linear{0}; // linear page
        uint64_t epoch = 0;      // when it was made, see holds()
        uint32_t physical_page = 0;
        uint8_t allows = 0; // bit per AccessKind
        uint8_t spread = 0; // shift: from a large page, and INVLPG of any part of so many drops this too
        bool global = false;
    };
    static constexpr unsigned kEntries = 256;

    // Flushes begin another epoch, so that they cost nothing by the entry. An epoch belongs to one PCID.
    [[nodiscard]] bool holds(const Entry& entry, Linear page) const {
        return entry.tag == page && entry.epoch == (entry.global ? global_epoch_ : local_epoch_);
    }
    // The address behind what lies at `linear`.
    [[nodiscard]] Linear following(Linear linear, uint32_t bytes) const {
        return cpu_.ia32e() ? linear + bytes : static_cast<uint32_t>(linear + bytes);
    }

    // Up to two pages of [linear, linear+length): where its bytes are in guest-physical memory.
    struct Span {
        Physical first = 0, second = 0;
        uint32_t first_bytes = 0, second_bytes = 0;
    };
    GuestResult<Span> translate_span(Linear linear, uint32_t length, AccessKind access, Privilege privilege);

    std::array<std::array<Entry, kEntries>, 2> tlb_{}; // for supervisor and user
    uint64_t last_epoch_ = 1, local_epoch_ = 1, global_epoch_ = 1;
    std::vector<uint64_t> pcid_epochs_; // 0: none begun. Empty while PCIDs are not used
    uint16_t pcid_ = 0;

    std::bitset<1024> large_regions_; // 4 MiB each, wrapping: some entry may be from a large page in it
    bool huge_pages_ = false;         // some entry may be from a page of 1 GiB

    CpuState& cpu_;
    GuestMemory& memory_;
};

} // namespace vmm
