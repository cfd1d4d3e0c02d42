#include "tests/vmm/devices/storage_fixture.h"

using namespace vmm;

namespace {

struct FloppyFixture : StorageFixture {
    explicit FloppyFixture(size_t bytes = 1474560) : disk(std::make_shared<MemoryBlockPort>(bytes)) {
        fill_pattern(disk->data);
        add_medium(MediumKind::Floppy, disk);
        dma = make_dma8237(platform);
        begin();
    }
    void begin() {
        controller = make_floppy82077(platform);
        out(0x3F2, 0x0C);
        acknowledge_reset();
        out(0x3F2, 0x1C);
        out(0x3F7, 0);
        command({0x03, 0xDF, 0x02});
    }
    void acknowledge_reset() {
        REQUIRE(irq.high(6));
        for (uint8_t drive = 0; drive < 4; ++drive)
            REQUIRE(ask({0x08}, 2)[0] == (0xC0 | drive));
        REQUIRE(ask({0x08}, 1)[0] == 0x80);
        REQUIRE_FALSE(irq.high(6));
    }
    uint8_t in(uint16_t port) { return static_cast<uint8_t>(platform.io.read(port, 1)); }
    void out(uint16_t port, uint8_t value) { platform.io.write(port, 1, value); }
    void command(const std::vector<uint8_t>& bytes) {
        for (const uint8_t byte : bytes) {
            REQUIRE((in(0x3F4) & 0xC0) == 0x80);
            out(0x3F5, byte);
        }
    }
    std::vector<uint8_t> results(size_t count) {
        std::vector<uint8_t> bytes;
        for (size_t i = 0; i < count; ++i) {
            REQUIRE((in(0x3F4) & 0xD0) == 0xD0);
            bytes.push_back(in(0x3F5));
        }
        REQUIRE((in(0x3F4) & 0xD0) == 0x80);
        return bytes;
    }
    std::vector<uint8_t> ask(const std::vector<uint8_t>& bytes, size_t count) {
        command(bytes);
        return results(count);
    }
    std::vector<uint8_t> transfer(const std::vector<uint8_t>& bytes) {
        command(bytes);
        REQUIRE(wait([&] { return irq.high(6); }));
        auto result = results(7);
        REQUIRE_FALSE(irq.high(6));
        return result;
    }
    void advance(uint64_t ns) {
        platform.clock.set_manual(platform.clock.now() + ns);
        platform.clock.run_due();
    }
    void seek(uint8_t drive, uint8_t cylinder) {
        command({0x0F, drive, cylinder});
        REQUIRE((in(0x3F4) & (1 << drive)) != 0);
        REQUIRE_FALSE(irq.high(6));
        advance(10'000'000);
        REQUIRE(irq.high(6));
        REQUIRE(ask({0x08}, 2) == std::vector<uint8_t>{static_cast<uint8_t>(0x20 | drive), cylinder});
        REQUIRE_FALSE(irq.high(6));
        REQUIRE((in(0x3F4) & 0x0F) == 0);
    }
    // Channel 2, single transfers, as a BIOS sets it up.
    enum class Towards { Memory, Disk };
    void program_dma(uint32_t address, uint32_t count, Towards towards = Towards::Memory) {
        out(0x0A, 0x06);
        out(0x0C, 0);
        out(0x0B, towards == Towards::Memory ? 0x46 : 0x4A);
        out(0x04, static_cast<uint8_t>(address));
        out(0x04, static_cast<uint8_t>(address >> 8));
        out(0x81, static_cast<uint8_t>(address >> 16));
        out(0x05, static_cast<uint8_t>(count - 1));
        out(0x05, static_cast<uint8_t>((count - 1) >> 8));
        out(0x0A, 0x02);
    }
    bool memory_matches(uint32_t address, uint64_t from, size_t bytes) {
        for (size_t i = 0; i < bytes; ++i)
            if (memory->read<uint8_t>(address + static_cast<uint32_t>(i)) != pattern(from + i))
                return false;
        return true;
    }

