// A clock that setting the computer's date back does not set back: the latest time ever seen is kept in a
// small file of the user's state folder, and "now" is never before it. Every session keeps it up to date:
// what may be played ends on some day, be it the appliance's or that of its publisher's certificate.
//
// It guards against a date that is wrong, by accident or to stretch an expiry date. It does not guard against
// a person who removes the file, restores the disk or uses another account: the file carries no secret,
// because whoever owns the account could read one.
#pragma once
#include "signing/trust_store.h"
#include "vmm/base/result.h"

#include <cstdint>
#include <string>

namespace player {

class HighWaterClock {
  public:
    // $XDG_STATE_HOME/encore/clock; without a home folder, a clock that remembers nothing.
    static HighWaterClock standard();
    explicit HighWaterClock(std::string path) : path_(std::move(path)) {}

    // The later of `system` (seconds since 1970) and the latest time remembered.
    [[nodiscard]] int64_t now(int64_t system) const;
    // Remembers `system` if it is the latest so far. Whole or not at all, also through a crash.
    base::Result<void> remember(int64_t system) const;
    [[nodiscard]] int64_t remembered() const; // 0: nothing
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    std::string path_; // empty: remembers nothing
};

// The time at which certificates are looked at, and the publishers that this user trusts at it.
[[nodiscard]] signing::TrustedTime trusted_now();
[[nodiscard]] signing::TrustStore trust_store();

} // namespace player
