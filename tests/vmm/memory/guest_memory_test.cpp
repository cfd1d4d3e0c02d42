#include "vmm/memory/guest_memory.h"

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <string>

using namespace vmm;

namespace {

struct Recorder : MmioHandler {
    std::string log;
    uint32_t mmio_read(Physical address, unsigned size) override {
        log += fmt::format("r{}@{} ", size, address & 0xFFF);
        return 0x44332211u >> (8 * (address & 3));
    }
    void mmio_write(Physical address, unsigned size, uint32_t value) override {
        log += fmt::format("w{}@{}={} ", size, address & 0xFFF, value);
    }
};

struct Observer : MemoryObserver {
    GuestMemory* memory = nullptr;
    std::vector<uint32_t> remapped;
    std::string written;
    unsigned all = 0;
    uint8_t seen = 0;
    void page_remapped(uint32_t page) override { remapped.push_back(page); }
    void code_written(uint32_t backing, uint32_t offset, uint32_t length) override {
        seen = memory->data()[backing * 4096ull + offset];
        written += fmt::format("{}:{}+{} ", backing, offset, length);
    }
    void all_remapped() override { ++all; }
};

std::unique_ptr<GuestMemory> make() {
    auto memory = GuestMemory::create(16u << 20);
    REQUIRE(memory);
    return std::move(*memory);
}

} // namespace

TEST_CASE("guest_memory: sizes that a PC cannot have are refused with advice", "[memory]") {
    for (uint64_t bytes :
         {uint64_t{0}, uint64_t{15} << 20, (uint64_t{16} << 20) + 1, (uint64_t{64} << 30) + 4096}) {
        auto refused = GuestMemory::create(bytes);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().message.find("16 MiB to 64 GiB") != std::string::npos);
    }
}

TEST_CASE("guest_memory: what 3 GiB do not hold is at 4 GiB, one run of the memory file", "[memory]") {
    constexpr uint64_t kGiB = 1ull << 30;
    auto created = GuestMemory::create(5 * kGiB + 0x2000);
    REQUIRE(created);
    GuestMemory& memory = **created;
    memory.write<uint32_t>(3 * kGiB - 2, 0xAABBCCDD); // the low part ends
    CHECK(memory.read<uint32_t>(3 * kGiB - 2) == 0xFFFFCCDD);
    memory.write<uint64_t>(4 * kGiB, 0x1122334455667788);
    CHECK(memory.data()[3 * kGiB] == 0x88);
    CHECK(memory.read<uint32_t>(4 * kGiB - 4) == 0xFFFFFFFF);
    CHECK(memory.read<uint64_t>(4 * kGiB - 4) == 0x55667788FFFFFFFF); // no address wraps to 0
    memory.write<uint16_t>(6 * kGiB + 0x1FFF, 0x7766);                // its last byte
    CHECK(memory.data()[5 * kGiB + 0x1FFF] == 0x66);
    CHECK(memory.read<uint16_t>(6 * kGiB + 0x1FFF) == 0xFF66);
    CHECK(memory.ram_pointer(4 * kGiB, 4) == memory.data() + 3 * kGiB);
    CHECK(memory.ram_pointer(6 * kGiB + 0x2000, 1) == nullptr);
    CHECK(memory.entry(1u << 28).kind == PageKind::None); // beyond MAXPHYADDR

    memory.set_a20(false); // bit 20 is 0 there too
    CHECK(memory.read<uint8_t>(4 * kGiB + (1u << 20)) == 0x88);
}

TEST_CASE("guest_memory: above 4 GiB a device's pages part an extent, and what they leave stays as it was",
          "[memory]") {
    constexpr uint64_t k4GiB = 4ull << 30;
    auto created = GuestMemory::create((3ull << 30) + (64u << 12));
    REQUIRE(created);
    GuestMemory& memory = **created;
    Observer observer;
    memory.set_observer(&observer);
    for (uint64_t page = 0; page < 64; ++page)
        memory.write<uint64_t>(k4GiB + (page << 12), page);
    Recorder device;
    memory.map_mmio(kFirstHighPage + 8, 4, &device);
    CHECK(observer.remapped.size() == 4);
    for (uint64_t page = 0; page < 64; ++page) {
        INFO(page);
        const bool taken = page >= 8 && page < 12;
        CHECK(memory.entry(kFirstHighPage + static_cast<uint32_t>(page)).kind ==
              (taken ? PageKind::Mmio : PageKind::Ram));
        if (!taken)
            CHECK(memory.read<uint64_t>(k4GiB + (page << 12)) == page);
    }
    CHECK(memory.read<uint32_t>(k4GiB + 0x8010) == 0x44332211);
    memory.unmap_mmio(&device);
    CHECK(memory.entry(kFirstHighPage + 9).kind == PageKind::None);
    CHECK(memory.read<uint64_t>(k4GiB + (12u << 12)) == 12);
    memory.set_observer(nullptr);
}

