#include "tests/vmm/devices/storage_fixture.h"

using namespace vmm;

namespace {

constexpr uint8_t kErr = 0x01, kDrq = 0x08, kDrdy = 0x40, kBsy = 0x80;

struct DiskFixture : IdeFixture {
    explicit DiskFixture(size_t bytes = 4u << 20) : disk(std::make_shared<MemoryBlockPort>(bytes)) {
        fill_pattern(disk->data);
        add_medium(MediumKind::Disk, disk);
        start();
    }
    void command(uint8_t opcode) { out(kPrimary + 7, opcode); }
    void require_pattern(std::span<const uint8_t> data, uint64_t from) {
        for (size_t i = 0; i < data.size(); ++i)
            if (data[i] != pattern(from + i))
                FAIL("byte " << i << " differs");
    }
    std::shared_ptr<MemoryBlockPort> disk;
};

uint16_t word(const std::vector<uint8_t>& identify, unsigned index) {
    return static_cast<uint16_t>(identify[2 * index] | identify[2 * index + 1] << 8);
}

} // namespace

TEST_CASE("ide: detection as firmware does it finds device 0 only", "[storage]") {
    DiskFixture m;
    m.out(0x3F6, 0x0A);
    for (const uint8_t select : {0xA0, 0xB0}) {
        m.out(0x1F6, select);
        m.out(0x1F2, 0x55);
        m.out(0x1F3, 0xAA);
        REQUIRE(m.in(0x1F2) == 0x55); // device 0 answers for an absent device 1 as well
        REQUIRE(m.in(0x1F3) == 0xAA);
        REQUIRE(m.in(0x1F6) == select);
    }
    REQUIRE(m.in(0x1F7) == 0); // device 1
    m.out(0x1F7, 0xEC);
    REQUIRE(m.in(0x1F7) == 0);
    m.out(0x3F6, 0x0E);
    REQUIRE((m.in(0x1F7) & kBsy) != 0);
    m.out(0x3F6, 0x0A);
    m.out(0x1F6, 0xA0);
    REQUIRE(m.in(0x1F7) == 0x50);
    REQUIRE(m.in(0x1F1) == 1);
    REQUIRE(m.in(0x1F2) == 1);
    REQUIRE(m.in(0x1F3) == 1);
    REQUIRE(m.in(0x1F4) == 0);
    REQUIRE(m.in(0x1F5) == 0);
    REQUIRE(m.in(0x177) == 0xFF); // nothing on the secondary cable
}

TEST_CASE("ide: channels answer only when firmware has enabled them", "[storage]") {
    DiskFixture m;
    m.set_config(0x40, 4, 0);
    REQUIRE(m.in(0x1F7) == 0xFF);
    m.set_config(0x40, 4, 0x8000);
    REQUIRE(m.in(0x1F7) == 0x50);
    m.set_config(0x04, 2, 0);
    REQUIRE(m.in(0x1F7) == 0xFF);
}

TEST_CASE("ide: a bus-master BAR on top of other ports is not claimed", "[storage]") {
    DiskFixture m;
    for (const uint32_t base : {0x1F0u, 0x170u, 0x3F0u, 0xFFF0u, 0xC100u, 0u})
        m.set_config(0x20, 4, base);
    m.set_config(0x20, 4, IdeFixture::kMaster);
    m.out(IdeFixture::kMaster + 2, 0x60);
    REQUIRE(m.in(IdeFixture::kMaster + 2) == 0x60);
}

TEST_CASE("ide: sizing the bus-master BAR claims no ports", "[storage]") {
    DiskFixture m;
    m.set_config(0x20, 4, 0xFFFFFFFF); // reads back FFFFFFF1h
    m.out(0xFFF2, 0x60);
    REQUIRE(m.in(0xFFF2) == 0xFF);
}

