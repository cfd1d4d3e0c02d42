#include "vmm/devices/vga_registers.h"

namespace vmm {

namespace {
// Bits that exist in each register; the others read back as zero.
constexpr std::array<uint8_t, 8> kSeqMask{0x03, 0x3D, 0x0F, 0x3F, 0x0E, 0, 0, 0};
constexpr std::array<uint8_t, 16> kGfxMask{0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0x0F, 0xFF};
constexpr unsigned kAttrPaletteEntries = 16;
constexpr uint8_t kAttrDisplayOn = 0x20;
constexpr uint8_t kCrtcProtect = 0x80; // CRTC 11h: registers 0-7 are read-only
constexpr unsigned kCrtcCount = 0x19;
constexpr uint8_t kOverflowLineCompare = 0x10; // CRTC 07h: line compare bit 8, never protected
constexpr uint8_t kDacReadState = 3;
// Switch sense: a colour monitor is connected.
constexpr uint8_t kInputStatus0 = 0x10;

uint8_t attr_mask(unsigned index) {
    if (index < kAttrPaletteEntries)
        return 0x3F;
    switch (index) {
    case kAttrModeControl:
        return 0xEF;
    case 0x11:
        return 0xFF;
    case kAttrColorPlaneEnable:
        return 0x3F;
    case kAttrPixelPanning:
    case kAttrColorSelect:
        return 0x0F;
    default:
        return 0;
    }
}
} // namespace

void VgaRegisters::reset() {
    seq_.fill(0);
    gfx_.fill(0);
    crtc_.fill(0);
    attr_.fill(0);
    dac_.fill(0);
    misc_ = feature_ = 0;
    enable_ = 1;
    seq_index_ = gfx_index_ = crtc_index_ = attr_index_ = attr_data_next_ = 0;
    dac_mask_ = 0xFF;
    dac_read_index_ = dac_write_index_ = dac_component_ = dac_state_ = 0;
    dac_8bit_ = false;
}

uint8_t VgaRegisters::read_port(uint16_t port, uint8_t status1) {
    switch (port) {
    case 0x3C0:
        return attr_index_;
    case 0x3C1:
        return attr_[attr_index_ & 0x1F];
    case 0x3C2:
        return kInputStatus0;
    case 0x3C3:
        return enable_;
    case 0x3C4:
        return seq_index_;
    case 0x3C5:
        return seq(seq_index_);
    case 0x3C6:
        return dac_mask_;
    case 0x3C7:
        return dac_state_;
    case 0x3C8:
        return dac_write_index_;
    case 0x3C9:
        return read_dac();
    case 0x3CA:
        return feature_;
    case 0x3CC:
        return misc_;
    case 0x3CE:
        return gfx_index_;
    case 0x3CF:
        return gfx_index_ < gfx_.size() ? gfx_[gfx_index_] : 0;
    default:
        break;
    }
    if (!crtc_port_selected(port))
        return 0xFF;
    switch (port & 0xF) {
    case 0x4:
        return crtc_index_;
    case 0x5:
        return crtc_index_ < kCrtcCount ? crtc_[crtc_index_] : 0;
    case 0xA:
        attr_data_next_ = 0; // the next write to 3C0h is an index
        return status1;
    default:
        return 0xFF;
    }
}

void VgaRegisters::write_port(uint16_t port, uint8_t value) {
    switch (port) {
    case 0x3C0:
        write_attribute(value);
        return;
    case 0x3C2:
        misc_ = value;
        return;
    case 0x3C3:
        enable_ = value & 1;
        return;
    case 0x3C4:
        seq_index_ = value & 7;
        return;
    case 0x3C5:
        seq_[seq_index_] = value & kSeqMask[seq_index_];
        return;
    case 0x3C6:
        dac_mask_ = value;
        return;
    case 0x3C7:
        dac_read_index_ = value;
        dac_component_ = 0;
        dac_state_ = kDacReadState;
        return;
    case 0x3C8:
        dac_write_index_ = value;
        dac_component_ = 0;
        dac_state_ = 0;
        return;
    case 0x3C9:
        write_dac(value);
        return;
    case 0x3CE:
        gfx_index_ = value & 0xF;
        return;
    case 0x3CF:
        gfx_[gfx_index_] = value & kGfxMask[gfx_index_];
        return;
    default:
        break;
    }
    if (!crtc_port_selected(port))
        return;
    switch (port & 0xF) {
    case 0x4:
        crtc_index_ = value & 0x3F;
        return;
    case 0x5:
        write_crtc(value);
        return;
    case 0xA:
        feature_ = value & 0x0B;
        return;
    default:
        return;
    }
}

// Miscellaneous output bit 0 puts the CRTC and Input Status 1 at 3Dxh (colour) or 3Bxh (monochrome).
bool VgaRegisters::crtc_port_selected(uint16_t port) const {
    return (port & 0xFFF0) == ((misc_ & 1) != 0 ? 0x3D0 : 0x3B0);
}

void VgaRegisters::write_crtc(uint8_t value) {
    if (crtc_index_ >= kCrtcCount)
        return;
    if (crtc_index_ <= kCrtcOverflow && (crtc_[kCrtcVerticalRetraceEnd] & kCrtcProtect) != 0) {
        if (crtc_index_ == kCrtcOverflow)
            crtc_[kCrtcOverflow] = static_cast<uint8_t>((crtc_[kCrtcOverflow] & ~kOverflowLineCompare) |
                                                        (value & kOverflowLineCompare));
        return;
    }
    crtc_[crtc_index_] = value;
}

void VgaRegisters::write_attribute(uint8_t value) {
    attr_data_next_ ^= 1;
    if (attr_data_next_ == 1) {
        attr_index_ = value & 0x3F;
        return;
    }
    const unsigned index = attr_index_ & 0x1F;
    // The palette belongs to the display while it is on.
    if (index < kAttrPaletteEntries && (attr_index_ & kAttrDisplayOn) != 0)
        return;
    attr_[index] = value & attr_mask(index);
}

void VgaRegisters::write_dac(uint8_t value) {
    dac_[dac_write_index_ * 3u + dac_component_] = value;
    if (++dac_component_ == 3) {
        dac_component_ = 0;
        ++dac_write_index_;
    }
}

uint8_t VgaRegisters::read_dac() {
    const uint8_t value = dac_[dac_read_index_ * 3u + dac_component_];
    if (++dac_component_ == 3) {
        dac_component_ = 0;
        ++dac_read_index_;
    }
    return dac_8bit_ ? value : value & 0x3F;
}

VgaAperture VgaRegisters::aperture() const {
    switch ((gfx(kGfxMiscellaneous) >> 2) & 3) {
    case 0:
        return {0xA0000, 0x20000};
    case 1:
        return {0xA0000, 0x10000};
    case 2:
        return {0xB0000, 0x8000};
    default:
        return {0xB8000, 0x8000};
    }
}

bool VgaRegisters::plain_data_path() const {
    const uint8_t write_and_read_mode = gfx(kGfxMode) & 0x0B;
    return write_and_read_mode == 0 && gfx(kGfxEnableSetReset) == 0 && gfx(kGfxDataRotate) == 0 &&
           gfx(kGfxBitMask) == 0xFF;
}

bool VgaRegisters::blank() const {
    return (attr_index_ & kAttrDisplayOn) == 0 || (seq(kSeqClockingMode) & 0x20) != 0;
}

uint32_t VgaRegisters::vertical(unsigned index, unsigned bit8, unsigned bit9) const {
    const uint32_t overflow = crtc(kCrtcOverflow);
    return crtc(index) | ((overflow >> bit8) & 1) << 8 | ((overflow >> bit9) & 1) << 9;
}

uint32_t VgaRegisters::line_compare() const {
    return crtc(kCrtcLineCompare) | ((crtc(kCrtcOverflow) >> 4) & 1u) << 8 |
           ((crtc(kCrtcMaximumScanLine) >> 6) & 1u) << 9;
}

uint32_t VgaRegisters::display_address(uint32_t counter, uint32_t row_scan) const {
    const uint8_t mode = crtc(kCrtcModeControl);
    uint32_t address = counter & 0xFFFF;
    if ((crtc(kCrtcUnderlineLocation) & 0x40) != 0) // doubleword
        address = address << 2 | address >> 14;
    else if ((mode & 0x40) == 0) // word
        address = address << 1 | ((address >> ((mode & 0x20) != 0 ? 15 : 13)) & 1);
    if ((mode & 0x01) == 0) // CGA: odd lines 8 KiB up
        address = (address & ~0x2000u) | (row_scan & 1) << 13;
    if ((mode & 0x02) == 0) // Hercules: four banks
        address = (address & ~0x4000u) | ((row_scan >> 1) & 1) << 14;
    return address & 0xFFFF;
}

uint32_t VgaRegisters::dac_color(uint8_t index) const {
    const uint8_t* entry = &dac_[(index & dac_mask_) * 3u];
    uint32_t color = 0;
    for (unsigned component = 0; component < 3; ++component) {
        uint32_t level = entry[component];
        if (!dac_8bit_) {
            level &= 0x3F;
            level = level << 2 | level >> 4;
        }
        color = color << 8 | level;
    }
    return color;
}

uint8_t VgaRegisters::palette_index(uint8_t attribute) const {
    const uint8_t internal = attr_[attribute & attr_[kAttrColorPlaneEnable] & 0x0F];
    const uint8_t select = attr_[kAttrColorSelect];
    // Mode control bit 7: colour select also supplies bits 4 and 5.
    if ((attr_[kAttrModeControl] & 0x80) != 0)
        return static_cast<uint8_t>((internal & 0x0F) | select << 4);
    return static_cast<uint8_t>((internal & 0x3F) | (select & 0x0C) << 4);
}

void VgaRegisters::serialize(base::StateArchive& archive) {
    archive.field("sequencer", seq_);
    archive.field("graphics", gfx_);
    archive.field("crtc", crtc_);
    archive.field("attribute", attr_);
    archive.field("dac", dac_);
    archive.field("misc", misc_);
    archive.field("feature", feature_);
    archive.field("enable", enable_);
    archive.field("sequencer_index", seq_index_);
    archive.field("graphics_index", gfx_index_);
    archive.field("crtc_index", crtc_index_);
    archive.field("attribute_index", attr_index_);
    archive.field("attribute_data_next", attr_data_next_);
    archive.field("dac_mask", dac_mask_);
    archive.field("dac_read_index", dac_read_index_);
    archive.field("dac_write_index", dac_write_index_);
    archive.field("dac_component", dac_component_);
    archive.field("dac_state", dac_state_);
    if (!archive.loading())
        return;
    // Saved state is hostile: the same bounds as the ports give.
    for (unsigned i = 0; i < seq_.size(); ++i)
        seq_[i] &= kSeqMask[i];
    for (unsigned i = 0; i < gfx_.size(); ++i)
        gfx_[i] &= kGfxMask[i];
    for (unsigned i = 0; i < attr_.size(); ++i)
        attr_[i] &= attr_mask(i);
    seq_index_ &= 7;
    gfx_index_ &= 0xF;
    crtc_index_ &= 0x3F;
    attr_index_ &= 0x3F;
    attr_data_next_ &= 1;
    dac_component_ %= 3;
}

} // namespace vmm
