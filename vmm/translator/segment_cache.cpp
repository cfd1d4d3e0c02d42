#include "vmm/translator/segment_cache.h"

#include "vmm/code_cache/code_memory.h"

#include <cstring>
#include <sys/mman.h>

namespace vmm {

namespace {

constexpr uint32_t kBytes = SegmentCache::kTables * SegmentCache::kTableBytes;

bool is_extra(unsigned reg) { return reg >= static_cast<unsigned>(SegReg::Fs); }

unsigned table_index(unsigned reg, SegmentClass segment_class) {
    return (is_extra(reg) ? 4u : 0u) + static_cast<unsigned>(segment_class);
}

} // namespace

SegmentCache::~SegmentCache() {
    if (entries_ != nullptr)
        munmap(entries_, kBytes);
}

base::Result<void> SegmentCache::create() {
    entries_ = static_cast<SegmentCacheEntry*>(map_low(kBytes, PROT_READ | PROT_WRITE));
    if (entries_ == nullptr)
        return base::fail("cannot reserve memory below 2 GiB for the virtual processor");
    forget({});
    return {};
}

uint32_t SegmentCache::table(unsigned reg, SegmentClass segment_class) const {
    return static_cast<uint32_t>(
        reinterpret_cast<uint64_t>(entries_ + table_index(reg, segment_class) * kEntries));
}

void SegmentCache::remember(const CpuState& cpu, unsigned reg, uint32_t linear, uint64_t bytes,
                            uint64_t null_segment_page) {
    const Segment& segment = cpu.seg[reg];
    SegmentCacheEntry& entry =
        entries_[table_index(reg, classify_segment(cpu, reg)) * kEntries + (segment.selector & 0xFF)];
    entry.negated_selector = -uint64_t{segment.selector};
    entry.negated_bytes = -bytes;
    std::memcpy(entry.image, &segment, sizeof segment);
    const auto pointer = [&](SegReg which) {
        return segment.usable ? reinterpret_cast<uint64_t>(&cpu.segment(which).base) : null_segment_page;
    };
    entry.fs_pointer = pointer(SegReg::Fs);
    entry.gs_pointer = pointer(SegReg::Gs);
    entry.linear = linear;
}

void SegmentCache::forget(const CpuState& cpu) {
    for (unsigned i = 0; i < kTables * kEntries; ++i)
        entries_[i].negated_selector = 1; // no selector is -1
    gdt_ = cpu.gdtr;
    ldt_ = {cpu.ldtr.base, cpu.ldtr.limit};
    ldt_usable_ = cpu.ldtr.usable;
}

} // namespace vmm