TEST_CASE("ata: IDENTIFY DEVICE describes the disk", "[storage]") {
    DiskFixture m;
    m.command(0xEC);
    REQUIRE(m.irq.high(14));
    REQUIRE(m.in(0x1F7) == (kDrdy | 0x10 | kDrq));
    REQUIRE_FALSE(m.irq.high(14));
    const auto identify = m.pio_in(0x1F0, 512);
    REQUIRE((m.in(0x1F7) & kDrq) == 0);
    REQUIRE(word(identify, 60) == 8192);
    REQUIRE(word(identify, 100) == 8192);
    REQUIRE(word(identify, 3) == 16);
    REQUIRE(word(identify, 6) == 63);
    REQUIRE(word(identify, 27) == ('E' << 8 | 'n'));
    REQUIRE((word(identify, 83) & 0xC400) == 0x4400);
    uint8_t sum = 0;
    for (const uint8_t byte : identify)
        sum = static_cast<uint8_t>(sum + byte);
    REQUIRE(sum == 0);
}

TEST_CASE("ata: READ SECTORS is busy until the medium answers, then interrupts per sector", "[storage]") {
    DiskFixture m;
    m.lba28(0x1F0, 100, 3);
    m.disk->gate.lock();
    m.command(0x20);
    REQUIRE((m.in(0x1F7) & kBsy) != 0);
    m.platform.events.run_all();
    REQUIRE((m.in(0x1F7) & kBsy) != 0);
    m.disk->gate.unlock();
    for (unsigned sector = 0; sector < 3; ++sector) {
        REQUIRE(m.wait_irq(14));
        REQUIRE((m.in(0x1F7) & (kDrq | kErr | kBsy)) == kDrq);
        REQUIRE_FALSE(m.irq.high(14));
        m.require_pattern(m.pio_in(0x1F0, 512), (100 + sector) * 512);
    }
    REQUIRE_FALSE(m.irq.high(14));
    REQUIRE(m.in(0x1F7) == 0x50);
    REQUIRE(m.in(0x1F3) == 102);
}

TEST_CASE("ata: 256 sectors by 32-bit reads of the data port", "[storage]") {
    DiskFixture m;
    m.lba28(0x1F0, 0, 0);
    m.command(0x20);
    std::vector<uint8_t> data;
    for (unsigned sector = 0; sector < 256; ++sector) {
        REQUIRE((m.settle(0x1F0) & kDrq) != 0);
        for (unsigned i = 0; i < 128; ++i) {
            const uint32_t value = m.platform.io.read(0x1F0, 4);
            for (unsigned b = 0; b < 4; ++b)
                data.push_back(static_cast<uint8_t>(value >> (8 * b)));
        }
    }
    m.require_pattern(data, 0);
    REQUIRE(m.settle(0x1F0) == 0x50);
}

TEST_CASE("ata: WRITE SECTORS asks for the first block without an interrupt and reaches the file",
          "[storage]") {
    const TemporaryImage image(std::vector<uint8_t>(1u << 20));
    IdeFixture m;
    m.add_medium(MediumKind::Disk, FileBlockPort::open(image.path, FileAccess::ReadWrite).value());
    m.start();
    m.lba28(0x1F0, 7, 2);
    m.out(0x1F7, 0x30);
    REQUIRE_FALSE(m.irq.high(14));
    REQUIRE((m.in(0x1F7) & kDrq) != 0);
    std::vector<uint8_t> data(1024);
    fill_pattern(data);
    m.pio_out(0x1F0, std::span(data).first(512));
    REQUIRE(m.irq.high(14));
    REQUIRE((m.in(0x1F7) & kDrq) != 0);
    m.pio_out(0x1F0, std::span(data).last(512));
    REQUIRE(m.wait_irq(14));
    REQUIRE(m.in(0x1F7) == 0x50);
    m.out(0x1F7, 0xE7);
    REQUIRE(m.wait_irq(14));
    REQUIRE(m.in(0x1F7) == 0x50);
    auto check = FileBlockPort::open(image.path, FileAccess::ReadOnly).value();
    std::vector<uint8_t> back(1024);
    REQUIRE(check->read(7 * 512, back).has_value());
    REQUIRE(back == data);
}

