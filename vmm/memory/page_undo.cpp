#include "vmm/memory/page_undo.h"

#include "vmm/base/verify.h"
#include "vmm/memory/guest_memory.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <sys/mman.h>

namespace vmm {
namespace {

// Retiring a page costs about as much as two needless looks at it, and the write fault if it comes back four.
constexpr uint8_t kIdleReverts = 8;

// First and last place where a page differs from what it shall hold (null: zeros).
struct Difference {
    uint32_t first = 0, length = 0;
};
Difference difference(const uint8_t* page, const uint8_t* wanted) {
    const auto differs = [&](uint32_t i) { return page[i] != (wanted != nullptr ? wanted[i] : 0); };
    uint32_t first = 0, end = kPageSize;
    while (first < end && !differs(first))
        ++first;
    while (end > first && !differs(end - 1))
        --end;
    return {first, end - first};
}

} // namespace

base::Result<std::unique_ptr<PageUndo>> PageUndo::create(uint32_t max_copies) {
    std::unique_ptr<PageUndo> undo(new PageUndo);
    const size_t bytes = size_t{max_copies} << kPageShift;
    if (bytes != 0) {
        void* arena = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (arena == MAP_FAILED)
            return base::fail(
                fmt::format("cannot reserve {} MiB for reverting: {}", bytes >> 20, std::strerror(errno)));
        undo->arena_ = static_cast<uint8_t*>(arena);
    }
    undo->max_copies_ = max_copies;
    return undo;
}

PageUndo::~PageUndo() {
    if (arena_ != nullptr)
        ::munmap(arena_, size_t{max_copies_} << kPageShift);
}

uint8_t* PageUndo::copy_at(uint32_t index) const {
    VERIFY(index < used_);
    return arena_ + (size_t{index} << kPageShift);
}

void PageUndo::keep(uint32_t page, const uint8_t* content) {
    if (is_zero_page(content)) {
        kept_.push_back({page});
        return;
    }
    if (free_.empty() && used_ == max_copies_) {
        unkept_.push_back(page);
        return;
    }
    uint32_t index = used_;
    if (free_.empty()) {
        ++used_;
    } else {
        index = free_.back();
        free_.pop_back();
    }
    std::memcpy(copy_at(index), content, kPageSize);
    kept_.push_back({page, index});
}

PageUndo::Report PageUndo::revert(uint8_t* memory, const Actions& actions) {
    Report report;
    report.kept = static_cast<uint32_t>(kept_.size());
    size_t left = 0;
    for (Kept entry : kept_) {
        uint8_t* page = memory + (size_t{entry.page} << kPageShift);
        const uint8_t* wanted = entry.copy == kZero ? nullptr : copy_at(entry.copy);
        const bool same = wanted != nullptr ? std::memcmp(page, wanted, kPageSize) == 0 : is_zero_page(page);
        if (same) {
            if (++entry.idle >= kIdleReverts) {
                if (entry.copy != kZero)
                    free_.push_back(entry.copy);
                actions.retire(entry.page);
                continue;
            }
        } else {
            ++report.changed;
            entry.idle = 0;
            if (actions.is_observed(entry.page)) {
                const Difference changed = difference(page, wanted);
                actions.changing(entry.page, changed.first, changed.length);
            }
            if (wanted != nullptr)
                std::memcpy(page, wanted, kPageSize);
            else
                std::memset(page, 0, kPageSize);
        }
        kept_[left++] = entry;
    }
    kept_.resize(left);
    report.reloads = static_cast<uint32_t>(unkept_.size());
    for (const uint32_t page : unkept_)
        actions.reload(page);
    unkept_.clear();
    return report;
}

} // namespace vmm
