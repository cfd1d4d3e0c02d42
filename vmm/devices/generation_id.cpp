// The VM Generation ID (Microsoft, "Virtual Machine Generation ID", 2012): 128 bits that change whenever the
// machine goes on from a saved moment, so that a guest can tell that what it believes unique (random pools,
// sequence numbers, domain identities) is not. The DSDT's device VGEN says where the number lies; a
// general-purpose event says that it changed.
//
// The number has a page of its own outside RAM, read-only to the guest. So it is no part of the memory that a
// scene's root signs, no revert brings an old one back, and a receipt speaks of all of RAM. The saved state
// holds the number the guest knew at that moment: whoever resumes there with the same one need not be told.
#include "vmm/bus/device.h"
#include "vmm/bus/platform.h"
#include "vmm/devices/device_list.h"
#include "vmm/firmware/acpi_hardware.h"

#include <algorithm>

namespace vmm {

namespace {

class GenerationId final : public Device {
  public:
    explicit GenerationId(Platform& platform)
        : platform_(platform), backing_(platform.memory.add_backing(1)) {
        platform.memory.map(acpi_hardware::kGenerationIdAddress >> kPageShift, 1, PageKind::Rom, backing_);
        show(platform.config.identity.generation_id);
        platform.outputs.identity_changed = [this] {
            const auto& id = platform_.config.identity.generation_id;
            if (id == id_)
                return;
            show(id);
            if (platform_.raise_gpe)
                platform_.raise_gpe(acpi_hardware::kGenerationIdEvent);
        };
    }

    [[nodiscard]] std::string_view name() const override { return "generation_id"; }
    void reset() override {}

    void serialize(base::StateArchive& archive) override {
        if (archive.loading() && !archive.holds(name())) {
            show({}); // saved before there was one; the same at each revert
            return;
        }
        archive.begin(name(), 1);
        std::array<uint8_t, 16> id = id_;
        archive.bytes_field("id", id);
        archive.end();
        if (archive.loading())
            show(id);
    }

  private:
    void show(const std::array<uint8_t, 16>& id) {
        id_ = id;
        platform_.memory.note_code_change(backing_);
        std::ranges::copy(id, platform_.memory.data() + (uint64_t{backing_} << kPageShift));
    }

    Platform& platform_;
    uint32_t backing_;
    std::array<uint8_t, 16> id_{};
};

} // namespace

std::unique_ptr<Device> make_generation_id(Platform& platform) {
    return std::make_unique<GenerationId>(platform);
}

} // namespace vmm
