// A platform for one PC/AT device at a time: byte-wide port access, interrupt edges counted, time by hand.
#pragma once
#include "vmm/base/state_archive.h"
#include "vmm/bus/platform.h"
#include "vmm/devices/device_list.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

namespace vmm {

// Counts rising edges; `waiting` lines claim that their request has not been taken.
struct CountedIrq : IrqLines {
    uint16_t level = 0, waiting = 0;
    std::array<unsigned, 16> rises{};
    void set_irq(unsigned line, bool high) override {
        if (high && !is_high(line))
            ++rises[line];
        level = static_cast<uint16_t>(high ? level | 1u << line : level & ~(1u << line));
    }
    [[nodiscard]] bool irq_undelivered(unsigned line) const override { return (waiting >> line & 1) != 0; }
    [[nodiscard]] bool is_high(unsigned line) const { return (level >> line & 1) != 0; }
};

struct CountedControl : SystemControl {
    unsigned resets = 0, power_offs = 0;
    void request_reset() override { ++resets; }
    void request_power_off() override { ++power_offs; }
};

struct LegacyFixture {
    explicit LegacyFixture(uint64_t ram = 16u << 20)
        : memory(GuestMemory::create(ram).value()), platform(PlatformConfig{}, *memory) {
        platform.config.ram_bytes = ram;
        platform.irq = &irq;
        platform.system = &control;
        platform.clock.set_manual(0);
    }
    uint8_t in(uint16_t port) { return static_cast<uint8_t>(platform.io.read(port, 1)); }
    void out(uint16_t port, unsigned value) { platform.io.write(port, 1, value); }
    // Lets time pass, stopping at each deadline on the way as the vCPU would.
    void advance_to(uint64_t ns) {
        while (platform.clock.next_deadline() <= ns) {
            platform.clock.set_manual(std::max(platform.clock.next_deadline(), platform.clock.now()));
            platform.clock.run_due();
        }
        platform.clock.set_manual(ns);
    }
    void advance(uint64_t ns) { advance_to(platform.clock.now() + ns); }

    std::unique_ptr<GuestMemory> memory;
    CountedIrq irq;
    CountedControl control;
    Platform platform;
};

inline std::vector<uint8_t> saved(Device& device) {
    base::StateArchive archive;
    device.serialize(archive);
    return archive.bytes();
}
inline void load(Device& device, const std::vector<uint8_t>& state) {
    auto archive = base::StateArchive::parse(state);
    REQUIRE(archive.has_value());
    device.serialize(*archive);
    REQUIRE(archive->error().empty());
}

// Saves `from`, loads it into `to`, and requires that `to` now saves the same bytes.
inline void require_round_trip(Device& from, Device& to) {
    const auto state = saved(from);
    const bool differed = saved(to) != state;
    REQUIRE(differed); // else the test proves nothing
    load(to, state);
    const bool same = saved(to) == state; // not expanded: a failure would print kilobytes
    REQUIRE(same);
}

// Loads a state in which every field has been filled with `byte`, as a forged save would.
inline void load_forged(Device& device, uint8_t byte) {
    std::vector<uint8_t> state = saved(device);
    for (size_t at = 0; at + 2 < state.size();) {
        const char kind = static_cast<char>(state[at]);
        at += 2u + state[at + 1];
        if (kind == 'E')
            continue;
        uint32_t number = 0;
        std::memcpy(&number, &state[at], 4);
        at += 4;
        if (kind == 'F') {
            std::fill_n(state.begin() + static_cast<ptrdiff_t>(at), number, byte);
            at += number;
        }
    }
    load(device, state);
}

} // namespace vmm
