// Descriptors that ring 0 has loaded before, for the stubs that load a data segment register without a
// call-out. An entry holds the descriptor's bytes as they were; the stub reads them again from the guest's
// table and goes the long way unless they are the same (SDM Vol. 3A 3.4.3: hidden parts change only by a
// load, which reads the table). Tables are separate by the class the register would get, so that a hit never
// changes the mode key.
#pragma once
#include "vmm/arch/mode_key.h"
#include "vmm/base/result.h"

namespace vmm {

struct SegmentCacheEntry {
    uint64_t negated_selector;       // plus the selector is zero on a match
    uint64_t negated_bytes;          // plus the descriptor's bytes likewise
    uint64_t image[2];               // struct Segment
    uint64_t fs_pointer, gs_pointer; // what Runtime's base pointers become
    uint32_t linear;                 // of the descriptor
    uint32_t unused;
    uint64_t unused2;
};
static_assert(sizeof(SegmentCacheEntry) == 64 && sizeof(Segment) == 16);

class SegmentCache {
  public:
    static constexpr unsigned kEntries = 256; // by the selector's low byte
    static constexpr unsigned kTables = 8;    // class, and whether the register is FS or GS
    static constexpr uint32_t kTableBytes = kEntries * sizeof(SegmentCacheEntry);

    ~SegmentCache();
    base::Result<void> create(); // below 2 GiB: stubs name tables by 32-bit addresses
    // The table for a register and the class it has; FS and GS are never Flat.
    [[nodiscard]] uint32_t table(unsigned reg, SegmentClass segment_class) const;
    [[nodiscard]] uint32_t first_table() const {
        return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(entries_));
    }
    // `cpu` has just loaded `reg`; `bytes` is what the table holds at `linear` now.
    void remember(const CpuState& cpu, unsigned reg, uint32_t linear, uint64_t bytes,
                  uint64_t null_segment_page);
    // Forgets everything if the GDT or LDT is another than at the last call.
    void follow(const CpuState& cpu) {
        if (cpu.gdtr.base != gdt_.base || cpu.gdtr.limit != gdt_.limit || cpu.ldtr.base != ldt_.base ||
            cpu.ldtr.limit != ldt_.limit || cpu.ldtr.usable != ldt_usable_)
            forget(cpu);
    }

  private:
    void forget(const CpuState& cpu);

    SegmentCacheEntry* entries_ = nullptr;
    TableRegister gdt_, ldt_;
    uint8_t ldt_usable_ = 0;
};

} // namespace vmm
