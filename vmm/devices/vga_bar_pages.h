// Pages of memory that a PCI base address register puts into the guest-physical map. A guest may point a
// BAR anywhere, if only for the moment in which it finds out its size, so a BAR takes only pages where
// nothing else answers and gives back only what it took: RAM, the BIOS and other devices stay.
#pragma once
#include "vmm/memory/guest_memory.h"

#include <cstdint>
#include <utility>
#include <vector>

namespace vmm {

class BarPages {
  public:
    // kind: Ram or Rom, from backing page `backing`.
    BarPages(GuestMemory& memory, PageKind kind, uint32_t backing, uint32_t count)
        : memory_(memory), kind_(kind), backing_(backing), count_(count) {}

    // Decodes at byte address `base` from now on, or nowhere.
    void move(bool decoded, uint32_t base);

  private:
    void take(uint32_t first);
    void give_back();

    GuestMemory& memory_;
    PageKind kind_;
    uint32_t backing_, count_;
    uint32_t first_ = kNoPage;                        // where it decodes
    std::vector<std::pair<uint32_t, uint32_t>> runs_; // first, count of the pages taken
};

// Whether a BAR may take this page: nothing answers there, and it is above the first MiB, where memory BARs
// never decode in practice and legacy ranges come and go.
[[nodiscard]] bool bar_page_free(const GuestMemory& memory, uint32_t page);

// Opens the A20 gate while page entries are examined, since GuestMemory::entry() looks through it.
class WholeMap {
  public:
    explicit WholeMap(GuestMemory& memory) : memory_(memory), a20_(memory.a20()) { memory_.set_a20(true); }
    ~WholeMap() { memory_.set_a20(a20_); }
    WholeMap(const WholeMap&) = delete;
    WholeMap& operator=(const WholeMap&) = delete;

  private:
    GuestMemory& memory_;
    bool a20_;
};

} // namespace vmm
