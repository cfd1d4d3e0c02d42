// The monitor that the guest sees: its preferred mode is the window's.
#include "tests/vmm/devices/vga_fixture.h"
#include "vmm/devices/vga_edid.h"

#include <numeric>

using namespace vmm;

namespace {

constexpr DisplaySize kMost{2560, 1600};
constexpr uint32_t kVram = 16u << 20;

// The first detailed timing, as E-EDID 1.4, section 3.10.2 lays it out.
DisplaySize preferred(std::span<const uint8_t> block) {
    return {block[56] | (block[58] & 0xF0u) << 4, block[59] | (block[61] & 0xF0u) << 4};
}

} // namespace

TEST_CASE("edid: the block is well-formed and prefers the size asked for", "[devices]") {
    for (const DisplaySize size :
         {DisplaySize{640, 480}, {1280, 800}, {1920, 1080}, {2560, 1600}, {1024, 768}}) {
        const EdidBlock block = make_edid(size);
        CHECK(std::accumulate(block.begin(), block.end(), 0) % 256 == 0);
        CHECK(block[0] == 0);
        CHECK(std::all_of(block.begin() + 1, block.begin() + 7, [](uint8_t byte) { return byte == 0xFF; }));
        CHECK(block[126] == 0);
        CHECK(preferred(block) == size);
        const double clock = (block[54] | block[55] << 8) * 1e4;
        const unsigned h_total = size.width + (block[57] | (block[58] & 0xF) << 8),
                       v_total = size.height + (block[60] | (block[61] & 0xF) << 8);
        CHECK(clock / h_total / v_total == Approx(60).epsilon(0.012));
    }
    // VESA's own figures for 1920x1080 with reduced blanking: 138.5 MHz, 2080 by 1111.
    const EdidBlock block = make_edid({1920, 1080});
    CHECK((block[54] | block[55] << 8) == 13850);
    CHECK((block[60] | (block[61] & 0xF) << 8) == 31);
}

TEST_CASE("edid: what is too large is divided evenly, what is too small is no screen", "[devices]") {
    CHECK(nearest_mode({1280, 800}, kMost, kVram) == DisplaySize{1280, 800});
    CHECK(nearest_mode({1366, 768}, kMost, kVram) == DisplaySize{1360, 768});
    CHECK(nearest_mode({3840, 2160}, kMost, kVram) == DisplaySize{1920, 1080});
    CHECK(nearest_mode({5120, 2880}, kMost, kVram) == DisplaySize{2560, 1440});
    CHECK(nearest_mode({1920, 1080}, kMost, 4u << 20) == DisplaySize{960, 540});
    CHECK(nearest_mode({639, 480}, kMost, kVram) == DisplaySize{});
    CHECK(nearest_mode({0, 0}, kMost, kVram) == DisplaySize{});
    CHECK(nearest_mode({0xFFFFFFFF, 0xFFFFFFFF}, kMost, kVram) == DisplaySize{});
}

TEST_CASE("vga: the register window shows the monitor once the session asks for a size", "[devices]") {
    VgaFixture vga;
    vga.pci_write(0x18, 0xFEB20000), vga.pci_write(0x04, 2);
    const auto block = [&] {
        EdidBlock read{};
        for (uint32_t i = 0; i < read.size(); ++i)
            read[i] = vga.memory->read<uint8_t>(0xFEB20000 + i);
        return read;
    };
    CHECK(block() == EdidBlock{});
    vga.platform.outputs.prefer_size(1366, 768);
    CHECK(block() == make_edid({1360, 768}));
    CHECK(vga.memory->read<uint32_t>(0xFEB20000 + 128) == 0);
    const auto state = ChipsetFixture::saved(*vga.device);
    vga.device->reset();
    vga.pci_write(0x18, 0xFEB20000), vga.pci_write(0x04, 2);
    CHECK(block() == make_edid({1360, 768})); // the host's affair
    vga.platform.outputs.prefer_size(1280, 1024);
    ChipsetFixture::load(*vga.device, state);
    CHECK(block() == make_edid({1280, 1024}));
    vga.platform.outputs.prefer_size(0, 0);
    CHECK(block() == EdidBlock{});
}
