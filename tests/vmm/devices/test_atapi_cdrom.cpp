#include "tests/vmm/devices/storage_fixture.h"

using namespace vmm;

namespace {

constexpr uint8_t kErr = 0x01, kDrq = 0x08, kBsy = 0x80;
using Packet = std::array<uint8_t, 12>;

struct CdFixture : IdeFixture {
    explicit CdFixture(size_t blocks = 500) : disc(std::make_shared<MemoryBlockPort>(blocks * 2048)) {
        fill_pattern(disc->data);
        disc->write_protected = true;
        add_medium(MediumKind::Cdrom, disc);
        start();
    }
    // Sends a packet; features bit 0 chooses DMA.
    void send(const Packet& packet, uint16_t limit = 2048, uint8_t features = 0) {
        out(0x176, 0xA0);
        out(0x171, features);
        out(0x174, static_cast<uint8_t>(limit));
        out(0x175, static_cast<uint8_t>(limit >> 8));
        out(0x177, 0xA0);
        REQUIRE((settle(0x170) & kDrq) != 0);
        REQUIRE((in(0x172) & 3) == 1);
        pio_out(0x170, packet);
    }
    // Takes all data of a PIO command; the sizes of its blocks go to `blocks`.
    std::vector<uint8_t> take(std::vector<size_t>* blocks = nullptr) {
        std::vector<uint8_t> data;
        for (;;) {
            REQUIRE(wait_irq(15));
            const uint8_t status = in(0x177);
            if ((status & kDrq) == 0) {
                REQUIRE((in(0x172) & 3) == 3);
                last_status = status;
                return data;
            }
            REQUIRE((in(0x172) & 3) == 2);
            const size_t bytes = static_cast<size_t>(in(0x174) | in(0x175) << 8);
            if (blocks != nullptr)
                blocks->push_back(bytes);
            const auto block = pio_in(0x170, bytes);
            data.insert(data.end(), block.begin(), block.end());
        }
    }
    std::vector<uint8_t> run(const Packet& packet, uint16_t limit = 2048) {
        send(packet, limit);
        return take();
    }
    std::array<uint8_t, 3> sense() {
        const auto data = run({0x03, 0, 0, 0, 18});
        REQUIRE(data.size() == 18);
        return {data[2], data[12], data[13]};
    }
    void clear_attention() {
        run({0x00});
        REQUIRE(sense() == std::array<uint8_t, 3>{6, 0x29, 0});
    }
    std::shared_ptr<MemoryBlockPort> disc;
    uint8_t last_status = 0;
};

} // namespace

TEST_CASE("atapi: a lone CD-ROM is secondary master and shows the packet signature", "[storage]") {
    CdFixture m;
    REQUIRE(m.in(0x1F7) == 0xFF);
    REQUIRE(m.in(0x177) == 0);
    REQUIRE(m.in(0x174) == 0x14);
    REQUIRE(m.in(0x175) == 0xEB);
    m.out(0x177, 0xEC); // IDENTIFY DEVICE is refused with the signature
    REQUIRE((m.in(0x177) & kErr) != 0);
    REQUIRE(m.in(0x171) == 4);
    REQUIRE(m.in(0x174) == 0x14);
    m.out(0x177, 0xA1);
    REQUIRE(m.irq.high(15));
    REQUIRE((m.in(0x177) & kDrq) != 0);
    const auto identify = m.pio_in(0x170, 512);
    REQUIRE(identify[1] == 0x85);
    REQUIRE((m.in(0x177) & kDrq) == 0);
}

TEST_CASE("ide: media take drives in order, CD-ROMs the secondary master first", "[storage]") {
    IdeFixture m;
    m.add_medium(MediumKind::Cdrom, std::make_shared<MemoryBlockPort>(2048 * 20));
    m.add_medium(MediumKind::Disk, std::make_shared<MemoryBlockPort>(1u << 20));
    m.add_medium(MediumKind::Disk, std::make_shared<MemoryBlockPort>(1u << 20));
    m.add_medium(MediumKind::Cdrom, std::make_shared<MemoryBlockPort>(2048 * 20));
    m.start();
    for (const uint8_t select : {0xA0, 0xB0}) {
        m.out(0x1F6, select);
        m.out(0x176, select);
        REQUIRE(m.in(0x1F7) == 0x50);
        REQUIRE(m.in(0x174) == 0x14);
    }
}

TEST_CASE("atapi: a reset is reported once as unit attention", "[storage]") {
    CdFixture m;
    m.run({0x12, 0, 0, 0, 36}); // INQUIRY passes it by
    REQUIRE((m.last_status & kErr) == 0);
    m.run({0x00});
    REQUIRE((m.last_status & kErr) != 0);
    REQUIRE(m.in(0x171) == 0x60);
    REQUIRE(m.sense() == std::array<uint8_t, 3>{6, 0x29, 0});
    REQUIRE(m.sense() == std::array<uint8_t, 3>{0, 0, 0});
    m.run({0x00});
    REQUIRE((m.last_status & kErr) == 0);
}

