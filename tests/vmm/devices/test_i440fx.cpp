#include "tests/vmm/devices/chipset_fixture.h"

using namespace vmm;

namespace {

constexpr uint32_t kTop = (0u - 0x20000u) >> kPageShift; // page of FFFE0000h

struct HostBridge : ChipsetFixture {
    HostBridge() : bridge(make_i440fx(platform)) {
        // A BIOS whose byte at each page start is the page's low number.
        rom = memory->add_backing(32);
        for (uint32_t i = 0; i < 32; ++i)
            memory->data()[(uint64_t{rom} + i) << kPageShift] = static_cast<uint8_t>(0xE0 + i);
        memory->map(kTop, 32, PageKind::Rom, rom);
        bridge->reset();
    }
    void pam(uint8_t offset, uint8_t value) { config_write(0, 0, offset, 1, value); }
    uint8_t peek(uint32_t at) { return memory->read<uint8_t>(at); }

    std::unique_ptr<Device> bridge;
    uint32_t rom = 0;
};

struct CodeObserver : MemoryObserver {
    void all_remapped() override {}
    unsigned code_writes = 0;
    void page_remapped(uint32_t) override {}
    void code_written(uint32_t, uint32_t, uint32_t) override { ++code_writes; }
};

} // namespace

TEST_CASE("i440fx: identifies itself through configuration mechanism 1", "[devices]") {
    HostBridge pc;
    CHECK(pc.config_read(0, 0, 0x00, 4) == 0x12378086);
    CHECK(pc.config_read(0, 0, 0x08, 4) == 0x06000002);
    CHECK(pc.config_read(0, 0, 0x2C, 4) == 0x11001AF4);
    CHECK(pc.config_read(0, 0, 0x02, 2) == 0x1237);
    CHECK(pc.config_read(0, 0, 0x03, 1) == 0x12);
    CHECK(pc.config_read(5, 0, 0x00, 4) == 0xFFFFFFFF);
    CHECK(pc.platform.io.read(0xCF8, 4) == (0x80000000u | 5u << 11));
}

TEST_CASE("i440fx: configuration data needs the enable bit and a dword address", "[devices]") {
    HostBridge pc;
    pc.platform.io.write(0xCF8, 4, 0);
    CHECK(pc.platform.io.read(0xCFC, 4) == 0xFFFFFFFF);
    pc.platform.io.write(0xCF8, 4, 0x80000000);
    pc.platform.io.write(0xCF8, 1, 0x50); // not a CONFADD write
    CHECK(pc.platform.io.read(0xCF8, 4) == 0x80000000);
    CHECK(pc.platform.io.read(0xCFC, 4) == 0x12378086);
}

TEST_CASE("i440fx: the reset register resets on a 0 to 1 change of RCPU only", "[devices]") {
    HostBridge pc;
    pc.platform.io.write(0xCF9, 1, 0x02);
    CHECK(pc.control.resets == 0);
    pc.platform.io.write(0xCF9, 1, 0x06);
    CHECK(pc.control.resets == 1);
    pc.platform.io.write(0xCF9, 1, 0x06);
    CHECK(pc.control.resets == 1);
    CHECK(pc.platform.io.read(0xCF9, 1) == 0x06);
    pc.bridge->reset();
    pc.platform.io.write(0xCF9, 1, 0x06);
    CHECK(pc.control.resets == 2);
}

TEST_CASE("i440fx: after reset the BIOS shows below 1 MiB and writes are dropped", "[devices]") {
    HostBridge pc;
    CHECK(pc.peek(0xE0000) == 0xE0);
    CHECK(pc.peek(0xFF000) == 0xFF);
    CHECK(pc.peek(0xC0000) == 0xFF);
    CHECK(pc.memory->entry(0xC0).kind == PageKind::None);
    pc.memory->write<uint8_t>(0xF0000, 0x11);
    CHECK(pc.peek(0xF0000) == 0xF0);
    pc.pam(0x59, 0x30);
    CHECK(pc.peek(0xF0000) == 0x00); // nor did the write reach RAM
}

