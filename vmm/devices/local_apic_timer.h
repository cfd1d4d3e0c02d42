// The local APIC's timer (SDM Vol. 3A 11.5.4): a count that goes down at the bus frequency divided, once or
// over and over. It only counts; who asks learns how often it has reached zero.
#pragma once
#include "vmm/base/state_archive.h"

#include <cstdint>

namespace vmm {

class LocalApicTimer {
  public:
    // All times are of the guest's clock, ns.
    void set_initial_count(uint32_t count, uint64_t now);
    void set_divide(uint8_t configuration, uint64_t now);
    void set_periodic(bool periodic, uint64_t now);
    [[nodiscard]] uint32_t initial_count() const { return initial_; }
    [[nodiscard]] uint8_t divide() const { return divide_; }
    [[nodiscard]] bool periodic() const { return periodic_; }
    [[nodiscard]] uint32_t current_count(uint64_t now) const;

    // How often it has reached zero since this was last asked.
    uint64_t expiries(uint64_t now);
    [[nodiscard]] uint64_t next_expiry() const; // kNever: it stands
    [[nodiscard]] uint64_t period() const;      // ns, rounded up

    void serialize(base::StateArchive& archive, uint64_t now);

  private:
    [[nodiscard]] unsigned divisor() const;
    [[nodiscard]] uint64_t counted(uint64_t now) const;
    void rebase(uint64_t now);

    uint32_t initial_ = 0;
    uint8_t divide_ = 0;
    bool periodic_ = false;
    // Where it counts down from, at which bus tick; 0: it stands. From the first zero on a periodic one
    // counts from the initial count.
    uint32_t from_ = 0;
    uint64_t start_ = 0;
};

} // namespace vmm
