// What the storage tests share: media in memory and in real files, the IDE registers as a driver sees them,
// and waiting for the I/O workers.
#pragma once
#include "tests/vmm/devices/chipset_fixture.h"
#include "tests/vmm/devices/memory_block_port.h"
#include "vmm/devices/file_block_port.h"

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <thread>
#include <unistd.h>

namespace vmm {

// Byte at any place of a test image: differs between sectors and within one.
inline uint8_t pattern(uint64_t at) { return static_cast<uint8_t>(at * 7 + at / 512 * 13 + (at >> 16)); }
inline void fill_pattern(std::vector<uint8_t>& data) {
    for (size_t i = 0; i < data.size(); ++i)
        data[i] = pattern(i);
}

// A real image file, gone at the end.
struct TemporaryImage {
    explicit TemporaryImage(const std::vector<uint8_t>& contents) {
        const int fd = ::mkstemp(path.data());
        REQUIRE(fd >= 0);
        REQUIRE(::write(fd, contents.data(), contents.size()) == static_cast<ssize_t>(contents.size()));
        ::close(fd);
    }
    ~TemporaryImage() { ::unlink(path.c_str()); }
    std::string path = "/tmp/encore-image-XXXXXX";
};

struct StorageFixture : ChipsetFixture {
    // Runs completions until `done` holds; false after a minute without.
    bool wait(const std::function<bool()>& done) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        while (!done()) {
            if (std::chrono::steady_clock::now() > deadline)
                return false;
            platform.events.run_all();
            std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
        return true;
    }
    void add_medium(MediumKind kind, std::shared_ptr<BlockPort> port) {
        platform.config.media.push_back({kind, std::move(port)});
    }
};

// The IDE function with its media, set up as firmware leaves it.
struct IdeFixture : StorageFixture {
    static constexpr uint16_t kPrimary = 0x1F0, kPrimaryControl = 0x3F6, kSecondary = 0x170,
                              kSecondaryControl = 0x376, kMaster = 0xC000;

    void start() {
        ide = make_piix3_ide(platform);
        set_config(0x20, 4, kMaster);
        set_config(0x40, 4, 0x80008000);
        set_config(0x04, 2, 0x0005);
    }
    void set_config(uint8_t offset, unsigned size, uint32_t value) {
        platform.pci.config_write(address(1, 1, offset) | (offset & 3), size, value);
    }
    uint8_t in(uint16_t port) { return static_cast<uint8_t>(platform.io.read(port, 1)); }
    void out(uint16_t port, uint8_t value) { platform.io.write(port, 1, value); }

    // Waits on the alternate status, which leaves the interrupt alone.
    uint8_t settle(uint16_t base) {
        REQUIRE(wait([&] { return (in(control(base)) & 0x80) == 0; }));
        return in(control(base));
    }
    bool wait_irq(unsigned line) {
        return wait([&] { return irq.high(line); });
    }
    static uint16_t control(uint16_t base) { return static_cast<uint16_t>(base + 0x206); }

    void lba28(uint16_t base, uint32_t lba, uint8_t count, uint8_t device = 0xE0) {
        out(base + 6, static_cast<uint8_t>(device | lba >> 24));
        out(base + 2, count);
        out(base + 3, static_cast<uint8_t>(lba));
        out(base + 4, static_cast<uint8_t>(lba >> 8));
        out(base + 5, static_cast<uint8_t>(lba >> 16));
    }
    void lba48(uint16_t base, uint64_t lba, uint16_t count) {
        out(base + 6, 0xE0);
        out(base + 2, static_cast<uint8_t>(count >> 8));
        out(base + 3, static_cast<uint8_t>(lba >> 24));
        out(base + 4, static_cast<uint8_t>(lba >> 32));
        out(base + 5, static_cast<uint8_t>(lba >> 40));
        out(base + 2, static_cast<uint8_t>(count));
        out(base + 3, static_cast<uint8_t>(lba));
        out(base + 4, static_cast<uint8_t>(lba >> 8));
        out(base + 5, static_cast<uint8_t>(lba >> 16));
    }
    std::vector<uint8_t> pio_in(uint16_t base, size_t bytes) {
        std::vector<uint8_t> data;
        for (size_t i = 0; i < bytes; i += 2) {
            const uint32_t word = platform.io.read(base, 2);
            data.push_back(static_cast<uint8_t>(word));
            if (data.size() < bytes)
                data.push_back(static_cast<uint8_t>(word >> 8));
        }
        return data;
    }
    void pio_out(uint16_t base, std::span<const uint8_t> data) {
        for (size_t i = 0; i + 1 < data.size(); i += 2)
            platform.io.write(base, 2, static_cast<uint32_t>(data[i] | data[i + 1] << 8));
    }

    struct Region {
        uint32_t address, bytes;
    };
    // Writes a descriptor table at kTable and starts the channel's engine.
    static constexpr uint32_t kTable = 0x8000;
    void start_dma(uint16_t base, bool to_memory, const std::vector<Region>& regions) {
        const uint16_t master = base == kPrimary ? kMaster : kMaster + 8;
        uint32_t at = kTable;
        for (size_t i = 0; i < regions.size(); ++i, at += 8) {
            memory->write<uint32_t>(at, regions[i].address);
            memory->write<uint32_t>(at + 4,
                                    (regions[i].bytes & 0xFFFF) | (i + 1 == regions.size() ? 0x80000000 : 0));
        }
        platform.io.write(master + 4, 4, kTable);
        out(master, to_memory ? 8 : 0);
        out(master + 2, 0x66);
        out(master, to_memory ? 9 : 1);
    }
    uint8_t dma_status(uint16_t base) { return in(base == kPrimary ? kMaster + 2 : kMaster + 10) & 7; }
    void stop_dma(uint16_t base) { out(base == kPrimary ? kMaster : kMaster + 8, 0); }

    std::unique_ptr<Device> ide;
};

} // namespace vmm
