// What of the keyboard a guest hears of: every key as a PS/2 keyboard has it, and an end of each that is
// down.
#pragma once
#include "kiosk/guest_process.h"
#include "kiosk/seat.h"

#include <bitset>

namespace kiosk {

class GuestKeys {
  public:
    void pass_on(GuestProcess& guest, const SeatKey& key);
    // Keys that go up while something else has them would stay down in the guest.
    void release(GuestProcess& guest);
    void forget() { held_.reset(); } // another guest

  private:
    std::bitset<65536> held_; // those that the guest believes are down, by scan code
};

} // namespace kiosk
