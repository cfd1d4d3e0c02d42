// Costs of the operations that run at every guest mode switch and context switch: run with "[bench]".
#include "tests/vmm/memory/windows_fixture.h"

#include <chrono>

using namespace vmm;
using namespace vmm::test;

namespace {

template <class Work> void measure(const char* what, unsigned rounds, Work work) {
    double best = 1e9;
    for (int repeat = 0; repeat < 5; ++repeat) {
        const auto begin = std::chrono::steady_clock::now();
        for (unsigned i = 0; i < rounds; ++i)
            work();
        const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
        best = std::min(best, took.count() / rounds);
    }
    std::printf("%-58s %8.1f ns\n", what, best);
}

} // namespace

TEST_CASE("windows: cost of flushes and switches", "[.bench]") {
    for (const bool dense : {false, true}) {
        Windowed pc;
        pc.enable_32bit();
        for (uint32_t region = 0; region < 10; ++region) {
            const uint32_t linear = region << 22, table = 0x200000 + region * 0x1000;
            pc.pde(linear, table | kP | kW | kU);
            for (uint32_t page = 0; page < 1024; page += dense ? 16 : 128) {
                pc.pte(table, linear + (page << 12), (0x400000 + (page << 12)) | kP | kW | kU);
                REQUIRE(pc.host.write(*pc.windows, linear + (page << 12), 1).outcome == Outcome::Mapped);
            }
        }
        measure(dense ? "cr3_loaded, 10 tables, all 64 lines in use"
                      : "cr3_loaded, 10 tables, 8 lines in use each",
                20000, [&] { pc.windows->cr3_loaded(); });
        if (dense)
            continue;
        measure("select, nothing changed", 1000000, [&] { pc.windows->select(); });
        measure("select, user <-> supervisor", 1000000, [&] {
            pc.cpu.cpl ^= 3;
            pc.windows->select();
        });
        pc.cpu.cpl = 0;
        uint32_t page = 0;
        measure("resolve and map one page, then INVLPG drops it", 5000, [&] {
            const uint32_t linear = (page++ % 512) << 12, entry = (0x800000 + linear) | kP | kW | kU;
            pc.pte(0x200000, linear, entry);
            pc.windows->resolve(linear, AccessKind::Write);
            pc.pte(0x200000, linear, 0);
            pc.windows->invlpg(linear);
        });
    }
}
