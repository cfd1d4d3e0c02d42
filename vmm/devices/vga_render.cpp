#include "vmm/devices/vga_render.h"

#include "vmm/devices/vga_memory.h"

#include <algorithm>
#include <cstring>

namespace vmm {

namespace {

constexpr uint32_t kPixelMask = 0x00FFFFFF;
// Shown while the display is off and the registers give no size of their own.
constexpr uint32_t kDefaultWidth = 720, kDefaultHeight = 400, kSmallestSize = 64;

using ColorTable = std::array<uint32_t, 256>;

// The eight bits of a plane byte as eight bytes of 0 or 1, leftmost pixel first in memory.
constexpr std::array<uint64_t, 256> kSpread = [] {
    std::array<uint64_t, 256> spread{};
    for (unsigned byte = 0; byte < spread.size(); ++byte)
        for (unsigned pixel = 0; pixel < 8; ++pixel)
            spread[byte] |= uint64_t{byte >> (7 - pixel) & 1} << (8 * pixel);
    return spread;
}();

// Eight 4-bit pixels, one a byte, of a cell whose planes hold one bit of each pixel.
uint64_t planar_pixels(uint32_t cell) {
    return kSpread[cell & 0xFF] | kSpread[cell >> 8 & 0xFF] << 1 | kSpread[cell >> 16 & 0xFF] << 2 |
           kSpread[cell >> 24] << 3;
}

// Shift register interleave (graphics mode bit 5): planes 0 and 1 hold two bits of four pixels each, planes 2
// and 3 the upper two bits of the same.
void draw_interleaved(uint32_t cell, uint8_t* dots) {
    for (unsigned pixel = 0; pixel < 8; ++pixel) {
        const unsigned plane = pixel / 4, shift = 6 - 2 * (pixel & 3);
        const uint32_t low = cell >> (8 * plane + shift) & 3;
        const uint32_t high = cell >> (8 * (plane + 2) + shift) & 3;
        dots[pixel] = static_cast<uint8_t>(low | high << 2);
    }
}

void draw_graphics_line(const VgaView& view, uint32_t row_address, uint32_t row_scan, uint32_t characters,
                        VgaDots& dots) {
    const VgaRegisters& registers = view.registers;
    const bool wide_pixels = registers.shift_256(), interleave = registers.shift_interleave();
    for (uint32_t i = 0; i < characters; ++i) {
        const uint32_t cell = vga_load_cell(view.vram, registers.display_address(row_address + i, row_scan));
        uint8_t* to = &dots[i * 8];
        if (wide_pixels) {
            for (unsigned pixel = 0; pixel < 4; ++pixel)
                to[2 * pixel] = to[2 * pixel + 1] = static_cast<uint8_t>(cell >> (8 * pixel));
        } else if (interleave) {
            draw_interleaved(cell, to);
        } else {
            const uint64_t pixels = planar_pixels(cell);
            std::memcpy(to, &pixels, sizeof pixels);
        }
    }
}

// Dots that the line is moved left by (attribute 13h).
uint32_t panning_dots(const VgaView& view, uint32_t dots_per_character) {
    const uint32_t pan = view.start.panning;
    if (view.registers.graphics() && view.registers.shift_256())
        return pan & 6; // in pixels of two dots
    if (dots_per_character == 9)
        return pan >= 8 ? 0 : pan + 1;
    return pan & 7;
}

ColorTable color_table(const VgaRegisters& registers) {
    ColorTable table{};
    const bool eight_bit = registers.graphics() && registers.shift_256();
    for (unsigned i = 0; i < table.size(); ++i) {
        const auto index = static_cast<uint8_t>(i);
        // DEVIATION: 256-colour pixels go straight to the DAC; in hardware each half passes the palette,
        // which such modes set to pass it unchanged.
        table[i] = registers.dac_color(eight_bit ? index : registers.palette_index(index & 0xF));
    }
    return table;
}

void draw_blank(const Canvas& canvas, uint32_t width, uint32_t height) {
    if (width < kSmallestSize || height < kSmallestSize)
        width = kDefaultWidth, height = kDefaultHeight;
    std::ranges::fill(canvas(width, height), 0);
}

void render_vga(const VgaView& view, const Canvas& canvas) {
    const VgaRegisters& registers = view.registers;
    const uint32_t characters = registers.display_characters(), lines = registers.display_lines();
    const uint32_t dots_per_character = !registers.graphics() && registers.nine_dots() ? 9 : 8;
    const uint32_t dot_count = characters * dots_per_character;
    const uint32_t repeat = registers.half_dot_clock() ? 2 : 1;
    if (registers.blank())
        return draw_blank(canvas, dot_count * repeat, lines);
    const std::span<uint32_t> pixels = canvas(dot_count * repeat, lines);
    if (pixels.empty())
        return;
    const ColorTable colors = color_table(registers);
    const uint32_t panning = panning_dots(view, dots_per_character);
    VgaDots dots{};
    uint32_t* out = pixels.data();
    VgaScan scan(view);
    for (uint32_t line = 0; line < lines; ++line, scan.next_line()) {
        // One character more than is shown, for panning to move in.
        if (registers.graphics())
            draw_graphics_line(view, scan.row_address(), scan.row_scan(), characters + 1, dots);
        else
            vga_draw_text_line(view, scan.row_address(), scan.row_scan(), characters + 1, dots);
        const uint8_t* from = &dots[scan.panned() ? panning : 0];
        for (uint32_t i = 0; i < dot_count; ++i)
            for (uint32_t n = 0; n < repeat; ++n)
                *out++ = colors[from[i]];
    }
}

uint32_t expand_bits(uint32_t value, unsigned bits) {
    return bits == 5 ? value << 3 | value >> 2 : value << 2 | value >> 4;
}

uint32_t from_555(uint32_t pixel) {
    return expand_bits(pixel >> 10 & 0x1F, 5) << 16 | expand_bits(pixel >> 5 & 0x1F, 5) << 8 |
           expand_bits(pixel & 0x1F, 5);
}

uint32_t from_565(uint32_t pixel) {
    return expand_bits(pixel >> 11, 5) << 16 | expand_bits(pixel >> 5 & 0x3F, 6) << 8 |
           expand_bits(pixel & 0x1F, 5);
}

void draw_linear_row(const uint8_t* from, const DispiGeometry& geometry, const ColorTable& colors,
                     uint32_t* out) {
    const uint32_t width = geometry.width;
    switch (geometry.bits_per_pixel) {
    case 8:
        for (uint32_t i = 0; i < width; ++i)
            out[i] = colors[from[i]];
        return;
    case 15:
    case 16: {
        const bool green6 = geometry.bits_per_pixel == 16;
        for (uint32_t i = 0; i < width; ++i) {
            const uint32_t pixel = from[2 * i] | static_cast<uint32_t>(from[2 * i + 1]) << 8;
            out[i] = green6 ? from_565(pixel) : from_555(pixel);
        }
        return;
    }
    case 24:
        for (uint32_t i = 0; i < width; ++i)
            out[i] = from[3 * i] | static_cast<uint32_t>(from[3 * i + 1]) << 8 |
                     static_cast<uint32_t>(from[3 * i + 2]) << 16;
        return;
    default:
        break;
    }
    std::memcpy(out, from, size_t{width} * 4);
    for (uint32_t i = 0; i < width; ++i)
        out[i] &= kPixelMask;
}

// A 4-bit DISPI mode: planar, addressed like the VGA's byte mode but beyond 64 Ki offsets.
void draw_planar_row(const VgaView& view, uint32_t offset, uint32_t skip, const DispiGeometry& geometry,
                     const ColorTable& colors, uint32_t* out) {
    uint64_t pixels = 0;
    for (uint32_t i = 0; i < geometry.width; ++i) {
        const uint32_t at = i + skip;
        if (i == 0 || at % 8 == 0)
            pixels = planar_pixels(vga_load_cell(view.vram, offset + at / 8));
        out[i] = colors[pixels >> (8 * (at % 8)) & 0xF];
    }
}

void render_dispi(const VgaView& view, const Canvas& canvas) {
    const DispiGeometry geometry = view.dispi.geometry();
    if (view.registers.blank())
        return draw_blank(canvas, geometry.width, geometry.height);
    const std::span<uint32_t> pixels = canvas(geometry.width, geometry.height);
    if (pixels.empty())
        return;
    ColorTable colors{};
    for (unsigned i = 0; i < colors.size(); ++i) {
        const auto index = static_cast<uint8_t>(i);
        colors[i] = view.registers.dac_color(
            geometry.bits_per_pixel == 4 ? view.registers.palette_index(index & 0xF) : index);
    }
    for (uint32_t y = 0; y < geometry.height; ++y) {
        const uint32_t start = geometry.start + y * geometry.row_bytes;
        uint32_t* out = &pixels[size_t{y} * geometry.width];
        if (geometry.bits_per_pixel == 4)
            draw_planar_row(view, start, geometry.x_offset & 7, geometry, colors, out);
        else
            draw_linear_row(&view.vram[start], geometry, colors, out);
    }
}

} // namespace

VgaScan::VgaScan(const VgaView& view) : registers_(view.registers) {
    const uint32_t byte_panning = view.start.preset_row_scan >> 5 & 3;
    row_address_ = (view.start.address + byte_panning) & 0xFFFF;
    row_scan_ = view.start.preset_row_scan & 0x1F;
}

void VgaScan::next_line() {
    if (line_++ == registers_.line_compare()) {
        // The line after the compared one shows the start of memory; with attribute mode bit 5, unpanned.
        row_address_ = row_scan_ = 0;
        repeated_ = false;
        if ((registers_.attr(kAttrModeControl) & 0x20) != 0)
            panned_ = false;
        return;
    }
    if (registers_.double_scan() && !repeated_) {
        repeated_ = true;
        return;
    }
    repeated_ = false;
    if (row_scan_ + 1 != registers_.rows_scan_lines()) {
        row_scan_ = (row_scan_ + 1) & 0x1F;
        return;
    }
    row_scan_ = 0;
    row_address_ = (row_address_ + registers_.crtc(kCrtcOffset) * 2u) & 0xFFFF;
}

VgaVisibleBytes vga_visible_bytes(const DispiGeometry& geometry) {
    const uint32_t row = geometry.width * ((geometry.bits_per_pixel + 7) / 8);
    return {geometry.start, size_t{geometry.height - 1} * geometry.row_bytes + row};
}

void vga_render(const VgaView& view, const Canvas& canvas) {
    view.dispi.enabled() ? render_dispi(view, canvas) : render_vga(view, canvas);
}

} // namespace vmm
