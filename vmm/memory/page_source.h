// Where the content of RAM comes from when a machine is opened at a saved moment: page by page, at first
// touch. vmm knows no bundles; the player's source reads one and checks what it reads.
#pragma once
#include "vmm/base/result.h"

#include <cstdint>
#include <span>

namespace vmm {

class PageSource {
  public:
    virtual ~PageSource() = default;
    // The content of one 4 KiB page of RAM, by its number from physical address 0. Called on the vCPU thread,
    // also from its fault handler, or while the machine is at rest. On error nothing unverified is left in
    // `to`.
    virtual base::Result<void> read(uint32_t page, std::span<uint8_t> to) = 0;
};

} // namespace vmm