    std::shared_ptr<MemoryBlockPort> disk;
    std::unique_ptr<Device> dma, controller;
};

constexpr uint64_t chs(unsigned cylinder, unsigned head, unsigned sector) {
    return ((cylinder * 2 + head) * 18 + sector - 1) * 512ull;
}

} // namespace

TEST_CASE("floppy: identifies itself as an 82077AA", "[storage]") {
    FloppyFixture m;
    REQUIRE(m.ask({0x10}, 1) == std::vector<uint8_t>{0x90});
    REQUIRE(m.ask({0x94}, 1) == std::vector<uint8_t>{0x10});
    REQUIRE(m.ask({0x14}, 1) == std::vector<uint8_t>{0x00});
    REQUIRE(m.ask({0x18}, 1) == std::vector<uint8_t>{0x80}); // PART ID is the 82078's
    m.command({0x13, 0, 0x57, 3});
    m.command({0x12, 0x84});
    REQUIRE(m.ask({0x0E}, 10) == std::vector<uint8_t>{0, 0, 0, 0, 0xDF, 0x02, 0, 0x04, 0x57, 3});
}

TEST_CASE("floppy: a reset forgets the configuration unless it is locked", "[storage]") {
    FloppyFixture m;
    m.command({0x13, 0, 0x0A, 5});
    m.ask({0x94}, 1);
    m.out(0x3F4, 0x80); // software reset by the data rate register
    m.acknowledge_reset();
    REQUIRE(m.ask({0x0E}, 10)[8] == 0x0A);
    m.ask({0x14}, 1);
    m.out(0x3F2, 0x08);
    REQUIRE(m.in(0x3F4) == 0);
    m.out(0x3F2, 0x1C);
    m.acknowledge_reset();
    REQUIRE(m.ask({0x0E}, 10)[8] == 0x20);
}

TEST_CASE("floppy: the change line drops when the head moves", "[storage]") {
    FloppyFixture m;
    REQUIRE((m.in(0x3F7) & 0x80) != 0);
    m.seek(0, 5);
    REQUIRE((m.in(0x3F7) & 0x80) == 0);
    REQUIRE(m.ask({0x04, 0}, 1) == std::vector<uint8_t>{0x28});
    m.command({0x07, 0});
    m.advance(10'000'000);
    REQUIRE(m.ask({0x08}, 2) == std::vector<uint8_t>{0x20, 0});
    REQUIRE(m.ask({0x04, 0}, 1) == std::vector<uint8_t>{0x38}); // track 0
    m.command({0x07, 1});                                       // no such drive
    m.advance(10'000'000);
    REQUIRE(m.ask({0x08}, 2) == std::vector<uint8_t>{0x71, 0});
}

TEST_CASE("floppy: READ DATA by DMA stops at the terminal count", "[storage]") {
    FloppyFixture m;
    m.seek(0, 3);
    m.program_dma(0x100000, 2 * 512);
    const auto result = m.transfer({0xE6, 0x04, 3, 1, 4, 2, 18, 0x1B, 0xFF});
    REQUIRE(result == std::vector<uint8_t>{0x04, 0, 0, 3, 1, 6, 2});
    REQUIRE(m.memory_matches(0x100000, chs(3, 1, 4), 1024));
    REQUIRE(m.memory->read<uint8_t>(0x100400) == 0);
}

TEST_CASE("floppy: multi-track read goes on under head 1", "[storage]") {
    FloppyFixture m;
    m.seek(0, 1);
    m.program_dma(0x100000, 36 * 512);
    const auto result = m.transfer({0xE6, 0x00, 1, 0, 1, 2, 18, 0x1B, 0xFF});
    REQUIRE(result == std::vector<uint8_t>{0x00, 0, 0, 2, 0, 1, 2});
    REQUIRE(m.memory_matches(0x100000, chs(1, 0, 1), 36 * 512));
}

