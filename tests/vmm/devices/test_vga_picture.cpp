// What is on screen in each kind of mode, programmed through ports and memory as software does.
#include "vga_fixture.h"

#include <random>

#include "vmm/devices/vga_memory.h"
#include "vmm/devices/vga_render.h"

using namespace vmm;

TEST_CASE("vga: text mode 3 draws glyphs, attributes, the ninth dot and the cursor", "[devices][vga]") {
    VgaFixture vga;
    vga.set_mode(kMode03);
    vga.set_dac();
    vga.load_glyph('A', std::vector<uint8_t>(16, 0x81));
    vga.load_glyph(0xC4, std::vector<uint8_t>(16, 0x01));
    vga.crtc(0x0E, 0), vga.crtc(0x0F, 82); // cursor in the third cell of the second row, lines 13-14
    REQUIRE(vga.kind(0xB8000) == PageKind::Ram);
    REQUIRE(vga.kind(0xA0000) == PageKind::Mmio);
    vga.memory->write<uint16_t>(0xB8000, 0x1E41);          // yellow on blue
    vga.memory->write<uint16_t>(0xB8002, 0x02C4);          // line drawing, green on black
    vga.memory->write<uint16_t>(0xB8000 + 2 * 81, 0x4741); // row 1, column 1
    vga.memory->write<uint16_t>(0xB8000 + 2 * 82, 0x0320); // under the cursor

    const Picture picture = vga.picture();
    REQUIRE(picture.width == 720);
    REQUIRE(picture.height == 400);
    const uint32_t yellow = vga.dac(0x3E), blue = vga.dac(1), green = vga.dac(2), black = vga.dac(0);
    const uint32_t red = vga.dac(4), grey = vga.dac(7), cyan = vga.dac(3);
    for (uint32_t y : {0u, 7u, 15u}) {
        CHECK(pixel(picture, 0, y) == yellow);
        CHECK(pixel(picture, 1, y) == blue);
        CHECK(pixel(picture, 7, y) == yellow);
        CHECK(pixel(picture, 8, y) == blue); // the ninth dot of an ordinary character is background
        CHECK(pixel(picture, 9 + 6, y) == black);
        CHECK(pixel(picture, 9 + 7, y) == green);
        CHECK(pixel(picture, 9 + 8, y) == green); // of a line-drawing one, the eighth again
    }
    CHECK(pixel(picture, 9, 16) == grey);
    CHECK(pixel(picture, 10, 16) == red);
    CHECK(pixel(picture, 18, 16 + 12) == black);
    CHECK(pixel(picture, 18, 16 + 13) == cyan);
    CHECK(pixel(picture, 26, 16 + 14) == cyan);
    CHECK(pixel(picture, 18, 16 + 15) == black);

    SECTION("the cursor is off half of the time") {
        vga.platform.clock.set_manual(kNanosPerSecond / 70 * 8 + 1000);
        CHECK(pixel(vga.picture(), 18, 16 + 13) == black);
    }
    SECTION("attribute bit 7 blinks when enabled and is intensity otherwise") {
        vga.memory->write<uint16_t>(0xB8000, 0x9E41);
        vga.platform.clock.set_manual(kNanosPerSecond / 70 * 16 + 1000);
        CHECK(pixel(vga.picture(), 0, 0) == blue);
        vga.attr(0x10, 0x04);
        CHECK(pixel(vga.picture(), 0, 0) == yellow);
        CHECK(pixel(vga.picture(), 1, 0) == vga.dac(0x39));
    }
    SECTION("the start address scrolls and pixel panning shifts") {
        vga.crtc(0x0D, 80);
        vga.next_frames();
        CHECK(pixel(vga.picture(), 9, 0) == grey);
        vga.attr(0x13, 0); // nine-dot modes: 8 is no shift, 0 is one dot
        CHECK(pixel(vga.picture(), 8, 0) == grey);
    }
    SECTION("the split screen shows memory's start after line compare, unpanned if asked to") {
        vga.crtc(0x0D, 80);
        vga.next_frames();
        vga.attr(0x13, 0);
        vga.attr(0x10, 0x2C);
        vga.crtc(0x07, 0x0F), vga.crtc(0x09, 0x0F), vga.crtc(0x18, 99);
        const Picture split = vga.picture();
        CHECK(pixel(split, 8, 0) == grey);
        CHECK(pixel(split, 0, 99) != yellow);
        CHECK(pixel(split, 0, 100) == yellow);
        CHECK(pixel(split, 1, 100) == blue);
    }
    SECTION("nothing shows while the attribute controller has the palette") {
        vga.in(0x3DA);
        vga.out(0x3C0, 0x00);
        CHECK(pixel(vga.picture(), 0, 0) == 0);
        CHECK(vga.platform.outputs.text_screen().empty());
    }
}

