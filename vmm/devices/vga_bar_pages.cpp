#include "vmm/devices/vga_bar_pages.h"

namespace vmm {

namespace {
constexpr uint32_t kFirstBarPage = 0x100000 >> kPageShift;
}

bool bar_page_free(const GuestMemory& memory, uint32_t page) {
    return page >= kFirstBarPage && page < kFirstHighPage && memory.entry(page).kind == PageKind::None;
}

void BarPages::move(bool decoded, uint32_t base) {
    const uint32_t first = decoded && base != 0 ? base >> kPageShift : kNoPage; // zero: not assigned
    if (first == first_)
        return;
    const WholeMap whole(memory_);
    give_back();
    first_ = first;
    if (first != kNoPage)
        take(first);
}

void BarPages::take(uint32_t first) {
    for (uint32_t i = 0; i < count_;) {
        uint32_t length = 0;
        while (i + length < count_ && bar_page_free(memory_, first + i + length))
            ++length;
        if (length != 0) {
            memory_.map(first + i, length, kind_, backing_ + i);
            runs_.emplace_back(first + i, length);
        }
        i += length != 0 ? length : 1;
    }
}

void BarPages::give_back() {
    for (const auto& [run_first, run_count] : runs_)
        for (uint32_t page = run_first; page < run_first + run_count; ++page) {
            // Another device may have been put on top meanwhile.
            const PageEntry now = memory_.entry(page);
            if (now.kind == kind_ && now.backing == backing_ + (page - first_))
                memory_.map(page, 1, PageKind::None);
        }
    runs_.clear();
}

} // namespace vmm
