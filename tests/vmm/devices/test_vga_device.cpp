// The adapter on its buses: PCI, frame buffer, DISPI modes, the memory window's representations, retrace,
// generation counter and saved state.
#include "vga_fixture.h"

#include "vmm/devices/vga_render.h"

#include <chrono>
#include <fstream>
#include <iterator>
#include <random>

using namespace vmm;

TEST_CASE("vga: identifies as 1234:1111 with a prefetchable 16 MiB frame buffer", "[devices][vga]") {
    VgaFixture vga;
    CHECK(vga.pci_read(0) == 0x11111234);
    CHECK(vga.pci_read(8) >> 8 == 0x030000);
    vga.pci_write(0x10, 0xFFFFFFFF);
    CHECK(vga.pci_read(0x10) == 0xFF000008);
    vga.pci_write(0x18, 0xFFFFFFFF);
    CHECK(vga.pci_read(0x18) == 0xFFFFF000);
}

TEST_CASE("vga: the expansion ROM shows the BIOS image where the guest puts it", "[devices][vga]") {
    VgaFixture vga;
    std::ifstream file(vga.platform.config.vga_bios_path, std::ios::binary);
    const std::vector<char> image(std::istreambuf_iterator<char>(file), {});
    REQUIRE(image.size() > 1024);
    vga.pci_write(0x30, 0xFFFFFFFE);
    const uint32_t size = ~(vga.pci_read(0x30) & ~1u) + 1;
    CHECK(size >= image.size());
    vga.pci_write(0x30, 0xFEB00001);
    CHECK(vga.kind(0xFEB00000) == PageKind::None); // memory decoding is still off
    vga.pci_write(0x04, 2);
    REQUIRE(vga.kind(0xFEB00000) == PageKind::Rom);
    CHECK(vga.memory->read<uint16_t>(0xFEB00000) == 0xAA55);
    std::vector<char> seen(image.size());
    vga.memory->read(0xFEB00000, seen.data(), seen.size());
    CHECK(seen == image);
    vga.pci_write(0x30, 0xFEB00000);
    CHECK(vga.kind(0xFEB00000) == PageKind::None);
}

TEST_CASE("vga: moving the frame buffer never takes or leaves behind other pages", "[devices][vga]") {
    VgaFixture vga;
    vga.map_frame_buffer();
    REQUIRE(vga.kind(VgaFixture::kLfb) == PageKind::Ram);
    vga.memory->write<uint32_t>(VgaFixture::kLfb + 0x1234, 0xCAFEF00D);

    // Over the BIOS at the top of the address space, as sizing with decoding enabled does.
    const uint32_t bios = vga.memory->add_backing(16);
    vga.memory->map(0xFFFF0, 16, PageKind::Rom, bios);
    vga.pci_write(0x10, 0xFFFFFFFF);
    CHECK(vga.memory->entry(0xFFFF0).backing == bios);
    CHECK(vga.kind(0xFF000000) == PageKind::Ram);
    CHECK(vga.kind(VgaFixture::kLfb) == PageKind::None);
    vga.pci_write(0x10, 0);
    CHECK(vga.kind(0xFF000000) == PageKind::None);
    CHECK(vga.kind(0xFFFF0000) == PageKind::Rom);
    CHECK(vga.memory->entry(0).backing == 0); // RAM at zero is still RAM

    // With A20 closed, entries in odd megabytes are looked at through the gate.
    vga.memory->set_a20(false);
    vga.pci_write(0x10, VgaFixture::kLfb);
    vga.memory->set_a20(true);
    CHECK(vga.kind(VgaFixture::kLfb + 0x100000) == PageKind::Ram);
    CHECK(vga.memory->read<uint32_t>(VgaFixture::kLfb + 0x1234) == 0xCAFEF00D);
    vga.memory->set_a20(false);
    vga.pci_write(0x04, 0);
    vga.memory->set_a20(true);
    for (uint32_t page = VgaFixture::kLfb >> kPageShift; page < 0xE1000; ++page)
        REQUIRE(vga.memory->entry(page).kind == PageKind::None);
}