TEST_CASE("vga: the text screen comes out as UTF-8 rows without trailing blanks", "[devices][vga]") {
    VgaFixture vga;
    vga.set_mode(kMode03);
    const char* words = "Hello, world";
    for (uint32_t i = 0; words[i] != 0; ++i)
        vga.memory->write<uint8_t>(0xB8000 + 2 * (160 + 2 + i), static_cast<uint8_t>(words[i]));
    vga.memory->write<uint8_t>(0xB8000, 0xC9);     // double-line corner
    vga.memory->write<uint8_t>(0xB8000 + 4, 0x81); // u umlaut
    std::string expected = "\u2554 \u00FC\n\n  Hello, world";
    expected.append(22, '\n');
    CHECK(vga.platform.outputs.text_screen() == expected);
    vga.crtc(0x0D, 160);
    vga.next_frames();
    CHECK(vga.platform.outputs.text_screen().substr(0, 15) == "  Hello, world\n");
    vga.set_mode(kMode13);
    CHECK(vga.platform.outputs.text_screen().empty());
}

TEST_CASE("vga: mode 13h maps straight in and shows bytes as DAC colours", "[devices][vga]") {
    VgaFixture vga;
    vga.set_mode(kMode13);
    vga.set_dac();
    REQUIRE(vga.kind(0xA0000) == PageKind::Ram);
    REQUIRE(vga.kind(0xAF000) == PageKind::Ram);
    for (uint32_t y = 0; y < 200; ++y)
        for (uint32_t x = 0; x < 320; ++x)
            vga.memory->write<uint8_t>(0xA0000 + y * 320 + x, static_cast<uint8_t>(x + 3 * y));
    const Picture picture = vga.picture();
    REQUIRE(picture.width == 640);
    REQUIRE(picture.height == 400);
    for (uint32_t y = 0; y < 400; ++y)
        for (uint32_t x = 0; x < 640; ++x)
            if (picture.pixels[y * 640 + x] != vga.dac((x / 2 + 3 * (y / 2)) & 0xFF))
                FAIL("pixel " << x << "," << y);
    SECTION("unchaining shows software the planes of real hardware") {
        vga.seq(4, 0x06);
        REQUIRE(vga.kind(0xA0000) == PageKind::Mmio);
        for (uint32_t at : {0u, 4u, 5u, 321u, 64000u - 1}) {
            const auto plane = static_cast<uint8_t>(at & 3);
            vga.gfx(4, plane);
            CHECK(vga.memory->read<uint8_t>(0xA0000 + (at & ~3u)) ==
                  static_cast<uint8_t>(at % 320 + 3 * (at / 320)));
        }
        vga.seq(2, 0x4);
        vga.memory->write<uint8_t>(0xA0000 + 8, 0x77); // pixel 10
        vga.seq(2, 0xF), vga.seq(4, 0x0E);
        CHECK(vga.memory->read<uint8_t>(0xA0000 + 10) == 0x77);
        CHECK(pixel(vga.picture(), 20, 0) == vga.dac(0x77));
    }
    SECTION("the PEL mask applies") {
        vga.out(0x3C6, 0x0F);
        CHECK(pixel(vga.picture(), 2 * 0x35, 0) == vga.dac(0x05));
    }
}

TEST_CASE("vga: unchained 320x240 (mode X) addresses four pixels a plane offset", "[devices][vga]") {
    VgaFixture vga;
    vga.set_mode(kMode13);
    vga.set_dac();
    // Abrash's settings on top of mode 13h.
    vga.seq(4, 0x06);
    vga.out(0x3C2, 0xE3);
    const uint8_t crtc[][2] = {{0x11, 0x0C}, {0x06, 0x0D}, {0x07, 0x3E}, {0x09, 0x41},
                               {0x10, 0xEA}, {0x11, 0xAC}, {0x12, 0xDF}, {0x14, 0x00},
                               {0x15, 0xE7}, {0x16, 0x06}, {0x17, 0xE3}};
    for (const auto& [index, value] : crtc)
        vga.crtc(index, value);
    const auto plot = [&](uint32_t x, uint32_t y, uint8_t color) {
        vga.seq(2, static_cast<uint8_t>(1 << (x & 3)));
        vga.memory->write<uint8_t>(0xA0000 + y * 80 + x / 4, color);
    };
    plot(0, 0, 10), plot(319, 239, 200), plot(7, 100, 33);
    const Picture picture = vga.picture();
    REQUIRE(picture.width == 640);
    REQUIRE(picture.height == 480);
    CHECK(pixel(picture, 0, 0) == vga.dac(10));
    CHECK(pixel(picture, 639, 479) == vga.dac(200));
    CHECK(pixel(picture, 14, 201) == vga.dac(33));
    CHECK(pixel(picture, 16, 201) == vga.dac(0));
    vga.crtc(0x0D, 1); // one offset on: four pixels
    vga.next_frames();
    CHECK(pixel(vga.picture(), 6, 201) == vga.dac(33));
    vga.attr(0x13, 4); // and two more by panning
    CHECK(pixel(vga.picture(), 2, 201) == vga.dac(33));
}

