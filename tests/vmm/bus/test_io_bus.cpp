#include "vmm/bus/io_bus.h"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

using namespace vmm;

namespace {
struct Recorder : IoHandler {
    std::vector<std::string> log;
    uint32_t io_read(uint16_t port, unsigned size) override {
        log.push_back("r" + std::to_string(size) + "@" + std::to_string(port));
        return 0x10u + port % 16u;
    }
    void io_write(uint16_t port, unsigned size, uint32_t value) override {
        log.push_back("w" + std::to_string(size) + "@" + std::to_string(port) + "=" + std::to_string(value));
    }
};
using Log = std::vector<std::string>;
} // namespace

TEST_CASE("io_bus: unclaimed ports read as ones and swallow writes", "[bus]") {
    IoBus bus;
    CHECK(bus.read(0x300, 1) == 0xFF);
    CHECK(bus.read(0x300, 2) == 0xFFFF);
    CHECK(bus.read(0xFFFF, 4) == 0xFFFFFFFF);
    bus.write(0xFFFF, 4, 0);
}

TEST_CASE("io_bus: wide accesses are split for a byte-wide handler", "[bus]") {
    IoBus bus;
    Recorder device;
    bus.add(0x100, 2, &device, "device");
    CHECK(bus.read(0x100, 4) == 0xFFFF1110);
    CHECK(device.log == Log{"r1@256", "r1@257"});
    device.log.clear();
    bus.write(0x100, 2, 0xABCD);
    CHECK(device.log == Log{"w1@256=205", "w1@257=171"});
}

TEST_CASE("io_bus: an access wholly inside a wide range arrives whole, one that leaves it in bytes",
          "[bus]") {
    IoBus bus;
    Recorder device;
    bus.add(0x1F0, 8, &device, "device", 4);
    bus.read(0x1F4, 4);
    CHECK(device.log == Log{"r4@500"});
    device.log.clear();
    bus.read(0x1F6, 4);
    CHECK(device.log == Log{"r1@502", "r1@503"});
}

TEST_CASE("io_bus: a guest's choice of ports is refused when a part is taken or beyond the end", "[bus]") {
    IoBus bus;
    Recorder fixed, moving;
    bus.add(0x3F8, 8, &fixed, "fixed");
    CHECK_FALSE(bus.try_add(0x3F0, 16, &moving, "moving"));
    CHECK(bus.read(0x3F0, 1) == 0xFF); // nothing claimed
    CHECK_FALSE(bus.try_add(0xFFF8, 16, &moving, "moving"));
    REQUIRE(bus.try_add(0xFFF0, 16, &moving, "moving"));
    CHECK(bus.read(0xFFFF, 1) == 0x1F);
    bus.remove(0xFFF0, 16);
    CHECK(bus.read(0xFFFF, 1) == 0xFF);
}

TEST_CASE("io_bus: a range that moves for ever needs no new slots", "[bus]") {
    IoBus bus;
    Recorder device;
    for (unsigned i = 0; i < 70'000; ++i) { // more often than the owner table could number
        const auto base = static_cast<uint16_t>(0x1000 + i % 16 * 0x20);
        REQUIRE(bus.try_add(base, 0x20, &device, "device"));
        if (i % 10'000 == 0)
            CHECK(bus.read(base, 1) == 0x10);
        bus.remove(base, 0x20);
    }
}
