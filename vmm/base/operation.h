// One thing that devices do at a time: an access to a register, the timers that are due, an event, a reset.
// All of it happens at one moment of guest time (bus/clock.h), DMA into another device's registers included:
// a device that read the clock twice would lose whatever falls between, on a busy host for ever. So that none
// can, operations are begun by who calls devices (buses, clock, event queue, machine), never by a device.
#pragma once
#include <cstdint>

namespace base {

class Operation {
  public:
    Operation() {
        if (depth_++ == 0)
            ++number_;
    }
    ~Operation() { --depth_; }
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;

    // Of the calling thread: whether it is in one, and which; what nests is part of the outermost.
    [[nodiscard]] static bool under_way() { return depth_ != 0; }
    [[nodiscard]] static uint64_t number() { return number_; }

  private:
    static inline thread_local unsigned depth_ = 0;
    static inline thread_local uint64_t number_ = 0;
};

} // namespace base
