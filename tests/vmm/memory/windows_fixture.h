// A paged machine with windows, and checks on what the host really has mapped.
#pragma once
#include "tests/vmm/memory/fixture.h"
#include "tests/vmm/memory/host_access.h"

#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

namespace vmm::test {

using Outcome = WindowFault::Outcome;

struct Windowed : Paged {
    static constexpr uint32_t kTable = 0x200000;
    std::unique_ptr<Windows> windows;
    HostAccess host;
    std::vector<std::pair<uint32_t, uint32_t>> dropped; // first, count

    explicit Windowed(Windows::Limits limits = {}) {
        auto created = Windows::create(cpu, *memory, limits);
        REQUIRE(created);
        windows = std::move(*created);
        windows->set_code_dropped(
            [this](uint32_t first, uint32_t count) { dropped.emplace_back(first, count); });
    }
    // 32-bit paging; linear [0, 4 MiB) through kTable, each frame stamped with its address.
    void page_first_region() {
        enable_32bit();
        pde(0, kTable | kP | kW | kU);
    }
    void stamp(uint32_t frame) { memory->write<uint32_t>(frame, frame); }
    [[nodiscard]] bool readable(uint32_t linear) {
        return host.try_read(windows->select() + linear).has_value();
    }
    [[nodiscard]] bool writable(uint32_t linear) {
        return host.try_write(windows->select() + linear + 64, 1);
    }
    void flush() {
        dropped.clear();
        windows->cr3_loaded();
    }
    // Kernel mappings that overlap the reservation of `slots` windows whose lowest base is `base`.
    static uint64_t kernel_mappings(uint64_t base, unsigned slots) {
        const uint64_t begin = base - (4ull << 30), end = base + slots * (40ull << 30);
        std::ifstream maps("/proc/self/maps");
        uint64_t found = 0, first = 0, last = 0;
        for (std::string line; std::getline(maps, line);)
            if (std::sscanf(line.c_str(), "%lx-%lx", &first, &last) == 2 && first < end && last > begin)
                ++found;
        return found;
    }
};

} // namespace vmm::test
