#include "tests/vmm/devices/chipset_fixture.h"
#include "vmm/firmware/acpi_hardware.h"

#include <algorithm>
#include <optional>

using namespace vmm;

namespace {

struct Generation : ChipsetFixture {
    explicit Generation(uint8_t first) {
        platform.config.identity.generation_id.fill(first);
        platform.raise_gpe = [this](unsigned bit) { raised = bit; };
        device = make_generation_id(platform);
    }
    std::array<uint8_t, 16> shown() {
        std::array<uint8_t, 16> id;
        memory->read(acpi_hardware::kGenerationIdAddress, id.data(), id.size());
        return id;
    }
    void change(uint8_t to) {
        platform.config.identity.generation_id.fill(to);
        platform.outputs.identity_changed();
    }
    static std::array<uint8_t, 16> all(uint8_t byte) {
        std::array<uint8_t, 16> id;
        id.fill(byte);
        return id;
    }
    std::optional<unsigned> raised;
    std::unique_ptr<Device> device;
};

} // namespace

TEST_CASE("generation id: the guest reads it, cannot change it, and it lies outside RAM", "[devices]") {
    Generation pc(0xA1);
    CHECK(pc.shown() == Generation::all(0xA1));
    pc.memory->write<uint32_t>(acpi_hardware::kGenerationIdAddress, 0);
    CHECK(pc.shown() == Generation::all(0xA1));
    CHECK(acpi_hardware::kGenerationIdAddress >= pc.memory->ram_bytes());
    CHECK(pc.memory->read<uint32_t>(acpi_hardware::kGenerationIdAddress + 16) == 0);
    CHECK_FALSE(pc.raised);
}

TEST_CASE("generation id: another one raises its event, the same one none", "[devices]") {
    Generation pc(1);
    pc.change(1);
    CHECK_FALSE(pc.raised);
    pc.change(2);
    CHECK(pc.shown() == Generation::all(2));
    CHECK(pc.raised == acpi_hardware::kGenerationIdEvent);
}

TEST_CASE("generation id: a saved machine comes back with the one its guest knew", "[devices]") {
    Generation pc(1), other(7);
    const auto state = ChipsetFixture::saved(*pc.device);
    ChipsetFixture::load(*other.device, state);
    CHECK(other.shown() == Generation::all(1));
    CHECK_FALSE(other.raised);
    other.platform.outputs.identity_changed(); // it is 7 here
    CHECK(other.shown() == Generation::all(7));
    CHECK(other.raised);
    // A state from before there was one has zeros, each time.
    base::StateArchive empty;
    empty.begin("something else", 1);
    empty.end();
    ChipsetFixture::load(*other.device, empty.bytes());
    CHECK(other.shown() == Generation::all(0));
    other.platform.outputs.identity_changed();
    CHECK(other.shown() == Generation::all(7));
}
