#include "tests/vmm/memory/fixture.h"

#include <cstring>

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint32_t kTable = 0x200000, kLinear = 0x00812345, kFrame = 0x00345000;

struct Case {
    const char* name;
    uint64_t directory, table; // flags; addresses are added
    AccessKind access;
    Privilege privilege;
    int error; // -1: succeeds
};

constexpr auto R = AccessKind::Read, W = AccessKind::Write, X = AccessKind::Execute;
constexpr auto S = Privilege::Supervisor, U = Privilege::User;

} // namespace

TEST_CASE("page_walk: without paging linear is physical", "[memory]") {
    Paged pc;
    const auto walked = page_walk(pc.cpu, *pc.memory, 0xFEC01234, W, U);
    REQUIRE(walked);
    CHECK(walked->physical == 0xFEC01234);
    CHECK(walked->writable);
}

TEST_CASE("page_walk: 32-bit paging grants and faults with the exact error code", "[memory]") {
    const Case cases[] = {
        {"all allowed", kP | kW | kU, kP | kW | kU, W, U, -1},
        {"directory not present, read", 0, kP | kW | kU, R, S, 0},
        {"directory not present, user write", kW | kU, kP, W, U, 6},
        {"table not present, write", kP | kW, kW, W, S, 2},
        {"table not present, user fetch has no I/D bit", kP | kW | kU, kU, X, U, 4},
        {"supervisor page by directory", kP | kW, kP | kW | kU, R, U, 5},
        {"supervisor page by table", kP | kW | kU, kP | kW, R, U, 5},
        {"supervisor page, user write", kP | kW | kU, kP | kW, W, U, 7},
        {"read-only by directory", kP | kU, kP | kW | kU, W, U, 7},
        {"read-only by table", kP | kW | kU, kP | kU, W, U, 7},
        {"read-only, WP, supervisor", kP | kW | kU, kP | kU, W, S, 3},
        {"supervisor reads user page", kP | kU, kP | kU, R, S, -1},
        {"fetch needs no right in 32-bit paging", kP | kU, kP | kU, X, U, -1},
    };
    for (const Case& c : cases) {
        INFO(c.name);
        Paged pc;
        pc.enable_32bit();
        pc.pde(kLinear, kTable | static_cast<uint32_t>(c.directory));
        pc.pte(kTable, kLinear, kFrame | static_cast<uint32_t>(c.table));
        const auto walked = page_walk(pc.cpu, *pc.memory, kLinear, c.access, c.privilege);
        REQUIRE(walked.has_value() == (c.error < 0));
        if (walked) {
            CHECK(walked->physical == (kFrame | 0x345));
            CHECK(walked->page_bytes == 4096);
            continue;
        }
        CHECK(walked.error().vector == Vector::PageFault);
        CHECK(walked.error().has_error_code);
        CHECK(walked.error().error_code == static_cast<uint32_t>(c.error));
        CHECK(walked.error().linear_address == kLinear);
        CHECK((pc.pde(kLinear) & kA) == 0); // a fault sets nothing
        CHECK((pc.pte(kTable, kLinear) & (kA | kD)) == 0);
    }
}

TEST_CASE("page_walk: CR0.WP clear lets the supervisor write read-only pages, never the user", "[memory]") {
    Paged pc;
    pc.enable_32bit();
    pc.cpu.cr0 &= ~cr0::kWp;
    pc.pde(kLinear, kTable | kP | kU);
    pc.pte(kTable, kLinear, kFrame | kP | kU);
    CHECK_FALSE(page_walk(pc.cpu, *pc.memory, kLinear, W, U));
    CHECK((pc.pte(kTable, kLinear) & kD) == 0);
    CHECK(page_walk(pc.cpu, *pc.memory, kLinear, W, S));
    CHECK((pc.pte(kTable, kLinear) & kD) != 0);
}

