#include "tests/vmm/devices/legacy_fixture.h"

#include <string_view>

using namespace vmm;

namespace {
struct Debug : LegacyFixture {
    std::unique_ptr<Device> device = make_debug_ports(platform);
    void print(std::string_view text) {
        for (char c : text)
            out(0x402, static_cast<uint8_t>(c));
    }
};
} // namespace

TEST_CASE("debug_ports: firmware sees the console and its lines arrive", "[devices]") {
    Debug debug;
    CHECK(debug.in(0x402) == 0xE9);
    debug.print("SeaBIOS\r\nbooting");
    CHECK(debug.platform.debug_console == std::vector<std::string>{"SeaBIOS"});
    debug.print("\x1b\xff\n");
    CHECK(debug.platform.debug_console.back() == "booting??");
}

TEST_CASE("debug_ports: neither lines nor their number grow without bound", "[devices]") {
    Debug debug;
    debug.print(std::string(100'000, 'x') + "\n");
    CHECK(debug.platform.debug_console.back().size() <= 512);
    for (int i = 0; i < 10'000; ++i)
        debug.print("line\n");
    debug.print("last\n");
    CHECK(debug.platform.debug_console.size() <= 2000);
    CHECK(debug.platform.debug_console.back() == "last");
}

TEST_CASE("debug_ports: the POST code reads back and survives a save", "[devices]") {
    Debug debug, other;
    debug.out(0x80, 0x3C);
    CHECK(debug.in(0x80) == 0x3C);
    require_round_trip(*debug.device, *other.device);
    CHECK(other.in(0x80) == 0x3C);
}
