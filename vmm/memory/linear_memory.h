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

namespace vmm {

class LinearMemory {
  public:
    LinearMemory(CpuState& cpu, GuestMemory& memory) : cpu_(cpu), memory_(memory) {}

    // T: u8, u16, u32 or u64, any alignment; may cross a page (both pages are checked first).
    template <class T> GuestResult<T> read(uint32_t linear, Privilege privilege) {
        T value{};
        if (auto done = read_bytes(linear, &value, sizeof(T), privilege); !done)
            return tl::make_unexpected(done.error());
        return value;
    }
    template <class T> GuestResult<void> write(uint32_t linear, T value, Privilege privilege) {
        return write_bytes(linear, &value, sizeof(T), privilege);
    }
    // length <= 4096. Linear addresses wrap at 4 GiB.
    GuestResult<void> read_bytes(uint32_t linear, void* to, uint32_t length, Privilege privilege);
    GuestResult<void> write_bytes(uint32_t linear, const void* from, uint32_t length, Privilege privilege);
    // Faults as a write of `length` bytes there would, and sets A/D, but stores nothing.
    GuestResult<void> check_write(uint32_t linear, uint32_t length, Privilege privilege);

    // Guest-physical address of one byte; for code fetch use AccessKind::Execute. Execute always walks
    // the tables as they are now, so that Windows::note_executed right after it records the very
    // entries the fetch went through.
    GuestResult<Physical> translate(uint32_t linear, AccessKind access, Privilege privilege);

    void flush();                     // CR0/CR4 paging bits, A20, remap
    void flush_local();               // CR3 load: all but global pages (SDM Vol. 3A 4.10.4.1)
    void flush_page(uint32_t linear); // INVLPG

    [[nodiscard]] Privilege current_privilege() const {
        return cpu_.cpl == 3 ? Privilege::User : Privilege::Supervisor;
    }
    [[nodiscard]] GuestMemory& physical() { return memory_; }

  private:
    struct Entry {
        uint32_t tag = 0xFFFFFFFF; // linear page
        uint32_t physical_page = 0;
        uint64_t epoch = 0; // when it was made, see holds()
        uint8_t allows = 0; // bit per AccessKind
        bool large = false; // from a 2 or 4 MiB page: INVLPG of any part of it drops this too
        bool global = false;
    };
    static constexpr unsigned kEntries = 256;

    // Flushes begin another epoch, so that they cost nothing by the entry.
    [[nodiscard]] bool holds(const Entry& entry, uint32_t page) const {
        return entry.tag == page && entry.epoch == (entry.global ? global_epoch_ : local_epoch_);
    }

    // Up to two pages of [linear, linear+length): where its bytes are in guest-physical memory.
    struct Span {
        Physical first = 0, second = 0;
        uint32_t first_bytes = 0, second_bytes = 0;
    };
    GuestResult<Span> translate_span(uint32_t linear, uint32_t length, AccessKind access,
                                     Privilege privilege);

    std::array<std::array<Entry, kEntries>, 2> tlb_{}; // by Privilege
    uint64_t local_epoch_ = 1, global_epoch_ = 1;

    std::bitset<1024> large_regions_; // 4 MiB each: some entry may be from a large page in it

    CpuState& cpu_;
    GuestMemory& memory_;
};

} // namespace vmm