TEST_CASE("atapi: READ(10) by PIO keeps to the byte count limit", "[storage]") {
    CdFixture m;
    m.clear_attention();
    std::vector<size_t> blocks;
    m.send({0x28, 0, 0, 0, 0, 100, 0, 0, 3}, 4096);
    REQUIRE((m.in(0x376) & (kBsy | kDrq)) != 0);
    const auto data = m.take(&blocks);
    REQUIRE(blocks == std::vector<size_t>{4096, 2048});
    REQUIRE(data.size() == 3 * 2048);
    for (size_t i = 0; i < data.size(); ++i)
        REQUIRE(data[i] == pattern(100 * 2048 + i));
    REQUIRE((m.last_status & kErr) == 0);
}

TEST_CASE("atapi: READ(12) longer than the drive's buffer, odd limit", "[storage]") {
    CdFixture m;
    m.clear_attention();
    m.send({0xA8, 0, 0, 0, 0, 0, 0, 0, 0, 150}, 2049);
    const auto data = m.take();
    REQUIRE(data.size() == 150 * 2048);
    REQUIRE(data.back() == pattern(150 * 2048 - 1));
}

TEST_CASE("atapi: READ(10) and READ CD by DMA", "[storage]") {
    CdFixture m;
    m.clear_attention();
    for (const Packet& packet :
         {Packet{0x28, 0, 0, 0, 0, 7, 0, 0, 2}, Packet{0xBE, 0, 0, 0, 0, 7, 0, 0, 2, 0x10}}) {
        m.memory->write<uint32_t>(0x100000, 0);
        m.send(packet, 0, 1);
        m.start_dma(0x170, true, {{0x100000, 2048}, {0x110000, 2048}});
        REQUIRE(m.wait_irq(15));
        REQUIRE(m.dma_status(0x170) == 4);
        REQUIRE((m.in(0x177) & (kErr | kDrq | kBsy)) == 0);
        REQUIRE((m.in(0x172) & 3) == 3);
        m.stop_dma(0x170);
        REQUIRE(m.memory->read<uint8_t>(0x100001) == pattern(7 * 2048 + 1));
        REQUIRE(m.memory->read<uint8_t>(0x1107FF) == pattern(9 * 2048 - 1));
    }
}

TEST_CASE("atapi: errors are described by sense data", "[storage]") {
    CdFixture m;
    m.clear_attention();
    m.run({0x28, 0, 0, 0, 1, 0xF3, 0, 0, 2}); // blocks 499 and 500 of 500
    REQUIRE((m.last_status & kErr) != 0);
    REQUIRE(m.in(0x171) == 0x54);
    REQUIRE(m.sense() == std::array<uint8_t, 3>{5, 0x21, 0});
    m.run({0xFF});
    REQUIRE(m.sense() == std::array<uint8_t, 3>{5, 0x20, 0});
    m.run({0x43, 0, 5, 0, 0, 0, 0, 0, 20});
    REQUIRE(m.sense() == std::array<uint8_t, 3>{5, 0x24, 0});
    m.disc->bad_from = 10 * 2048;
    m.disc->bad_to = 10 * 2048 + 1;
    const auto good = m.run({0x28, 0, 0, 0, 0, 8, 0, 0, 5});
    REQUIRE(good.size() == 2 * 2048);
    REQUIRE((m.last_status & kErr) != 0);
    REQUIRE(m.sense() == std::array<uint8_t, 3>{3, 0x11, 0});
}

TEST_CASE("atapi: capacity and table of contents", "[storage]") {
    CdFixture m;
    m.clear_attention();
    REQUIRE(m.run({0x25}) == std::vector<uint8_t>{0, 0, 1, 0xF3, 0, 0, 8, 0});
    REQUIRE(m.run({0x43, 0, 0, 0, 0, 0, 0, 0, 100}) ==
            std::vector<uint8_t>{0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xAA, 0, 0, 0, 1, 0xF4});
    // 500 blocks and the 2-second pregap: 650 frames are 8 s 50.
    REQUIRE(m.run({0x43, 2, 0, 0, 0, 0, 0xAA, 0, 100}) ==
            std::vector<uint8_t>{0, 10, 1, 1, 0, 0x14, 0xAA, 0, 0, 0, 8, 50});
    REQUIRE(m.run({0x43, 0, 1, 0, 0, 0, 0, 0, 12}) ==
            std::vector<uint8_t>{0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0});
    REQUIRE(m.run({0x43, 0, 0, 0, 0, 0, 0, 0, 4}).size() == 4);
}

