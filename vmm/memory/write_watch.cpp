#include "vmm/memory/write_watch.h"

#include "vmm/memory/guest_memory.h"

#include <cstring>

namespace vmm {

void WriteWatch::keep(uint32_t page, const uint8_t* content) {
    if (count_ == kMostPages) {
        too_many_ = true;
        return;
    }
    if (count_ == kept_.size())
        kept_.emplace_back();
    Kept& kept = kept_[count_++];
    kept.page = page;
    kept.content.assign(content, content + kPageSize);
}

uint32_t WriteWatch::changed_bytes(const uint8_t* memory) const {
    if (too_many_)
        return kMostPages * kPageSize;
    uint32_t changed = 0;
    for (unsigned i = 0; i < count_; ++i) {
        const uint8_t* now = memory + (uint64_t{kept_[i].page} << kPageShift);
        const uint8_t* before = kept_[i].content.data();
        if (std::memcmp(now, before, kPageSize) == 0)
            continue;
        for (uint32_t at = 0; at < kPageSize; ++at)
            changed += now[at] != before[at] ? 1 : 0;
    }
    return changed;
}

} // namespace vmm
