// The data path between CPU and planes, against tables worked out by hand from the register descriptions.
#include "vmm/devices/vga_memory.h"

#include <catch2/catch.hpp>

#include <vector>

using namespace vmm;

namespace {

struct Planes {
    Planes() : vram(1 << 20) {
        registers.write_port(0x3C2, 0x03);
        seq(2, 0x0F);
        seq(4, 0x06); // planar
        gfx(6, 0x05); // 64 KiB at A0000h
        gfx(7, 0x0F);
        gfx(8, 0xFF);
    }
    void seq(uint8_t index, uint8_t value) {
        registers.write_port(0x3C4, index);
        registers.write_port(0x3C5, value);
    }
    void gfx(uint8_t index, uint8_t value) {
        registers.write_port(0x3CE, index);
        registers.write_port(0x3CF, value);
    }
    uint8_t read(uint32_t address) { return memory.read(registers, vram, address, 0); }
    void write(uint32_t address, uint8_t value) { memory.write(registers, vram, address, value, 0); }
    // Planes 3 2 1 0 as one number.
    uint32_t cell(uint32_t offset) { return vga_load_cell(vram, offset); }
    void set_cell(uint32_t offset, uint32_t value) { vga_store_cell(vram, offset, value); }

    VgaRegisters registers;
    VgaMemory memory;
    std::vector<uint8_t> vram;
};

} // namespace

TEST_CASE("vga: cells of all plane offsets are distinct, and chain-4 bytes are consecutive",
          "[devices][vga]") {
    std::vector<bool> seen(1 << 16);
    for (uint32_t offset = 0; offset < seen.size(); ++offset) {
        REQUIRE(vga_cell_index(offset) < seen.size());
        REQUIRE_FALSE(seen[vga_cell_index(offset)]);
        seen[vga_cell_index(offset)] = true;
    }
    for (uint32_t address = 0; address < 0x10000; ++address)
        REQUIRE(vga_cell_index(address & ~3u) * 4 + (address & 3) == address);
}

TEST_CASE("vga: write mode 0 rotates, sets or resets, combines with latches under the bit mask",
          "[devices][vga]") {
    struct Row {
        uint8_t rotate_function, enable, set_reset, bit_mask, map_mask, data;
        uint32_t result;
    };
    // Before each row the cell, and so the latch, is planes 3..0 = FF 0F 55 3C.
    const Row row = GENERATE(Row{0x00, 0x0, 0x0, 0xFF, 0xF, 0xA5, 0xA5A5A5A5},  // plain
                             Row{0x00, 0x0, 0x0, 0xFF, 0x5, 0xA5, 0xFFA555A5},  // planes 0 and 2 only
                             Row{0x01, 0x0, 0x0, 0xFF, 0xF, 0x81, 0xC0C0C0C0},  // rotate right by one
                             Row{0x04, 0x0, 0x0, 0xFF, 0xF, 0x1E, 0xE1E1E1E1},  // by four
                             Row{0x00, 0xF, 0x6, 0xFF, 0xF, 0x12, 0x00FFFF00},  // set/reset on all planes
                             Row{0x00, 0x3, 0x1, 0xFF, 0xF, 0x12, 0x121200FF},  // on planes 0 and 1
                             Row{0x00, 0x0, 0x0, 0xF0, 0xF, 0xA5, 0xAFAFA5AC},  // upper half from the CPU
                             Row{0x08, 0x0, 0x0, 0xFF, 0xF, 0x33, 0x33031130},  // and
                             Row{0x10, 0x0, 0x0, 0xFF, 0xF, 0x33, 0xFF3F773F},  // or
                             Row{0x18, 0x0, 0x0, 0xFF, 0xF, 0x33, 0xCC3C660F},  // xor
                             Row{0x18, 0xF, 0xF, 0x0F, 0xF, 0x00, 0xF0005A33}); // invert the lower half
    Planes planes;
    planes.set_cell(7, 0xFF0F553C);
    planes.gfx(3, row.rotate_function);
    planes.gfx(1, row.enable);
    planes.gfx(0, row.set_reset);
    planes.gfx(8, row.bit_mask);
    planes.seq(2, row.map_mask);
    planes.read(0xA0007);
    planes.write(0xA0007, row.data);
    CHECK(planes.cell(7) == row.result);
}

TEST_CASE("vga: write mode 1 copies the latches whatever the data, mask and function", "[devices][vga]") {
    Planes planes;
    planes.set_cell(1, 0x12345678);
    planes.gfx(5, 1);
    planes.gfx(8, 0x0F);
    planes.gfx(3, 0x1B);
    planes.read(0xA0001);
    planes.write(0xA0009, 0xEE);
    CHECK(planes.cell(9) == 0x12345678);
    planes.seq(2, 0x8);
    planes.write(0xA000A, 0xEE);
    CHECK(planes.cell(10) == 0x12000000);
}

