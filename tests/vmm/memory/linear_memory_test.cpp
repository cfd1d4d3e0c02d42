#include "vmm/memory/linear_memory.h"

#include "tests/vmm/memory/fixture.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint32_t kTable = 0x200000;
constexpr auto S = Privilege::Supervisor, U = Privilege::User;

struct Cached : Paged {
    LinearMemory linear{cpu, *memory};
    Cached() {
        enable_32bit();
        pde(0, kTable | kP | kW | kU);
        pte(kTable, 0x5000, 0x300000 | kP | kW | kU);
        pte(kTable, 0x6000, 0x310000 | kP | kW | kU);
    }
};

} // namespace

TEST_CASE("linear_memory: an access across pages finds both frames", "[memory]") {
    Cached pc;
    REQUIRE(pc.linear.write<uint32_t>(0x5FFE, 0x11223344, U));
    CHECK(pc.memory->read<uint16_t>(0x300FFE) == 0x3344);
    CHECK(pc.memory->read<uint16_t>(0x310000) == 0x1122);
    CHECK(pc.linear.read<uint32_t>(0x5FFE, U) == 0x11223344u);
}

TEST_CASE("linear_memory: a fault on the second page leaves the first untouched", "[memory]") {
    Cached pc;
    const auto done = pc.linear.write<uint32_t>(0x6FFE, 0x11223344, U);
    REQUIRE_FALSE(done);
    CHECK(done.error().linear_address == 0x7000);
    CHECK(done.error().error_code == 6);
    CHECK(pc.memory->read<uint16_t>(0x310FFE) == 0);
}

TEST_CASE("linear_memory: linear addresses wrap at 4 GiB", "[memory]") {
    Cached pc;
    pc.pde(0xFFFFF000, 0x201000 | kP | kW | kU);
    pc.pte(0x201000, 0xFFFFF000, 0x320000 | kP | kW | kU);
    pc.pte(kTable, 0, 0x330000 | kP | kW | kU);
    REQUIRE(pc.linear.write<uint32_t>(0xFFFFFFFE, 0xAABBCCDD, S));
    CHECK(pc.memory->read<uint16_t>(0x330000) == 0xAABB);
}

TEST_CASE("linear_memory: a write after a cached read still sets D", "[memory]") {
    Cached pc;
    REQUIRE(pc.linear.read<uint8_t>(0x5000, U));
    CHECK((pc.pte(kTable, 0x5000) & (kA | kD)) == kA);
    REQUIRE(pc.linear.write<uint8_t>(0x5000, 1, U));
    CHECK((pc.pte(kTable, 0x5000) & (kA | kD)) == (kA | kD));
}

TEST_CASE("linear_memory: translations stay until flushed, one page or all", "[memory]") {
    Cached pc;
    pc.memory->write<uint8_t>(0x340000, 9);
    pc.memory->write<uint8_t>(0x350000, 8);
    REQUIRE(pc.linear.read<uint8_t>(0x5000, U) == 0);
    REQUIRE(pc.linear.read<uint8_t>(0x6000, U) == 0);
    pc.pte(kTable, 0x5000, 0x340000 | kP | kU);
    pc.pte(kTable, 0x6000, 0x350000 | kP | kU);
    CHECK(pc.linear.read<uint8_t>(0x5000, U) == 0);
    pc.linear.flush_page(0x5123);
    CHECK(pc.linear.read<uint8_t>(0x5000, U) == 9);
    CHECK(pc.linear.read<uint8_t>(0x6000, U) == 0);
    pc.linear.flush();
    CHECK(pc.linear.read<uint8_t>(0x6000, U) == 8);
}