TEST_CASE("page_walk: A is set at each level by any access, D in the leaf by writes", "[memory]") {
    Paged pc;
    pc.enable_32bit();
    pc.pde(kLinear, kTable | kP | kW | kU);
    pc.pte(kTable, kLinear, kFrame | kP | kW | kU);
    auto walked = page_walk(pc.cpu, *pc.memory, kLinear, R, U);
    REQUIRE(walked);
    CHECK(walked->may_write);
    CHECK_FALSE(walked->writable);
    CHECK(pc.pde(kLinear) == (kTable | kP | kW | kU | kA));
    CHECK(pc.pte(kTable, kLinear) == (kFrame | kP | kW | kU | kA));
    walked = page_walk(pc.cpu, *pc.memory, kLinear, W, U);
    REQUIRE(walked);
    CHECK(walked->writable);
    CHECK(pc.pde(kLinear) == (kTable | kP | kW | kU | kA));
    CHECK(pc.pte(kTable, kLinear) == (kFrame | kP | kW | kU | kA | kD));
    CHECK(page_walk(pc.cpu, *pc.memory, kLinear, R, U)->writable);
}

TEST_CASE("page_walk: a probe changes nothing and respects privilege", "[memory]") {
    Paged pc;
    pc.enable_32bit();
    pc.pde(kLinear, kTable | kP | kW | kU);
    pc.pte(kTable, kLinear, kFrame | kP | kW | kG);
    pc.cpu.cr4 |= cr4::kPge;
    const Translation found = page_probe(pc.cpu, *pc.memory, kLinear, S);
    CHECK(found.physical == (kFrame | 0x345));
    CHECK(found.global);
    CHECK_FALSE(found.user);
    CHECK(page_probe(pc.cpu, *pc.memory, kLinear, U).page_bytes == 0);
    CHECK(page_probe(pc.cpu, *pc.memory, 0xC0000000, S).page_bytes == 0);
    CHECK(pc.pte(kTable, kLinear) == (kFrame | kP | kW | kG));
}

TEST_CASE("page_walk: 4 MiB pages need CR4.PSE and clean reserved bits", "[memory]") {
    Paged pc;
    pc.enable_32bit();
    pc.pde(kLinear, 0x00C00000 | kP | kW | kU | kPs);
    auto walked = page_walk(pc.cpu, *pc.memory, kLinear, W, U);
    REQUIRE(walked);
    CHECK(walked->physical == 0x00C12345);
    CHECK(walked->page_bytes == 4u << 20);
    CHECK((pc.pde(kLinear) & (kA | kD)) == (kA | kD));

    for (unsigned bit = 13; bit <= 21; ++bit) { // PSE-36 address bits and bit 21
        pc.pde(kLinear, 0x00C00000 | 1u << bit | kP | kW | kU | kPs);
        walked = page_walk(pc.cpu, *pc.memory, kLinear, R, U);
        REQUIRE_FALSE(walked);
        CHECK(walked.error().error_code == (1 | 4 | 8));
    }
    pc.pde(kLinear, 0x00C00000 | 1u << 12 | kP | kW | kU | kPs); // PAT
    CHECK(page_walk(pc.cpu, *pc.memory, kLinear, R, U));

    pc.cpu.cr4 = 0; // PS is ignored: a page table at C00000h
    pc.pde(kLinear, 0x00C00000 | kP | kW | kU | kPs);
    pc.pte(0x00C00000, kLinear, kFrame | kP | kW | kU);
    CHECK(page_walk(pc.cpu, *pc.memory, kLinear, R, U)->physical == (kFrame | 0x345));
}

