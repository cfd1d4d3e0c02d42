// What every device is. A device owns its registers and talks only to bus/ interfaces; all calls come
// on the vCPU thread.
#pragma once
#include "vmm/base/state_archive.h"

#include <cstdint>
#include <string_view>

namespace vmm {

class Device {
  public:
    virtual ~Device() = default;
    [[nodiscard]] virtual std::string_view name() const = 0; // also its saved-state section
    virtual void reset() = 0;                                // power-on / hardware reset
    // Finishes what worker threads still do for the device. Called for every device before any is
    // serialized and before RAM is captured: finishing may move DMA and raise interrupts.
    virtual void quiesce() {}
    virtual void serialize(base::StateArchive& archive) = 0;
};

} // namespace vmm