TEST_CASE("vga: the register BAR reaches DISPI and VGA registers", "[devices][vga]") {
    VgaFixture vga;
    vga.pci_write(0x18, 0xFEB20000), vga.pci_write(0x04, 2);
    CHECK(vga.memory->read<uint16_t>(0xFEB20500) == 0xB0C5);
    vga.memory->write<uint16_t>(0xFEB20502, 800);
    CHECK(vga.dispi(1) == 800);
    vga.memory->write<uint8_t>(0xFEB2040C - 0x0A, 0x67); // 3C2h
    CHECK(vga.in(0x3CC) == 0x67);
    CHECK(vga.memory->read<uint8_t>(0xFEB2040C) == 0x67);
    CHECK(vga.memory->read<uint32_t>(0xFEB20000) == 0);
    // Two BARs in one place: the second is refused, nothing breaks, and both come back.
    vga.pci_write(0x10, 0xFE000000), vga.pci_write(0x18, 0xFE001000);
    CHECK(vga.kind(0xFE001000) == PageKind::Ram);
    vga.pci_write(0x18, 0xA0000);
    CHECK(vga.memory->entry(0xA0).kind == PageKind::Mmio);
    vga.pci_write(0x18, 0xFD000000);
    CHECK(vga.memory->read<uint16_t>(0xFD000500) == 0xB0C5);
}

TEST_CASE("vga: a 32-bit linear mode shows what the guest writes to the frame buffer", "[devices][vga]") {
    VgaFixture vga;
    vga.map_frame_buffer();
    vga.memory->write<uint32_t>(VgaFixture::kLfb, 0xFFFFFFFF);
    vga.linear_mode(1024, 768, 32);
    CHECK(vga.memory->read<uint32_t>(VgaFixture::kLfb) == 0); // cleared on entry
    vga.memory->write<uint32_t>(VgaFixture::kLfb + (767 * 1024 + 1023) * 4, 0xFF123456);
    vga.memory->write<uint32_t>(VgaFixture::kLfb + 4, 0x00ABCDEF);
    Picture picture = vga.picture();
    REQUIRE(picture.width == 1024);
    REQUIRE(picture.height == 768);
    CHECK(pixel(picture, 1023, 767) == 0x123456);
    CHECK(pixel(picture, 1, 0) == 0xABCDEF);
    CHECK(vga.platform.outputs.text_screen().empty());

    SECTION("offsets and virtual width pan over a larger picture") {
        vga.dispi(6, 2048);
        CHECK(vga.dispi(7) == (16u << 20) / (2048 * 4));
        vga.dispi(8, 100), vga.dispi(9, 50);
        vga.memory->write<uint32_t>(VgaFixture::kLfb + (52 * 2048 + 103) * 4, 0x00778899);
        CHECK(pixel(vga.picture(), 3, 2) == 0x778899);
        vga.dispi(9, 0xFFFF);
        CHECK(vga.dispi(9) == vga.dispi(7) - 768);
    }
    SECTION("the banked window is the same memory") {
        vga.dispi(5, 3);
        REQUIRE(vga.kind(0xA0000) == PageKind::Ram);
        vga.memory->write<uint32_t>(0xA0010, 0x5A5A5A5A);
        CHECK(vga.memory->read<uint32_t>(VgaFixture::kLfb + 0x30010) == 0x5A5A5A5A);
        vga.dispi(5, 256); // past the end: ignored
        CHECK(vga.dispi(5) == 3);
        CHECK(vga.memory->read<uint32_t>(0xA0010) == 0x5A5A5A5A);
        CHECK(vga.memory->read<uint8_t>(0xB8000) == 0xFF);
    }
    SECTION("entering without clearing keeps the contents") {
        vga.dispi(4, 0);
        vga.dispi(4, 0xC1);
        CHECK(pixel(vga.picture(), 1, 0) == 0xABCDEF);
    }
}

TEST_CASE("vga: every linear depth converts its pixels", "[devices][vga]") {
    VgaFixture vga;
    vga.map_frame_buffer();
    const uint32_t at = VgaFixture::kLfb + 0;
    vga.linear_mode(640, 480, 16);
    vga.memory->write<uint16_t>(at + 2, 0xF81F);
    vga.memory->write<uint16_t>(at + 4, 0x0400);
    CHECK(pixel(vga.picture(), 1, 0) == 0xFF00FF);
    CHECK(pixel(vga.picture(), 2, 0) == 0x008200);
    vga.linear_mode(640, 480, 15);
    vga.memory->write<uint16_t>(at + 2, 0x7C1F);
    CHECK(pixel(vga.picture(), 1, 0) == 0xFF00FF);
    vga.linear_mode(639, 480, 24);
    const uint8_t bgr[] = {0x11, 0x22, 0x33};
    vga.memory->write(at + 639 * 3 * 2 + 3, bgr, 3);
    CHECK(pixel(vga.picture(), 1, 2) == 0x332211);
    vga.linear_mode(800, 600, 8);
    vga.set_dac();
    vga.memory->write<uint8_t>(at + 800 * 599 + 5, 0x9C);
    CHECK(pixel(vga.picture(), 5, 599) == vga.dac(0x9C));
    vga.dispi(4, 0x61); // 8-bit DAC
    vga.out(0x3C8, 0x9C), vga.out(0x3C9, 0xFE), vga.out(0x3C9, 0x80), vga.out(0x3C9, 0x01);
    CHECK(pixel(vga.picture(), 5, 599) == 0xFE8001);
    vga.out(0x3C7, 0x9C);
    CHECK(vga.in(0x3C9) == 0xFE);
    vga.set_mode(kMode12);
    vga.linear_mode(800, 600, 4);
    vga.set_dac();
    vga.seq(2, 0x6);
    vga.memory->write<uint8_t>(0xA0000 + 599 * 100 + 99, 0x01);
    const Picture planar = vga.picture();
    REQUIRE(planar.width == 800);
    CHECK(pixel(planar, 799, 599) == vga.dac(0x14));
}