TEST_CASE("page_walk: PAE grants and faults with the exact error code", "[memory]") {
    const Case cases[] = {
        {"all allowed", kP | kW | kU, kP | kW | kU, W, U, -1},
        {"fetch allowed", kP | kU, kP | kU, X, U, -1},
        {"not present fetch has the I/D bit", kP | kW | kU, 0, X, U, 0x14},
        {"NX by table", kP | kU, kP | kU | kNx, X, U, 0x15},
        {"NX by directory", kP | kU | kNx, kP | kU, X, S, 0x11},
        {"NX page is readable", kP | kU | kNx, kP | kU | kNx, R, U, -1},
        {"write to NX page", kP | kU | kW | kNx, kP | kU | kW, W, U, -1},
        {"fetch from supervisor page", kP | kU, kP, X, U, 0x15},
        {"reserved address bit in the table", kP | kU, kP | kU | 1ull << 40, R, U, 0xD},
        {"reserved bit 62 in the directory", kP | kU | 1ull << 62, kP | kU, W, S, 0xB},
        {"reserved beats rights", kP, kP | 1ull << 51, X, U, 0x1D},
        {"reserved bits of an absent entry do not count", kP | kU, 1ull << 51, R, S, 0},
    };
    for (const Case& c : cases) {
        INFO(c.name);
        Paged pc;
        pc.enable_pae();
        pc.pae_pde(kLinear, kTable | c.directory);
        pc.pae_pte(kTable, kLinear, kFrame | c.table);
        const auto walked = page_walk(pc.cpu, *pc.memory, kLinear, c.access, c.privilege);
        REQUIRE(walked.has_value() == (c.error < 0));
        if (walked)
            CHECK(walked->physical == (kFrame | 0x345));
        else
            CHECK(walked.error().error_code == static_cast<uint32_t>(c.error));
    }
}

TEST_CASE("page_walk: without EFER.NXE the NX bit is reserved and I/D is never reported", "[memory]") {
    Paged pc;
    pc.enable_pae();
    pc.cpu.efer = 0;
    pc.pae_pde(kLinear, kTable | kP | kW | kU);
    pc.pae_pte(kTable, kLinear, kFrame | kP | kU | kNx);
    auto walked = page_walk(pc.cpu, *pc.memory, kLinear, X, U);
    REQUIRE_FALSE(walked);
    CHECK(walked.error().error_code == 0xD);
}

TEST_CASE("page_walk: PAE 2 MiB pages, with or without CR4.PSE", "[memory]") {
    Paged pc;
    pc.enable_pae();
    const uint32_t linear = 0xC0F23456;
    pc.pae_pde(linear, 0x00E00000 | kP | kW | kPs);
    auto walked = page_walk(pc.cpu, *pc.memory, linear, W, S);
    REQUIRE(walked);
    CHECK(walked->physical == 0x00F23456);
    CHECK(walked->page_bytes == 2u << 20);
    for (unsigned bit = 13; bit <= 20; ++bit) {
        pc.pae_pde(linear, 0x00E00000 | 1u << bit | kP | kW | kPs);
        walked = page_walk(pc.cpu, *pc.memory, linear, R, S);
        REQUIRE_FALSE(walked);
        CHECK(walked.error().error_code == 9);
    }
}

TEST_CASE("page_walk: PAE structures and pages above 4 GiB, from the PDPTE to the page", "[memory]") {
    Paged pc;
    auto created = GuestMemory::create((3ull << 30) + (8u << 20));
    REQUIRE(created);
    pc.memory = std::move(*created);
    pc.enable_pae();
    constexpr Physical kHigh = 4ull << 30;
    constexpr Physical kHighDirectory = kHigh + 0x100000, kHighTable = kHigh + 0x101000,
                       kHighPage = kHigh + 0x1F2000;
    pc.memory->write<uint64_t>(Paged::kPointers + 8 * (kLinear >> 30), kHighDirectory | kP);
    REQUIRE(load_pdptes(pc.cpu, *pc.memory));
    pc.memory->write<uint64_t>(kHighDirectory + ((kLinear >> 21) & 511) * 8, kHighTable | kP | kW | kU);
    pc.memory->write<uint64_t>(kHighTable + ((kLinear >> 12) & 511) * 8, kHighPage | kP | kW | kU);
    const auto walked = page_walk(pc.cpu, *pc.memory, kLinear, W, U);
    REQUIRE(walked);
    CHECK(walked->physical == (kHighPage | (kLinear & 0xFFF)));
    CHECK((pc.memory->read<uint64_t>(kHighTable + ((kLinear >> 12) & 511) * 8) & (kA | kD)) == (kA | kD));

    pc.memory->write<uint64_t>(kHighDirectory + ((kLinear >> 21) & 511) * 8, (kHigh + 0x200000) | kP | kPs);
    const auto large = page_walk(pc.cpu, *pc.memory, kLinear, R, S);
    REQUIRE(large);
    CHECK(large->physical == kHigh + 0x200000 + (kLinear & 0x1FFFFF));
    // An address that no RAM answers is no fault of the walk's.
    pc.memory->write<uint64_t>(kHighDirectory + ((kLinear >> 21) & 511) * 8, (1ull << 39) | kP | kPs);
    const auto nowhere = page_walk(pc.cpu, *pc.memory, kLinear, R, S);
    REQUIRE(nowhere);
    CHECK(pc.memory->entry(page_of(nowhere->physical)).kind == PageKind::None);
}

