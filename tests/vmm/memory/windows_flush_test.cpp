// Windows as TLBs: what each flush must drop, and what it leaves.
#include "tests/vmm/memory/windows_fixture.h"

#include <fmt/format.h>

using namespace vmm;
using namespace vmm::test;

namespace {

using Ranges = std::vector<std::pair<uint32_t, uint32_t>>;
constexpr uint32_t kGood = kP | kW | kU | kA | kD;

// Pages 0-15 and 100-103 mapped in the user and the supervisor view, writable; code has run on all of them.
struct Filled : Windowed {
    Filled() {
        page_first_region();
        for (uint32_t page = 0; page < 16; ++page)
            pte(kTable, page << 12, frame(page) | kGood);
        for (uint32_t page = 100; page < 104; ++page)
            pte(kTable, page << 12, frame(page) | kGood);
        for (const uint8_t cpl : {3, 0}) {
            cpu.cpl = cpl;
            REQUIRE(host.read(*windows, 0).outcome == Outcome::Mapped);
            REQUIRE(host.read(*windows, 100 << 12).outcome == Outcome::Mapped);
        }
        for (uint32_t page = 0; page < 128; ++page)
            if (page < 16 || (page >= 100 && page < 104))
                windows->note_executed(page << 12);
        flush();
        REQUIRE(dropped.empty());
    }
    static uint32_t frame(uint32_t page) { return 0x300000 + (page << 12); }
    // The mapped pages of both views, which must agree.
    std::string mapped() {
        std::string text[2];
        for (const uint8_t cpl : {3, 0}) {
            cpu.cpl = cpl;
            for (uint32_t page = 0; page < 128; ++page)
                if (readable(page << 12))
                    text[cpl == 3] += fmt::format("{} ", page);
        }
        return text[0] == text[1] ? text[0] : fmt::format("{}/ {}", text[0], text[1]);
    }
};

const char* const kAll = "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 100 101 102 103 ";

} // namespace

TEST_CASE("windows: a CR3 load revokes exactly the pages whose entries changed", "[memory][windows]") {
    Filled pc;
    pc.pte(pc.kTable, 3 << 12, 0);
    pc.pte(pc.kTable, 4 << 12, pc.frame(200) | kGood);
    pc.pte(pc.kTable, 101 << 12, pc.frame(101) | (kGood & ~kW));
    CHECK(pc.mapped() == kAll); // a TLB may keep them until the flush
    pc.flush();
    CHECK(pc.mapped() == "0 1 2 5 6 7 8 9 10 11 12 13 14 15 100 102 103 ");
    CHECK(pc.dropped == Ranges{{3, 2}, {101, 1}});
    pc.stamp(pc.frame(200));
    CHECK(pc.host.read(*pc.windows, 4 << 12).value == pc.frame(200));
}

TEST_CASE("windows: what makes an entry count as changed", "[memory][windows]") {
    struct {
        const char* name;
        uint32_t before, now;
        bool stays;
    } const cases[] = {
        {"nothing", kGood, kGood, true},
        {"software bits", kGood, kGood | 0xE00, true},
        {"global and cache bits", kGood, kGood | kG | 0x18, true},
        {"D set", kGood & ~kD, kGood, true},
        {"write granted", kGood & ~kW, kGood, true},
        {"write taken", kGood, kGood & ~kW, false},
        {"user taken", kGood, kGood & ~kU, false},
        {"A cleared", kGood, kGood & ~kA, false},
        {"D cleared", kGood, kGood & ~kD, false},
        {"not present", kGood, kGood & ~kP, false},
        {"another frame", kGood, kGood ^ 0x1000, false},
    };
    for (const auto& c : cases) {
        INFO(c.name);
        Filled pc;
        pc.pte(pc.kTable, 50 << 12, pc.frame(50) | c.before);
        pc.cpu.cpl = 0;
        REQUIRE(pc.host.read(*pc.windows, 50 << 12).outcome == Outcome::Mapped);
        pc.flush();
        pc.pte(pc.kTable, 50 << 12, pc.frame(50) ^ c.now);
        pc.flush();
        CHECK(pc.readable(50 << 12) == c.stays);
    }
}

TEST_CASE("windows: INVLPG drops its page in all views and no other", "[memory][windows]") {
    Filled pc;
    pc.pte(pc.kTable, 3 << 12, 0);
    pc.pte(pc.kTable, 4 << 12, 0);
    pc.windows->invlpg(0x3FFF);
    CHECK(pc.mapped() == "0 1 2 4 5 6 7 8 9 10 11 12 13 14 15 100 101 102 103 ");
    CHECK(pc.dropped == Ranges{{3, 1}});
    pc.windows->invlpg(0x2000); // unchanged: stays
    CHECK(pc.readable(0x2000));
}