TEST_CASE("vga: DISPI reports its version, capabilities and memory", "[devices][vga]") {
    VgaFixture vga;
    CHECK(vga.dispi(0) == 0xB0C5);
    vga.dispi(0, 0xB0C2);
    CHECK(vga.dispi(0) == 0xB0C2);
    vga.dispi(0, 0x1234);
    CHECK(vga.dispi(0) == 0xB0C2);
    CHECK(vga.dispi(10) == 256);
    vga.dispi(4, 2);
    CHECK(vga.dispi(1) == 2560);
    CHECK(vga.dispi(2) == 1600);
    CHECK(vga.dispi(3) == 32);
    vga.dispi(4, 0);
    vga.dispi(3, 17); // no such depth
    CHECK(vga.dispi(3) == 8);
    CHECK(vga.dispi(999) == 0);
}

TEST_CASE("vga: text survives font loading and excursions to other modes", "[devices][vga]") {
    VgaFixture vga;
    vga.set_mode(kMode03);
    for (uint32_t i = 0; i < 0x8000; i += 2)
        vga.memory->write<uint16_t>(0xB8000 + i, static_cast<uint16_t>(i * 3 + 1));
    vga.load_glyph('Z', std::vector<uint8_t>(16, 0x5A));
    // Characters through the planes while a font is being loaded.
    vga.seq(4, 0x06), vga.gfx(5, 0), vga.gfx(6, 0x04), vga.gfx(4, 1);
    CHECK(vga.kind(0xB8000) == PageKind::Mmio);
    CHECK(vga.memory->read<uint8_t>(0xA0000 + 0x10) == (0x10 * 3 + 1) >> 8);
    vga.seq(2, 1);
    vga.memory->write<uint8_t>(0xA0000 + 0x20, 'q');
    vga.seq(2, 3), vga.seq(4, 2), vga.gfx(4, 0), vga.gfx(5, 0x10), vga.gfx(6, 0x0E);
    REQUIRE(vga.kind(0xB8000) == PageKind::Ram);
    for (uint32_t i = 0; i < 0x8000; i += 2) {
        const auto expected = static_cast<uint16_t>(i == 0x20 ? ((0x20 * 3 + 1) & 0xFF00) | 'q' : i * 3 + 1);
        REQUIRE(vga.memory->read<uint16_t>(0xB8000 + i) == expected);
    }
    // A write that needs the data path (here: XOR) sees the same bytes.
    vga.gfx(3, 0x18);
    REQUIRE(vga.kind(0xB8000) == PageKind::Mmio);
    const auto before = vga.memory->read<uint8_t>(0xB8100);
    vga.memory->write<uint8_t>(0xB8100, 0xFF);
    vga.gfx(3, 0);
    CHECK(vga.memory->read<uint8_t>(0xB8100) == static_cast<uint8_t>(~before));
    // The monochrome aperture shows the same memory.
    vga.gfx(6, 0x0A);
    CHECK(vga.memory->read<uint8_t>(0xB0100) == static_cast<uint8_t>(~before));
    CHECK(vga.memory->read<uint8_t>(0xB8100) == 0xFF);
}

