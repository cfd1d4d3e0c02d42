// Faults, permissions, code pages, eviction and containment.
#include "tests/vmm/memory/windows_fixture.h"

using namespace vmm;
using namespace vmm::test;

TEST_CASE("windows: bases are 4 GiB-aligned and guarded on both sides", "[memory][windows]") {
    Windowed pc;
    const uint64_t base = pc.windows->select();
    CHECK((base & 0xFFFFFFFF) == 0);
    REQUIRE(pc.host.write(*pc.windows, 0, 1).outcome == Outcome::Mapped);
    for (const uint64_t inside : {1ull, 0x1000ull, 0x80000000ull, 0xFFFFFFFCull, 0x100000000ull}) {
        CHECK_FALSE(pc.host.try_read(base - inside));
        CHECK_FALSE(pc.host.try_read(base + (4ull << 30) + inside - 1));
    }
}

TEST_CASE("windows: unpaged memory is there on first touch, in runs", "[memory][windows]") {
    Windowed pc;
    pc.memory->write<uint32_t>(0x12340, 0xCAFE);
    const auto read = pc.host.read(*pc.windows, 0x12340);
    CHECK(read.value == 0xCAFE);
    CHECK(read.faults == 1);
    REQUIRE(pc.host.write(*pc.windows, 0x12348, 0xBEEF).faults == 0); // no D bit to wait for
    CHECK(pc.memory->read<uint32_t>(0x12348) == 0xBEEF);
    CHECK(pc.readable(0));
    CHECK(pc.readable(0x3F000));
    CHECK_FALSE(pc.readable(0x40000));
    pc.cpu.cpl = 3; // no paging, no privilege
    CHECK(pc.readable(0));
}

TEST_CASE("windows: page faults come back with their error code", "[memory][windows]") {
    Windowed pc;
    pc.page_first_region();
    pc.pte(pc.kTable, 0x5000, 0x300000 | kP);
    pc.cpu.cpl = 3;
    auto result = pc.host.read(*pc.windows, 0x5000);
    CHECK(result.outcome == Outcome::GuestFault);
    CHECK(result.fault.fault.error_code == 5);
    result = pc.host.write(*pc.windows, 0x9008, 1);
    CHECK(result.fault.fault.error_code == 6);
    CHECK(result.fault.fault.linear_address == 0x9008);
    pc.cpu.cpl = 0;
    result = pc.host.write(*pc.windows, 0x5000, 1);
    CHECK(result.fault.fault.error_code == 3);
    CHECK(pc.host.read(*pc.windows, 0x5000).outcome == Outcome::Mapped);
}

TEST_CASE("windows: clean pages are read-only until the write that sets D", "[memory][windows]") {
    Windowed pc;
    pc.page_first_region();
    pc.pte(pc.kTable, 0x5000, 0x300000 | kP | kW | kU);
    CHECK(pc.host.read(*pc.windows, 0x5000).faults == 1);
    CHECK((pc.pte(pc.kTable, 0x5000) & (kA | kD)) == kA);
    CHECK_FALSE(pc.writable(0x5000));
    CHECK(pc.host.write(*pc.windows, 0x5000, 7).faults == 1);
    CHECK((pc.pte(pc.kTable, 0x5000) & (kA | kD)) == (kA | kD));
    CHECK(pc.writable(0x5000));
    CHECK(pc.memory->read<uint32_t>(0x300000) == 7);
}

TEST_CASE("windows: a fault brings in neighbours that are accessed, contiguous and alike",
          "[memory][windows]") {
    Windowed pc;
    pc.page_first_region();
    const uint32_t good = kP | kW | kU | kA | kD;
    for (uint32_t page = 16; page < 32; ++page)
        pc.pte(pc.kTable, page << 12, (0x300000 + (page << 12)) | good);
    pc.pte(pc.kTable, 18 << 12, (0x300000 + (18 << 12)) | (good & ~kD)); // clean
    pc.pte(pc.kTable, 24 << 12, (0x300000 + (24 << 12)) | (good & ~kA)); // never accessed
    pc.pte(pc.kTable, 32 << 12, (0x300000 + (32 << 12)) | good);         // the next line
    CHECK(pc.host.read(*pc.windows, 20 << 12).faults == 1);
    for (uint32_t page = 16; page < 33; ++page) {
        INFO(page);
        CHECK(pc.readable(page << 12) == (page >= 19 && page <= 23));
    }
    CHECK((pc.pte(pc.kTable, 24 << 12) & kA) == 0);
    CHECK(pc.windows->statistics().mapped_pages == 5);
}