TEST_CASE("linear_memory: global translations outlive a CR3 load, not INVLPG or a flush of everything",
          "[memory]") {
    Cached pc;
    const bool counts = GENERATE(true, false); // CR4.PGE
    pc.cpu.cr4 = counts ? pc.cpu.cr4 | cr4::kPge : pc.cpu.cr4 & ~cr4::kPge;
    pc.memory->write<uint8_t>(0x340000, 9);
    pc.pte(kTable, 0x5000, 0x300000 | kP | kU | kG);
    pc.pte(kTable, 0x6000, 0x300000 | kP | kU);
    REQUIRE(pc.linear.read<uint8_t>(0x5000, U) == 0);
    REQUIRE(pc.linear.read<uint8_t>(0x6000, U) == 0);
    pc.pte(kTable, 0x5000, 0x340000 | kP | kU | kG);
    pc.pte(kTable, 0x6000, 0x340000 | kP | kU);
    pc.linear.flush_local();
    CHECK(pc.linear.read<uint8_t>(0x5000, U) == (counts ? 0 : 9));
    CHECK(pc.linear.read<uint8_t>(0x6000, U) == 9);
    SECTION("INVLPG") { pc.linear.flush_page(0x5000); }
    SECTION("all") { pc.linear.flush(); }
    CHECK(pc.linear.read<uint8_t>(0x5000, U) == 9);
}

TEST_CASE("linear_memory: a CR3 load leaves global large pages to INVLPG", "[memory]") {
    Cached pc;
    pc.cpu.cr4 |= cr4::kPge | cr4::kPse;
    pc.pde(0x00800000, 0x00800000 | kP | kW | kU | kPs | kG);
    pc.memory->write<uint8_t>(0x00801000, 1);
    pc.memory->write<uint8_t>(0x00C01000, 2);
    REQUIRE(pc.linear.read<uint8_t>(0x00801000, U) == 1);
    pc.pde(0x00800000, 0x00C00000 | kP | kW | kU | kPs | kG);
    pc.linear.flush_local();
    CHECK(pc.linear.read<uint8_t>(0x00801000, U) == 1);
    pc.linear.flush_page(0x00BFF000);
    CHECK(pc.linear.read<uint8_t>(0x00801000, U) == 2);
}

TEST_CASE("linear_memory: user and supervisor entries are apart", "[memory]") {
    Cached pc;
    pc.pte(kTable, 0x5000, 0x300000 | kP | kW);
    REQUIRE(pc.linear.read<uint8_t>(0x5000, S));
    const auto refused = pc.linear.read<uint8_t>(0x5000, U);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().error_code == 5);
}

TEST_CASE("linear_memory: flush_page drops every piece of a large page", "[memory]") {
    Cached pc;
    pc.pde(0x00800000, 0x00800000 | kP | kW | kU | kPs);
    pc.memory->write<uint8_t>(0x00801000, 1);
    pc.memory->write<uint8_t>(0x00C01000, 2);
    REQUIRE(pc.linear.read<uint8_t>(0x00801000, U) == 1);
    pc.pde(0x00800000, 0x00C00000 | kP | kW | kU | kPs);
    pc.linear.flush_page(0x00BFF000);
    CHECK(pc.linear.read<uint8_t>(0x00801000, U) == 2);
}

TEST_CASE("linear_memory: execute is always walked afresh", "[memory]") {
    Cached pc;
    REQUIRE(pc.linear.translate(0x5010, AccessKind::Execute, U) == 0x300010u);
    pc.pte(kTable, 0x5000, 0x340000 | kP | kU);
    CHECK(pc.linear.translate(0x5010, AccessKind::Execute, U) == 0x340010u);
}

TEST_CASE("linear_memory: check_write faults and sets D but stores nothing", "[memory]") {
    Cached pc;
    pc.memory->write<uint8_t>(0x300000, 7);
    REQUIRE(pc.linear.check_write(0x5000, 4, U));
    CHECK((pc.pte(kTable, 0x5000) & kD) != 0);
    CHECK(pc.memory->read<uint8_t>(0x300000) == 7);
    CHECK_FALSE(pc.linear.check_write(0x6FFF, 2, U));
}
