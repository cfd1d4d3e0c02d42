#include "tests/vmm/devices/legacy_fixture.h"

using namespace vmm;

TEST_CASE("port92: bit 1 is A20, whoever changed it", "[devices]") {
    LegacyFixture machine;
    auto device = make_port92(machine.platform);
    CHECK(machine.in(0x92) == 0x02);
    machine.out(0x92, 0x00);
    CHECK_FALSE(machine.memory->a20());
    machine.memory->set_a20(true);
    CHECK(machine.in(0x92) == 0x02);
}

TEST_CASE("port92: bit 0 resets when it rises, not while it stays set", "[devices]") {
    LegacyFixture machine;
    auto device = make_port92(machine.platform);
    machine.out(0x92, 0x03);
    CHECK(machine.control.resets == 1);
    machine.out(0x92, 0x03);
    CHECK(machine.control.resets == 1);
    machine.out(0x92, 0x02);
    machine.out(0x92, 0x03);
    CHECK(machine.control.resets == 2);
}

TEST_CASE("port92: state survives a save", "[devices]") {
    LegacyFixture machine, second;
    auto device = make_port92(machine.platform), other = make_port92(second.platform);
    machine.out(0x92, 0x82);
    require_round_trip(*device, *other);
    CHECK(second.in(0x92) == 0x82);
}