TEST_CASE("vga: planar 640x480 in 16 colours goes through palette and colour select", "[devices][vga]") {
    VgaFixture vga;
    vga.set_mode(kMode12);
    vga.set_dac();
    vga.seq(2, 0x5);
    vga.memory->write<uint8_t>(0xA0000 + 479 * 80 + 79, 0x01); // colour 5 in the last pixel
    vga.seq(2, 0x9);
    vga.memory->write<uint8_t>(0xA0000, 0x40); // colour 9 in pixel 1
    Picture picture = vga.picture();
    REQUIRE(picture.width == 640);
    REQUIRE(picture.height == 480);
    CHECK(pixel(picture, 0, 0) == vga.dac(0));
    CHECK(pixel(picture, 1, 0) == vga.dac(0x39));
    CHECK(pixel(picture, 639, 479) == vga.dac(5));
    vga.attr(0x14, 0x04);
    CHECK(pixel(vga.picture(), 1, 0) == vga.dac(0x79));
    vga.attr(0x10, 0x81), vga.attr(0x14, 0x02);
    CHECK(pixel(vga.picture(), 1, 0) == vga.dac(0x29));
    vga.attr(0x12, 0x1);
    CHECK(pixel(vga.picture(), 1, 0) == vga.dac(0x21));
}

TEST_CASE("vga: CGA 320x200 interleaves lines and packs four pixels a byte", "[devices][vga]") {
    VgaFixture vga;
    vga.set_mode(kMode04);
    vga.set_dac();
    vga.memory->write<uint8_t>(0xB8000 + 1, 0x1B);           // line 0, pixels 4-7: colours 0 1 2 3
    vga.memory->write<uint8_t>(0xBA000 + 80 * 50 + 2, 0xC0); // line 101, pixel 8: colour 3
    const Picture picture = vga.picture();
    REQUIRE(picture.width == 640);
    REQUIRE(picture.height == 400);
    const uint8_t palette[] = {0x00, 0x13, 0x15, 0x17};
    for (uint32_t i = 0; i < 4; ++i)
        CHECK(pixel(picture, 2 * (4 + i), 0) == vga.dac(palette[i]));
    CHECK(pixel(picture, 16, 202) == vga.dac(0x17));
    CHECK(pixel(picture, 17, 203) == vga.dac(0x17));
    CHECK(pixel(picture, 18, 203) == vga.dac(0x00));
    CHECK(pixel(picture, 16, 204) == vga.dac(0x00));
}

TEST_CASE("vga: no register values make the picture read outside video memory", "[devices][vga]") {
    // On the heap and exactly as large as video memory, so that a sanitizer sees the first byte too far.
    std::mt19937 random(20240607);
    const auto byte = [&] { return static_cast<uint8_t>(random() >> 7); };
    std::vector<uint8_t> vram(1 << 20);
    for (uint8_t& b : vram)
        b = byte();
    for (unsigned round = 0; round < 60; ++round) {
        VgaRegisters registers;
        VgaDispi dispi(static_cast<uint32_t>(vram.size()));
        VgaMemory memory;
        for (unsigned i = 0; i < 600; ++i)
            registers.write_port(static_cast<uint16_t>(0x3B0 + random() % 48), byte());
        registers.write_port(0x3C2, byte() | 3);
        for (uint8_t i = 0; i < 25; ++i) {
            registers.write_port(0x3D4, i);
            registers.write_port(0x3D5, byte());
        }
        registers.read_port(0x3DA, 0);
        registers.write_port(0x3C0, 0x20);
        registers.write_port(0x3C4, 1);
        registers.write_port(0x3C5, byte() & ~0x20);
        if (round % 2 == 0)
            for (unsigned i = 0; i < 40; ++i)
                dispi.write(static_cast<uint16_t>(random() % 12), static_cast<uint16_t>(random()));
        if (round % 4 == 0)
            dispi.write(kDispiEnable, kDispiEnabled);
        for (unsigned i = 0; i < 2000; ++i) {
            const uint32_t address = 0xA0000 + random() % 0x20000, first = dispi.bank_start();
            memory.write(registers, vram, address, byte(), first);
            static_cast<void>(memory.read(registers, vram, address ^ 1, first));
        }
        const VgaView view{registers, dispi, vram, {}, vga_written_start(registers)};
        Picture picture;
        vga_render(view, canvas_of(picture));
        CHECK(picture.pixels.size() == size_t{picture.width} * picture.height);
        CHECK(picture.pixels.size() <= size_t{4608} * 1024);
        static_cast<void>(vga_text_screen(view));
        const DispiGeometry geometry = dispi.geometry();
        if (geometry.bits_per_pixel >= 8) {
            const VgaVisibleBytes visible = vga_visible_bytes(geometry);
            CHECK(visible.first + visible.count <= vram.size());
        }
    }
}
