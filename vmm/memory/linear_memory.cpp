#include "vmm/memory/linear_memory.h"

#include "vmm/base/verify.h"

#include <algorithm>
#include <cstring>

namespace vmm {
namespace {

// INVLPG drops a whole large page (SDM Vol. 3A 4.10.4.1); 4 MiB covers both sizes.
constexpr uint32_t kLargeShift = 10;

constexpr uint8_t bit_of(AccessKind access) {
    return static_cast<uint8_t>(1u << static_cast<unsigned>(access));
}

} // namespace

GuestResult<Physical> LinearMemory::translate(uint32_t linear, AccessKind access, Privilege privilege) {
    if (!cpu_.paging())
        return linear;
    const uint32_t page = linear >> kPageShift;
    Entry& entry = tlb_[static_cast<unsigned>(privilege)][page % kEntries];
    if (holds(entry, page) && (entry.allows & bit_of(access)) != 0)
        return Physical{entry.physical_page} << kPageShift | (linear & (kPageSize - 1));

    auto walked = page_walk(cpu_, memory_, linear, access, privilege);
    if (!walked) {
        // SDM Vol. 3A 4.10.4.1: a page fault invalidates the entry for its address.
        if (entry.tag == page)
            entry = {};
        return tl::make_unexpected(walked.error());
    }
    entry.tag = page;
    entry.physical_page = page_of(walked->physical);
    entry.allows = bit_of(AccessKind::Read);
    if (walked->writable) // D is set: a write needs no walk
        entry.allows |= bit_of(AccessKind::Write);
    entry.global = walked->global;
    entry.epoch = entry.global ? global_epoch_ : local_epoch_;
    entry.large = walked->page_bytes != kPageSize;
    if (entry.large)
        large_regions_.set(page >> kLargeShift);
    return walked->physical;
}

GuestResult<LinearMemory::Span> LinearMemory::translate_span(uint32_t linear, uint32_t length,
                                                             AccessKind access, Privilege privilege) {
    VERIFY(length <= kPageSize);
    Span span;
    span.first_bytes = std::min(length, kPageSize - (linear & (kPageSize - 1)));
    span.second_bytes = length - span.first_bytes;
    span.first = TRY(translate(linear, access, privilege));
    if (span.second_bytes != 0)
        span.second = TRY(translate(linear + span.first_bytes, access, privilege));
    return span;
}

GuestResult<void> LinearMemory::read_bytes(uint32_t linear, void* to, uint32_t length, Privilege privilege) {
    if (length == 0)
        return {};
    const Span span = TRY(translate_span(linear, length, AccessKind::Read, privilege));
    auto* out = static_cast<uint8_t*>(to);
    memory_.read(span.first, out, span.first_bytes);
    if (span.second_bytes != 0)
        memory_.read(span.second, out + span.first_bytes, span.second_bytes);
    return {};
}

GuestResult<void> LinearMemory::write_bytes(uint32_t linear, const void* from, uint32_t length,
                                            Privilege privilege) {
    if (length == 0)
        return {};
    const Span span = TRY(translate_span(linear, length, AccessKind::Write, privilege));
    const auto* in = static_cast<const uint8_t*>(from);
    memory_.write(span.first, in, span.first_bytes);
    if (span.second_bytes != 0)
        memory_.write(span.second, in + span.first_bytes, span.second_bytes);
    return {};
}

GuestResult<void> LinearMemory::check_write(uint32_t linear, uint32_t length, Privilege privilege) {
    if (length == 0)
        return {};
    TRY(translate_span(linear, length, AccessKind::Write, privilege));
    return {};
}

void LinearMemory::flush() {
    ++local_epoch_;
    ++global_epoch_;
    large_regions_.reset();
}

void LinearMemory::flush_local() { ++local_epoch_; }

void LinearMemory::flush_page(uint32_t linear) {
    const uint32_t page = linear >> kPageShift;
    if (!large_regions_.test(page >> kLargeShift)) {
        for (auto& side : tlb_)
            if (Entry& entry = side[page % kEntries]; entry.tag == page)
                entry = {};
        return;
    }
    for (auto& side : tlb_)
        for (Entry& entry : side)
            if (entry.tag == page || (entry.large && entry.tag >> kLargeShift == page >> kLargeShift))
                entry = {};
}

} // namespace vmm