TEST_CASE("guest_memory: RAM reads back, beyond it is FFh and writes vanish", "[memory]") {
    auto memory = make();
    memory->write<uint32_t>(0xFFE, 0x12345678); // crosses a page
    CHECK(memory->read<uint32_t>(0xFFE) == 0x12345678);
    CHECK(memory->data()[0x1001] == 0x12);
    memory->write<uint32_t>((16u << 20) - 2, 0xAABBCCDD);
    CHECK(memory->read<uint32_t>((16u << 20) - 2) == 0xFFFFCCDD);
    CHECK(memory->read<uint64_t>(0xFFFFFFFC) == ~0ull); // does not wrap to 0
    memory->write<uint64_t>(0xFFFFFFFC, 0);
    CHECK(memory->read<uint32_t>(0) == 0);
    CHECK(memory->ram_pointer(0xFFE, 4) == nullptr);
    CHECK(memory->ram_pointer(0xFFC, 4) == memory->data() + 0xFFC);
}

TEST_CASE("guest_memory: ROM is readable and drops writes", "[memory]") {
    auto memory = make();
    const uint32_t rom = memory->add_backing(2);
    CHECK(rom == 4096);
    memory->data()[rom * 4096ull] = 0x5A;
    memory->map(0xFFFFE, 2, PageKind::Rom, rom);
    memory->write<uint8_t>(0xFFFFE000, 1);
    CHECK(memory->read<uint8_t>(0xFFFFE000) == 0x5A);
    CHECK(memory->entry(0xFFFFF).backing == rom + 1);
    CHECK(memory->entry(0xFFFFD).kind == PageKind::None);
}

TEST_CASE("guest_memory: MMIO is split into naturally aligned pieces", "[memory]") {
    auto memory = make();
    Recorder device;
    memory->map_mmio(0xFEC00, 1, &device);
    CHECK(memory->read<uint32_t>(0xFEC00004) == 0x44332211);
    CHECK(memory->read<uint32_t>(0xFEC00001) == 0x11443322);
    memory->write<uint32_t>(0xFEC00006, 0x00020001);
    CHECK(device.log == "r4@4 r1@1 r2@2 r1@4 w2@6=1 w2@8=2 ");
    memory->unmap_mmio(&device);
    CHECK(memory->read<uint32_t>(0xFEC00004) == 0xFFFFFFFF);
}

TEST_CASE("guest_memory: overlapping MMIO goes to the first, then to the next once that is gone",
          "[memory]") {
    auto memory = make();
    Recorder first, second;
    memory->map_mmio(0xE0000, 2, &first);
    memory->map_mmio(0xE0001, 2, &second);
    memory->read<uint8_t>(0xE0001000);
    CHECK(second.log.empty());
    memory->unmap_mmio(&first);
    memory->read<uint8_t>(0xE0001000);
    CHECK(second.log == "r1@0 ");
    CHECK(memory->entry(0xE0000).kind == PageKind::None);
}

TEST_CASE("guest_memory: unmapping MMIO leaves pages that became something else", "[memory]") {
    auto memory = make();
    Recorder device;
    memory->map_mmio(0xA0, 2, &device);
    memory->map(0xA0, 1, PageKind::Ram, 0xA0);
    memory->unmap_mmio(&device);
    CHECK(memory->entry(0xA0).kind == PageKind::Ram);
    CHECK(memory->entry(0xA1).kind == PageKind::None);
}

TEST_CASE("guest_memory: the observer hears of exactly the pages that change", "[memory]") {
    auto memory = make();
    Observer observer;
    memory->set_observer(&observer);
    memory->map(0x10, 4, PageKind::Ram, 0x10); // as before
    CHECK(observer.remapped.empty());
    memory->map(0x10, 2, PageKind::Rom, 0x10);
    CHECK(observer.remapped == std::vector<uint32_t>{0x10, 0x11});
}

TEST_CASE("guest_memory: the A20 gate folds odd megabytes onto even ones", "[memory]") {
    auto memory = make();
    Observer observer;
    memory->set_observer(&observer);
    memory->write<uint32_t>(0x500, 1);
    memory->write<uint32_t>(0x100500, 2);
    memory->set_a20(false);
    CHECK(memory->read<uint32_t>(0x100500) == 1);
    CHECK(memory->entry(0x100).backing == 0);
    memory->write<uint32_t>(0x100500, 3);
    memory->set_a20(false);
    memory->set_a20(true);
    CHECK(memory->read<uint32_t>(0x500) == 3);
    CHECK(memory->read<uint32_t>(0x100500) == 2);
    CHECK(observer.all == 2);
}

TEST_CASE("guest_memory: writes to code pages are announced before they happen", "[memory]") {
    auto memory = make();
    Observer observer;
    observer.memory = memory.get();
    memory->set_observer(&observer);
    memory->data()[0x1FFE] = 0x77;
    memory->set_code(1, true);
    memory->set_code(2, true);
    CHECK(memory->is_code(1));
    memory->write<uint32_t>(0x1FFE, 0);
    CHECK(observer.written == "1:4094+2 2:0+2 ");
    observer.written.clear();
    memory->data()[0x1FFE] = 0x77;
    memory->write<uint8_t>(0x1FFE, 0);
    CHECK(observer.seen == 0x77);
    memory->set_code(1, false);
    observer.written.clear();
    memory->write<uint8_t>(0x1FFE, 0);
    CHECK(observer.written.empty());
}
