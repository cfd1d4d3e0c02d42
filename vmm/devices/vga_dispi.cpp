#include "vmm/devices/vga_dispi.h"

#include <algorithm>

namespace vmm {

namespace {
constexpr uint16_t kFirstVersion = 0xB0C0, kLastVersion = 0xB0C5;
constexpr uint16_t kEnableBits =
    kDispiEnabled | kDispiGetCaps | kDispi8BitDac | kDispiLfbEnabled | kDispiNoClearMemory;
constexpr uint16_t kBankNumber = 0x3FFF; // above it, version B0C5h selects the read or write bank

bool valid_depth(uint16_t bits) {
    return bits == 4 || bits == 8 || bits == 15 || bits == 16 || bits == 24 || bits == 32;
}
} // namespace

void VgaDispi::reset() {
    index_ = 0;
    registers_.fill(0);
    registers_[kDispiId] = kLastVersion;
    registers_[kDispiXres] = 640;
    registers_[kDispiYres] = 480;
    registers_[kDispiBpp] = 8;
}

uint16_t VgaDispi::read(uint16_t index) const {
    const bool capabilities = (registers_[kDispiEnable] & kDispiGetCaps) != 0;
    switch (index) {
    case kDispiXres:
        return capabilities ? kMaxXres : registers_[kDispiXres];
    case kDispiYres:
        return capabilities ? kMaxYres : registers_[kDispiYres];
    case kDispiBpp:
        return capabilities ? kMaxBpp : registers_[kDispiBpp];
    case kDispiVirtWidth:
        return static_cast<uint16_t>(geometry().virtual_width);
    case kDispiVirtHeight:
        return static_cast<uint16_t>(std::min(geometry().virtual_height, 0xFFFFu));
    case kDispiXOffset:
        return static_cast<uint16_t>(geometry().x_offset);
    case kDispiYOffset:
        return static_cast<uint16_t>(geometry().y_offset);
    case kDispiVideoMemory64k:
        return bank_limit();
    default:
        return index < registers_.size() ? registers_[index] : 0;
    }
}

bool VgaDispi::write(uint16_t index, uint16_t value) {
    switch (index) {
    case kDispiId:
        if (value >= kFirstVersion && value <= kLastVersion)
            registers_[kDispiId] = value;
        return false;
    case kDispiXres:
        if (value >= 1 && value <= kMaxXres)
            registers_[kDispiXres] = value;
        return false;
    case kDispiYres:
        if (value >= 1 && value <= kMaxYres)
            registers_[kDispiYres] = value;
        return false;
    case kDispiBpp:
        if (value == 0)
            value = 8; // what version B0C0h drivers, which know no depth, expect
        if (valid_depth(value))
            registers_[kDispiBpp] = value;
        return false;
    case kDispiEnable:
        return write_enable(value);
    case kDispiBank:
        if ((value & kBankNumber) < bank_limit())
            registers_[kDispiBank] = value & kBankNumber;
        return false;
    case kDispiVirtWidth:
    case kDispiXOffset:
    case kDispiYOffset:
        registers_[index] = value;
        return false;
    default:
        return false; // the virtual height follows from the width; the rest is read-only
    }
}

bool VgaDispi::write_enable(uint16_t value) {
    const bool was_enabled = enabled();
    registers_[kDispiEnable] = value & kEnableBits;
    if (was_enabled || !enabled())
        return false;
    registers_[kDispiVirtWidth] = registers_[kDispiXres];
    registers_[kDispiXOffset] = registers_[kDispiYOffset] = registers_[kDispiBank] = 0;
    return (value & kDispiNoClearMemory) == 0;
}

DispiGeometry VgaDispi::geometry() const {
    DispiGeometry g;
    g.bits_per_pixel = registers_[kDispiBpp];
    g.width = registers_[kDispiXres];
    g.virtual_width = std::max<uint32_t>(registers_[kDispiVirtWidth], g.width);
    uint32_t available = vram_bytes_;
    uint32_t pixel_bytes = (g.bits_per_pixel + 7) / 8;
    if (g.bits_per_pixel == 4) {
        g.virtual_width = (g.virtual_width + 7) & ~7u;
        g.row_bytes = g.virtual_width / 8;
        available /= 4;
    } else {
        g.row_bytes = g.virtual_width * pixel_bytes;
    }
    g.virtual_height = available / g.row_bytes;
    g.height = std::min<uint32_t>(registers_[kDispiYres], g.virtual_height);
    g.x_offset = std::min<uint32_t>(registers_[kDispiXOffset], g.virtual_width - g.width);
    g.y_offset = std::min<uint32_t>(registers_[kDispiYOffset], g.virtual_height - g.height);
    g.start = g.y_offset * g.row_bytes + (g.bits_per_pixel == 4 ? g.x_offset / 8 : g.x_offset * pixel_bytes);
    return g;
}

void VgaDispi::serialize(base::StateArchive& archive) {
    archive.field("dispi_index", index_);
    archive.field("dispi", registers_);
    if (!archive.loading())
        return;
    // Saved state is hostile: put every value through the same door as the guest's.
    const auto loaded = registers_;
    const uint16_t index = index_;
    reset();
    index_ = index;
    for (uint16_t i = 0; i < registers_.size(); ++i)
        if (i != kDispiEnable)
            write(i, loaded[i]);
    registers_[kDispiEnable] = loaded[kDispiEnable] & kEnableBits;
}

} // namespace vmm
