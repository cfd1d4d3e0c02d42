#include "vmm/devices/vga_memory.h"

#include "vmm/base/verify.h"

namespace vmm {

namespace {

// A 4-bit plane set as a mask of whole plane bytes.
constexpr std::array<uint32_t, 16> kPlaneMask = [] {
    std::array<uint32_t, 16> masks{};
    for (unsigned planes = 0; planes < masks.size(); ++planes)
        for (unsigned plane = 0; plane < 4; ++plane)
            if ((planes >> plane & 1) != 0)
                masks[planes] |= 0xFFu << (8 * plane);
    return masks;
}();

constexpr uint32_t kOddPlanes = 0xA, kEvenPlanes = 0x5;

uint32_t replicate(uint8_t byte) { return byte * 0x01010101u; }

struct PlaneAddress {
    bool decoded = false;
    uint32_t address = 0; // within the aperture
    uint32_t offset = 0;  // into the planes
};

PlaneAddress decode(const VgaRegisters& registers, uint32_t address) {
    const VgaAperture aperture = registers.aperture();
    if (!registers.memory_enabled() || address - aperture.base >= aperture.bytes)
        return {};
    PlaneAddress at{true, address - aperture.base, 0};
    at.offset = at.address & 0xFFFF;
    if (registers.chain4())
        at.offset &= ~3u;
    else if (registers.odd_even_address()) // A0 picks the plane, so A16 takes its place
        // DEVIATION: the page bit of Miscellaneous Output is taken as zero in apertures below 128 KiB;
        // adapters with all four planes fitted ignore it, and BIOSes set it either way.
        at.offset = (at.offset & ~1u) | at.address >> 16;
    return at;
}

uint32_t apply_function(const VgaRegisters& registers, uint32_t value, uint32_t latch) {
    switch (registers.gfx(kGfxDataRotate) >> 3 & 3) {
    case 1:
        return value & latch;
    case 2:
        return value | latch;
    case 3:
        return value ^ latch;
    default:
        return value;
    }
}

uint8_t rotate_right(uint8_t value, unsigned count) {
    return static_cast<uint8_t>(value >> count | value << (8 - count));
}

} // namespace

uint8_t VgaMemory::read(const VgaRegisters& registers, std::span<const uint8_t> vram, uint32_t address,
                        uint32_t first_offset) {
    const PlaneAddress at = decode(registers, address);
    if (!at.decoded)
        return 0xFF;
    latch_ = vga_load_cell(vram, at.offset + first_offset);
    if ((registers.gfx(kGfxMode) & 0x08) != 0) { // read mode 1: colour compare
        const uint32_t differs = (latch_ ^ kPlaneMask[registers.gfx(kGfxColorCompare) & 0xF]) &
                                 kPlaneMask[registers.gfx(kGfxColorDontCare) & 0xF];
        return static_cast<uint8_t>(~(differs | differs >> 8 | differs >> 16 | differs >> 24));
    }
    unsigned plane = registers.gfx(kGfxReadMapSelect) & 3;
    if (registers.chain4())
        plane = at.address & 3;
    else if (registers.odd_even_read())
        plane = (plane & 2) | (at.address & 1);
    return static_cast<uint8_t>(latch_ >> (8 * plane));
}

void VgaMemory::write(const VgaRegisters& registers, std::span<uint8_t> vram, uint32_t address, uint8_t value,
                      uint32_t first_offset) {
    const PlaneAddress at = decode(registers, address);
    if (!at.decoded)
        return;
    uint32_t planes = registers.seq(kSeqMapMask) & 0xF;
    if (registers.chain4())
        planes &= 1u << (at.address & 3);
    else if (registers.odd_even_write())
        planes &= (at.address & 1) != 0 ? kOddPlanes : kEvenPlanes;
    if (planes == 0)
        return;

    const uint32_t set_reset = kPlaneMask[registers.gfx(kGfxSetReset) & 0xF];
    const uint8_t rotated = rotate_right(value, registers.gfx(kGfxDataRotate) & 7);
    uint32_t bits = replicate(registers.gfx(kGfxBitMask));
    uint32_t result = latch_;
    switch (registers.gfx(kGfxMode) & 3) {
    case 0: {
        const uint32_t enable = kPlaneMask[registers.gfx(kGfxEnableSetReset) & 0xF];
        result = (replicate(rotated) & ~enable) | (set_reset & enable);
        break;
    }
    case 1: // the latches as they are: no function, no bit mask
        bits = 0;
        break;
    case 2:
        result = kPlaneMask[value & 0xF];
        break;
    case 3:
        bits &= replicate(rotated);
        result = set_reset;
        break;
    }
    result = apply_function(registers, result, latch_);
    result = (result & bits) | (latch_ & ~bits);
    const uint32_t offset = at.offset + first_offset;
    const uint32_t mask = kPlaneMask[planes];
    vga_store_cell(vram, offset, (vga_load_cell(vram, offset) & ~mask) | (result & mask));
}

void vga_text_from_planes(std::span<const uint8_t> vram, std::span<uint8_t> text) {
    VERIFY(text.size() == kVgaTextBytes);
    for (uint32_t at = 0; at < kVgaTextBytes; at += 2) {
        const uint32_t cell = vga_load_cell(vram, at);
        text[at] = static_cast<uint8_t>(cell);
        text[at + 1] = static_cast<uint8_t>(cell >> 8);
    }
}

void vga_text_to_planes(std::span<const uint8_t> text, std::span<uint8_t> vram) {
    VERIFY(text.size() == kVgaTextBytes);
    for (uint32_t at = 0; at < kVgaTextBytes; at += 2) {
        const uint32_t pair = text[at] | static_cast<uint32_t>(text[at + 1]) << 8;
        vga_store_cell(vram, at, (vga_load_cell(vram, at) & 0xFFFF0000) | pair);
    }
}

} // namespace vmm
