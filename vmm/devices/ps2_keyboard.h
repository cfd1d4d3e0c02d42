// A PS/2 keyboard: the commands of the IBM PS/2 Hardware Interface Technical Reference ("Keyboard"), scan
// code sets 1 and 2. Bytes it sends wait in a bounded queue for the controller.
#pragma once
#include "vmm/bus/ports.h"
#include "vmm/devices/ps2_queue.h"

namespace vmm {

class Ps2Keyboard {
  public:
    void reset();
    void command(uint8_t byte);      // from the host
    void key(const KeyEvent& event); // from the person
    Ps2Queue& output() { return output_; }
    // It reports keys, and has nothing to say that its host has not taken.
    [[nodiscard]] bool at_rest() const { return scanning_ != 0 && output_.empty(); }
    void serialize(base::StateArchive& archive);

    // What the 8042 makes of a set 2 byte when it translates; F0h is handled by the caller.
    static uint8_t set2_to_set1(uint8_t code);

  private:
    void set_defaults();
    void parameter(uint8_t byte);
    void send_set1(uint16_t code, bool pressed);
    void send_set2(uint16_t code, bool pressed);

    Ps2Queue output_;
    uint8_t scan_set_ = 2;
    uint8_t scanning_ = 1;
    uint8_t expects_parameter_ = 0; // the command it belongs to, 0 = none
    uint8_t leds_ = 0;
};

} // namespace vmm
