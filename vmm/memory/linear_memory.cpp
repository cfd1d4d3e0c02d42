#include "vmm/memory/linear_memory.h"

#include "vmm/base/verify.h"

#include <algorithm>
#include <cstring>

namespace vmm {
namespace {

// INVLPG drops a whole large page (SDM Vol. 3A 4.10.4.1); 4 MiB covers both smaller sizes.
constexpr uint8_t kLargeSpread = 10, kHugeSpread = 18;
constexpr uint32_t kHugePage = 1u << 30;
constexpr unsigned kPcids = 4096;

constexpr uint8_t bit_of(AccessKind access) {
    return static_cast<uint8_t>(1u << static_cast<unsigned>(access));
}

} // namespace

GuestResult<Physical> LinearMemory::translate(Linear linear, AccessKind access, Privilege privilege) {
    if (!cpu_.paging())
        return linear;
    const Linear page = linear >> kPageShift;
    Entry& entry = tlb_[privilege == Privilege::User][page % kEntries];
    if (holds(entry, page) && (entry.allows & bit_of(access)) != 0)
        return Physical{entry.physical_page} << kPageShift | (linear & (kPageSize - 1));

    auto walked = page_walk(cpu_, memory_, linear, access, privilege);
    if (!walked) {
        // SDM Vol. 3A 4.10.4.1: a page fault invalidates the entry for its address.
        if (entry.tag == page)
            entry = {};
        return tl::make_unexpected(walked.error());
    }
    // What SMAP allowed now depends on EFLAGS.AC and on who asks.
    if (walked->user && privilege != Privilege::User && (cpu_.cr4 & cr4::kSmap) != 0)
        return walked->physical;
    entry.tag = page;
    entry.physical_page = page_of(walked->physical);
    entry.allows = bit_of(AccessKind::Read);
    if (walked->writable) // D is set: a write needs no walk
        entry.allows |= bit_of(AccessKind::Write);
    entry.global = walked->global;
    entry.epoch = entry.global ? global_epoch_ : local_epoch_;
    entry.spread = 0;
    if (walked->page_bytes != kPageSize) {
        entry.spread = walked->page_bytes == kHugePage ? kHugeSpread : kLargeSpread;
        huge_pages_ |= walked->page_bytes == kHugePage;
        large_regions_.set((page >> kLargeSpread) % large_regions_.size());
    }
    return walked->physical;
}

GuestResult<LinearMemory::Span> LinearMemory::translate_span(Linear linear, uint32_t length,
                                                             AccessKind access, Privilege privilege) {
    VERIFY(length <= kPageSize);
    Span span;
    span.first_bytes = std::min(length, kPageSize - static_cast<uint32_t>(linear & (kPageSize - 1)));
    span.second_bytes = length - span.first_bytes;
    span.first = TRY(translate(linear, access, privilege));
    if (span.second_bytes != 0)
        span.second = TRY(translate(following(linear, span.first_bytes), access, privilege));
    return span;
}

GuestResult<void> LinearMemory::read_bytes(Linear linear, void* to, uint32_t length, Privilege privilege) {
    if (length == 0)
        return {};
    const Span span = TRY(translate_span(linear, length, AccessKind::Read, privilege));
    auto* out = static_cast<uint8_t*>(to);
    memory_.read(span.first, out, span.first_bytes);
    if (span.second_bytes != 0)
        memory_.read(span.second, out + span.first_bytes, span.second_bytes);
    return {};
}

GuestResult<void> LinearMemory::write_bytes(Linear linear, const void* from, uint32_t length,
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

GuestResult<void> LinearMemory::check_write(Linear linear, uint32_t length, Privilege privilege) {
    if (length == 0)
        return {};
    TRY(translate_span(linear, length, AccessKind::Write, privilege));
    return {};
}

void LinearMemory::flush() {
    flush_all_local();
    global_epoch_ = ++last_epoch_;
    large_regions_.reset();
    huge_pages_ = false;
}

void LinearMemory::flush_local() { local_epoch_ = ++last_epoch_; }

void LinearMemory::switch_pcid(uint16_t pcid, bool keep) {
    if (pcid_epochs_.empty())
        pcid_epochs_.resize(kPcids);
    pcid_epochs_[pcid_] = local_epoch_;
    pcid_ = pcid;
    local_epoch_ = keep && pcid_epochs_[pcid] != 0 ? pcid_epochs_[pcid] : ++last_epoch_;
}

void LinearMemory::flush_pcid(uint16_t pcid) {
    if (pcid == pcid_)
        flush_local();
    else if (!pcid_epochs_.empty())
        pcid_epochs_[pcid] = 0;
}

void LinearMemory::flush_all_local() {
    std::fill(pcid_epochs_.begin(), pcid_epochs_.end(), 0);
    flush_local();
}

void LinearMemory::flush_page(Linear linear) {
    const Linear page = linear >> kPageShift;
    if (!huge_pages_ && !large_regions_.test((page >> kLargeSpread) % large_regions_.size())) {
        for (auto& side : tlb_)
            if (Entry& entry = side[page % kEntries]; entry.tag == page)
                entry = {};
        return;
    }
    for (auto& side : tlb_)
        for (Entry& entry : side)
            if (entry.tag == page || (entry.spread != 0 && entry.tag >> entry.spread == page >> entry.spread))
                entry = {};
}

} // namespace vmm