TEST_CASE("ata: READ MULTIPLE moves whole blocks and a shorter last one", "[storage]") {
    DiskFixture m;
    m.lba28(0x1F0, 0, 5);
    m.command(0xC4);
    REQUIRE((m.settle(0x1F0) & kErr) != 0); // not before SET MULTIPLE MODE
    m.out(0x1F2, 3);
    m.command(0xC6);
    REQUIRE((m.in(0x1F7) & kErr) != 0); // not a power of two
    m.out(0x1F2, 4);
    m.command(0xC6);
    REQUIRE(m.in(0x1F7) == 0x50);
    m.lba28(0x1F0, 10, 6);
    m.command(0xC4);
    REQUIRE(m.wait_irq(14));
    REQUIRE((m.in(0x1F7) & kDrq) != 0);
    m.require_pattern(m.pio_in(0x1F0, 4 * 512), 10 * 512);
    REQUIRE(m.irq.high(14));
    REQUIRE((m.in(0x1F7) & kDrq) != 0);
    m.require_pattern(m.pio_in(0x1F0, 2 * 512), 14 * 512);
    REQUIRE(m.in(0x1F7) == 0x50);
}

TEST_CASE("ata: WRITE MULTIPLE longer than the drive's buffer arrives whole", "[storage]") {
    DiskFixture m;
    m.out(0x1F2, 16);
    m.command(0xC6);
    m.lba48(0x1F0, 1000, 600);
    m.command(0x39);
    std::vector<uint8_t> data(600 * 512);
    for (size_t i = 0; i < data.size(); ++i)
        data[i] = static_cast<uint8_t>(i / 512 ^ i);
    for (size_t at = 0; at < data.size(); at += 16 * 512) {
        REQUIRE((m.settle(0x1F0) & kDrq) != 0);
        m.pio_out(0x1F0, std::span(data).subspan(at, std::min<size_t>(16 * 512, data.size() - at)));
    }
    REQUIRE(m.settle(0x1F0) == 0x50);
    REQUIRE(std::equal(data.begin(), data.end(), m.disk->data.begin() + 1000 * 512));
    REQUIRE(m.disk->data[1600 * 512] == pattern(1600 * 512));
}

TEST_CASE("ata: CHS addressing follows INITIALIZE DEVICE PARAMETERS", "[storage]") {
    DiskFixture m;
    m.out(0x1F6, 0xA3); // 4 heads
    m.out(0x1F2, 17);
    m.command(0x91);
    REQUIRE(m.in(0x1F7) == 0x50);
    m.out(0x1F6, 0xA2); // cylinder 5, head 2, sector 9
    m.out(0x1F2, 1);
    m.out(0x1F3, 9);
    m.out(0x1F4, 5);
    m.out(0x1F5, 0);
    m.command(0x20);
    REQUIRE((m.settle(0x1F0) & kDrq) != 0);
    m.require_pattern(m.pio_in(0x1F0, 512), ((5 * 4 + 2) * 17 + 8) * 512);
    m.out(0x1F3, 18);
    m.command(0x20);
    REQUIRE((m.settle(0x1F0) & kErr) != 0);
    REQUIRE(m.in(0x1F1) == 0x10);
    m.out(0x1F3, 0);
    m.command(0x20);
    REQUIRE((m.settle(0x1F0) & kErr) != 0);
}

TEST_CASE("ata: sectors behind the end are not found, in both address widths", "[storage]") {
    DiskFixture m;
    m.lba28(0x1F0, 8191, 2);
    m.command(0x20);
    REQUIRE((m.settle(0x1F0) & kErr) != 0);
    REQUIRE(m.in(0x1F1) == 0x10);
    m.lba48(0x1F0, 0xFFFFFFFFFFFF, 0);
    m.command(0x25);
    REQUIRE((m.settle(0x1F0) & kErr) != 0);
    REQUIRE(m.in(0x1F1) == 0x10);
    REQUIRE(m.disk->reads == 0);
}

TEST_CASE("ata: LBA48 registers read back through HOB", "[storage]") {
    DiskFixture m;
    m.lba48(0x1F0, 0x0605'0403'0201, 0x0807);
    REQUIRE(m.in(0x1F3) == 0x01);
    REQUIRE(m.in(0x1F2) == 0x07);
    m.out(0x3F6, 0x80);
    REQUIRE(m.in(0x1F3) == 0x04);
    REQUIRE(m.in(0x1F4) == 0x05);
    REQUIRE(m.in(0x1F5) == 0x06);
    REQUIRE(m.in(0x1F2) == 0x08);
    m.out(0x1F2, 0);
    REQUIRE(m.in(0x1F3) == 0x01); // a register write clears HOB
}

