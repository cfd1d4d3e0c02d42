#include "vmm/bus/pci.h"

#include <catch2/catch.hpp>

using namespace vmm;

namespace {
struct Card : PciDevice {
    unsigned changes = 0;
    Card() {
        set_id(0x1234, 0x1111, 0x030000, 2);
        set_bar_size(0, 0x1000000, false);
        set_bar_size(1, 0x20, true);
    }
    [[nodiscard]] std::string_view name() const override { return "card"; }
    void reset() override { reset_config(); }
    void serialize(base::StateArchive& archive) override {
        archive.begin(name(), 1);
        serialize_config(archive);
        archive.end();
    }
    void bars_changed() override { ++changes; }
    void corrupt() { config_.fill(0xFF); }
};
constexpr uint32_t kSlot3 = 0x80000000 | 3 << 11;
} // namespace

TEST_CASE("pci: an absent function and another bus read as ones", "[bus]") {
    PciBus bus;
    Card card;
    bus.attach(3, 0, &card);
    CHECK(bus.config_read(kSlot3, 4) == 0x11111234);
    CHECK(bus.config_read(kSlot3 | 1 << 8, 4) == 0xFFFFFFFF);
    CHECK(bus.config_read(kSlot3 | 1 << 16, 2) == 0xFFFF);
    CHECK(bus.config_read(0x80000000, 1) == 0xFF);
    bus.config_write(0x80000000, 4, 0);
}

TEST_CASE("pci: class, revision and subsets of a register read in place", "[bus]") {
    Card card;
    CHECK(card.config_read(0x08, 4) == 0x03000002);
    CHECK(card.config_read(0x0A, 2) == 0x0300);
    CHECK(card.config_read(0xFF, 4) == 0xFFFFFF00); // past the end
    card.config_write(0xFF, 4, 0xFFFFFFFF);
}

TEST_CASE("pci: a BAR of ones reads back its size and type", "[bus]") {
    Card card;
    card.config_write(0x10, 4, 0xFFFFFFFF);
    card.config_write(0x14, 4, 0xFFFFFFFF);
    card.config_write(0x18, 4, 0xFFFFFFFF);
    CHECK(card.config_read(0x10, 4) == 0xFF000000);
    CHECK(card.config_read(0x14, 4) == 0xFFFFFFE1);
    CHECK(card.config_read(0x18, 4) == 0);
    CHECK(card.bar(0) == 0xFF000000);
    CHECK(card.bar(1) == 0xFFFFFFE0);
}

TEST_CASE("pci: bars_changed is called once per change and not without one", "[bus]") {
    Card card;
    card.config_write(0x10, 4, 0xE0000000);
    CHECK(card.changes == 1);
    card.config_write(0x10, 4, 0xE0000000);
    card.config_write(0x3C, 1, 11);
    CHECK(card.changes == 1);
    card.config_write(0x04, 2, 0x0007);
    CHECK(card.changes == 2);
    CHECK((card.io_enabled() && card.memory_enabled() && card.bus_master_enabled()));
    card.reset();
    CHECK(card.changes == 3);
    CHECK(card.bar(0) == 0);
    CHECK_FALSE(card.io_enabled());
    CHECK(card.config_read(0x3C, 1) == 0);
    CHECK(card.config_read(0x14, 4) == 1); // still an I/O BAR
}

TEST_CASE("pci: identity cannot be written", "[bus]") {
    Card card;
    for (unsigned offset = 0; offset < 0x10; offset += 4)
        card.config_write(static_cast<uint8_t>(offset), 4, 0xFFFFFFFF);
    CHECK(card.config_read(0, 4) == 0x11111234);
    CHECK(card.config_read(8, 4) == 0x03000002);
    CHECK(card.config_read(6, 2) == 0);
}

TEST_CASE("pci: saved configuration comes back, hostile identity and BAR types do not", "[bus]") {
    Card card;
    card.config_write(0x10, 4, 0xE0000000);
    card.config_write(0x04, 2, 0x0003);
    base::StateArchive archive;
    card.serialize(archive);
    Card other;
    auto load = base::StateArchive::parse(archive.bytes()).value();
    other.serialize(load);
    CHECK(other.bar(0) == 0xE0000000);
    CHECK(other.io_enabled());
    CHECK(other.changes == 1);

    card.corrupt();
    base::StateArchive hostile;
    card.serialize(hostile);
    auto load_hostile = base::StateArchive::parse(hostile.bytes()).value();
    other.serialize(load_hostile);
    CHECK(other.config_read(0, 4) == 0x11111234);
    CHECK(other.config_read(0x10, 4) == 0xFF000000);
    CHECK(other.config_read(0x14, 4) == 0xFFFFFFE1);
}
