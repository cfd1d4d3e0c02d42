// The time at which certificates are looked at, and what to tell a person when it is not what the computer's
// clock says: a player remembers the latest time it has seen, so that setting the date back does not help.
#pragma once
#include <ctime>
#include <string>

namespace signing {

struct TrustedTime {
    // NOLINTNEXTLINE(google-explicit-constructor): a time that nothing else is known about
    TrustedTime(std::time_t time) : latest(time), clock(time) {}
    TrustedTime(std::time_t latest, std::time_t clock, std::string kept_in)
        : latest(latest), clock(clock), kept_in(std::move(kept_in)) {}

    std::time_t latest;    // counts
    std::time_t clock;     // what the computer says now: `latest`, or earlier
    std::string kept_in{}; // the file that remembers `latest`

    // "it was 2027-03-01 here before, though this computer's clock says 2026-11-29 now; set the date right,
    // or, ...": for what holds by the clock and does not by `latest`.
    [[nodiscard]] std::string why_not_the_clock() const;
};

// "2027-03-01", in UTC.
[[nodiscard]] std::string date_text(std::time_t time);

} // namespace signing
