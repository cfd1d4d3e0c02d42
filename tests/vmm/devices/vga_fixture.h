// A display adapter in a small machine, and the register values of the classic BIOS modes (IBM VGA BIOS
// parameter table), so that tests program it as software does: through ports and memory.
#pragma once
#include "chipset_fixture.h"

#include <array>
#include <cstdint>
#include <vector>

namespace vmm {

struct VgaMode {
    uint8_t misc;
    std::array<uint8_t, 5> seq;
    std::array<uint8_t, 25> crtc;
    std::array<uint8_t, 9> gfx;
    std::array<uint8_t, 21> attr;
};

inline constexpr VgaMode kMode03{0x67,
                                 {0x03, 0x00, 0x03, 0x00, 0x02},
                                 {0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00,
                                  0x4F, 0x0D, 0x0E, 0x00, 0x00, 0x00, 0x00, 0x9C, 0x8E,
                                  0x8F, 0x28, 0x1F, 0x96, 0xB9, 0xA3, 0xFF},
                                 {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0E, 0x00, 0xFF},
                                 {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3A,
                                  0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0x0C, 0x00, 0x0F, 0x08, 0x00}};
inline constexpr VgaMode kMode04{0x63,
                                 {0x03, 0x09, 0x03, 0x00, 0x02},
                                 {0x2D, 0x27, 0x28, 0x90, 0x2B, 0x80, 0xBF, 0x1F, 0x00,
                                  0xC1, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x9C, 0x8E,
                                  0x8F, 0x14, 0x00, 0x96, 0xB9, 0xA2, 0xFF},
                                 {0x00, 0x00, 0x00, 0x00, 0x00, 0x30, 0x0F, 0x00, 0xFF},
                                 {0x00, 0x13, 0x15, 0x17, 0x02, 0x04, 0x06, 0x07, 0x10, 0x11, 0x12,
                                  0x13, 0x14, 0x15, 0x16, 0x17, 0x01, 0x00, 0x03, 0x00, 0x00}};
inline constexpr VgaMode kMode12{0xE3,
                                 {0x03, 0x01, 0x0F, 0x00, 0x06},
                                 {0x5F, 0x4F, 0x50, 0x82, 0x54, 0x80, 0x0B, 0x3E, 0x00,
                                  0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xEA, 0x8C,
                                  0xDF, 0x28, 0x00, 0xE7, 0x04, 0xE3, 0xFF},
                                 {0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x0F, 0xFF},
                                 {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3A,
                                  0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0x01, 0x00, 0x0F, 0x00, 0x00}};
inline constexpr VgaMode kMode13{0x63,
                                 {0x03, 0x01, 0x0F, 0x00, 0x0E},
                                 {0x5F, 0x4F, 0x50, 0x82, 0x54, 0x80, 0xBF, 0x1F, 0x00,
                                  0x41, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x9C, 0x8E,
                                  0x8F, 0x28, 0x40, 0x96, 0xB9, 0xA3, 0xFF},
                                 {0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x05, 0x0F, 0xFF},
                                 {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A,
                                  0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x41, 0x00, 0x0F, 0x00, 0x00}};

struct VgaFixture : ChipsetFixture {
    static constexpr uint32_t kLfb = 0xE0000000;

    VgaFixture() : device(make_vga(platform)) {}

    void out(uint16_t port, uint32_t value) { platform.io.write(port, 1, value); }
    uint32_t in(uint16_t port) { return platform.io.read(port, 1); }
    void seq(uint8_t index, uint8_t value) { out(0x3C4, index), out(0x3C5, value); }
    void gfx(uint8_t index, uint8_t value) { out(0x3CE, index), out(0x3CF, value); }
    void crtc(uint8_t index, uint8_t value) { out(0x3D4, index), out(0x3D5, value); }
    void attr(uint8_t index, uint8_t value) {
        in(0x3DA);
        out(0x3C0, index), out(0x3C0, value);
        out(0x3C0, 0x20);
    }
    void dispi(uint16_t index, uint16_t value) {
        platform.io.write(0x1CE, 2, index);
        platform.io.write(0x1CF, 2, value);
    }
    uint32_t dispi(uint16_t index) {
        platform.io.write(0x1CE, 2, index);
        return platform.io.read(0x1CF, 2);
    }
    // Long enough for what waits for a retrace, in whole cycles of what blinks.
    void next_frames() { platform.clock.set_manual(platform.clock.now() + kNanosPerSecond / 70 * 32); }
    // DAC entry i becomes (i, 63 - i/4, 2i mod 64), so that every entry differs.
    void set_dac() {
        out(0x3C8, 0);
        for (unsigned i = 0; i < 256; ++i)
            out(0x3C9, i & 0x3F), out(0x3C9, 63 - i / 4), out(0x3C9, i * 2 & 0x3F);
    }
    static uint32_t dac(unsigned i) {
        const auto wide = [](uint32_t level) { return level << 2 | level >> 4; };
        return wide(i & 0x3F) << 16 | wide(63 - i / 4) << 8 | wide(i * 2 & 0x3F);
    }
    void set_mode(const VgaMode& mode) {
        out(0x3C2, mode.misc);
        for (uint8_t i = 0; i < mode.seq.size(); ++i)
            seq(i, mode.seq[i]);
        crtc(0x11, 0); // lift the protection
        for (uint8_t i = 0; i < mode.crtc.size(); ++i)
            crtc(i, mode.crtc[i]);
        for (uint8_t i = 0; i < mode.gfx.size(); ++i)
            gfx(i, mode.gfx[i]);
        for (uint8_t i = 0; i < mode.attr.size(); ++i)
            attr(i, mode.attr[i]);
    }
    // As a BIOS does: plane 2 alone, sequential, at A0000h.
    void load_glyph(uint8_t character, const std::vector<uint8_t>& rows) {
        seq(2, 4), seq(4, 7), gfx(4, 2), gfx(5, 0), gfx(6, 4);
        for (uint32_t i = 0; i < rows.size(); ++i)
            memory->write<uint8_t>(0xA0000 + character * 32u + i, rows[i]);
        seq(2, 3), seq(4, 2), gfx(4, 0), gfx(5, 0x10), gfx(6, 0x0E);
    }
    void linear_mode(uint16_t width, uint16_t height, uint16_t bits) {
        dispi(4, 0);
        dispi(1, width), dispi(2, height), dispi(3, bits);
        dispi(4, 0x41);
        in(0x3DA);
        out(0x3C0, 0x20);
    }
    void pci_write(uint8_t offset, uint32_t value) {
        platform.pci.config_write(0x80001000u | offset, 4, value);
    }
    uint32_t pci_read(uint8_t offset) { return platform.pci.config_read(0x80001000u | offset, 4); }
    void map_frame_buffer() { pci_write(0x10, kLfb), pci_write(0x04, 3); }
    PageKind kind(uint32_t address) { return memory->entry(address >> kPageShift).kind; }
    Picture picture() {
        Picture picture;
        platform.outputs.picture(canvas_of(picture));
        return picture;
    }

    std::unique_ptr<Device> device;
};

inline uint32_t pixel(const Picture& picture, uint32_t x, uint32_t y) {
    REQUIRE(x < picture.width);
    REQUIRE(y < picture.height);
    return picture.pixels[size_t{y} * picture.width + x];
}

} // namespace vmm
