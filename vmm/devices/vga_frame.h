// What the CRT controller takes up at a frame's beginning only: the display start address, latched at the
// start of vertical retrace, and the preset row scan, loaded at its end (IBM PS/2 Hardware Interface
// Technical Reference, "Video Subsystem", CRTC 08h, 0Ch, 0Dh). Programs write the one in one frame and pixel
// panning, which no latch holds, in the retrace before the next.
#pragma once
#include "vmm/devices/vga_registers.h"

#include <cstdint>

namespace vmm {

struct VgaFrameStart {
    uint32_t address = 0;        // CRTC 0Ch, 0Dh
    uint8_t preset_row_scan = 0; // CRTC 08h: row scan, and byte panning in bits 5-6
    uint8_t panning = 0;         // attribute 13h
    [[nodiscard]] bool operator==(const VgaFrameStart&) const = default;
};

[[nodiscard]] inline VgaFrameStart vga_written_start(const VgaRegisters& registers) {
    return {registers.start_address(), registers.crtc(kCrtcPresetRowScan), registers.attr(kAttrPixelPanning)};
}

// DEVIATION: a guest that polls Input Status 1 sees every retrace at which a new start address counts, and
// the picture stands where its last look left it: had the host held its thread over a retrace, it would be
// late with the panning, and the picture would jump as on no real monitor.
class VgaFrame {
  public:
    void reset() { *this = {}; }
    void serialize(base::StateArchive& archive, const VgaRegisters& registers, uint64_t now);

    // The guest reads Input Status 1.
    uint8_t read_status(const VgaRegisters& registers, uint64_t now);
    // The guest wrote to a register; the frame's were `before`.
    void written(const VgaFrameStart& before, const VgaRegisters& registers, uint64_t now);
    // What the picture at this moment began with.
    [[nodiscard]] const VgaFrameStart& shown(const VgaRegisters& registers, uint64_t now);

  private:
    bool latch(uint32_t address, uint64_t now);
    void show(const VgaRegisters& registers, bool new_frame);

    VgaFrameStart shown_;
    uint32_t latched_ = 0;           // start address of the next frame
    uint64_t latch_at_ = UINT64_MAX; // the retrace that latches what has been written; never: nothing has
    uint64_t watched_until_ = 0;     // the guest polls, and is taken to go on until then
    bool in_retrace_ = false;        // said so at its last look
};

} // namespace vmm
