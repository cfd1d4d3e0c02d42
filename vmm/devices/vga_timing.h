// Where the electron beam is: Input Status 1 and the blink phases follow the virtual clock, at the rate that
// the CRTC and dot clock registers give.
#pragma once
#include "vmm/devices/vga_registers.h"

#include <cstdint>

namespace vmm {

struct VgaBlink {
    bool cursor_on = true;     // the text cursor: on for 8 frames of 16
    bool characters_on = true; // blinking characters: on for 16 frames of 32
    [[nodiscard]] bool operator==(const VgaBlink&) const = default;
};

inline constexpr uint8_t kVgaDisplayDisabled = 0x01, kVgaVerticalRetrace = 0x08;
// Input Status 1 (3DAh/3BAh) at virtual time `now` (ns): bit 0 display disabled, bit 3 vertical retrace.
[[nodiscard]] uint8_t vga_input_status1(const VgaRegisters& registers, uint64_t now);
// When, after `now`, the next vertical retrace begins as Input Status 1 shows it; in modes that never show
// one, when the next frame begins.
[[nodiscard]] uint64_t vga_next_retrace(const VgaRegisters& registers, uint64_t now);
[[nodiscard]] VgaBlink vga_blink(uint64_t now);

} // namespace vmm