TEST_CASE("page_walk: PDPTEs are registers: memory counts when they are loaded", "[memory]") {
    Paged pc;
    pc.enable_pae();
    pc.pae_pde(kLinear, kTable | kP | kW | kU);
    pc.pae_pte(kTable, kLinear, kFrame | kP | kU);
    pc.memory->write<uint64_t>(Paged::kPointers, 0);
    CHECK(page_walk(pc.cpu, *pc.memory, kLinear, R, U));
    REQUIRE(load_pdptes(pc.cpu, *pc.memory));
    auto walked = page_walk(pc.cpu, *pc.memory, kLinear, R, U);
    REQUIRE_FALSE(walked);
    CHECK(walked.error().error_code == 4);

    for (const uint64_t reserved : {2ull, 4ull, 0x20ull, 0x100ull, 1ull << 40, 1ull << 63}) {
        pc.memory->write<uint64_t>(Paged::kPointers + 8, Paged::kDirectory | kP | reserved);
        const auto loaded = load_pdptes(pc.cpu, *pc.memory);
        REQUIRE_FALSE(loaded);
        CHECK(loaded.error().vector == Vector::GeneralProtection);
        CHECK(loaded.error().error_code == 0);
        CHECK(pc.cpu.pdpte[1] == (Paged::kDirectory + 0x1000) + kP); // unchanged
        pc.memory->write<uint64_t>(Paged::kPointers + 8, reserved);  // not present: any bits will do
        pc.cpu.pdpte[1] = Paged::kDirectory + 0x1000 + kP;
    }
}

TEST_CASE("page_walk: page tables in ROM or nowhere neither change nor crash", "[memory]") {
    Paged pc;
    pc.enable_32bit();
    const uint32_t rom = pc.memory->add_backing(1);
    pc.pde(kLinear, 0xF0000000 | kP | kW | kU);
    pc.memory->map(0xF0000, 1, PageKind::Rom, rom);
    const uint32_t entry = kFrame | kP | kW | kU;
    std::memcpy(pc.memory->data() + rom * 4096ull + ((kLinear >> 12) & 1023) * 4, &entry, 4);
    CHECK(page_walk(pc.cpu, *pc.memory, kLinear, W, U)->physical == (kFrame | 0x345));
    CHECK(pc.memory->read<uint32_t>(0xF0000000 + ((kLinear >> 12) & 1023) * 4) == entry);

    pc.cpu.cr3 = 0xE0000000; // reads as all ones: a 4 MiB page with reserved bits set
    auto walked = page_walk(pc.cpu, *pc.memory, kLinear, R, S);
    REQUIRE_FALSE(walked);
    CHECK(walked.error().error_code == 9);
}

TEST_CASE("page_walk: entries in pages with translated code are written under observation", "[memory]") {
    struct Observer : MemoryObserver {
        void all_remapped() override {}
        uint32_t backing = 0;
        void page_remapped(uint32_t) override {}
        void code_written(uint32_t page, uint32_t, uint32_t) override { backing = page; }
    } observer;
    Paged pc;
    pc.enable_32bit();
    pc.pde(kLinear, kTable | kP | kA);
    pc.pte(kTable, kLinear, kFrame | kP);
    pc.memory->set_observer(&observer);
    pc.memory->set_code(kTable >> 12, true);
    REQUIRE(page_walk(pc.cpu, *pc.memory, kLinear, R, S));
    CHECK(observer.backing == kTable >> 12);
    CHECK((pc.pte(kTable, kLinear) & kA) != 0);
}
