// From an authenticated bundle to the machine it describes, as the machine's process wants it told. Called
// again for every new machine, so that each has overlays of its own and the old one's writes go with it.
#pragma once
#include "appliance-format/bundle_reader.h"
#include "player/machine/frame_port.h"
#include "player/machine/messages.h"
#include "player/session_storage.h"

#include <functional>
#include <optional>
#include <vector>

namespace player {

// Where the blobs a scene names come from: its bundle, or a saved session on top of one.
using OpenBlob = std::function<base::Result<appliance_format::BlobReader>(std::string_view name)>;

// What the person starting the session may add to the appliance.
struct MachineChanges {
    std::optional<uint64_t> memory_bytes;
    std::string cdrom;         // an ISO file put in before the bundle's own CDs
    std::string kernel_append; // more for the kernel's command line
    // Not a wish of the person's: what the session's policy says.
    bool reset_ends_machine = false;
    std::shared_ptr<vmm::AudioPort> audio{}; // who hears the machine; null: nobody
};

// What a machine is told of itself, and what the session keeps a hand on.
struct ConfiguredMachine {
    machine::Setup setup;
    std::vector<int> files; // what numbers in it mean; the bundle's live as long as that, the others are:
    std::vector<base::UniqueFd> own_files;
    std::unique_ptr<machine::FrameCarrier> cable; // null: none is plugged in
};

class BundleMachine {
  public:
    // Errors: kUnsupported for what this player cannot do yet.
    static base::Result<std::unique_ptr<BundleMachine>> create(const appliance_format::Bundle& bundle,
                                                               const MachineChanges& changes);

    // A machine with fresh overlays, over the media as they were at `scene` (null: at power-on, as packed),
    // whose blobs `open_blob` has. `network`: what its card's cable leads to; null: it is not plugged in.
    base::Result<ConfiguredMachine> configure(SessionStorage& storage, uint64_t overlay_limit,
                                              std::shared_ptr<vmm::NetworkPort> network,
                                              const appliance_format::Scene* scene,
                                              const OpenBlob& open_blob) const;
    // Whether the person's changes leave the machine what it was when its scenes were captured.
    [[nodiscard]] bool fits_scenes() const { return !changed_; }
    [[nodiscard]] uint64_t memory_bytes() const { return memory_bytes_; }

  private:
    explicit BundleMachine(const appliance_format::Bundle& bundle) : bundle_(bundle) {}

    const appliance_format::Bundle& bundle_;
    uint64_t memory_bytes_ = 0;
    bool changed_ = false, reset_ends_machine_ = false;
    std::string cdrom_, kernel_append_;
    bool heard_ = false;
};

} // namespace player
