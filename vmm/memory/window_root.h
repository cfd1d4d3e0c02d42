// One paging root (CR3 and the paging mode) with its views: the windows that show it to user code and to the
// supervisor. All views share one copy of the paging structures; a change drops pages from each.
#pragma once
#include "vmm/memory/mapping_table.h"
#include "vmm/memory/paging_copy.h"

#include <array>
#include <cstdint>
#include <vector>

namespace vmm {

// CR0.WP decides what the supervisor may write, so each setting has a view of its own.
enum class View : uint8_t { User, Supervisor, SupervisorNoWp };
inline constexpr unsigned kViews = 3;
inline constexpr unsigned kNoSlot = ~0u;

struct LinearRange {
    uint32_t first = 0, count = 0; // pages
};

class WindowRoot final : public PagingCopy::Listener {
  public:
    WindowRoot(uint64_t key, GuestMemory& memory, paging::Mode mode, MappingTable& mappings,
               uint64_t& live_tables)
        : key(key), paging(memory, mode, *this, live_tables), mappings_(mappings) {
        slots.fill(kNoSlot);
    }

    const uint64_t key;
    uint64_t epoch = 0; // of the last flush that was applied
    std::array<unsigned, kViews> slots{};
    PagingCopy paging;

    // Translations dropped since take_dropped() under which code had run.
    void add_dropped(LinearRange range);
    [[nodiscard]] std::vector<LinearRange> take_dropped() { return std::move(dropped_); }
    [[nodiscard]] bool has_dropped() const { return !dropped_.empty(); }

    // Drops one page from every view unless it maps `backing` (kNoPage: always).
    void drop_unless(uint32_t page, uint32_t backing);

    void translations_changed(uint32_t first, uint32_t count, const PageSet& changed,
                              const PageSet& executed) override;

  private:
    void unmap_changed(unsigned slot, uint32_t first, uint32_t count, const PageSet& changed); // of one view

    MappingTable& mappings_;
    std::vector<LinearRange> dropped_;
};

} // namespace vmm
