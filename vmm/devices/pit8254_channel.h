// One counter of the 8254 (Intel datasheet 231164) as arithmetic on its input clock: nothing ticks; what the
// counter, OUT and the next edge are follows from when it was loaded. All times are CLK periods
// (1.193182 MHz) since power-on and are passed in.
#pragma once
#include "vmm/base/state_archive.h"
#include "vmm/bus/clock.h"

#include <cstdint>
#include <string>

namespace vmm {

inline constexpr int64_t kNoEdge = INT64_MAX;
inline constexpr uint64_t kPitHz = 1'193'182;
[[nodiscard]] inline int64_t pit_ticks(uint64_t ns) {
    return static_cast<int64_t>(static_cast<unsigned __int128>(ns) * kPitHz / kNanosPerSecond);
}

class Pit8254Channel {
  public:
    void write_control(uint8_t control); // control word with RW != 0: mode, access and format
    void write_count(uint8_t byte, int64_t now);
    uint8_t read_count(int64_t now);
    void latch_count(int64_t now);
    void latch_status(int64_t now);
    void set_gate(bool high, int64_t now);

    [[nodiscard]] bool gate() const { return gate_ != 0; }
    [[nodiscard]] bool out(int64_t now);
    [[nodiscard]] unsigned mode() const { return mode_; }
    // Length of a cycle in modes 2 and 3, else 0.
    [[nodiscard]] int64_t period() const { return periodic() && running() ? period_ : 0; }
    // When OUT next rises after `now`; kNoEdge if never. May be early when a new count is about to take over:
    // ask again then.
    [[nodiscard]] int64_t next_rise(int64_t now);
    // How often OUT has risen in (since, now]. Counts of modes 2 and 3 only, else 0 or 1.
    [[nodiscard]] int64_t rises_between(int64_t since, int64_t now);

    void serialize(base::StateArchive& archive, const std::string& prefix, int64_t now);

  private:
    // The format's modulus: a count of zero means this.
    [[nodiscard]] int64_t modulus() const { return bcd_ != 0 ? 10000 : 0x10000; }
    [[nodiscard]] bool periodic() const { return mode_ == 2 || mode_ == 3; }
    // OUT falls or starts low on a trigger at GATE instead of on a write.
    [[nodiscard]] bool triggered_by_gate() const { return mode_ == 1 || mode_ == 5; }
    [[nodiscard]] bool running() const { return loaded_ != 0 && (gate_ != 0 || triggered_by_gate()); }
    [[nodiscard]] int64_t elapsed(int64_t now) const;
    [[nodiscard]] int64_t programmed_period() const;
    [[nodiscard]] uint16_t counter(int64_t now);
    void load(int64_t origin);
    void take_over(int64_t now); // a count written in modes 2 and 3 whose time has come

    uint8_t mode_ = 0, access_ = 3, bcd_ = 0, gate_ = 1;
    uint8_t loaded_ = 0;        // the counting element holds a count
    uint8_t null_count_ = 1;    // a written count waits for its turn
    uint8_t write_high_ = 0;    // the low byte of a two-byte count has been written
    uint8_t read_high_ = 0;     // next live read gives the high byte
    uint8_t latched_bytes_ = 0; // of latched_count_, still to be read
    uint8_t status_latched_ = 0, latched_status_ = 0;
    uint16_t count_register_ = 0; // CR as written
    uint16_t latched_count_ = 0;
    int64_t period_ = 0x10000; // count in use, 1..modulus
    int64_t origin_ = 0;       // when the counting element was loaded
    int64_t frozen_ = 0;       // elapsed time while GATE stops modes 0 and 4
    int64_t switch_at_ = kNoEdge;
};

} // namespace vmm
