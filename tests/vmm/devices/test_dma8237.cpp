#include "tests/vmm/devices/legacy_fixture.h"

#include <numeric>

using namespace vmm;

namespace {
struct Dma : LegacyFixture {
    std::unique_ptr<Device> device = make_dma8237(platform);
    // Channel 2 as a floppy driver programs it.
    void program2(unsigned mode, uint32_t address, unsigned count) {
        out(0x0A, 0x06), out(0x0C, 0), out(0x0B, mode | 2);
        out(0x04, address & 0xFF), out(0x04, address >> 8 & 0xFF), out(0x81, address >> 16);
        out(0x05, count & 0xFF), out(0x05, count >> 8);
        out(0x0A, 0x02);
    }
    static std::vector<uint8_t> pattern(size_t size) {
        std::vector<uint8_t> bytes(size);
        std::iota(bytes.begin(), bytes.end(), uint8_t{1});
        return bytes;
    }
    std::vector<uint8_t> memory_at(uint32_t address, size_t size) {
        std::vector<uint8_t> bytes(size);
        memory->read(address, bytes.data(), size);
        return bytes;
    }
};
constexpr unsigned kToMemory = 0x44, kFromMemory = 0x48, kVerify = 0x40, kAuto = 0x10, kDown = 0x20;
} // namespace

TEST_CASE("dma8237: moves to memory and ends at terminal count", "[devices]") {
    Dma dma;
    dma.program2(kToMemory, 0x23456, 511);
    const auto data = dma.pattern(600);
    auto progress = dma.platform.dma->to_memory(2, std::span(data).first(200));
    CHECK((progress.bytes == 200 && !progress.terminal_count));
    progress = dma.platform.dma->to_memory(2, std::span(data).subspan(200));
    CHECK((progress.bytes == 312 && progress.terminal_count));
    CHECK(dma.memory_at(0x23456, 512) == dma.pattern(512));
    CHECK(dma.memory_at(0x23456 + 512, 1)[0] == 0);
    CHECK(dma.in(0x08) == 0x04);
    CHECK(dma.in(0x08) == 0x00);                            // cleared by reading
    CHECK(dma.platform.dma->to_memory(2, data).bytes == 0); // masked itself
    CHECK(dma.in(0x0F) == 0x0F);
}

TEST_CASE("dma8237: moves from memory", "[devices]") {
    Dma dma;
    const auto data = dma.pattern(100);
    dma.memory->write(0x5000, data.data(), data.size());
    dma.program2(kFromMemory, 0x5000, 99);
    std::vector<uint8_t> got(100);
    const auto progress = dma.platform.dma->from_memory(2, got);
    CHECK((progress.bytes == 100 && progress.terminal_count));
    CHECK(got == data);
}

TEST_CASE("dma8237: nothing moves in the other direction, masked, disabled or cascaded", "[devices]") {
    Dma dma;
    const auto data = dma.pattern(16);
    std::vector<uint8_t> out(16);
    dma.program2(kFromMemory, 0x5000, 15);
    CHECK(dma.platform.dma->to_memory(2, data).bytes == 0);
    dma.program2(kToMemory, 0x5000, 15);
    CHECK(dma.platform.dma->from_memory(2, out).bytes == 0);
    dma.out(0x0A, 0x06);
    CHECK(dma.platform.dma->to_memory(2, data).bytes == 0);
    dma.out(0x0E, 0);
    dma.out(0x08, 0x04);
    CHECK(dma.platform.dma->to_memory(2, data).bytes == 0);
    dma.out(0x08, 0x00);
    dma.out(0x0B, 0xC6);
    CHECK(dma.platform.dma->to_memory(2, data).bytes == 0);
    CHECK(dma.platform.dma->to_memory(4, data).bytes == 0);
    CHECK(dma.platform.dma->to_memory(99, data).bytes == 0);
}

TEST_CASE("dma8237: verify counts and moves nothing", "[devices]") {
    Dma dma;
    dma.program2(kVerify, 0x5000, 15);
    const auto data = dma.pattern(16);
    CHECK(dma.platform.dma->to_memory(2, data).terminal_count);
    CHECK(dma.memory_at(0x5000, 1)[0] == 0);
}

TEST_CASE("dma8237: the address wraps within its 64 KiB page", "[devices]") {
    Dma dma;
    dma.program2(kToMemory, 0x2FFFE, 3);
    const auto data = dma.pattern(4);
    dma.platform.dma->to_memory(2, data);
    CHECK(dma.memory_at(0x2FFFE, 2) == std::vector<uint8_t>{1, 2});
    CHECK(dma.memory_at(0x20000, 2) == std::vector<uint8_t>{3, 4});
    CHECK(dma.memory_at(0x30000, 1)[0] == 0);
}

TEST_CASE("dma8237: counting down reverses, auto-initialize starts over", "[devices]") {
    Dma dma;
    dma.program2(kToMemory | kAuto | kDown, 0x5003, 3);
    const auto data = dma.pattern(4);
    for (int round = 0; round < 2; ++round) {
        CHECK(dma.platform.dma->to_memory(2, data).terminal_count);
        CHECK(dma.memory_at(0x5000, 4) == std::vector<uint8_t>{4, 3, 2, 1});
    }
}

TEST_CASE("dma8237: word channels count words in 128 KiB pages", "[devices]") {
    Dma dma;
    dma.out(0xD4, 0x05), dma.out(0xD8, 0), dma.out(0xD6, kToMemory | 1);
    dma.out(0xC4, 0x00), dma.out(0xC4, 0x80), dma.out(0x8B, 0x03); // 2:8000h words = 30000h
    dma.out(0xC6, 0x03), dma.out(0xC6, 0x00);
    dma.out(0xD4, 0x01);
    const auto data = dma.pattern(11);
    const auto progress = dma.platform.dma->to_memory(5, data);
    CHECK((progress.bytes == 8 && progress.terminal_count));
    CHECK(dma.memory_at(0x30000, 8) == dma.pattern(8));
}

TEST_CASE("dma8237: registers read back through the flip-flop", "[devices]") {
    Dma dma;
    dma.program2(kToMemory, 0x1234, 0x5678);
    dma.out(0x0C, 0);
    CHECK((dma.in(0x04) == 0x34 && dma.in(0x04) == 0x12));
    CHECK((dma.in(0x05) == 0x78 && dma.in(0x05) == 0x56));
    CHECK(dma.in(0x81) == 0);
    dma.out(0x84, 0x77); // an unused page register is storage
    CHECK(dma.in(0x84) == 0x77);
    dma.out(0x0D, 0);
    CHECK(dma.in(0x0F) == 0x0F);
}

TEST_CASE("dma8237: state survives a save and any programming is harmless", "[devices]") {
    Dma dma, other;
    dma.program2(kToMemory, 0x23456, 511);
    dma.out(0x04, 1); // half an address
    require_round_trip(*dma.device, *other.device);
    CHECK(other.in(0x81) == 2);
    const std::vector<uint8_t> data(0x30000, 0xAB);
    for (unsigned byte : {0xFFu, 0x04u, 0x24u, 0x34u, 0x44u, 0x80u}) {
        load_forged(*other.device, static_cast<uint8_t>(byte));
        other.out(0x0E, 0), other.out(0xDC, 0), other.out(0x08, 0), other.out(0xD0, 0);
        for (unsigned channel = 0; channel < 8; ++channel)
            CHECK(other.platform.dma->to_memory(channel, data).bytes <= data.size());
    }
}
