// The identification of the monitor behind the display adapter (VESA E-EDID 1.4, one block of 128 bytes),
// whose preferred mode is the size that the session's window would like. Linux' bochs-drm reads it in BAR 2.
#pragma once
#include <array>
#include <cstdint>

namespace vmm {

using EdidBlock = std::array<uint8_t, 128>;

struct DisplaySize {
    uint32_t width = 0, height = 0;
    bool operator==(const DisplaySize&) const = default;
};

// The largest mode of this shape that the adapter can show: at most `most`, and a whole divisor smaller than
// asked for when that is too large, so that the window scales it evenly. {0, 0}: too small for a screen.
[[nodiscard]] DisplaySize nearest_mode(DisplaySize wanted, DisplaySize most, uint32_t vram_bytes);

// `size`: from nearest_mode.
[[nodiscard]] EdidBlock make_edid(DisplaySize size);

} // namespace vmm
