// The VGA's data path between the CPU and its four memory planes: latches, the four write modes and two read
// modes, set/reset, bit mask, map mask, and the odd/even and chain-4 address schemes (IBM PS/2 Hardware
// Interface Technical Reference, "Video Subsystem", "Graphics Controller").
//
// Layout of video memory: the four planes' bytes at one plane offset are one 32-bit cell (plane 0 in the low
// byte), and cells are ordered so that chain-4 addresses are consecutive bytes. Chain-4 puts CPU address A at
// plane A&3, offset A&FFFCh, so within each 64 Ki of offsets the cell index is the offset rotated right
// by two. That makes mode 13h a plain byte array that can be mapped straight into the guest, while a program
// that turns chain-4 off finds exactly the planes real hardware would have.
#pragma once
#include "vmm/devices/vga_registers.h"

#include <cstdint>
#include <cstring>
#include <span>

namespace vmm {

// Index of the cell of a plane offset.
[[nodiscard]] constexpr uint32_t vga_cell_index(uint32_t offset) {
    return (offset & ~0xFFFFu) | ((offset >> 2) & 0x3FFF) | (offset & 3) << 14;
}

// The cell of a plane offset; offsets past the end wrap. vram's size is a power of two of at least 256 KiB.
[[nodiscard]] inline uint32_t vga_load_cell(std::span<const uint8_t> vram, uint32_t offset) {
    uint32_t cell = 0;
    std::memcpy(&cell, &vram[(size_t{vga_cell_index(offset)} * 4) & (vram.size() - 1)], sizeof cell);
    return cell;
}
inline void vga_store_cell(std::span<uint8_t> vram, uint32_t offset, uint32_t cell) {
    std::memcpy(&vram[(size_t{vga_cell_index(offset)} * 4) & (vram.size() - 1)], &cell, sizeof cell);
}

class VgaMemory {
  public:
    // One CPU byte access at an address within A0000h-BFFFFh. `first_offset` is added to the plane offset
    // (the DISPI bank). Outside the aperture that the registers select: reads FFh, writes are dropped.
    [[nodiscard]] uint8_t read(const VgaRegisters& registers, std::span<const uint8_t> vram, uint32_t address,
                               uint32_t first_offset);
    void write(const VgaRegisters& registers, std::span<uint8_t> vram, uint32_t address, uint8_t value,
               uint32_t first_offset);

    void reset() { latch_ = 0; }
    void serialize(base::StateArchive& archive) { archive.field("latch", latch_); }

  private:
    uint32_t latch_ = 0; // one byte a plane
};

// Bytes that odd/even addressing reaches through a 32 KiB text aperture: CPU address A is plane A&1 at plane
// offset A&7FFEh.
inline constexpr uint32_t kVgaTextBytes = 32 * 1024;
void vga_text_from_planes(std::span<const uint8_t> vram, std::span<uint8_t> text);
void vga_text_to_planes(std::span<const uint8_t> text, std::span<uint8_t> vram);

} // namespace vmm