TEST_CASE("windows: large pages map in bigger runs, in both paging modes", "[memory][windows]") {
    Windowed pc;
    SECTION("4 MiB") {
        pc.enable_32bit();
        pc.pde(0x00800000, 0x00800000 | kP | kW | kU | kPs);
    }
    SECTION("2 MiB") {
        pc.enable_pae();
        pc.pae_pde(0x00800000, 0x00800000 | kP | kW | kU | kPs);
    }
    pc.stamp(0x00900000);
    CHECK(pc.host.read(*pc.windows, 0x00900000).value == 0x00900000);
    CHECK(pc.readable(0x0093F000));
    CHECK_FALSE(pc.readable(0x00940000));
    CHECK_FALSE(pc.writable(0x00900000));
    CHECK(pc.host.write(*pc.windows, 0x00910000, 1).faults == 1);
    CHECK(pc.writable(0x00900000)); // one D bit for all
}

TEST_CASE("windows: user and supervisor views differ, and CR0.WP decides for the supervisor",
          "[memory][windows]") {
    Windowed pc;
    pc.page_first_region();
    pc.pte(pc.kTable, 0x5000, 0x300000 | kP | kU);
    pc.pte(pc.kTable, 0x6000, 0x301000 | kP | kW);
    const uint64_t supervisor = pc.windows->select();
    CHECK(pc.host.read(*pc.windows, 0x6000).outcome == Outcome::Mapped);
    CHECK(pc.host.write(*pc.windows, 0x5000, 1).outcome == Outcome::GuestFault);
    pc.cpu.cpl = 3;
    CHECK(pc.windows->select() != supervisor);
    CHECK_FALSE(pc.readable(0x6000));
    CHECK(pc.host.read(*pc.windows, 0x6000).outcome == Outcome::GuestFault);
    CHECK(pc.host.read(*pc.windows, 0x5000).outcome == Outcome::Mapped);
    pc.cpu.cpl = 0;
    CHECK(pc.windows->select() == supervisor);
    pc.cpu.cr0 &= ~cr0::kWp;
    pc.windows->paging_changed();
    CHECK(pc.host.write(*pc.windows, 0x5000, 1).outcome == Outcome::Mapped);
    pc.cpu.cr0 |= cr0::kWp;
    pc.windows->paging_changed();
    CHECK(pc.windows->select() == supervisor);
    CHECK_FALSE(pc.writable(0x5000));
}

TEST_CASE("windows: MMIO, holes and ROM writes ask for a call-out", "[memory][windows]") {
    struct Silent : MmioHandler {
        uint32_t mmio_read(Physical, unsigned) override {
            FAIL("no device is touched by a fault");
            return 0;
        }
        void mmio_write(Physical, unsigned, uint32_t) override { FAIL("no device is touched by a fault"); }
    } device;
    Windowed pc;
    const uint32_t rom = pc.memory->add_backing(1);
    pc.memory->map(0xF0000, 1, PageKind::Rom, rom);
    pc.memory->map_mmio(0xFEC00, 1, &device);
    auto result = pc.host.read(*pc.windows, 0xFEC00010);
    CHECK(result.outcome == Outcome::Mmio);
    CHECK(result.fault.physical == 0xFEC00010);
    CHECK(pc.host.write(*pc.windows, 0x90000000, 1).outcome == Outcome::Mmio);
    CHECK(pc.host.read(*pc.windows, 0xF0000000).outcome == Outcome::Mapped);
    CHECK(pc.host.write(*pc.windows, 0xF0000000, 1).outcome == Outcome::Mmio);
    CHECK_FALSE(pc.writable(0xF0000000));
}

TEST_CASE("windows: page tables in ROM cannot make a fault loop", "[memory][windows]") {
    Windowed pc;
    pc.enable_32bit();
    const uint32_t rom = pc.memory->add_backing(1), entry = 0x300000 | kP | kW | kU;
    std::memcpy(pc.memory->data() + rom * 4096ull + 5 * 4, &entry, 4);
    pc.memory->map(0xF0000, 1, PageKind::Rom, rom);
    pc.pde(0, 0xF0000000 | kP | kW | kU);
    CHECK(pc.host.read(*pc.windows, 0x5000).faults == 1);
    CHECK(pc.host.write(*pc.windows, 0x5000, 3).faults == 1);
    CHECK(pc.memory->read<uint32_t>(0x300000) == 3);
}

