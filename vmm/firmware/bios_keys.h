// The keys that the BIOS keeps until a guest asks for them: a ring of 15 in the BIOS data area (IBM PS/2 BIOS
// Interface Technical Reference, 40:1A to 40:3D, 40:80 and 40:82). It drops what does not fit.
#pragma once
#include "vmm/memory/guest_memory.h"

#include <cstdint>

namespace vmm {

class BiosKeys {
  public:
    // Asked before every key that can wait, of a guest in real or virtual-8086 mode; `now` is guest time. A
    // full ring counts until nobody has taken a key from it for long: that guest gets its keys elsewhere.
    [[nodiscard]] bool has_room(GuestMemory& memory, uint64_t now);

  private:
    bool full_ = false; // since since_, and nobody has taken a key: head_ is where the next one is
    uint16_t head_ = 0;
    uint64_t since_ = 0;
};

} // namespace vmm
