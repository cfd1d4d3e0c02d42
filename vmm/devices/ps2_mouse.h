// A PS/2 mouse with the IntelliMouse wheel: the commands of the IBM PS/2 Hardware Interface Technical
// Reference
// ("Mouse") and Microsoft's knock (sample rates 200, 100, 80) that turns on four-byte packets.
#pragma once
#include "vmm/bus/ports.h"
#include "vmm/devices/ps2_queue.h"

#include <array>

namespace vmm {

class Ps2Mouse {
  public:
    void reset();
    void command(uint8_t byte);           // from the host
    void move(const PointerEvent& event); // from the person: relative counts; zero sends a packet too
    // Before the controller takes a byte: makes the next packet when all before it have been sent.
    Ps2Queue& output();
    void serialize(base::StateArchive& archive);

  private:
    // Movement with one state of the buttons; merged while the buttons stay the same.
    struct Motion {
        int32_t dx = 0, dy = 0, dz = 0; // +y up, +z towards the person
        uint8_t buttons = 0;
    };
    static constexpr unsigned kMotions = 16;

    void set_defaults();
    void add_motion(const Motion& motion);
    void send_packet();
    [[nodiscard]] bool reports_now() const { return stream_ != 0 && enabled_ != 0 && wrap_ == 0; }

    Ps2Queue output_;
    std::array<Motion, kMotions> motions_{};
    uint8_t motion_count_ = 0;
    uint8_t buttons_ = 0; // as last sent
    uint8_t id_ = 0;      // 3 with the wheel
    uint8_t sample_rate_ = 100, resolution_ = 2, scaling_ = 0;
    uint8_t stream_ = 1, enabled_ = 0, wrap_ = 0;
    uint8_t expects_parameter_ = 0;  // the command it belongs to, 0 = none
    std::array<uint8_t, 2> knock_{}; // the last sample rates set
};

} // namespace vmm