TEST_CASE("windows: a changed directory entry drops its whole region", "[memory][windows]") {
    const bool by_invlpg = GENERATE(false, true);
    Filled pc;
    SECTION("not present") { pc.pde(0, 0); }
    SECTION("another table") { pc.pde(0, 0x201000 | kGood); }
    SECTION("large page instead") { pc.pde(0, kGood | kPs); }
    SECTION("supervisor only") { pc.pde(0, pc.kTable | (kGood & ~kU)); }
    if (by_invlpg)
        pc.windows->invlpg(0);
    else
        pc.flush();
    CHECK(pc.mapped().empty());
    CHECK(pc.dropped == Ranges{{0, 16}, {100, 4}});
}

TEST_CASE("windows: large pages are compared by their directory entry", "[memory][windows]") {
    Windowed pc;
    pc.enable_32bit();
    pc.pde(0x00800000, 0x00800000 | kGood | kPs);
    REQUIRE(pc.host.write(*pc.windows, 0x00900000, 1).outcome == Outcome::Mapped);
    pc.flush();
    CHECK(pc.writable(0x00900000));
    pc.pde(0x00800000, 0x00C00000 | kGood | kPs);
    SECTION("flush") { pc.flush(); }
    SECTION("INVLPG anywhere in it") { pc.windows->invlpg(0x00BFFFFF); }
    CHECK_FALSE(pc.readable(0x00900000));
    pc.stamp(0x00D00000);
    CHECK(pc.host.read(*pc.windows, 0x00900000).value == 0x00D00000);
}

TEST_CASE("windows: PDPTE changes drop their gigabyte only", "[memory][windows]") {
    Windowed pc;
    pc.enable_pae();
    pc.pae_pde(0x00800000, 0x200000 | kGood);
    pc.pae_pte(0x200000, 0x00805000, 0x300000 | kGood);
    pc.pae_pde(0xC0000000, 0x00800000 | kGood | kPs);
    REQUIRE(pc.host.read(*pc.windows, 0x00805000).outcome == Outcome::Mapped);
    REQUIRE(pc.host.read(*pc.windows, 0xC0000000).outcome == Outcome::Mapped);
    pc.windows->note_executed(0x00805000);
    pc.windows->note_executed(0xC0000000);
    pc.flush();
    CHECK(pc.dropped.empty());
    pc.memory->write<uint64_t>(Paged::kPointers, 0);
    REQUIRE(load_pdptes(pc.cpu, *pc.memory));
    pc.flush();
    CHECK_FALSE(pc.readable(0x00805000));
    CHECK(pc.readable(0xC0000000));
    CHECK(pc.dropped == Ranges{{0x805, 1}});
    CHECK(pc.host.read(*pc.windows, 0x00805000).outcome == Outcome::GuestFault);
}

TEST_CASE("windows: switching back to a root finds what changed meanwhile", "[memory][windows]") {
    Filled pc;
    pc.cpu.cr3 = 0x400000;
    pc.memory->write<uint32_t>(0x400000, pc.kTable | kP | kW | kU);
    pc.windows->cr3_loaded();
    const uint64_t other = pc.windows->select();
    REQUIRE(pc.host.read(*pc.windows, 0x3000).outcome == Outcome::Mapped);
    pc.pte(pc.kTable, 3 << 12, 0); // both roots share the table
    pc.windows->invlpg(0x3000);
    CHECK_FALSE(pc.readable(0x3000));
    pc.dropped.clear();
    pc.cpu.cr3 = Paged::kDirectory;
    pc.windows->cr3_loaded();
    CHECK(pc.windows->select() != other);
    CHECK_FALSE(pc.readable(0x3000));
    CHECK(pc.readable(0x4000));
    CHECK(pc.dropped == Ranges{{3, 1}});
}

TEST_CASE("windows: a page fault invalidates its own page", "[memory][windows]") {
    Filled pc;
    pc.pte(pc.kTable, 3 << 12, pc.frame(3) | (kGood & ~(kW | kD)));
    pc.flush();
    pc.cpu.cpl = 0;
    REQUIRE(pc.host.read(*pc.windows, 0x3000).outcome == Outcome::Mapped);
    pc.pte(pc.kTable, 3 << 12, 0);
    CHECK(pc.readable(0x3000)); // stale, no flush yet
    CHECK(pc.host.write(*pc.windows, 0x3000, 1).outcome == Outcome::GuestFault);
    CHECK_FALSE(pc.readable(0x3000));
}

TEST_CASE("windows: a write that finds a device behind a stale read-only page drops that page",
          "[memory][windows]") {
    Filled pc;
    pc.pte(pc.kTable, 3 << 12, pc.frame(3) | (kGood & ~(kW | kD)));
    pc.flush();
    pc.cpu.cpl = 0;
    REQUIRE(pc.host.read(*pc.windows, 0x3000).outcome == Outcome::Mapped);
    pc.pte(pc.kTable, 3 << 12, 0xFEC00000 | kGood);
    CHECK(pc.host.write(*pc.windows, 0x3000, 1).outcome == Outcome::Mmio);
    CHECK_FALSE(pc.readable(0x3000));
}

