#include "vmm/devices/vga_edid.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string_view>

namespace vmm {
namespace {

constexpr uint32_t kSmallestWidth = 640, kSmallestHeight = 480, kCell = 8; // pixels
constexpr uint32_t kRefresh = 60;

void put16(uint8_t* to, uint32_t value) {
    to[0] = static_cast<uint8_t>(value);
    to[1] = static_cast<uint8_t>(value >> 8);
}

// VESA CVT 1.2, section 3.4: reduced blanking, version 1.
struct Timing {
    uint32_t clock_10khz, h_blank, h_front, h_sync, v_blank, v_front, v_sync;
};
Timing reduced_blanking(DisplaySize size) {
    constexpr uint32_t kHBlank = 160, kHFront = 48, kHSync = 32, kVFront = 3, kVBack = 6, kMinVBlankUs = 460;
    // The width of the vertical sync says the shape (table 3-2).
    const auto is = [&](uint32_t x, uint32_t y) { return size.width * y == size.height * x; };
    const uint32_t v_sync = is(4, 3) ? 4 : is(16, 9) ? 5 : is(16, 10) ? 6 : is(5, 4) || is(15, 9) ? 7 : 10;
    const double line_us = (1e6 / kRefresh - kMinVBlankUs) / size.height;
    const uint32_t v_blank =
        std::max(static_cast<uint32_t>(kMinVBlankUs / line_us) + 1, kVFront + v_sync + kVBack);
    const uint64_t pixels = uint64_t{size.height + v_blank} * (size.width + kHBlank) * kRefresh;
    const auto clock = static_cast<uint32_t>(pixels / 250'000 * 25); // steps of 0.25 MHz
    return {clock, kHBlank, kHFront, kHSync, v_blank, kVFront, v_sync};
}

// E-EDID 1.4, section 3.10.2.
void put_detailed_timing(uint8_t* to, DisplaySize size, uint32_t width_mm, uint32_t height_mm) {
    const Timing timing = reduced_blanking(size);
    put16(to, timing.clock_10khz);
    const auto high = [](uint32_t one, uint32_t other) {
        return static_cast<uint8_t>((one >> 8 & 0xF) << 4 | (other >> 8 & 0xF));
    };
    to[2] = static_cast<uint8_t>(size.width);
    to[3] = static_cast<uint8_t>(timing.h_blank);
    to[4] = high(size.width, timing.h_blank);
    to[5] = static_cast<uint8_t>(size.height);
    to[6] = static_cast<uint8_t>(timing.v_blank);
    to[7] = high(size.height, timing.v_blank);
    to[8] = static_cast<uint8_t>(timing.h_front);
    to[9] = static_cast<uint8_t>(timing.h_sync);
    to[10] = static_cast<uint8_t>((timing.v_front & 0xF) << 4 | (timing.v_sync & 0xF));
    to[11] = 0; // nothing above in the four numbers before
    to[12] = static_cast<uint8_t>(width_mm);
    to[13] = static_cast<uint8_t>(height_mm);
    to[14] = high(width_mm, height_mm);
    to[17] = 0x1A; // digital separate sync: horizontal +, vertical -
}

// Section 3.10.3: a display descriptor with a text.
void put_name(uint8_t* to, std::string_view name) {
    constexpr size_t kText = 5, kTextBytes = 13;
    to[3] = 0xFC;
    std::memset(to + kText, ' ', kTextBytes);
    std::copy_n(name.begin(), std::min(name.size(), kTextBytes - 1), to + kText);
    to[kText + std::min(name.size(), kTextBytes - 1)] = '\n';
}

} // namespace

DisplaySize nearest_mode(DisplaySize wanted, DisplaySize most, uint32_t vram_bytes) {
    for (uint32_t divisor = 1; divisor <= 4; ++divisor) {
        const DisplaySize size{wanted.width / divisor / kCell * kCell, wanted.height / divisor};
        if (size.width < kSmallestWidth || size.height < kSmallestHeight)
            break;
        if (size.width <= most.width && size.height <= most.height &&
            uint64_t{size.width} * size.height * 4 <= vram_bytes)
            return size;
    }
    return {};
}

EdidBlock make_edid(DisplaySize size) {
    constexpr uint32_t kDpi = 96;
    const uint32_t width_mm = size.width * 254 / (10 * kDpi), height_mm = size.height * 254 / (10 * kDpi);
    EdidBlock block{0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00};
    // 3.4: manufacturer, five bits a letter; product 1; made in 2026; version 1.4.
    constexpr uint16_t kMaker = ('E' - '@') << 10 | ('N' - '@') << 5 | ('C' - '@');
    block[8] = kMaker >> 8;
    block[9] = kMaker & 0xFF;
    put16(&block[10], 1);
    block[17] = 2026 - 1990;
    block[18] = 1;
    block[19] = 4;
    block[20] = 0xA0; // 3.6: digital, 8 bits a colour
    block[21] = static_cast<uint8_t>(width_mm / 10);
    block[22] = static_cast<uint8_t>(height_mm / 10);
    block[23] = 120;  // gamma 2.2
    block[24] = 0x06; // sRGB; the first detailed timing is the native one
    // 3.7: the chromaticities of sRGB.
    constexpr uint8_t kColours[] = {0xEE, 0x91, 0xA3, 0x54, 0x4C, 0x99, 0x26, 0x0F, 0x50, 0x54};
    std::copy(std::begin(kColours), std::end(kColours), block.begin() + 25);
    block[35] = 0x21;                                   // 3.8: 640x480 and 800x600 at 60 Hz
    block[36] = 0x08;                                   // 1024x768 at 60 Hz
    std::fill_n(block.begin() + 38, 16, uint8_t{0x01}); // 3.9: no standard timings
    put_detailed_timing(&block[54], size, width_mm, height_mm);
    put_name(&block[72], "Encore");
    block[90 + 3] = block[108 + 3] = 0x10; // unused descriptors
    block[127] = static_cast<uint8_t>(-std::accumulate(block.begin(), block.end() - 1, 0));
    return block;
}

} // namespace vmm
