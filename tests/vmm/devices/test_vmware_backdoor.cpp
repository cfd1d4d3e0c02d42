#include "tests/vmm/devices/legacy_fixture.h"
#include "vmm/arch/tsc.h"

using namespace vmm;

namespace {
constexpr unsigned kEax = 0, kEcx = 1, kEdx = 2, kEbx = 3;
constexpr uint32_t kMagic = 0x564D5868;

struct Backdoor : LegacyFixture {
    std::unique_ptr<Device> mouse = make_ps2_8042(platform);
    std::unique_ptr<Device> device = make_vmware_backdoor(platform);
    std::array<uint32_t, 8> registers{};
    Backdoor() {
        platform.cpu_register = [this](unsigned index) -> uint32_t& { return registers[index]; };
        out(0x64, 0x60), out(0x60, 0x47);
        out(0x64, 0xD4), out(0x60, 0xF4), in(0x60); // mouse on
        platform.clock.set_manual(kNanosPerSecond);
    }
    uint32_t call(uint32_t command, uint32_t argument = 0) {
        registers = {kMagic, command, 0x5658, argument, 0, 0, 0, 0};
        return registers[kEax] = platform.io.read(0x5658, 4);
    }
    // As Linux's vmmouse driver does it.
    void enable() {
        call(41, 0x45414552);
        REQUIRE(call(40) == 1);
        REQUIRE(call(39, 1) == 0x3442554A);
        call(41, 0x53424152);
    }
    void point(int x, int y, unsigned buttons, bool absolute = true, int wheel = 0) {
        platform.outputs.pointer({absolute, x, y, wheel, static_cast<uint8_t>(buttons)});
    }
};
} // namespace

TEST_CASE("backdoor: answers the version to those who know the magic", "[devices]") {
    Backdoor door;
    CHECK(door.call(10) == 6);
    CHECK(door.registers[kEbx] == kMagic);
    CHECK(door.call(0x7777) == 0xFFFFFFFF);
    door.registers = {1, 10, 0x5658, 0, 0, 0, 0, 0};
    CHECK(door.platform.io.read(0x5658, 4) == 0xFFFFFFFF);
    CHECK(door.registers[kEbx] == 0);
    CHECK(door.platform.io.read(0x5658, 1) == 0xFF);
    door.platform.cpu_register = nullptr;
    CHECK(door.platform.io.read(0x5658, 4) == 0xFFFFFFFF);
}

TEST_CASE("backdoor: GETHZ agrees with the timing leaf", "[devices]") {
    Backdoor door;
    const uint64_t low = door.call(45);
    CHECK((low | uint64_t{door.registers[kEbx]} << 32) == uint64_t{tsc_khz()} * 1000);
    CHECK(door.registers[kEcx] == kApicBusKhz * 1000);
}

TEST_CASE("backdoor: absolute positions once a driver has asked, each announced by the PS/2 mouse",
          "[devices]") {
    Backdoor door;
    CHECK_FALSE(door.platform.outputs.pointer_is_absolute());
    door.enable();
    CHECK(door.platform.outputs.pointer_is_absolute());
    CHECK(door.call(40) == 0);
    door.point(1000, 70'000, 5, true, 2);
    CHECK(door.irq.is_high(12));
    CHECK((door.in(0x60) & 0x0F) == 0x08); // an empty packet
    CHECK(door.call(40) == 4);
    CHECK(door.call(39, 4) == 0x28); // left, middle
    CHECK(door.registers[kEbx] == 1000);
    CHECK(door.registers[kEcx] == 0xFFFF);
    CHECK(door.registers[kEdx] == 2);
    CHECK(door.call(40) == 0);
}

TEST_CASE("backdoor: movement replaces unread movement, clicks do not", "[devices]") {
    Backdoor door;
    door.enable();
    door.point(1, 1, 0);
    door.point(2, 2, 0);
    CHECK(door.call(40) == 4);
    door.point(2, 2, 1);
    door.point(2, 2, 0);
    CHECK(door.call(40) == 12);
    door.call(39, 4);
    CHECK(door.registers[kEbx] == 2);
}

TEST_CASE("backdoor: a drag that nobody has read yet begins where the button went down", "[devices]") {
    Backdoor door;
    door.enable();
    door.point(1, 1, 0);
    door.point(1, 1, 1);
    for (int i = 2; i <= 9; ++i)
        door.point(i, i, 1);
    door.point(9, 9, 0);
    for (int i = 10; i <= 12; ++i)
        door.point(i, i, 0);
    const std::pair<uint32_t, uint32_t> expected[] = {{0, 1}, {0x20, 1}, {0x20, 9}, {0, 9}, {0, 12}};
    for (const auto& [status, x] : expected) {
        REQUIRE(door.call(40) >= 4);
        CHECK(door.call(39, 4) == status);
        CHECK(door.registers[kEbx] == x);
    }
    CHECK(door.call(40) == 0);
}

TEST_CASE("backdoor: without a driver the PS/2 mouse gets the movement", "[devices]") {
    Backdoor door;
    door.point(3, 0, 1, false);
    CHECK(door.in(0x60) == 0x09);
    CHECK(door.call(40) == 0xFFFF0000);
    door.enable();
    door.device->reset();
    CHECK_FALSE(door.platform.outputs.pointer_is_absolute());
}

TEST_CASE("backdoor: relative movement of an absolute session is marked", "[devices]") {
    Backdoor door;
    door.enable();
    door.point(-3, 4, 0, false);
    CHECK(door.call(39, 4) == 0x10000);
    CHECK(door.registers[kEbx] == static_cast<uint32_t>(-3));
    CHECK(door.registers[kEcx] == static_cast<uint32_t>(-4));
    door.point(INT32_MIN, INT32_MIN, 0, false);
}

TEST_CASE("backdoor: reading more than there is stops the device", "[devices]") {
    Backdoor door;
    const uint32_t count = GENERATE(0u, 4u, 5u, 0xFFFFFFFFu);
    door.enable();
    CHECK(door.call(39, count) == 0xFFFFFFFF);
    CHECK(door.call(40) == 0xFFFF0000);
}

TEST_CASE("backdoor: a driver that does not read keeps the latest position", "[devices]") {
    Backdoor door;
    door.call(41, 0x45414552);
    door.call(41, 0x53424152); // version not read
    for (int i = 0; i < 5000; ++i)
        door.point(i, i, static_cast<unsigned>(i) & 7);
    uint32_t words = door.call(40);
    REQUIRE(words <= 256);
    REQUIRE(words % 4 == 1);
    door.call(39, 1);
    for (words -= 1; words > 0; words -= 4)
        door.call(39, 4);
    CHECK(door.registers[kEbx] == 4999);
}

TEST_CASE("backdoor: state survives a save and a forged one is harmless", "[devices]") {
    Backdoor door, other;
    door.enable();
    door.point(123, 456, 1);
    require_round_trip(*door.device, *other.device);
    CHECK(other.platform.outputs.pointer_is_absolute());
    other.call(39, 4);
    CHECK(other.registers[kEbx] == 123);
    load_forged(*other.device, 0xFF);
    other.point(1, 2, 3);
    for (int i = 0; i < 200; ++i)
        other.call(39, 4);
}
