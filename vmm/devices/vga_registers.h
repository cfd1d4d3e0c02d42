// The VGA's port-visible registers (IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem"):
// miscellaneous output, sequencer, graphics controller, CRT controller, attribute controller and DAC, with
// the index and flip-flop rules of their ports, and the decodings the other parts need. Knows neither
// memory nor time.
#pragma once
#include "vmm/base/state_archive.h"

#include <array>
#include <cstdint>

namespace vmm {

// Sequencer, graphics, CRTC and attribute register indices, named as in the reference.
enum SequencerRegister : uint8_t {
    kSeqClockingMode = 1,
    kSeqMapMask = 2,
    kSeqCharacterMap = 3,
    kSeqMemoryMode = 4,
};
enum GraphicsRegister : uint8_t {
    kGfxSetReset = 0,
    kGfxEnableSetReset = 1,
    kGfxColorCompare = 2,
    kGfxDataRotate = 3,
    kGfxReadMapSelect = 4,
    kGfxMode = 5,
    kGfxMiscellaneous = 6,
    kGfxColorDontCare = 7,
    kGfxBitMask = 8,
};
enum CrtcRegister : uint8_t {
    kCrtcHorizontalTotal = 0x00,
    kCrtcHorizontalDisplayEnd = 0x01,
    kCrtcVerticalTotal = 0x06,
    kCrtcOverflow = 0x07,
    kCrtcPresetRowScan = 0x08,
    kCrtcMaximumScanLine = 0x09,
    kCrtcCursorStart = 0x0A,
    kCrtcCursorEnd = 0x0B,
    kCrtcStartHigh = 0x0C,
    kCrtcStartLow = 0x0D,
    kCrtcCursorHigh = 0x0E,
    kCrtcCursorLow = 0x0F,
    kCrtcVerticalRetraceStart = 0x10,
    kCrtcVerticalRetraceEnd = 0x11,
    kCrtcVerticalDisplayEnd = 0x12,
    kCrtcOffset = 0x13,
    kCrtcUnderlineLocation = 0x14,
    kCrtcModeControl = 0x17,
    kCrtcLineCompare = 0x18,
};
enum AttributeRegister : uint8_t {
    kAttrModeControl = 0x10,
    kAttrColorPlaneEnable = 0x12,
    kAttrPixelPanning = 0x13,
    kAttrColorSelect = 0x14,
};

// Where in A0000h-BFFFFh the adapter answers.
struct VgaAperture {
    uint32_t base = 0, bytes = 0;
};

class VgaRegisters {
  public:
    VgaRegisters() { reset(); }
    void reset();
    void serialize(base::StateArchive& archive);

    // Ports 3B0h-3BBh and 3C0h-3DFh. `status1` is what Input Status 1 shows now (vga_timing).
    uint8_t read_port(uint16_t port, uint8_t status1);
    void write_port(uint16_t port, uint8_t value);
    // That port is Input Status 1 now.
    [[nodiscard]] bool is_input_status1(uint16_t port) const {
        return (port & 0xF) == 0xA && crtc_port_selected(port);
    }
    // DAC entries are 6 bits wide, or 8 when the DISPI interface says so.
    void set_dac_8bit(bool wide) { dac_8bit_ = wide; }

    [[nodiscard]] uint8_t misc() const { return misc_; }
    [[nodiscard]] uint8_t seq(unsigned index) const { return seq_[index & 7]; }
    [[nodiscard]] uint8_t gfx(unsigned index) const { return gfx_[index & 15]; }
    [[nodiscard]] uint8_t crtc(unsigned index) const { return crtc_[index & 31]; }
    [[nodiscard]] uint8_t attr(unsigned index) const { return attr_[index & 31]; }