TEST_CASE("windows: code pages are never writable, through any alias", "[memory][windows]") {
    Windowed pc;
    pc.page_first_region();
    pc.pte(pc.kTable, 0x5000, 0x300000 | kP | kW | kU);
    pc.pte(pc.kTable, 0x25000, 0x300000 | kP | kW | kU);
    pc.pte(pc.kTable, 0x26000, 0x301000 | kP | kW | kU);
    REQUIRE(pc.host.write(*pc.windows, 0x5000, 1).outcome == Outcome::Mapped);
    REQUIRE(pc.host.write(*pc.windows, 0x25000, 1).outcome == Outcome::Mapped);
    REQUIRE(pc.host.write(*pc.windows, 0x26000, 1).outcome == Outcome::Mapped);
    pc.cpu.cpl = 3;
    REQUIRE(pc.host.write(*pc.windows, 0x5000, 1).outcome == Outcome::Mapped);

    pc.windows->write_protect(0x300);
    pc.memory->set_code(0x300, true);
    for (const uint8_t cpl : {0, 3}) {
        pc.cpu.cpl = cpl;
        for (const uint32_t alias : {0x5000u, 0x25000u}) {
            CHECK_FALSE(pc.writable(alias));
            const auto write = pc.host.write(*pc.windows, alias, 2);
            CHECK(write.outcome == Outcome::CodeWrite);
            CHECK(write.fault.backing == 0x300);
            CHECK(write.fault.physical == 0x300000);
        }
        CHECK(pc.host.write(*pc.windows, 0x26000, 1).outcome == Outcome::Mapped);
    }
    CHECK(pc.host.read(*pc.windows, 0x5000).faults == 0); // stayed readable
    CHECK(pc.memory->read<uint32_t>(0x300000) == 1);

    pc.memory->set_code(0x300, false);
    CHECK(pc.host.write(*pc.windows, 0x5000, 2).outcome == Outcome::Mapped);
}

TEST_CASE("windows: revoke drops every mapping of a page and nothing else", "[memory][windows]") {
    Windowed pc;
    pc.page_first_region();
    const uint32_t good = kP | kW | kU | kA | kD;
    for (uint32_t page = 0; page < 16; ++page)
        pc.pte(pc.kTable, page << 12, (0x300000 + (page << 12)) | good);
    pc.pte(pc.kTable, 0x40000, 0x305000 | good);
    pc.pde(0, pc.pde(0) | kA);
    REQUIRE(pc.host.read(*pc.windows, 0).faults == 1);
    REQUIRE(pc.host.read(*pc.windows, 0x40000).faults == 1);
    pc.windows->revoke(0x305);
    for (uint32_t page = 0; page < 16; ++page)
        CHECK(pc.readable(page << 12) == (page != 5));
    CHECK_FALSE(pc.readable(0x40000));
    pc.windows->revoke_all();
    CHECK_FALSE(pc.readable(0));
    CHECK(pc.host.read(*pc.windows, 0).outcome == Outcome::Mapped);
}

TEST_CASE("windows: A20 decides what an odd megabyte shows", "[memory][windows]") {
    Windowed pc;
    pc.stamp(0);
    pc.stamp(0x100000);
    CHECK(pc.host.read(*pc.windows, 0x100000).value == 0x100000);
    pc.memory->set_a20(false);
    pc.windows->revoke_all();
    CHECK(pc.host.read(*pc.windows, 0x100000).value == 0);
    REQUIRE(pc.host.write(*pc.windows, 0x100010, 5).outcome == Outcome::Mapped);
    CHECK(pc.memory->read<uint32_t>(0x10) == 5);
}

TEST_CASE("windows: beyond the limit the least recently used window goes, fully reset", "[memory][windows]") {
    Windowed pc({.max_windows = 3, .max_mappings = 48000});
    pc.page_first_region();
    pc.pte(pc.kTable, 0x5000, 0x300000 | kP | kW | kU);
    std::array<uint64_t, 5> bases{};
    for (unsigned i = 0; i < 5; ++i) {
        const uint32_t directory = 0x400000 + i * 0x1000;
        pc.memory->write<uint32_t>(directory, pc.kTable | kP | kW | kU);
        pc.cpu.cr3 = directory;
        pc.windows->cr3_loaded();
        bases[i] = pc.windows->select();
        CHECK_FALSE(pc.readable(0x5000));
        CHECK(pc.host.read(*pc.windows, 0x5000).outcome == Outcome::Mapped);
    }
    CHECK(bases[3] == bases[0]);
    CHECK(bases[4] == bases[1]);
    CHECK(pc.windows->statistics().live_windows == 3);
    CHECK(pc.windows->statistics().evictions == 2);
    pc.dropped.clear();
    pc.cpu.cr3 = 0x400000; // evicted: nothing is remembered about it
    pc.windows->cr3_loaded();
    CHECK_FALSE(pc.readable(0x5000));
    CHECK(pc.dropped == std::vector<std::pair<uint32_t, uint32_t>>{{0, 1u << 20}});
}

TEST_CASE("windows: one window alone also works", "[memory][windows]") {
    Windowed pc({.max_windows = 1, .max_mappings = 48000});
    pc.page_first_region();
    pc.pte(pc.kTable, 0x5000, 0x300000 | kP | kW | kU);
    for (const uint8_t cpl : {0, 3, 0, 3}) {
        pc.cpu.cpl = cpl;
        CHECK_FALSE(pc.readable(0x5000));
        CHECK(pc.host.write(*pc.windows, 0x5000, 1).outcome == Outcome::Mapped);
    }
}

