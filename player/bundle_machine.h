// From an authenticated bundle to the machine it describes. Called again for every revert, so that each
// machine has overlays of its own and the old one's writes go with it.
#pragma once
#include "appliance-format/bundle_reader.h"
#include "player/blob_port.h"
#include "player/overlay_port.h"
#include "player/scene_source.h"
#include "player/session_storage.h"
#include "vmm/machine.h"

#include <optional>
#include <vector>

namespace player {

// What the person starting the session may add to the appliance.
struct MachineChanges {
    std::optional<uint64_t> memory_bytes;
    std::string cdrom;         // an ISO file put in before the bundle's own CDs
    std::string kernel_append; // more for the kernel's command line
    // Not a wish of the person's: what the session's policy says.
    bool reset_ends_machine = false;
    std::shared_ptr<vmm::AudioPort> audio{}; // who hears the machine; null: nobody
};

// A machine's configuration, and what the session keeps a hand on.
struct ConfiguredMachine {
    vmm::MachineConfig config;
    // By place in the manifest's media; null where nothing can be written.
    std::vector<std::shared_ptr<OverlayPort>> overlays;
};

class BundleMachine {
  public:
    // Reads kernel and initrd, unless the machine will start at a scene: then they are read when its guest
    // restarts. Errors: those of Bundle, kUnsupported for what this player cannot do yet.
    static base::Result<std::unique_ptr<BundleMachine>> create(const appliance_format::Bundle& bundle,
                                                               const MachineChanges& changes);

    // A configuration with fresh overlays, over the media as they were at `scene` (null: as packed), whose
    // blobs `open_blob` has. `notice` and `failed` are called from I/O threads.
    base::Result<ConfiguredMachine>
    configure(SessionStorage& storage, const std::shared_ptr<OverlayBudget>& budget,
              const OverlayPort::Notice& notice, const BlobPort::Failed& failed,
              const appliance_format::Scene* scene, const OpenBlob& open_blob) const;
    // Whether the person's changes leave the machine what it was when its scenes were captured.
    [[nodiscard]] bool fits_scenes() const { return !changed_; }

  private:
    explicit BundleMachine(const appliance_format::Bundle& bundle) : bundle_(bundle) {}
    base::Result<void> prepare_kernel(const MachineChanges& changes);

    const appliance_format::Bundle& bundle_;
    uint64_t memory_bytes_ = 0;
    bool changed_ = false, reset_ends_machine_ = false;
    std::shared_ptr<vmm::AudioPort> audio_;
    std::shared_ptr<vmm::BlockPort> extra_cdrom_;
    std::shared_ptr<vmm::KernelBoot> kernel_;
};

} // namespace player