    // Memory access.
    [[nodiscard]] bool memory_enabled() const { return (misc_ & 0x02) != 0; }
    [[nodiscard]] bool chain4() const { return (seq(kSeqMemoryMode) & 0x08) != 0; }
    [[nodiscard]] bool odd_even_write() const { return (seq(kSeqMemoryMode) & 0x04) == 0; }
    [[nodiscard]] bool odd_even_read() const { return (gfx(kGfxMode) & 0x10) != 0; }
    [[nodiscard]] bool odd_even_address() const { return (gfx(kGfxMiscellaneous) & 0x02) != 0; }
    [[nodiscard]] VgaAperture aperture() const;
    // Writes store the CPU's byte and reads return it: nothing of the data path is in use.
    [[nodiscard]] bool plain_data_path() const;

    // Display.
    [[nodiscard]] bool blank() const;
    [[nodiscard]] bool graphics() const { return (gfx(kGfxMiscellaneous) & 0x01) != 0; }
    [[nodiscard]] bool shift_256() const { return (gfx(kGfxMode) & 0x40) != 0; }
    [[nodiscard]] bool shift_interleave() const { return (gfx(kGfxMode) & 0x20) != 0; }
    [[nodiscard]] bool nine_dots() const { return (seq(kSeqClockingMode) & 0x01) == 0; }
    [[nodiscard]] bool half_dot_clock() const { return (seq(kSeqClockingMode) & 0x08) != 0; }
    [[nodiscard]] uint32_t display_characters() const { return crtc(kCrtcHorizontalDisplayEnd) + 1u; }
    [[nodiscard]] uint32_t display_lines() const { return vertical(kCrtcVerticalDisplayEnd, 1, 6) + 1; }
    [[nodiscard]] uint32_t total_lines() const { return vertical(kCrtcVerticalTotal, 0, 5) + 2; }
    [[nodiscard]] uint32_t retrace_line() const { return vertical(kCrtcVerticalRetraceStart, 2, 7); }
    [[nodiscard]] uint32_t line_compare() const;
    [[nodiscard]] uint32_t rows_scan_lines() const { return (crtc(kCrtcMaximumScanLine) & 0x1Fu) + 1; }
    [[nodiscard]] bool double_scan() const { return (crtc(kCrtcMaximumScanLine) & 0x80) != 0; }
    [[nodiscard]] uint32_t start_address() const { return crtc(kCrtcStartHigh) * 256u + crtc(kCrtcStartLow); }
    [[nodiscard]] uint32_t cursor_address() const {
        return crtc(kCrtcCursorHigh) * 256u + crtc(kCrtcCursorLow);
    }
    // Plane offset that the CRTC's address counter reads, after byte/word/doubleword mode and the
    // replacement of MA13/MA14 by the row scan counter.
    [[nodiscard]] uint32_t display_address(uint32_t counter, uint32_t row_scan) const;
    // A DAC entry as 00RRGGBBh; the PEL mask is applied here.
    [[nodiscard]] uint32_t dac_color(uint8_t index) const;
    // A 4-bit attribute through the colour plane enable, the palette and the colour select register.
    [[nodiscard]] uint8_t palette_index(uint8_t attribute) const;

  private:
    [[nodiscard]] uint32_t vertical(unsigned index, unsigned bit8, unsigned bit9) const;
    [[nodiscard]] bool crtc_port_selected(uint16_t port) const;
    void write_crtc(uint8_t value);
    void write_attribute(uint8_t value);
    void write_dac(uint8_t value);
    uint8_t read_dac();

    std::array<uint8_t, 8> seq_{};
    std::array<uint8_t, 16> gfx_{};
    std::array<uint8_t, 32> crtc_{};
    std::array<uint8_t, 32> attr_{};
    std::array<uint8_t, 768> dac_{}; // red, green, blue as written
    uint8_t misc_ = 0, feature_ = 0, enable_ = 0;
    uint8_t seq_index_ = 0, gfx_index_ = 0, crtc_index_ = 0;
    uint8_t attr_index_ = 0;     // bit 5: palette address source (display on)
    uint8_t attr_data_next_ = 0; // the address/data flip-flop of 3C0h
    uint8_t dac_mask_ = 0xFF;    // PEL mask
    uint8_t dac_read_index_ = 0, dac_write_index_ = 0, dac_component_ = 0, dac_state_ = 0;
    bool dac_8bit_ = false; // belongs to the DISPI registers, which set it again after a load
};

} // namespace vmm