TEST_CASE("windows: the number of kernel mappings is known exactly and kept below the limit",
          "[memory][windows]") {
    Windowed pc({.max_windows = 4, .max_mappings = 200});
    pc.page_first_region();
    const uint64_t base = pc.windows->select();
    for (uint32_t page = 0; page < 1024; ++page) // no two neighbours merge
        pc.pte(pc.kTable, page << 12, (0x300000 + ((page * 7) % 1024 << 12)) | kP | kW | kU | kA | kD);
    for (uint32_t page = 0; page < 1024; ++page) {
        pc.cpu.cpl = page % 3 == 0 ? 3 : 0;
        REQUIRE(pc.host.read(*pc.windows, page << 12).outcome == Outcome::Mapped);
        const uint64_t live = pc.windows->statistics().live_mappings;
        REQUIRE(live <= 200);
        if (page % 61 == 0)
            REQUIRE(Windowed::kernel_mappings(base, 4) == live);
    }
    CHECK(pc.windows->statistics().evictions > 0);
    // Reshape: write-protect, revoke, revoke in the middle of runs.
    for (uint32_t page = 0; page < 64; ++page)
        pc.pte(pc.kTable, page << 12, (0x800000 + (page << 12)) | kP | kW | kU | kA | kD);
    pc.windows->cr3_loaded();
    for (uint32_t page = 0; page < 64; page += 5)
        REQUIRE(pc.host.write(*pc.windows, page << 12, 1).outcome == Outcome::Mapped);
    for (uint32_t backing = 0x800; backing < 0x840; backing += 3) {
        pc.windows->write_protect(backing);
        if (backing % 2 == 0)
            pc.windows->revoke(backing);
    }
    CHECK(Windowed::kernel_mappings(base, 4) == pc.windows->statistics().live_mappings);
    pc.windows->revoke_all();
    CHECK(pc.windows->statistics().live_mappings == 1);
    CHECK(Windowed::kernel_mappings(base, 4) == 1);
}

TEST_CASE("windows: writes are seen while they are watched, each page once, whoever writes",
          "[memory][windows]") {
    Windowed pc;
    pc.page_first_region();
    const uint32_t good = kP | kW | kU | kA | kD;
    for (uint32_t page = 16; page < 32; ++page)
        pc.pte(pc.kTable, page << 12, (0x300000 + (page << 12)) | good);
    for (uint32_t page = 16; page < 32; ++page)
        CHECK(pc.host.write(*pc.windows, page << 12, 1).faults <= 1);
    WriteWatch watch;
    for (int round = 0; round < 2; ++round) {
        CAPTURE(round);
        watch.begin();
        pc.memory->watch_writes(&watch);
        pc.windows->write_protect_all();
        CHECK(pc.windows->statistics().live_mappings ==
              Windowed::kernel_mappings(pc.windows->select(), Windows::Limits{}.max_windows));
        CHECK(pc.readable(17 << 12));
        CHECK_FALSE(pc.writable(17 << 12));
        CHECK(watch.changed_bytes(pc.memory->data()) == 0);
        const auto written = pc.host.write(*pc.windows, 20 << 12, 0xFF00FF + round);
        CHECK(written.faults == 1);
        CHECK_FALSE(pc.writable(21 << 12)); // its neighbours stay watched
        CHECK(pc.host.write(*pc.windows, 20 << 12, 0xFF0000 + round).faults == 0);
        CHECK(watch.changed_bytes(pc.memory->data()) == 2 - static_cast<uint32_t>(round));
        pc.memory->write<uint16_t>(0x300000 + (25 << 12) + 4094, 0x1234); // another writer
        pc.memory->write<uint16_t>(0x300000 + (25 << 12) + 4094, static_cast<uint16_t>(0));
        CHECK(watch.changed_bytes(pc.memory->data()) == 2 - static_cast<uint32_t>(round));
        pc.host.write(*pc.windows, 20 << 12, round == 0 ? 1 : 0xFF0000);
        CHECK(watch.changed_bytes(pc.memory->data()) == 0);
        pc.memory->watch_writes(nullptr);
        pc.host.write(*pc.windows, 20 << 12, 0xFF0000);
        CHECK(pc.host.write(*pc.windows, 26 << 12, 7).faults == 1);
        CHECK(pc.writable(30 << 12)); // with its neighbours again
    }
    // Too much to be kept.
    watch.begin();
    pc.memory->watch_writes(&watch);
    for (uint32_t page = 0; page <= WriteWatch::kMostPages; ++page)
        pc.memory->write<uint8_t>(0x400000 + (page << 12), 0);
    CHECK(watch.changed_bytes(pc.memory->data()) > kPageSize);
}
