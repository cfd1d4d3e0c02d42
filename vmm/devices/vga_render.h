// What is on screen: turns registers and video memory into a picture, as a monitor would show it. A scan line
// of the CRTC is a row of the picture, and modes that send each pixel twice get it twice (mode 13h is
// 640x400), so that pictures of all modes have the monitor's proportions. Reads only; every address is
// bounded by construction, whatever the registers say.
#pragma once
#include "vmm/bus/ports.h"
#include "vmm/devices/vga_dispi.h"
#include "vmm/devices/vga_frame.h"
#include "vmm/devices/vga_registers.h"
#include "vmm/devices/vga_timing.h"

#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace vmm {

// The adapter at one instant. vram: a power of two of at least 1 MiB, laid out as vga_memory.h says.
struct VgaView {
    const VgaRegisters& registers;
    const VgaDispi& dispi;
    std::span<const uint8_t> vram;
    VgaBlink blink;
    VgaFrameStart start;
};

void vga_render(const VgaView& view, const Canvas& canvas);

// Bytes of video memory [first, first+count) that a linear DISPI mode shows.
struct VgaVisibleBytes {
    size_t first = 0, count = 0;
};
[[nodiscard]] VgaVisibleBytes vga_visible_bytes(const DispiGeometry& geometry);

// One character row's worth of dots, as indices into a 256-colour table.
inline constexpr uint32_t kVgaMaxCharacters = 256;
inline constexpr uint32_t kVgaMaxDots = (kVgaMaxCharacters + 2) * 9;
using VgaDots = std::array<uint8_t, kVgaMaxDots>;

// vga_text.cpp: draws scan line `row_scan` of the text row whose first cell is at address counter
// `row_address`, `characters` cells wide, as 4-bit colours.
void vga_draw_text_line(const VgaView& view, uint32_t row_address, uint32_t row_scan, uint32_t characters,
                        VgaDots& dots);
// vga_text.cpp: the text on screen in UTF-8 (code page 437), rows separated by newlines without trailing
// blanks; "" in graphics modes or while the display is off.
[[nodiscard]] std::string vga_text_screen(const VgaView& view);

// Walks the scan lines as the CRTC does: row scan counter, double scanning, start address, panning and
// the split at line compare.
class VgaScan {
  public:
    explicit VgaScan(const VgaView& view);
    [[nodiscard]] uint32_t row_address() const { return row_address_; } // address counter, 16 bits
    [[nodiscard]] uint32_t row_scan() const { return row_scan_; }
    [[nodiscard]] bool repeated() const { return repeated_; } // second showing of a double-scanned line
    [[nodiscard]] bool panned() const { return panned_; }     // pixel panning applies to this line
    void next_line();

  private:
    const VgaRegisters& registers_;
    uint32_t line_ = 0, row_address_ = 0, row_scan_ = 0;
    bool repeated_ = false, panned_ = true;
};

} // namespace vmm