TEST_CASE("ata: READ DMA EXT scatters over descriptors and completes with the interrupt bit alone",
          "[storage]") {
    DiskFixture m;
    m.lba48(0x1F0, 2000, 520); // more than the drive's buffer
    m.command(0x25);
    m.start_dma(0x1F0, true,
                {{0x100000, 0},
                 {0x200FFE, 0x1002},
                 {0x210000, 0xFFFE},
                 {0x300000, 0},
                 {0x400000, 520 * 512 - 0x10000 - 0x1002 - 0xFFFE - 0x10000}});
    REQUIRE(m.wait_irq(14));
    REQUIRE(m.dma_status(0x1F0) == 4);
    m.stop_dma(0x1F0);
    REQUIRE(m.in(0x1F7) == 0x50);
    m.out(IdeFixture::kMaster + 2, 0x64);
    REQUIRE(m.dma_status(0x1F0) == 0);
    std::vector<uint8_t> part(0x1002);
    m.memory->read(0x200FFE, part.data(), part.size());
    m.require_pattern(part, 2000 * 512 + 0x10000);
    part.resize(0xFFFE);
    m.memory->read(0x210000, part.data(), part.size());
    m.require_pattern(part, 2000 * 512 + 0x11002);
    part.resize(520 * 512 - 0x31000);
    m.memory->read(0x400000, part.data(), part.size());
    m.require_pattern(part, 2000 * 512 + 0x31000);
}

TEST_CASE("ata: WRITE DMA gathers from memory", "[storage]") {
    DiskFixture m;
    std::vector<uint8_t> data(4 * 512, 0x77);
    data[0] = 0x11;
    data[2047] = 0x22;
    m.memory->write(0x100000, data.data(), 1000);
    m.memory->write(0x180000, data.data() + 1000, 1048);
    m.lba28(0x1F0, 50, 4);
    m.start_dma(0x1F0, false, {{0x100000, 1000}, {0x180000, 1048}}); // engine before command
    m.command(0xCA);
    REQUIRE(m.wait_irq(14));
    REQUIRE(m.dma_status(0x1F0) == 4);
    REQUIRE(m.in(0x1F7) == 0x50);
    REQUIRE(std::equal(data.begin(), data.end(), m.disk->data.begin() + 50 * 512));
}

TEST_CASE("ata: descriptors longer than the transfer leave active set", "[storage]") {
    DiskFixture m;
    m.lba28(0x1F0, 0, 1);
    m.command(0xC8);
    m.start_dma(0x1F0, true, {{0x100000, 1024}});
    REQUIRE(m.wait_irq(14));
    REQUIRE(m.dma_status(0x1F0) == 5);
    m.stop_dma(0x1F0);
    REQUIRE(m.dma_status(0x1F0) == 4);
}

TEST_CASE("ata: descriptors shorter than the transfer end without interrupt; a reset recovers", "[storage]") {
    DiskFixture m;
    m.lba28(0x1F0, 0, 2);
    m.command(0xC8);
    m.start_dma(0x1F0, true, {{0x100000, 512}});
    REQUIRE(m.wait([&] { return m.dma_status(0x1F0) == 0; }));
    REQUIRE_FALSE(m.irq.high(14));
    REQUIRE((m.in(0x1F7) & kBsy) != 0);
    m.stop_dma(0x1F0);
    m.out(0x3F6, 4);
    m.out(0x3F6, 0);
    REQUIRE(m.settle(0x1F0) == 0x50);
}

TEST_CASE("ata: DMA where no memory is sets the error bit", "[storage]") {
    DiskFixture m;
    m.lba28(0x1F0, 0, 2);
    m.command(0xC8);
    m.start_dma(0x1F0, true, {{0xE0000000, 1024}});
    REQUIRE(m.wait([&] { return m.dma_status(0x1F0) == 2; }));
    m.stop_dma(0x1F0);
    m.out(0x3F6, 4);
    m.out(0x3F6, 0);
    m.out(IdeFixture::kMaster + 2, 2);
    REQUIRE(m.dma_status(0x1F0) == 0);
    m.platform.io.write(IdeFixture::kMaster + 4, 4, 0xFFFFFFFF); // a table outside memory
    m.out(0x1F6, 0xE0);
    m.command(0xC8);
    m.out(IdeFixture::kMaster, 9);
    REQUIRE(m.wait([&] { return m.dma_status(0x1F0) == 2; }));
}