TEST_CASE("floppy: a read without terminal count ends with end of cylinder", "[storage]") {
    FloppyFixture m;
    m.program_dma(0x100000, 64 * 512);
    const auto result = m.transfer({0x46, 0x00, 0, 0, 17, 2, 18, 0x1B, 0xFF});
    REQUIRE(result == std::vector<uint8_t>{0x40, 0x80, 0, 1, 0, 1, 2});
    REQUIRE(m.memory_matches(0x100000, chs(0, 0, 17), 1024));
    m.out(0x0A, 0x06); // the channel is masked
    REQUIRE(m.transfer({0x46, 0x00, 0, 0, 1, 2, 18, 0x1B, 0xFF})[1] == 0x10);
}

TEST_CASE("floppy: WRITE DATA reaches a real image file", "[storage]") {
    const TemporaryImage image(std::vector<uint8_t>(737280, 0xE5));
    FloppyFixture m(1474560);
    m.platform.config.media[0].port = FileBlockPort::open(image.path, FileAccess::ReadWrite).value();
    m.controller.reset();
    m.begin();
    m.out(0x3F7, 2); // 720K: 250 kb/s
    m.seek(0, 40);
    for (uint32_t i = 0; i < 1024; ++i)
        m.memory->write<uint8_t>(0x100000 + i, pattern(i));
    m.program_dma(0x100000, 1000, FloppyFixture::Towards::Disk); // the last sector is filled with zeros
    REQUIRE(m.transfer({0x45, 0x00, 40, 0, 9, 2, 9, 0x1B, 0xFF})[1] == 0x80); // the track ends first
    m.program_dma(0x100000, 1000, FloppyFixture::Towards::Disk);
    REQUIRE(m.transfer({0x45, 0x00, 40, 0, 2, 2, 9, 0x1B, 0xFF}) ==
            std::vector<uint8_t>{0, 0, 0, 40, 0, 4, 2});
    auto check = FileBlockPort::open(image.path, FileAccess::ReadOnly).value();
    std::vector<uint8_t> back(1024);
    REQUIRE(check->read((40 * 2 * 9 + 1) * 512, back).has_value());
    for (size_t i = 0; i < 1000; ++i)
        REQUIRE(back[i] == pattern(i));
    REQUIRE(back[1000] == 0);
    REQUIRE(back[1023] == 0);
}

TEST_CASE("floppy: what is not on the disk is not found", "[storage]") {
    FloppyFixture m;
    m.program_dma(0x100000, 512);
    REQUIRE(m.transfer({0x46, 0x00, 0, 0, 19, 2, 19, 0x1B, 0xFF})[1] == 0x04); // sector
    REQUIRE(m.transfer({0x46, 0x00, 7, 0, 1, 2, 18, 0x1B, 0xFF})[2] == 0x10);  // cylinder
    REQUIRE(m.transfer({0x46, 0x00, 0, 0, 1, 3, 18, 0x1B, 0xFF})[1] == 0x04);  // sector size
    m.out(0x3F7, 2);
    REQUIRE(m.transfer({0x46, 0x00, 0, 0, 1, 2, 18, 0x1B, 0xFF})[1] == 0x01); // data rate
    REQUIRE(m.transfer({0x4A, 0x00})[1] == 0x01);
    m.out(0x3F7, 0);
    REQUIRE(m.transfer({0x4A, 0x04}) == std::vector<uint8_t>{0x04, 0, 0, 0, 1, 1, 2});
    REQUIRE(m.transfer({0x4A, 0x01})[0] == 0x41); // no drive B
}