TEST_CASE("vga: attribute flip-flop, CRTC protection and the colour/mono ports", "[devices][vga]") {
    VgaFixture vga;
    vga.set_mode(kMode03);
    vga.in(0x3DA);
    vga.out(0x3C0, 0x11), vga.out(0x3C0, 0x2A), vga.out(0x3C0, 0x31);
    CHECK(vga.in(0x3C1) == 0x2A);
    vga.in(0x3DA);
    vga.out(0x3C0, 0x21), vga.out(0x3C0, 0x15); // palette writes need the display off
    CHECK(vga.in(0x3C1) == 0x01);
    vga.crtc(0x00, 0x12); // protected by 11h bit 7
    vga.out(0x3D4, 0);
    CHECK(vga.in(0x3D5) == 0x5F);
    vga.crtc(0x07, 0x00);
    vga.out(0x3D4, 7);
    CHECK(vga.in(0x3D5) == 0x0F); // only line compare bit 8 changed
    CHECK(vga.in(0x3B5) == 0xFF);
    vga.out(0x3C2, 0x66);
    CHECK(vga.in(0x3B5) == 0x0F);
    CHECK(vga.in(0x3D5) == 0xFF);
    vga.out(0x3C7, 5);
    CHECK(vga.in(0x3C7) == 3);
    vga.out(0x3C8, 5);
    CHECK(vga.in(0x3C7) == 0);
}

TEST_CASE("vga: retrace follows the virtual clock at the mode's rate", "[devices][vga]") {
    VgaFixture vga;
    const auto frames_a_second = [&] {
        unsigned edges = 0;
        bool was = true;
        for (uint64_t now = 0; now < kNanosPerSecond; now += 50'000) {
            vga.platform.clock.set_manual(now);
            const uint32_t status = vga.in(0x3DA);
            const bool retrace = (status & 8) != 0;
            if (retrace)
                REQUIRE((status & 1) != 0);
            edges += retrace && !was;
            was = retrace;
        }
        return edges;
    };
    vga.set_mode(kMode03);
    CHECK(frames_a_second() == 70);
    vga.set_mode(kMode12);
    CHECK(frames_a_second() == Approx(60).margin(1));
    // Horizontal blanking shows within a displayed line.
    unsigned toggles = 0, last = 0;
    for (uint64_t now = 1'000'000; now < 1'100'000; now += 1'000) {
        vga.platform.clock.set_manual(now);
        const unsigned disabled = vga.in(0x3DA) & 1;
        toggles += disabled != last;
        last = disabled;
    }
    CHECK(toggles >= 4);
}

TEST_CASE("vga: the generation changes with the picture and rests without", "[devices][vga]") {
    VgaFixture vga;
    vga.map_frame_buffer();
    vga.linear_mode(1024, 768, 32);
    const auto generation = [&] { return vga.platform.outputs.picture_generation(); };
    uint64_t last = generation();
    CHECK(generation() == last);
    vga.memory->write<uint8_t>(VgaFixture::kLfb + 1024 * 768 * 4 - 2, 1);
    CHECK(generation() != last);
    last = generation();
    vga.memory->write<uint8_t>(VgaFixture::kLfb + 1024 * 768 * 4 + 2, 1); // not visible
    CHECK(generation() == last);
    vga.dispi(4, 0);
    vga.set_mode(kMode03);
    last = generation();
    CHECK(generation() == last);
    vga.memory->write<uint8_t>(0xB8000 + 77, 1);
    CHECK(generation() != last);
    last = generation();
    vga.platform.clock.set_manual(kNanosPerSecond / 70 * 8 + 1000); // the cursor blinks
    CHECK(generation() != last);
    vga.set_mode(kMode12);
    last = generation();
    vga.memory->write<uint8_t>(0xA0000, 1);
    CHECK(generation() != last);
}

TEST_CASE("vga: saved state brings back registers, memory and mappings", "[devices][vga]") {
    VgaFixture from;
    from.map_frame_buffer();
    SECTION("text mode") {
        from.set_mode(kMode03);
        from.set_dac();
        from.load_glyph('A', std::vector<uint8_t>(16, 0x81));
        from.memory->write<uint16_t>(0xB8000 + 200, 0x1E41);
    }
    SECTION("planar mode with loaded latches") {
        from.set_mode(kMode12);
        from.set_dac();
        from.memory->write<uint8_t>(0xA1234, 0x99);
        static_cast<void>(from.memory->read<uint8_t>(0xA1234));
    }
    SECTION("linear mode") {
        from.linear_mode(800, 600, 8);
        from.dispi(4, 0x61);
        from.set_dac();
        from.dispi(6, 1024), from.dispi(9, 20), from.dispi(5, 7);
        from.memory->write<uint32_t>(VgaFixture::kLfb + 1024 * 30, 0x44332211);
    }
    const Picture expected = from.picture();
    const std::vector<uint8_t> state = VgaFixture::saved(*from.device);
    VgaFixture to;
    to.set_mode(kMode13); // something else, with dirty memory
    for (uint32_t i = 0; i < 0x10000; ++i)
        to.memory->write<uint8_t>(0xA0000 + i, 0xEE);
    VgaFixture::load(*to.device, state);
    const Picture loaded = to.picture();
    CHECK(loaded.width == expected.width);
    CHECK(loaded.pixels == expected.pixels);
    CHECK(to.platform.outputs.text_screen() == from.platform.outputs.text_screen());
    CHECK(VgaFixture::saved(*to.device) == state);
    CHECK(to.kind(VgaFixture::kLfb) == PageKind::Ram);
    for (uint32_t address = 0xA0000; address < 0xC0000; address += kPageSize)
        REQUIRE(to.kind(address) == from.kind(address));
    CHECK(state.size() < 1 << 20); // memory never touched is not stored
}