TEST_CASE("windows: a page remapped without a flush is not left stale in the other view",
          "[memory][windows]") {
    Filled pc;
    pc.pte(pc.kTable, 3 << 12, pc.frame(200) | kGood);
    pc.stamp(pc.frame(200));
    pc.cpu.cpl = 3;
    pc.windows->revoke(pc.frame(3) >> 12); // e.g. write-tracked away: the next access refills
    CHECK(pc.host.read(*pc.windows, 0x3000).value == pc.frame(200));
    pc.cpu.cpl = 0;
    CHECK_FALSE(pc.readable(0x3000));
    pc.flush();
    CHECK(pc.host.read(*pc.windows, 0x3000).value == pc.frame(200));
}

TEST_CASE("windows: a page that held data only goes without a word", "[memory][windows]") {
    Windowed pc;
    pc.page_first_region();
    pc.pte(pc.kTable, 0x2000, 0x300000 | kGood);
    REQUIRE(pc.host.write(*pc.windows, 0x2000, 1).outcome == Outcome::Mapped);
    pc.flush();
    pc.dropped.clear();
    pc.pte(pc.kTable, 0x2000, 0);
    SECTION("flush") { pc.flush(); }
    SECTION("INVLPG") { pc.windows->invlpg(0x2000); }
    CHECK_FALSE(pc.readable(0x2000));
    CHECK(pc.dropped.empty());
}

TEST_CASE("windows: executed pages are reported though no data access mapped them", "[memory][windows]") {
    Windowed pc;
    pc.page_first_region();
    for (uint32_t page = 0; page < 8; ++page)
        pc.pte(pc.kTable, page << 12, (0x300000 + (page << 12)) | kP | kU | kA);
    pc.flush();
    pc.windows->note_executed(0x2000);
    pc.windows->note_executed(0x5000);
    pc.flush();
    CHECK(pc.dropped.empty());
    pc.pte(pc.kTable, 0x2000, 0x308000 | kP | kU | kA);
    pc.pte(pc.kTable, 0x3000, 0x309000 | kP | kU | kA); // never executed
    pc.flush();
    CHECK(pc.dropped == Ranges{{2, 1}});
    pc.flush();
    CHECK(pc.dropped.empty());
    pc.pde(0, 0);
    pc.flush();
    CHECK(pc.dropped == Ranges{{5, 1}});
}

TEST_CASE("windows: a change to an executed page seen early by a data fault is reported at the flush",
          "[memory][windows]") {
    Windowed pc;
    pc.page_first_region();
    pc.pte(pc.kTable, 0x2000, 0x300000 | kP | kU | kA);
    pc.windows->note_executed(0x2000);
    pc.flush();
    pc.pte(pc.kTable, 0x2000, 0x301000 | kP | kU | kA);
    REQUIRE(pc.host.read(*pc.windows, 0x2000).outcome == Outcome::Mapped); // made from the new entry
    CHECK(pc.dropped.empty());
    pc.flush();
    CHECK(pc.dropped == Ranges{{2, 1}});
}

TEST_CASE("windows: NX taking execution away is reported in PAE", "[memory][windows]") {
    Windowed pc;
    pc.enable_pae();
    pc.pae_pde(0, 0x200000 | kP | kU | kA);
    pc.pae_pte(0x200000, 0x2000, 0x300000 | kP | kU | kA);
    pc.flush();
    pc.windows->note_executed(0x2000);
    pc.flush();
    REQUIRE(pc.dropped.empty());
    pc.pae_pte(0x200000, 0x2000, 0x300000 | kP | kU | kA | kNx);
    pc.flush();
    CHECK(pc.dropped == Ranges{{2, 1}});
}

TEST_CASE("windows: turning paging on and off changes the root", "[memory][windows]") {
    Windowed pc;
    pc.stamp(0x5000);
    pc.stamp(0x300000);
    CHECK(pc.host.read(*pc.windows, 0x5000).value == 0x5000);
    const uint64_t flat = pc.windows->select();
    pc.page_first_region();
    pc.pte(pc.kTable, 0x5000, 0x300000 | kGood);
    pc.windows->paging_changed();
    CHECK(pc.windows->select() != flat);
    CHECK(pc.host.read(*pc.windows, 0x5000).value == 0x300000);
    pc.cpu.cr0 = 0;
    pc.windows->paging_changed();
    CHECK(pc.windows->select() == flat);
    CHECK(pc.host.read(*pc.windows, 0x5000).faults == 0);
}

TEST_CASE("windows: page tables that move out of RAM are noticed", "[memory][windows]") {
    Filled pc;
    pc.memory->map(pc.kTable >> 12, 1, PageKind::None); // reads as all ones: frame FFFFFh for every page
    pc.flush();
    CHECK(pc.mapped().empty());
}
