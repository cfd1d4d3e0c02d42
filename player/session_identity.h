// Who the machine of a session is, to its guest: a MAC address for the session; a generation ID and a seed
// for each time the machine begins, reverts or jumps. Fresh ones come from the kernel's random numbers;
// reproducible ones
// (`run --seed N`, the publisher's identity = "same") are the same each time.
#pragma once
#include "vmm/base/result.h"
#include "vmm/bus/platform.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace player {

class SessionIdentity {
  public:
    static base::Result<SessionIdentity> fresh();
    static SessionIdentity from_seed(uint64_t seed);
    static SessionIdentity of_appliance(std::string_view name);

    [[nodiscard]] std::array<uint8_t, 6> mac() const; // locally administered, unicast
    [[nodiscard]] std::array<uint8_t, 16> generation_id() const;
    [[nodiscard]] std::array<uint8_t, 32> seed() const;
    [[nodiscard]] vmm::MachineIdentity machine() const { return {generation_id(), seed(), mac()}; }
    [[nodiscard]] std::string generation_text() const; // hexadecimal, in the order of the bytes in memory

    // The machine begins again: from now on a fresh identity has another generation ID and seed.
    void renew() { generation_ += fresh_ ? 1 : 0; }

  private:
    using Bytes = std::array<uint8_t, 32>;
    SessionIdentity(const Bytes& root, bool fresh) : root_(root), fresh_(fresh) {}
    [[nodiscard]] Bytes derive(std::string_view purpose, uint64_t number) const;

    Bytes root_; // everything is a hash of this and of what it is for
    bool fresh_;
    uint64_t generation_ = 0;
};

} // namespace player