TEST_CASE("vga: hostile saved state and port storms leave the adapter standing", "[devices][vga]") {
    std::mt19937 random(7);
    VgaFixture vga;
    vga.map_frame_buffer();
    vga.set_mode(kMode03);
    const std::vector<uint8_t> state = VgaFixture::saved(*vga.device);
    for (unsigned round = 0; round < 25; ++round) {
        for (unsigned i = 0; i < 400; ++i) {
            switch (random() % 8) {
            case 0:
                vga.platform.io.write(0x1CE, 2, random() % 12);
                break;
            case 1:
                vga.platform.io.write(0x1CF, 2, random());
                break;
            case 2:
                vga.memory->write<uint32_t>(0xA0000 + random() % 0x1FFFC, random());
                break;
            case 3:
                static_cast<void>(vga.memory->read<uint32_t>(0xA0000 + random() % 0x1FFFC));
                break;
            case 4:
                vga.in(static_cast<uint16_t>(0x3B0 + random() % 48));
                break;
            default:
                vga.out(static_cast<uint16_t>(0x3B0 + random() % 48), random());
                break;
            }
        }
        vga.pci_write(static_cast<uint8_t>(random() % 16 * 4), random());
        const Picture picture = vga.picture();
        REQUIRE(picture.pixels.size() == size_t{picture.width} * picture.height);
        static_cast<void>(vga.platform.outputs.text_screen());
        static_cast<void>(vga.platform.outputs.picture_generation());

        std::vector<uint8_t> bad = state;
        for (unsigned i = 0; i < 200; ++i)
            bad[random() % std::min<size_t>(bad.size(), 2500)] = static_cast<uint8_t>(random());
        if (auto archive = base::StateArchive::parse(bad))
            vga.device->serialize(*archive);
        // Same shape, any register contents.
        bad = state;
        for (const char* field : {"sequencer", "graphics", "crtc", "attribute", "dispi", "dac_component"}) {
            std::string name(field); // with its length before it, as in the archive
            name.insert(name.begin(), static_cast<char>(name.size()));
            const auto at = std::search(bad.begin(), bad.end(), name.begin(), name.end());
            REQUIRE(at != bad.end());
            uint32_t length = 0;
            std::memcpy(&length, &*at + name.size(), 4);
            for (uint32_t i = 0; i < length && length < 100; ++i)
                *(at + static_cast<ptrdiff_t>(name.size() + 4 + i)) = static_cast<uint8_t>(random());
        }
        auto archive = base::StateArchive::parse(bad);
        REQUIRE(archive.has_value());
        vga.device->serialize(*archive);
        CHECK(archive->error().empty());
        static_cast<void>(vga.picture());
    }
    vga.device->reset();
    vga.map_frame_buffer();
    vga.linear_mode(640, 480, 32);
    vga.memory->write<uint32_t>(VgaFixture::kLfb, 0x123456);
    CHECK(pixel(vga.picture(), 0, 0) == 0x123456);
}

TEST_CASE("vga: cost of a large linear picture", "[.][bench][vga]") {
    VgaFixture vga;
    vga.map_frame_buffer();
    vga.linear_mode(1024, 768, 32);
    const auto measure = [](const char* what, auto&& work) {
        const auto start = std::chrono::steady_clock::now();
        for (unsigned i = 0; i < 50; ++i)
            work();
        const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
        WARN(what << ": " << spent.count() / 50 << " ms");
    };
    measure("picture 1024x768x32", [&] { static_cast<void>(vga.picture()); });
    measure("generation", [&] { static_cast<void>(vga.platform.outputs.picture_generation()); });
    vga.dispi(4, 0);
    vga.set_mode(kMode03);
    measure("text picture", [&] { static_cast<void>(vga.picture()); });
    vga.set_mode(kMode12);
    measure("planar picture", [&] { static_cast<void>(vga.picture()); });
}
