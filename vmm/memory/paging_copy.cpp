#include "vmm/memory/paging_copy.h"

#include "vmm/base/verify.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace vmm {

using namespace paging;

PagingCopy::PagingCopy(GuestMemory& memory, Mode mode, Listener& listener, uint64_t& live_tables)
    : memory_(memory), mode_(mode), listener_(listener), live_tables_(live_tables) {
    if (mode_.enabled)
        regions_.resize(kLinearPages >> mode_.region_shift());
}

PagingCopy::~PagingCopy() { live_tables_ -= with_table_.size(); }

uint64_t PagingCopy::value(const uint8_t* structure, unsigned index) const {
    uint64_t entry = 0;
    if (mode_.pae)
        std::memcpy(&entry, structure + index * 8, 8);
    else
        std::memcpy(&entry, structure + index * 4, 4);
    return entry;
}

bool PagingCopy::takes_away(uint64_t before, uint64_t now) const {
    if ((before & kPresent) == 0)
        return false; // nothing can have been made from it
    if ((now & kPresent) == 0)
        return true;
    // The address, what kind of entry it is, and reserved bits.
    constexpr uint64_t kIdentity = (kNoExecute - 1 - 0xFFF) | kLarge;
    // A and D: set by the processor (our walks) at any time, but cleared by the guest only because it wants
    // to see them set again.
    constexpr uint64_t kGrants = kWrite | kUser | kAccessed | kDirty;
    return ((before ^ now) & kIdentity) != 0 || (before & ~now & kGrants) != 0 ||
           (now & ~before & kNoExecute) != 0;
}

bool PagingCopy::in_use(const Structure& structure, unsigned index) const {
    return (structure.lines >> (index * mode_.entry_bytes() / kLineBytes)) & 1;
}

bool PagingCopy::refresh(Structure& structure, unsigned first, unsigned count, PageSet& lost) {
    const unsigned size = mode_.entry_bytes(), per_line = kLineBytes / size;
    const uint8_t* live = memory_.ram_pointer(structure.physical, kPageSize);
    bool any = false;
    for (unsigned line = first / per_line; line <= (first + count - 1) / per_line; ++line) {
        // One snapshot decides; outside RAM and ROM structures read as all ones (read_entry).
        alignas(kLineBytes) std::array<uint8_t, kLineBytes> now;
        if (live != nullptr)
            std::memcpy(now.data(), live + line * kLineBytes, kLineBytes);
        else
            now.fill(0xFF);
        uint8_t* kept = structure.bytes.data() + line * kLineBytes;
        if (((structure.lines >> line) & 1) == 0) {
            std::memcpy(kept, now.data(), kLineBytes);
            structure.lines |= 1ull << line;
            continue;
        }
        const unsigned begin = std::max(first, line * per_line) - line * per_line;
        const unsigned end = std::min(first + count, (line + 1) * per_line) - line * per_line;
        for (unsigned i = begin; i < end; ++i) {
            if (takes_away(value(kept, i), value(now.data(), i))) {
                lost.insert(line * per_line + i);
                any = true;
            }
            std::memcpy(kept + i * size, now.data() + i * size, size);
        }
    }
    return any;
}

bool PagingCopy::refresh_used(Structure& structure, PageSet& lost) {
    const unsigned per_line = kLineBytes / mode_.entry_bytes();
    const uint8_t* live = memory_.ram_pointer(structure.physical, kPageSize);
    bool any = false;
    for (uint64_t rest = structure.lines; rest != 0;) {
        const unsigned first = std::countr_zero(rest), count = std::countr_one(rest >> first);
        const size_t at = first * kLineBytes, bytes = count * kLineBytes;
        if (live == nullptr || std::memcmp(structure.bytes.data() + at, live + at, bytes) != 0)
            any |= refresh(structure, first * per_line, count * per_line, lost);
        if (first + count == 64)
            break;
        rest &= ~0ull << (first + count);
    }
    return any;
}

void PagingCopy::report(unsigned region, const PageSet& changed) {
    PageSet& executed = regions_[region]->executed;
    listener_.translations_changed(region << mode_.region_shift(), mode_.region_pages(), changed, executed);
    executed.erase(changed);
}