TEST_CASE("floppy: medium errors and write protection are reported", "[storage]") {
    FloppyFixture m;
    m.disk->bad_from = 512;
    m.disk->bad_to = 513;
    m.program_dma(0x100000, 4 * 512);
    REQUIRE(m.transfer({0x46, 0x00, 0, 0, 1, 2, 18, 0x1B, 0xFF}) ==
            std::vector<uint8_t>{0x40, 0x20, 0x20, 0, 0, 2, 2});
    REQUIRE(m.memory_matches(0x100000, 0, 512));
    m.program_dma(0x100000, 4 * 512, FloppyFixture::Towards::Disk);
    REQUIRE(m.transfer({0x45, 0x00, 0, 0, 1, 2, 18, 0x1B, 0xFF})[1] == 0x20);

    auto write_protected = std::make_shared<MemoryBlockPort>(1474560);
    write_protected->write_protected = true;
    m.platform.config.media[0].port = write_protected;
    m.controller.reset();
    m.begin();
    REQUIRE(m.transfer({0x45, 0x00, 0, 0, 1, 2, 18, 0x1B, 0xFF})[1] == 0x02);
    REQUIRE((m.ask({0x04, 0}, 1)[0] & 0x40) != 0);
}

TEST_CASE("floppy: FORMAT TRACK fills the track", "[storage]") {
    FloppyFixture m;
    m.seek(0, 2);
    for (uint8_t i = 0; i < 18; ++i) {
        const std::array<uint8_t, 4> id{2, 1, static_cast<uint8_t>(i + 1), 2};
        m.memory->write(0x100000u + i * 4u, id.data(), 4);
    }
    m.program_dma(0x100000, 18 * 4, FloppyFixture::Towards::Disk);
    REQUIRE(m.transfer({0x4D, 0x04, 2, 18, 0x54, 0xF6})[0] == 0x04);
    REQUIRE(m.disk->data[chs(2, 1, 1)] == 0xF6);
    REQUIRE(m.disk->data[chs(2, 1, 18) + 511] == 0xF6);
    REQUIRE(m.disk->data[chs(2, 1, 1) - 1] == pattern(chs(2, 1, 1) - 1));
    REQUIRE(m.disk->data[chs(3, 0, 1)] == pattern(chs(3, 0, 1)));
}

TEST_CASE("floppy: non-DMA transfers go through the FIFO", "[storage]") {
    FloppyFixture m;
    m.command({0x03, 0xDF, 0x03});
    m.command({0x46, 0x00, 0, 0, 2, 2, 2, 0x1B, 0xFF});
    REQUIRE(m.wait([&] { return m.irq.high(6); }));
    for (unsigned i = 0; i < 512; ++i) {
        REQUIRE(m.in(0x3F4) == 0xF0);
        REQUIRE(m.in(0x3F5) == pattern(512 + i));
    }
    REQUIRE(m.results(7)[1] == 0x80);
    m.command({0x45, 0x00, 0, 0, 2, 2, 2, 0x1B, 0xFF});
    for (unsigned i = 0; i < 512; ++i) {
        REQUIRE(m.in(0x3F4) == 0xB0);
        m.out(0x3F5, static_cast<uint8_t>(i ^ 0x5A));
    }
    REQUIRE(m.wait([&] { return m.irq.high(6); }));
    m.results(7);
    REQUIRE(m.disk->data[512 + 7] == (7 ^ 0x5A));
}