TEST_CASE("i440fx: write-only shadowing reads ROM and writes RAM", "[devices]") {
    HostBridge pc;
    pc.pam(0x59, 0x20);
    CHECK(pc.peek(0xF1000) == 0xF1);
    pc.memory->write<uint32_t>(0xF1000, 0xAABBCCDD);
    CHECK(pc.peek(0xF1000) == 0xF1);
    pc.pam(0x59, 0x10); // read RAM, drop writes
    CHECK(pc.memory->read<uint32_t>(0xF1000) == 0xAABBCCDD);
    pc.memory->write<uint32_t>(0xF1000, 0);
    CHECK(pc.memory->read<uint32_t>(0xF1000) == 0xAABBCCDD);
    pc.pam(0x59, 0x30);
    pc.memory->write<uint32_t>(0xF1000, 0x01020304);
    CHECK(pc.memory->read<uint32_t>(0xF1000) == 0x01020304);
    pc.pam(0x59, 0x00);
    CHECK(pc.peek(0xF1000) == 0xF1);
    // An option ROM area has no ROM beneath.
    pc.pam(0x5A, 0x02);
    CHECK(pc.peek(0xC0000) == 0xFF);
    pc.memory->write<uint8_t>(0xC0000, 0x55);
    pc.pam(0x5A, 0x01);
    CHECK(pc.peek(0xC0000) == 0x55);
}

TEST_CASE("i440fx: each PAM nibble controls its own 16 KiB", "[devices]") {
    HostBridge pc;
    for (uint32_t i = 0; i < 12; ++i) {
        const auto offset = static_cast<uint8_t>(0x5A + i / 2);
        pc.pam(offset, i % 2 != 0 ? 0x30 : 0x03);
        for (uint32_t j = 0; j < 12; ++j)
            CHECK((pc.memory->entry(0xC0 + 4 * j + 3).kind == PageKind::Ram) == (i == j));
        pc.pam(offset, 0);
    }
    pc.pam(0x59, 0xFF);
    CHECK(pc.config_read(0, 0, 0x59) == 0x30);
}

TEST_CASE("i440fx: a write through write-only shadowing invalidates translated code", "[devices]") {
    HostBridge pc;
    CodeObserver observer;
    pc.memory->set_observer(&observer);
    pc.pam(0x59, 0x20);
    pc.memory->set_code(0xF2, true);
    pc.memory->write<uint16_t>(0xF2010, 0x9090);
    CHECK(observer.code_writes == 1);
    CHECK(pc.memory->entry(0xF2).kind == PageKind::Mmio);
    CHECK(pc.memory->data()[0xF2010] == 0x90);
    pc.memory->set_observer(nullptr);
}

TEST_CASE("i440fx: shadowing follows the BIOS while the A20 gate is closed", "[devices]") {
    HostBridge pc;
    pc.pam(0x59, 0x30);
    pc.memory->set_a20(false);
    pc.pam(0x59, 0x00);
    CHECK(pc.peek(0xF3000) == 0xF3);
}

TEST_CASE("i440fx: SMRAM cannot be opened", "[devices]") {
    HostBridge pc;
    pc.config_write(0, 0, 0x72, 1, 0x4A);
    CHECK(pc.config_read(0, 0, 0x72) == 0x02);
}

TEST_CASE("i440fx: state round-trips and restores the shadowing", "[devices]") {
    HostBridge pc;
    pc.pam(0x59, 0x30);
    pc.pam(0x5A, 0x12);
    pc.platform.io.write(0xCF9, 1, 0x02);
    const auto state = ChipsetFixture::saved(*pc.bridge);
    HostBridge other;
    ChipsetFixture::load(*other.bridge, state);
    CHECK(ChipsetFixture::saved(*other.bridge) == state);
    CHECK(other.memory->entry(0xF0).kind == PageKind::Ram);
    CHECK(other.memory->entry(0xC0).kind == PageKind::Mmio);
    CHECK(other.memory->entry(0xC4).kind == PageKind::Rom);
    CHECK(other.memory->entry(0xC4).backing == 0xC4);
    CHECK(other.platform.io.read(0xCF9, 1) == 0x02);
}
