// RAM that comes from a saved moment: fetched at first touch by whoever touches it, put back by a revert.
#include "tests/vmm/memory/windows_fixture.h"

#include <algorithm>
#include <map>
#include <random>

using namespace vmm;
using namespace vmm::test;

namespace {

// Page n holds n in every word; even pages above 1000 are zero. Counts what is asked for.
struct Numbers final : PageSource {
    std::map<uint32_t, unsigned> asked;
    uint32_t damaged = kNoPage;
    static uint32_t word(uint32_t page) { return page > 1000 && page % 2 == 0 ? 0 : page + 0x5A000000; }
    base::Result<void> read(uint32_t page, std::span<uint8_t> to) override {
        ++asked[page];
        if (page == damaged)
            return base::fail("chunk " + std::to_string(page) + " is damaged", 4);
        for (size_t at = 0; at < to.size(); at += 4) {
            const uint32_t value = word(page);
            std::memcpy(&to[at], &value, 4);
        }
        return {};
    }
};

struct Watcher final : MemoryObserver {
    void all_remapped() override {}
    std::vector<uint32_t> code, dropped, watched;
    uint32_t first = 0, length = 0;
    unsigned failures = 0;
    void page_remapped(uint32_t) override {}
    void code_written(uint32_t backing, uint32_t offset, uint32_t bytes) override {
        code.push_back(backing);
        first = offset, length = bytes;
    }
    void page_dropped(uint32_t backing) override { dropped.push_back(backing); }
    void page_watched(uint32_t backing) override { watched.push_back(backing); }
    void page_failed() override { ++failures; }
};

struct Saved : Windowed {
    std::shared_ptr<Numbers> source = std::make_shared<Numbers>();
    explicit Saved(uint64_t undo_bytes = 16 << 20) {
        memory->write<uint32_t>(0x5000, 0xDEAD); // what firmware left
        REQUIRE(memory->attach(source, undo_bytes));
    }
    [[nodiscard]] uint32_t at(uint32_t page) { return memory->read<uint32_t>(page << kPageShift); }
    void put(uint32_t page, uint32_t value) { memory->write<uint32_t>(page << kPageShift, value); }
};

} // namespace

TEST_CASE("saved pages: each way to a page fetches it once, and nothing else", "[memory][scene]") {
    Saved pc;
    CHECK(pc.memory->absent_pages() == (32u << 20) / kPageSize);
    CHECK(pc.at(5) == Numbers::word(5));
    CHECK(*pc.memory->ram_pointer(0x6000, 1) == 6);
    uint8_t across[8];
    pc.memory->read(0x7FFC, across, 8);
    CHECK(pc.host.read(*pc.windows, 0x20004).value == Numbers::word(0x20));
    pc.put(9, 1);
    CHECK(pc.host.write(*pc.windows, 0xA000, 2).outcome == Outcome::Mapped);
    CHECK(pc.at(0xA) == 2);
    CHECK(pc.memory->read<uint32_t>(0xA004) == Numbers::word(0xA));
    for (const uint32_t page : {5u, 6u, 7u, 8u, 9u, 10u, 0x20u})
        CHECK(pc.source->asked[page] == 1);
    CHECK(pc.source->asked.size() == 7);
    CHECK_FALSE(pc.readable(0x21000)); // a neighbour that nobody has touched is not mapped with it
}

TEST_CASE("saved pages: windows map a page writable only once what it held is kept", "[memory][scene]") {
    Saved pc;
    REQUIRE(pc.host.read(*pc.windows, 0x5000).value == Numbers::word(5));
    CHECK_FALSE(pc.writable(0x5000));
    CHECK(pc.memory->is_watched(5));
    CHECK(pc.host.write(*pc.windows, 0x5000, 7).faults == 1);
    CHECK_FALSE(pc.memory->is_watched(5));
    CHECK(pc.writable(0x5000));
    const auto report = pc.memory->revert();
    CHECK(report.changed == 1);
    CHECK(pc.at(5) == Numbers::word(5));
    CHECK(pc.writable(0x5000)); // it stays in the log and in the windows
    CHECK(pc.memory->revert().changed == 1);
    CHECK(pc.memory->read<uint32_t>(0x5040) == Numbers::word(5));
}

TEST_CASE("saved pages: accessed and dirty bits set by walks go back too", "[memory][scene]") {
    Windowed pc;
    struct Tables final : PageSource {
        base::Result<void> read(uint32_t page, std::span<uint8_t> to) override {
            std::fill(to.begin(), to.end(), uint8_t{0});
            const uint32_t pde = Windowed::kTable | kP | kW | kU, pte = 0x300000 | kP | kW | kU;
            if (page == Paged::kDirectory >> kPageShift)
                std::memcpy(&to[0], &pde, 4);
            if (page == Windowed::kTable >> kPageShift)
                std::memcpy(&to[5 * 4], &pte, 4);
            return {};
        }
    };
    REQUIRE(pc.memory->attach(std::make_shared<Tables>(), 1 << 20));
    pc.enable_32bit();
    REQUIRE(pc.host.write(*pc.windows, 0x5000, 1).outcome == Outcome::Mapped);
    CHECK((pc.pte(pc.kTable, 0x5000) & (kA | kD)) == (kA | kD));
    pc.memory->revert();
    CHECK((pc.pte(pc.kTable, 0x5000) & (kA | kD)) == 0);
    pc.windows->paging_changed();
    CHECK_FALSE(pc.readable(0x5000)); // the window forgot what the tables no longer grant
}

