// The machine that a Setup describes, and all that it stands on.
#pragma once
#include "player/machine/host.h"

namespace machine {

struct Host::Parts {
    // Takes the message's descriptors.
    static base::Result<std::unique_ptr<Parts>> build(const Setup& setup, std::vector<base::UniqueFd> files,
                                                      Outbox& outbox);
    ~Parts();

    // At rest. Into descriptors: RAM, video memory, each medium that can be written.
    base::Result<Frozen> freeze(std::span<const base::UniqueFd> files);
    // That is written: an overlay, a disk or memory as it is captured.
    [[nodiscard]] uint64_t largest_file() const;

    // At rest. Its error is what differs from the scene.
    base::Result<void> compare();

    std::vector<base::UniqueFd> files;
    std::optional<SharedMemory> shared;
    std::shared_ptr<OverlayBudget> budget;
    std::vector<std::shared_ptr<OverlayPort>> overlays; // by medium; null: it cannot be written
    std::string scene_name;
    std::optional<appliance_format::BlobReader> scene_ram; // none: it began at power-on
    std::mutex fetch_mutex;                                // guards the next
    FetchList fetches;
    std::unique_ptr<vmm::Machine> machine; // last: it uses all of the above
};

} // namespace machine