TEST_CASE("vga: write mode 2 expands the data to planes under the bit mask", "[devices][vga]") {
    Planes planes;
    planes.gfx(5, 2);
    planes.gfx(3, 7); // rotation does not apply
    planes.write(0xA0000, 0x0A);
    CHECK(planes.cell(0) == 0xFF00FF00);
    planes.set_cell(0, 0x11223344);
    planes.gfx(8, 0xF0);
    planes.read(0xA0000);
    planes.write(0xA0000, 0x05);
    CHECK(planes.cell(0) == 0x01F203F4);
}

TEST_CASE("vga: write mode 3 takes the rotated data as bit mask for the set/reset colour", "[devices][vga]") {
    Planes planes;
    planes.gfx(5, 3);
    planes.gfx(0, 0x9);
    planes.gfx(1, 0x0); // enable does not matter
    planes.gfx(3, 4);
    planes.gfx(8, 0x3F);
    planes.set_cell(2, 0x00FF00FF);
    planes.read(0xA0002);
    planes.write(0xA0002, 0xFC); // rotated CF, under 3F: 0F
    CHECK(planes.cell(2) == 0x0FF000FF);
}

TEST_CASE("vga: read mode 0 returns the selected plane, read mode 1 compares colours", "[devices][vga]") {
    Planes planes;
    planes.set_cell(3, 0xF0CCAA0F);
    const uint8_t expected[] = {0x0F, 0xAA, 0xCC, 0xF0};
    for (uint8_t plane = 0; plane < 4; ++plane) {
        planes.gfx(4, plane);
        CHECK(planes.read(0xA0003) == expected[plane]);
    }
    // Pixels, left to right, as plane bits 3..0: E 8 C A 5... worked out column by column:
    // planes 3: 11110000, 2: 11001100, 1: 10101010, 0: 00001111 -> E C A 8 7 5 3 1.
    planes.gfx(5, 8);
    planes.gfx(2, 0xA);
    CHECK(planes.read(0xA0003) == 0b00100000);
    planes.gfx(7, 0x8); // only plane 3 counts
    CHECK(planes.read(0xA0003) == 0b11110000);
    planes.gfx(7, 0x0); // nothing counts: everything matches
    CHECK(planes.read(0xA0003) == 0xFF);
}

TEST_CASE("vga: odd/even addressing keeps characters in plane 0 and attributes in plane 1",
          "[devices][vga]") {
    Planes planes;
    planes.seq(2, 0x3);
    planes.seq(4, 0x02);
    planes.gfx(5, 0x10);
    planes.gfx(6, 0x0E);
    planes.write(0xB8000, 'A');
    planes.write(0xB8001, 0x1F);
    planes.write(0xB8002, 'B');
    CHECK(planes.cell(0) == (0x1F00u | 'A'));
    CHECK(planes.cell(1) == 0);
    CHECK(planes.cell(2) == 'B');
    CHECK(planes.read(0xB8000) == 'A');
    CHECK(planes.read(0xB8001) == 0x1F);
    CHECK(planes.read(0xA0000) == 0xFF); // outside the aperture
    CHECK(planes.read(0xB7FFF) == 0xFF);
}

TEST_CASE("vga: chain-4 spreads consecutive bytes over the planes at every fourth offset", "[devices][vga]") {
    Planes planes;
    planes.seq(4, 0x0E);
    for (uint8_t i = 0; i < 8; ++i)
        planes.write(0xA0000 + i, static_cast<uint8_t>(0x10 + i));
    CHECK(planes.cell(0) == 0x13121110);
    CHECK(planes.cell(4) == 0x17161514);
    CHECK(planes.cell(1) == 0);
    CHECK(planes.read(0xA0006) == 0x16);
    planes.seq(2, 0x1); // the map mask still applies
    planes.write(0xA0005, 0x99);
    CHECK(planes.read(0xA0005) == 0x15);
}

TEST_CASE("vga: memory disabled in Miscellaneous Output does not answer", "[devices][vga]") {
    Planes planes;
    planes.set_cell(0, 0x01010101);
    planes.registers.write_port(0x3C2, 0x01);
    CHECK(planes.read(0xA0000) == 0xFF);
    planes.write(0xA0000, 0x22);
    CHECK(planes.cell(0) == 0x01010101);
}

TEST_CASE("vga: the text array and the planes convert into each other without loss", "[devices][vga]") {
    Planes planes;
    for (uint32_t i = 0; i < planes.vram.size(); ++i)
        planes.vram[i] = static_cast<uint8_t>(i * 7 + i / 251);
    const std::vector<uint8_t> before = planes.vram;
    planes.seq(2, 0x3);
    planes.seq(4, 0x02);
    planes.gfx(5, 0x10);
    planes.gfx(6, 0x0E);
    std::vector<uint8_t> text(kVgaTextBytes);
    vga_text_from_planes(planes.vram, text);
    for (uint32_t i = 0; i < kVgaTextBytes; i += 37)
        REQUIRE(text[i] == planes.read(0xB8000 + i));
    vga_text_to_planes(text, planes.vram);
    CHECK(planes.vram == before);
}