TEST_CASE("ata: a bad sector ends a read at exactly that sector", "[storage]") {
    DiskFixture m;
    m.disk->bad_from = 12 * 512;
    m.disk->bad_to = 13 * 512;
    m.lba28(0x1F0, 10, 5);
    m.command(0x20);
    for (unsigned sector = 10; sector < 12; ++sector) {
        REQUIRE((m.settle(0x1F0) & (kDrq | kErr)) == kDrq);
        m.require_pattern(m.pio_in(0x1F0, 512), sector * 512);
    }
    REQUIRE(m.irq.high(14));
    REQUIRE((m.in(0x1F7) & (kErr | kDrq)) == kErr);
    REQUIRE(m.in(0x1F1) == 0x40);
    REQUIRE(m.in(0x1F3) == 12);

    m.lba28(0x1F0, 10, 5);
    m.command(0xC8);
    m.start_dma(0x1F0, true, {{0x100000, 5 * 512}});
    REQUIRE(m.wait_irq(14));
    REQUIRE((m.in(0x1F7) & kErr) != 0);
    REQUIRE(m.in(0x1F3) == 12);
    std::vector<uint8_t> good(1024);
    m.memory->read(0x100000, good.data(), good.size());
    m.require_pattern(good, 10 * 512);

    m.lba28(0x1F0, 10, 5);
    m.command(0x40);
    REQUIRE((m.settle(0x1F0) & kErr) != 0);
    REQUIRE(m.in(0x1F3) == 12);
}

TEST_CASE("ata: a failing write and a write-protected disk abort", "[storage]") {
    DiskFixture m;
    m.disk->bad_from = 0;
    m.disk->bad_to = 512;
    m.lba28(0x1F0, 0, 1);
    m.command(0x30);
    m.pio_out(0x1F0, std::vector<uint8_t>(512, 1));
    REQUIRE((m.settle(0x1F0) & kErr) != 0);
    REQUIRE(m.in(0x1F1) == 0x04);

    IdeFixture protected_machine;
    auto disk = std::make_shared<MemoryBlockPort>(1u << 20);
    disk->write_protected = true;
    protected_machine.add_medium(MediumKind::Disk, disk);
    protected_machine.start();
    protected_machine.lba28(0x1F0, 0, 1);
    protected_machine.out(0x1F7, 0x30);
    REQUIRE((protected_machine.in(0x1F7) & (kErr | kDrq)) == kErr);
    REQUIRE(protected_machine.in(0x1F1) == 0x04);
}

TEST_CASE("ata: disabling the write cache flushes after every write", "[storage]") {
    DiskFixture m;
    m.out(0x1F1, 0x82);
    m.command(0xEF);
    REQUIRE(m.settle(0x1F0) == 0x50);
    const unsigned before = m.disk->flushes;
    m.lba28(0x1F0, 3, 1);
    m.command(0x30);
    m.pio_out(0x1F0, std::vector<uint8_t>(512, 9));
    REQUIRE(m.settle(0x1F0) == 0x50);
    REQUIRE(m.disk->flushes == before + 1);
}

TEST_CASE("ata: unknown and refused commands abort", "[storage]") {
    DiskFixture m;
    for (const uint8_t opcode : {0x00, 0x08, 0xB0, 0xA0, 0xF8, 0x22, 0xFF}) {
        m.command(opcode);
        REQUIRE((m.in(0x1F7) & (kErr | kBsy)) == kErr);
        REQUIRE(m.in(0x1F1) == 0x04);
    }
    for (const uint8_t opcode : {0x10, 0x70, 0xE0, 0xE1, 0xE2, 0xE3, 0xE5, 0x94, 0x98}) {
        m.command(opcode);
        REQUIRE(m.in(0x1F7) == 0x50);
    }
}

TEST_CASE("ata: nIEN holds the interrupt back until it is cleared", "[storage]") {
    DiskFixture m;
    m.out(0x3F6, 2);
    m.command(0xE1);
    REQUIRE_FALSE(m.irq.high(14));
    m.out(0x3F6, 0);
    REQUIRE(m.irq.high(14));
    REQUIRE(m.in(0x3F6) == 0x50);
    REQUIRE(m.irq.high(14)); // alternate status leaves it
    m.in(0x1F7);
    REQUIRE_FALSE(m.irq.high(14));
}

