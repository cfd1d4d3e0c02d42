#include "tests/vmm/devices/chipset_fixture.h"

#include <map>
#include <string>

using namespace vmm;

namespace {

struct FwCfgPc : ChipsetFixture {
    FwCfgPc() : device(make_fw_cfg(platform)) {}

    void select(uint16_t key) { platform.io.write(0x510, 2, key); }
    std::string take(size_t bytes) {
        std::string out;
        for (size_t i = 0; i < bytes; ++i)
            out.push_back(static_cast<char>(platform.io.read(0x511, 1)));
        return out;
    }
    uint64_t little(uint16_t key, unsigned bytes) {
        select(key);
        uint64_t value = 0;
        for (unsigned i = 0; i < bytes; ++i)
            value |= uint64_t{platform.io.read(0x511, 1)} << (8 * i);
        return value;
    }
    uint32_t big(unsigned bytes) {
        uint32_t value = 0;
        for (unsigned i = 0; i < bytes; ++i)
            value = value << 8 | platform.io.read(0x511, 1);
        return value;
    }
    struct Entry {
        uint32_t size, key;
    };
    std::map<std::string, Entry> directory() {
        std::map<std::string, Entry> out;
        select(0x19);
        const uint32_t count = big(4);
        for (uint32_t i = 0; i < count; ++i) {
            const uint32_t size = big(4), key = big(2);
            big(2);
            const std::string name = take(56);
            out[name.c_str()] = {size, key};
        }
        return out;
    }
    // Runs a DMA command placed at 8000h; returns the control word left behind.
    uint32_t dma(uint32_t control, uint32_t length, uint64_t target) {
        memory->write<uint32_t>(0x8000, __builtin_bswap32(control));
        memory->write<uint32_t>(0x8004, __builtin_bswap32(length));
        memory->write<uint64_t>(0x8008, __builtin_bswap64(target));
        platform.io.write(0x518, 4, __builtin_bswap32(0x8000));
        return __builtin_bswap32(memory->read<uint32_t>(0x8000));
    }

    std::unique_ptr<Device> device;
};

} // namespace

TEST_CASE("fw_cfg: signature, features and machine size", "[devices]") {
    FwCfgPc pc;
    pc.select(0);
    CHECK(pc.take(4) == "QEMU");
    CHECK(pc.take(2) == std::string(2, '\0')); // past the end
    CHECK(pc.little(0x01, 4) == 3);
    CHECK(pc.little(0x03, 8) == ChipsetFixture::kRam);
    CHECK(pc.little(0x05, 2) == 1);
    CHECK(pc.little(0x0E, 2) == 0);
    CHECK(pc.little(0x7777, 4) == 0); // no such item
    CHECK(pc.platform.io.read(0x514, 4) == __builtin_bswap32(0x51454D55));
    CHECK(pc.platform.io.read(0x518, 4) == __builtin_bswap32(0x20434647));
}

TEST_CASE("fw_cfg: the directory lists what SeaBIOS needs", "[devices]") {
    FwCfgPc pc;
    const auto files = pc.directory();
    for (const char* name : {"etc/e820", "etc/acpi/rsdp", "etc/acpi/tables", "etc/table-loader",
                             "etc/system-states", "etc/boot-fail-wait"})
        CHECK(files.count(name) == 1);
    REQUIRE(files.at("etc/e820").size == 40);
    pc.select(static_cast<uint16_t>(files.at("etc/e820").key));
    CHECK(pc.big(4) == 0);
    pc.big(4);
    CHECK(__builtin_bswap32(pc.big(4)) == ChipsetFixture::kRam);
    pc.take(8);
    // The page of the generation ID is nobody's to use.
    CHECK(__builtin_bswap32(pc.big(4)) == 0xFEF00000);
    pc.take(4);
    CHECK(__builtin_bswap32(pc.big(4)) == kPageSize);
    pc.take(4);
    CHECK(__builtin_bswap32(pc.big(4)) == 2);
}

TEST_CASE("fw_cfg: the seed is the one of the session at hand", "[devices]") {
    FwCfgPc pc;
    const auto file = pc.directory().at("opt/encore/seed");
    REQUIRE(file.size == 32);
    for (const uint8_t byte : {uint8_t{0x11}, uint8_t{0x22}}) {
        pc.platform.config.identity.seed.fill(byte);
        pc.select(static_cast<uint16_t>(file.key));
        CHECK(pc.take(32) == std::string(32, static_cast<char>(byte)));
    }
}

TEST_CASE("fw_cfg: DMA selects, reads and skips", "[devices]") {
    FwCfgPc pc;
    CHECK(pc.dma(0x0000000A, 4, 0x9000) == 0); // select 0, read
    CHECK(pc.memory->read<uint32_t>(0x9000) == 0x554D4551);
    CHECK(pc.dma(0x0000000C, 2, 0) == 0); // select 0, skip 2
    CHECK(pc.dma(0x00000002, 3, 0x9010) == 0);
    CHECK(pc.memory->read<uint32_t>(0x9010) == 0x00'00'55'4D);
}

TEST_CASE("fw_cfg: hostile DMA requests end with the error bit and change nothing", "[devices]") {
    FwCfgPc pc;
    CHECK(pc.dma(0x0000000A, 0xFFFFFFFF, 0) == 1);
    CHECK(pc.dma(0x0000000A, 0x1000, 0xFF'FFFF'F800) == 1); // across the end of physical memory
    CHECK(pc.dma(0x0000000A, 0x1000, 0xFFFFFFFFFFFFF800) == 1);
    CHECK(pc.dma(0x00000018, 4, 0x9000) == 1); // write
    CHECK(pc.dma(0x00000004, 0xFFFFFFFF, 0) == 0);
    CHECK(pc.dma(0x00000004, 0xFFFFFFFF, 0) == 0);
    CHECK(pc.dma(0x00000002, 4, 0x9000) == 0); // far past the end: zeros
    CHECK(pc.memory->read<uint32_t>(0x9000) == 0);
    pc.platform.io.write(0x514, 4, 0xFFFFFFFF); // a command above 4 GiB
    pc.platform.io.write(0x518, 4, 0xFFFFFFFF);
    pc.platform.io.write(0x518, 4, 0xFFFFFFFF); // and at its very end
    pc.select(0);
    CHECK(pc.take(4) == "QEMU");
}

TEST_CASE("fw_cfg: state round-trips with the reading position", "[devices]") {
    FwCfgPc pc;
    pc.select(0);
    pc.take(2);
    const auto state = ChipsetFixture::saved(*pc.device);
    FwCfgPc other;
    ChipsetFixture::load(*other.device, state);
    CHECK(ChipsetFixture::saved(*other.device) == state);
    CHECK(other.take(2) == "MU");
}
