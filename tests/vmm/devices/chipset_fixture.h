// A platform around the chipset under test: memory, buses, a hand-driven clock, and recorders for what the
// devices do to the rest of the machine.
#pragma once
#include "vmm/base/state_archive.h"
#include "vmm/bus/platform.h"
#include "vmm/devices/device_list.h"

#include <catch2/catch.hpp>

#include <memory>

namespace vmm {

struct RecordedIrq : IrqLines {
    uint16_t level = 0;
    void set_irq(unsigned line, bool high) override {
        level = static_cast<uint16_t>(high ? level | 1u << line : level & ~(1u << line));
    }
    [[nodiscard]] bool high(unsigned line) const { return (level >> line & 1) != 0; }
};

struct RecordedControl : SystemControl {
    unsigned resets = 0, power_offs = 0;
    void request_reset() override { ++resets; }
    void request_power_off() override { ++power_offs; }
};

struct ChipsetFixture {
    static constexpr uint64_t kRam = 16u << 20;

    explicit ChipsetFixture() : memory(GuestMemory::create(kRam).value()), platform({}, *memory) {
        platform.config.ram_bytes = kRam;
        platform.irq = &irq;
        platform.system = &control;
        platform.clock.set_manual(0);
    }

    uint32_t config_read(unsigned device, unsigned function, uint8_t offset, unsigned size = 1) {
        platform.io.write(0xCF8, 4, address(device, function, offset));
        return platform.io.read(static_cast<uint16_t>(0xCFC + (offset & 3)), size);
    }
    void config_write(unsigned device, unsigned function, uint8_t offset, unsigned size, uint32_t value) {
        platform.io.write(0xCF8, 4, address(device, function, offset));
        platform.io.write(static_cast<uint16_t>(0xCFC + (offset & 3)), size, value);
    }
    static uint32_t address(unsigned device, unsigned function, uint8_t offset) {
        return 0x80000000 | device << 11 | function << 8 | (offset & 0xFCu);
    }

    static std::vector<uint8_t> saved(Device& device) {
        base::StateArchive archive;
        device.serialize(archive);
        return archive.bytes();
    }
    static void load(Device& device, const std::vector<uint8_t>& state) {
        auto archive = base::StateArchive::parse(state);
        REQUIRE(archive.has_value());
        device.serialize(*archive);
        REQUIRE(archive->error().empty());
    }

    std::unique_ptr<GuestMemory> memory;
    RecordedIrq irq;
    RecordedControl control;
    Platform platform;
};

} // namespace vmm