void PagingCopy::drop_region(unsigned region) {
    if (regions_[region] == nullptr)
        return;
    PageSet all;
    all.words.fill(~0ull);
    report(region, all);
    if (regions_[region]->table != nullptr) {
        std::erase(with_table_, static_cast<uint16_t>(region));
        --live_tables_;
    }
    regions_[region].reset();
}

void PagingCopy::set_directories(const CpuState& cpu) {
    if (!mode_.enabled)
        return;
    const unsigned count = mode_.pae ? 4 : 1;
    for (unsigned i = 0; i < count; ++i) {
        const uint64_t pointer =
            mode_.pae ? cpu.pdpte[i] & (kFrame | kPresent) : (cpu.cr3 & kFrame) | kPresent;
        if (pointer == pointers_[i])
            continue;
        const unsigned span = mode_.entries();
        for (unsigned region = i * span; region < (i + 1) * span; ++region)
            drop_region(region);
        pointers_[i] = pointer;
        directories_[i].reset();
        if ((pointer & kPresent) != 0) {
            directories_[i] = std::make_unique<Structure>();
            directories_[i]->physical = pointer & kFrame;
        }
    }
}

void PagingCopy::sync() {
    for (unsigned i = 0; i < directories_.size(); ++i) {
        PageSet lost;
        if (directories_[i] == nullptr || !refresh_used(*directories_[i], lost))
            continue;
        for (unsigned entry = 0; entry < mode_.entries(); ++entry)
            if (lost.contains(entry))
                drop_region(i * mode_.entries() + entry);
    }
    for (const uint16_t region : with_table_) {
        PageSet lost;
        if (refresh_used(*regions_[region]->table, lost))
            report(region, lost);
    }
}

void PagingCopy::sync_page(uint32_t page) {
    if (!mode_.enabled)
        return;
    const unsigned region = page >> mode_.region_shift(), mask = mode_.entries() - 1;
    Structure* directory = directories_[region / mode_.entries()].get();
    PageSet lost;
    if (directory != nullptr && in_use(*directory, region & mask) &&
        refresh(*directory, region & mask, 1, lost))
        drop_region(region);
    if (regions_[region] == nullptr || regions_[region]->table == nullptr)
        return;
    Structure& table = *regions_[region]->table;
    lost = {};
    if (in_use(table, page & mask) && refresh(table, page & mask, 1, lost))
        report(region, lost);
}

PagingCopy::Entries PagingCopy::track(uint32_t page, uint32_t count) {
    const unsigned region = page >> mode_.region_shift(), mask = mode_.entries() - 1;
    VERIFY(mode_.enabled && (page & mask) + count <= mode_.region_pages());
    Structure* directory = directories_[region / mode_.entries()].get();
    if (directory == nullptr)
        return {};
    PageSet lost;
    if (refresh(*directory, region & mask, 1, lost))
        drop_region(region);
    const uint64_t entry = value(directory->bytes.data(), region & mask);
    if ((entry & kPresent) == 0 || (entry & mode_.reserved_in_directory(entry)) != 0)
        return {};
    if (regions_[region] == nullptr)
        regions_[region] = std::make_unique<Region>();
    Entries found{.present = true, .large = mode_.is_large(entry), .directory = entry};
    if (found.large)
        return found;

    auto& table = regions_[region]->table;
    if (table == nullptr) {
        table = std::make_unique<Structure>();
        table->physical = entry & kFrame;
        with_table_.push_back(static_cast<uint16_t>(region));
        ++live_tables_;
    }
    VERIFY(table->physical == (entry & kFrame)); // else the region was dropped
    lost = {};
    if (refresh(*table, page & mask, count, lost))
        report(region, lost);
    found.table = table->bytes.data();
    return found;
}

void PagingCopy::note_executed(uint32_t page) {
    if (const auto& region = regions_[page >> mode_.region_shift()])
        region->executed.insert(page & (mode_.region_pages() - 1));
}

} // namespace vmm
