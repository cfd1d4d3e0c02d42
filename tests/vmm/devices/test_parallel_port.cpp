#include "tests/vmm/devices/legacy_fixture.h"

using namespace vmm;

TEST_CASE("parallel_port: data and control latch, status says no printer", "[devices]") {
    LegacyFixture machine;
    auto device = make_parallel_port(machine.platform);
    machine.out(0x378, 0xAA);
    CHECK(machine.in(0x378) == 0xAA); // how BIOSes find the port
    machine.out(0x37A, 0xFF);
    CHECK(machine.in(0x37A) == 0xFF);
    CHECK(machine.in(0x378) == 0xFF); // direction: in
    machine.out(0x37A, 0x0C);
    CHECK(machine.in(0x37A) == 0xCC);
    machine.out(0x379, 0x00);
    CHECK(machine.in(0x379) == 0x7F);
}

TEST_CASE("parallel_port: state survives a save", "[devices]") {
    LegacyFixture machine, second;
    auto device = make_parallel_port(machine.platform), other = make_parallel_port(second.platform);
    machine.out(0x378, 0x55), machine.out(0x37A, 0x0C);
    require_round_trip(*device, *other);
    CHECK(second.in(0x378) == 0x55);
}
