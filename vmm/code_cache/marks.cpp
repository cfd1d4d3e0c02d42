// Which places of a page are made in another form than the plain one; the reasons are in Sites.
#include "vmm/code_cache/code_cache.h"
#include "vmm/memory/guest_memory.h"

#include <algorithm>
#include <cstring>

namespace vmm {

namespace {

std::vector<Mark>& list_of(CodePage& page, const Sites::Place& place) {
    return page.marks[static_cast<size_t>(place.kind)];
}

// Where the offset's mark is, or would be.
auto from(auto& marks, uint16_t offset) {
    return std::lower_bound(marks.begin(), marks.end(), offset,
                            [](const Mark& mark, uint16_t at) { return mark.offset < at; });
}

} // namespace

uint32_t CodeCache::bytes_at(const Sites::Place& place) const {
    uint32_t bytes = 0;
    if (place.backing < readable_pages_)
        std::memcpy(&bytes, guest_ + (uint64_t{place.backing} << kPageShift) + place.offset,
                    std::min<size_t>(sizeof bytes, kPageSize - place.offset));
    return bytes;
}

uint16_t CodeCache::mark_at(const Sites::Place& place) {
    CodePage* page = pages_[place.backing].get();
    if (page == nullptr)
        return 0;
    auto& marks = list_of(*page, place);
    const auto at = from(marks, place.offset);
    if (at == marks.end() || at->offset != place.offset)
        return 0;
    const uint16_t number = at->number;
    // Of an arrival the bytes say nothing: where a call returns to is what counts, and it may change.
    if (place.kind != Sites::Kind::Arrival && sites.bytes(number) != bytes_at(place)) {
        sites.forget(number);
        erase_mark(place);
        return 0;
    }
    return number;
}

void CodeCache::mark(const Sites::Place& place, Sites::Reason reason, Sites::Microseconds now) {
    std::optional<Sites::Place> lost;
    const uint16_t number = sites.mark(place, reason, bytes_at(place), now, lost);
    if (lost)
        erase_mark(*lost);
    auto& marks = list_of(page_or_new(place.backing), place);
    const auto at = from(marks, place.offset);
    if (at == marks.end() || at->offset != place.offset)
        marks.insert(at, {place.offset, number});
    else
        at->number = number;
}

bool CodeCache::unmark(uint16_t number, Sites::Microseconds now) {
    const Sites::Place place = sites.place(number);
    sites.return_to_plain(number, now);
    return erase_mark(place);
}

bool CodeCache::erase_mark(const Sites::Place& place) {
    auto& marks = list_of(page_or_new(place.backing), place);
    const auto at = from(marks, place.offset);
    if (at != marks.end() && at->offset == place.offset)
        marks.erase(at);
    // A landing belongs to the block that ends before it.
    const uint32_t first =
        place.kind == Sites::Kind::Arrival && place.offset != 0 ? place.offset - 1u : place.offset;
    return invalidate_range(place.backing, first, place.offset + 1u - first);
}

uint32_t CodeCache::marks_within(const Block& block) const {
    static const CodePage kUnknown;
    const CodePage* page = pages_[block.backing].get();
    if (page == nullptr)
        page = &kUnknown;
    constexpr uint32_t kStart = 2166136261u, kPrime = 16777619u; // FNV-1a
    uint32_t sum = kStart;
    for (const auto& marks : page->marks) {
        sum = (sum ^ 0xFFFF) * kPrime; // no offset: where the first list ends
        // To the last byte and one beyond: a call that ends the block has its landing there. The number is
        // part of the code.
        for (auto at = from(marks, block.offset);
             at != marks.end() && at->offset <= block.offset + block.guest_bytes; ++at)
            sum = ((sum ^ at->offset) * kPrime ^ at->number) * kPrime;
    }
    return sum;
}

} // namespace vmm