TEST_CASE("floppy: image sizes choose the format", "[storage]") {
    struct Case {
        size_t bytes;
        uint8_t rate, sectors;
    };
    for (const Case& c : {Case{368640, 2, 9}, Case{368640, 1, 9}, Case{737280, 2, 9}, Case{1228800, 0, 15},
                          Case{1474560, 0, 18}, Case{2949120, 3, 36}, Case{500'000, 0, 18}}) {
        FloppyFixture m(c.bytes);
        m.out(0x3F7, c.rate);
        m.program_dma(0x100000, 512);
        REQUIRE(m.transfer({0x46, 0x00, 0, 0, c.sectors, 2, c.sectors, 0x1B, 0xFF})[0] == 0);
        m.program_dma(0x100000, 512);
        REQUIRE((m.transfer({0x46, 0x00, 0, 0, static_cast<uint8_t>(c.sectors + 1), 2, 99, 0x1B, 0xFF})[0] &
                 0xC0) == 0x40);
    }
}

TEST_CASE("floppy: a reset while the medium is read takes no command until it is over", "[storage]") {
    FloppyFixture m;
    m.program_dma(0x100000, 512);
    m.disk->gate.lock();
    m.command({0x46, 0x00, 0, 0, 1, 2, 18, 0x1B, 0xFF});
    REQUIRE(m.in(0x3F4) == 0x10);
    m.out(0x3F2, 0x18);
    m.out(0x3F2, 0x1C);
    REQUIRE(m.in(0x3F4) == 0);
    m.disk->gate.unlock();
    REQUIRE(m.wait([&] { return m.in(0x3F4) == 0x80; }));
    m.acknowledge_reset();
    REQUIRE(m.memory->read<uint8_t>(0x100001) == 0);
}

TEST_CASE("floppy: saved state round-trips in every phase", "[storage]") {
    FloppyFixture from;
    from.seek(0, 9);
    from.command({0x46, 0x00, 9, 0}); // half a command
    auto state = StorageFixture::saved(*from.controller);
    FloppyFixture to;
    StorageFixture::load(*to.controller, state);
    REQUIRE(StorageFixture::saved(*to.controller) == state);
    to.program_dma(0x100000, 512);
    REQUIRE(to.transfer({3, 2, 18, 0x1B, 0xFF}) == std::vector<uint8_t>{0, 0, 0, 9, 0, 4, 2});
    REQUIRE(to.memory_matches(0x100000, chs(9, 0, 3), 512));

    to.command({0x0F, 0, 20}); // a seek under way
    state = StorageFixture::saved(*to.controller);
    FloppyFixture later;
    StorageFixture::load(*later.controller, state);
    later.advance(20'000'000);
    REQUIRE(later.ask({0x08}, 2) == std::vector<uint8_t>{0x20, 20});

    later.command({0x03, 0xDF, 0x03}); // FIFO data half taken
    later.command({0x46, 0x00, 20, 0, 1, 2, 1, 0x1B, 0xFF});
    REQUIRE(later.wait([&] { return later.in(0x3F4) == 0xF0; }));
    for (unsigned i = 0; i < 100; ++i)
        later.in(0x3F5);
    state = StorageFixture::saved(*later.controller);
    StorageFixture::load(*from.controller, state);
    REQUIRE(from.in(0x3F5) == pattern(chs(20, 0, 1) + 100));
}

TEST_CASE("floppy: hostile saved state and command bytes are harmless", "[storage]") {
    FloppyFixture m;
    std::srand(11);
    m.command({0x03, 0xDF, 0x03});
    m.command({0x46, 0x00, 0, 0, 1, 2, 1, 0x1B, 0xFF});
    REQUIRE(m.wait([&] { return m.in(0x3F4) == 0xF0; }));
    const auto state = StorageFixture::saved(*m.controller);
    for (unsigned round = 0; round < 300; ++round) {
        auto damaged = state;
        for (unsigned i = 0; i < 4; ++i)
            damaged[static_cast<size_t>(std::rand()) % damaged.size()] = static_cast<uint8_t>(std::rand());
        if (auto archive = base::StateArchive::parse(damaged))
            m.controller->serialize(*archive);
        for (unsigned i = 0; i < 40; ++i) {
            m.out(0x3F5, static_cast<uint8_t>(std::rand()));
            m.in(0x3F5);
            if (i % 8 == 0)
                m.out(0x3F2, static_cast<uint8_t>(std::rand() | 4));
        }
        m.advance(1'000'000);
        m.platform.events.run_all();
    }
    StorageFixture::saved(*m.controller);
}
