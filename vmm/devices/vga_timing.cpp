#include "vmm/devices/vga_timing.h"

#include "vmm/bus/clock.h"

#include <algorithm>

namespace vmm {

namespace {

constexpr uint64_t kDotClocks[] = {25'175'000, 28'322'000}; // Miscellaneous Output bits 3-2: 0 and 1
constexpr uint64_t kBlinkFrame = kNanosPerSecond / 70;
// Registers that give no plausible monitor rate are read as 640x480 at 60 Hz.
constexpr uint64_t kShortestFrame = kNanosPerSecond / 130, kLongestFrame = kNanosPerSecond / 40;

struct Frame {
    uint64_t nanoseconds = kNanosPerSecond / 60;
    uint64_t lines = 525, display_lines = 480, retrace_line = 490;
    uint64_t characters = 100, display_characters = 80;
};

Frame frame_of(const VgaRegisters& registers) {
    const uint64_t characters = registers.crtc(kCrtcHorizontalTotal) + 5u;
    const uint64_t dots = characters * (registers.nine_dots() ? 9 : 8) * (registers.half_dot_clock() ? 2 : 1);
    const uint64_t lines = registers.total_lines();
    const uint64_t frame = dots * lines * kNanosPerSecond / kDotClocks[registers.misc() >> 2 & 1];
    if (frame < kShortestFrame || frame > kLongestFrame)
        return {};
    return {frame,
            lines,
            registers.display_lines(),
            registers.retrace_line(),
            characters,
            registers.display_characters()};
}

} // namespace

uint8_t vga_input_status1(const VgaRegisters& registers, uint64_t now) {
    const Frame frame = frame_of(registers);
    const uint64_t position = now % frame.nanoseconds * frame.lines; // in line-nanoseconds
    const uint64_t line = position / frame.nanoseconds;
    const uint64_t character = position % frame.nanoseconds * frame.characters / frame.nanoseconds;
    uint8_t status = 0;
    if (line >= frame.display_lines || character >= frame.display_characters)
        status |= kVgaDisplayDisabled;
    // DEVIATION: the retrace pulse lasts to the end of the blanking (about 1 ms) rather than two lines
    // (64 us), so that a guest that polls for it finds it even when the host held the thread for a while.
    if (line >= frame.retrace_line && line >= frame.display_lines)
        status |= kVgaVerticalRetrace | kVgaDisplayDisabled;
    return status;
}

uint64_t vga_next_retrace(const VgaRegisters& registers, uint64_t now) {
    const Frame frame = frame_of(registers);
    const uint64_t line = std::min(std::max(frame.retrace_line, frame.display_lines), frame.lines);
    // The first nanosecond that vga_input_status1() places on that line.
    const uint64_t begins = (line * frame.nanoseconds + frame.lines - 1) / frame.lines;
    const uint64_t this_frames = now - now % frame.nanoseconds + begins;
    return this_frames > now ? this_frames : this_frames + frame.nanoseconds;
}

VgaBlink vga_blink(uint64_t now) {
    const uint64_t frame = now / kBlinkFrame;
    return {(frame & 8) == 0, (frame & 16) == 0};
}

} // namespace vmm
