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
    virtual void serialize(base::StateArchive& archive) = 0;
};

} // namespace vmm