TEST_CASE("saved pages: a page that cannot be had stops the machine and shows nothing", "[memory][scene]") {
    Saved pc;
    Watcher watcher;
    pc.memory->set_observer(&watcher);
    pc.source->damaged = 7;
    CHECK(pc.host.read(*pc.windows, 0x7000).outcome == Outcome::HostFailure);
    CHECK(pc.memory->failed());
    CHECK(pc.memory->failure().message == "chunk 7 is damaged");
    CHECK(pc.memory->failure().code == 4);
    CHECK(watcher.failures == 1);
    CHECK(pc.at(7) == 0);
    CHECK(pc.host.read(*pc.windows, 0x8000).outcome == Outcome::HostFailure); // no page after it either
    CHECK_FALSE(pc.readable(0x7000));
    pc.memory->set_observer(nullptr);
}

TEST_CASE("saved pages: code that changes back is reported, code that does not is not", "[memory][scene]") {
    Saved pc;
    Watcher watcher;
    pc.memory->set_observer(&watcher);
    pc.put(5, Numbers::word(5)); // written, but with what was there
    pc.memory->write<uint8_t>((6 << kPageShift) + 100, 1);
    pc.memory->write<uint8_t>((6 << kPageShift) + 130, 1);
    for (const uint32_t page : {5u, 6u, 7u})
        pc.memory->set_code(page, true);
    pc.memory->revert();
    CHECK(watcher.code == std::vector<uint32_t>{6});
    CHECK(watcher.first == 100);
    CHECK(watcher.length == 31);
    pc.memory->set_observer(nullptr);
}

TEST_CASE("saved pages: without room for copies, pages come from their source again", "[memory][scene]") {
    Saved pc(3 * kPageSize);
    Watcher watcher;
    pc.memory->set_observer(&watcher);
    for (uint32_t page = 1; page <= 5; ++page)
        pc.put(page, 99);
    pc.put(2002, 99); // was zero: needs no copy
    const auto report = pc.memory->revert();
    CHECK(report.kept == 4);
    CHECK(report.reloads == 2);
    CHECK(watcher.dropped == std::vector<uint32_t>{4, 5});
    CHECK(pc.memory->is_absent(4));
    for (uint32_t page = 1; page <= 5; ++page)
        CHECK(pc.at(page) == Numbers::word(page));
    CHECK(pc.at(2002) == 0);
    CHECK(pc.source->asked[4] == 2);
    CHECK(pc.source->asked[3] == 1);
    pc.memory->set_observer(nullptr);
}

TEST_CASE("saved pages: a page idle for long leaves the log and is watched again", "[memory][scene]") {
    Saved pc;
    Watcher watcher;
    pc.memory->set_observer(&watcher);
    pc.put(3, 1);
    pc.put(4, 1);
    unsigned reverts = 0;
    while (watcher.watched.empty() && reverts < 100) {
        pc.put(4, 1);
        pc.memory->revert();
        ++reverts;
    }
    CHECK(reverts > 3);
    CHECK(watcher.watched == std::vector<uint32_t>{3});
    CHECK(pc.memory->is_watched(3));
    CHECK_FALSE(pc.memory->is_watched(4));
    pc.put(3, 8);
    CHECK(pc.memory->revert().changed == 1); // page 4 was not written this time
    CHECK(pc.at(3) == Numbers::word(3));
    pc.memory->set_observer(nullptr);
}

TEST_CASE("saved pages: any writes by any way are gone after each of 50 reverts", "[memory][scene]") {
    Saved pc(64 * kPageSize);
    std::mt19937 random(7);
    constexpr uint32_t kPages = 200;
    for (unsigned round = 0; round < 50; ++round) {
        for (unsigned i = 0; i < 100; ++i) {
            const uint32_t page = random() % kPages, offset = random() % 1000 * 4;
            if (random() % 2 == 0)
                pc.memory->write<uint32_t>((page << kPageShift) + offset, random());
            else
                REQUIRE(pc.host.write(*pc.windows, (page << kPageShift) + offset, random()).outcome ==
                        Outcome::Mapped);
        }
        // What the engine does when a page is dropped or watched again.
        struct Follow final : MemoryObserver {
            void all_remapped() override {}
            Windows& windows;
            explicit Follow(Windows& w) : windows(w) {}
            void page_remapped(uint32_t) override {}
            void code_written(uint32_t, uint32_t, uint32_t) override {}
            void page_dropped(uint32_t backing) override { windows.revoke(backing); }
            void page_watched(uint32_t backing) override { windows.write_protect(backing); }
        } follow(*pc.windows);
        pc.memory->set_observer(&follow);
        pc.memory->revert();
        pc.memory->set_observer(nullptr);
        for (uint32_t page = 0; page < kPages; ++page)
            for (uint32_t offset = 0; offset < kPageSize; offset += 4)
                if (pc.memory->read<uint32_t>((page << kPageShift) + offset) != Numbers::word(page))
                    FAIL("page " << page << " in round " << round);
    }
}