TEST_CASE("ata: EXECUTE DEVICE DIAGNOSTIC reports through device 0", "[storage]") {
    DiskFixture m;
    m.out(0x1F6, 0xB0);
    m.command(0x90);
    REQUIRE(m.irq.high(14));
    REQUIRE(m.in(0x1F7) == 0x50);
    REQUIRE(m.in(0x1F1) == 1);
    REQUIRE(m.in(0x1F4) == 0);
}

TEST_CASE("ata: resetting over and over cannot pile up requests", "[storage]") {
    DiskFixture m;
    m.disk->gate.lock();
    for (unsigned i = 0; i < 100; ++i) {
        m.lba28(0x1F0, i, 1);
        m.command(0x20);
        m.out(0x3F6, 4);
        m.out(0x3F6, 0);
        REQUIRE((m.in(0x1F7) & kBsy) != 0);
    }
    m.disk->gate.unlock();
    REQUIRE(m.settle(0x1F0) == 0x50);
    REQUIRE_FALSE(m.irq.high(14));
    REQUIRE(m.disk->reads == 1);
}

TEST_CASE("ata: state saved in the middle of transfers continues where it was", "[storage]") {
    DiskFixture from;
    from.lba28(0x1F0, 300, 4);
    from.command(0x20);
    REQUIRE(from.wait_irq(14));
    from.in(0x1F7);
    from.pio_in(0x1F0, 512);
    from.pio_in(0x1F0, 100); // inside the second sector
    const auto state = StorageFixture::saved(*from.ide);

    DiskFixture to;
    to.lba28(0x1F0, 0, 200); // busy with something else
    to.command(0x20);
    StorageFixture::load(*to.ide, state);
    REQUIRE(StorageFixture::saved(*to.ide) == state);
    to.require_pattern(to.pio_in(0x1F0, 412), 301 * 512 + 100);
    to.require_pattern(to.pio_in(0x1F0, 512), 302 * 512);
    to.require_pattern(to.pio_in(0x1F0, 512), 303 * 512);
    REQUIRE(to.in(0x1F7) == 0x50);
}

TEST_CASE("ata: saving waits for the medium and lets DMA finish", "[storage]") {
    DiskFixture m;
    m.lba48(0x1F0, 0, 1000);
    m.command(0x25);
    std::vector<IdeFixture::Region> regions;
    for (uint32_t i = 0; i < 8; ++i)
        regions.push_back({0x100000 + i * 0x10000, i < 7 ? 0 : 1000u * 512 - 7 * 0x10000});
    m.start_dma(0x1F0, true, regions);
    m.ide->quiesce();
    REQUIRE(m.irq.high(14)); // before anybody is serialized: the 8259's state depends on it
    const auto state = StorageFixture::saved(*m.ide);
    REQUIRE(m.dma_status(0x1F0) == 4);
    std::vector<uint8_t> data(1000 * 512);
    m.memory->read(0x100000, data.data(), data.size());
    m.require_pattern(data, 0);

    DiskFixture to;
    StorageFixture::load(*to.ide, state);
    REQUIRE(to.dma_status(0x1F0) == 4);
    REQUIRE(to.in(0x1F7) == 0x50);
}

TEST_CASE("ata: hostile saved state is refused or harmless", "[storage]") {
    DiskFixture from;
    from.command(0xEC);
    auto state = StorageFixture::saved(*from.ide);
    std::srand(7);
    for (unsigned round = 0; round < 300; ++round) {
        auto damaged = state;
        for (unsigned i = 0; i < 4; ++i)
            damaged[static_cast<size_t>(std::rand()) % damaged.size()] = static_cast<uint8_t>(std::rand());
        auto archive = base::StateArchive::parse(damaged);
        if (!archive)
            continue;
        from.ide->serialize(*archive);
        from.pio_in(0x1F0, 2048);
        from.pio_out(0x1F0, std::vector<uint8_t>(1024));
        from.out(IdeFixture::kMaster, 0);
        from.out(IdeFixture::kMaster, 9);
        from.in(0x1F7);
        StorageFixture::saved(*from.ide);
    }
}
