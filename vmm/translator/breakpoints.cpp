#include "vmm/translator/breakpoints.h"

#include <algorithm>

namespace vmm {

bool Breakpoints::follow(const CpuState& cpu) {
    const std::array<uint64_t, kCount + 1> now{cpu.dr[0], cpu.dr[1], cpu.dr[2], cpu.dr[3], cpu.dr[7]};
    if (now == registers_)
        return false;
    registers_ = now;
    watches_ = 0;
    stops_ = {};
    guards_ = {};
    for (unsigned i = 0; i < kCount; ++i) {
        const auto control = static_cast<uint32_t>(now[kCount]), address = static_cast<uint32_t>(now[i]);
        if (((control >> (2 * i)) & 3) == 0)
            continue;
        constexpr unsigned kExecute = 0, kWrite = 1, kReadWrite = 3; // SDM Vol. 3B 17.2.4
        const unsigned condition = (control >> (16 + 4 * i)) & 3;
        if (condition == kExecute) {
            instructions_[stops_.count] = {address, 1u << i};
            stops_.linear[stops_.count++] = address;
        } else if (condition == kWrite || condition == kReadWrite) {
            const unsigned length_code = (control >> (18 + 4 * i)) & 3;
            const uint32_t length = length_code == 3 ? 4 : length_code + 1;
            const uint32_t first = address & ~(length - 1);
            guards_.pages[watches_] = {first >> kPageShift, condition == kReadWrite};
            guards_.count = watches_ + 1;
            watched_[watches_++] = {first, length, 1u << i, condition == kReadWrite};
        }
    }
    return true;
}

uint32_t Breakpoints::met(uint32_t linear, uint64_t bytes, bool write) const {
    uint32_t hits = 0;
    for (unsigned i = 0; i < watches_; ++i) {
        const Watch& watch = watched_[i];
        if ((write || watch.reads) && (linear - watch.first < watch.bytes || watch.first - linear < bytes))
            hits |= watch.hit;
    }
    return hits;
}

bool Breakpoints::near(uint32_t linear, uint32_t bytes, bool write) const {
    const uint32_t first = linear >> kPageShift, last = (linear + bytes - 1) >> kPageShift;
    for (unsigned i = 0; i < watches_; ++i)
        if ((write || watched_[i].reads) &&
            (watched_[i].first >> kPageShift == first || watched_[i].first >> kPageShift == last))
            return true;
    return false;
}

bool Breakpoints::Stops::contains(uint32_t address) const {
    return std::find(linear.begin(), linear.begin() + count, address) != linear.begin() + count;
}

bool Breakpoints::Stops::within(const ModeKey& key, uint32_t eip, uint32_t page_offset,
                                uint32_t bytes) const {
    const bool flat = key.segment(static_cast<unsigned>(SegReg::Cs)) == SegmentClass::Flat;
    return std::any_of(linear.begin(), linear.begin() + count, [&](uint32_t address) {
        return flat ? address - eip < bytes : ((address - page_offset) & (kPageSize - 1)) < bytes;
    });
}

uint32_t Breakpoints::at(uint32_t linear) const {
    uint32_t hits = 0;
    for (unsigned i = 0; i < stops_.count; ++i)
        if (instructions_[i].linear == linear)
            hits |= instructions_[i].hit;
    return hits;
}

} // namespace vmm