TEST_CASE("atapi: mode pages, configuration, events and the other reports", "[storage]") {
    CdFixture m;
    m.clear_attention();
    const auto page = m.run({0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 128});
    REQUIRE(page.size() == 28);
    REQUIRE(page[1] == 26);
    REQUIRE(page[8] == 0x2A);
    REQUIRE(page[9] == 18);
    const auto six = m.run({0x1A, 0, 0x3F, 0, 128});
    REQUIRE(six.size() == 4 + 8 + 20);
    REQUIRE(six[0] == six.size() - 1);
    m.run({0x5A, 0, 0xC1, 0, 0, 0, 0, 0, 128});
    REQUIRE(m.sense() == std::array<uint8_t, 3>{5, 0x39, 0});
    const auto configuration = m.run({0x46, 0, 0, 0, 0, 0, 0, 1, 0});
    REQUIRE(configuration[3] == configuration.size() - 4);
    REQUIRE(configuration[7] == 8); // a CD is in
    const auto event = m.run({0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8});
    REQUIRE(event == std::vector<uint8_t>{0, 6, 4, 0x10, 2, 2, 0, 0});
    REQUIRE(m.run({0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8})[4] == 0);
    REQUIRE(m.run({0x51, 0, 0, 0, 0, 0, 0, 0, 34}).size() == 34);
    REQUIRE(m.run({0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8}).size() == 8);
    m.run({0xBB, 0, 0xFF, 0xFF, 0xFF, 0xFF});
    REQUIRE((m.last_status & kErr) == 0);
}

TEST_CASE("atapi: ejecting removes the medium unless locked", "[storage]") {
    CdFixture m;
    m.clear_attention();
    m.run({0x1E, 0, 0, 0, 1});
    m.run({0x1B, 0, 0, 0, 2});
    REQUIRE(m.sense() == std::array<uint8_t, 3>{5, 0x53, 2});
    m.run({0x1E, 0, 0, 0, 0});
    m.run({0x1B, 0, 0, 0, 2});
    REQUIRE((m.last_status & kErr) == 0);
    m.run({0x28, 0, 0, 0, 0, 0, 0, 0, 1});
    REQUIRE(m.sense() == std::array<uint8_t, 3>{2, 0x3A, 2});
    m.run({0x1B, 0, 0, 0, 3});
    m.run({0x00});
    REQUIRE(m.sense() == std::array<uint8_t, 3>{6, 0x28, 0});
    m.run({0x00});
    REQUIRE((m.last_status & kErr) == 0);
}

TEST_CASE("atapi: an empty drive says so", "[storage]") {
    IdeFixture empty;
    empty.add_medium(MediumKind::Cdrom, nullptr);
    empty.start();
    REQUIRE(empty.in(0x174) == 0x14);
    const Packet ready{};
    for (unsigned i = 0; i < 2; ++i) {
        empty.out(0x177, 0xA0);
        empty.pio_out(0x170, ready);
        REQUIRE((empty.in(0x177) & kErr) != 0);
    }
    REQUIRE(empty.in(0x171) == 0x20); // NOT READY, after the unit attention
}

TEST_CASE("atapi: DEVICE RESET breaks off a command", "[storage]") {
    CdFixture m;
    m.clear_attention();
    m.disc->gate.lock();
    m.send({0x28, 0, 0, 0, 0, 0, 0, 0, 64});
    REQUIRE((m.in(0x177) & kBsy) != 0);
    m.out(0x177, 0x08);
    m.disc->gate.unlock();
    REQUIRE(m.settle(0x170) == 0);
    REQUIRE(m.in(0x174) == 0x14);
    REQUIRE_FALSE(m.irq.high(15));
}

TEST_CASE("atapi: state saved inside a PIO block continues there", "[storage]") {
    CdFixture from;
    from.clear_attention();
    from.send({0x28, 0, 0, 0, 0, 1, 0, 0, 2});
    REQUIRE(from.wait_irq(15));
    from.in(0x177);
    from.pio_in(0x170, 1000);
    const auto state = StorageFixture::saved(*from.ide);
    CdFixture to;
    StorageFixture::load(*to.ide, state);
    REQUIRE(StorageFixture::saved(*to.ide) == state);
    const auto rest = to.pio_in(0x170, 1048);
    REQUIRE(rest[0] == pattern(2048 + 1000));
    REQUIRE(to.irq.high(15));
    to.in(0x177);
    REQUIRE(to.pio_in(0x170, 2048)[2047] == pattern(3 * 2048 - 1));
    REQUIRE((to.in(0x177) & (kDrq | kErr)) == 0);
}
