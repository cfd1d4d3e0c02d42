// When a session at a kiosk is over: nobody there, or its time used up. No clock of its own, so that tests
// run it as fast as they like.
#pragma once
#include <chrono>
#include <optional>

namespace kiosk {

struct SessionTimes {
    std::optional<std::chrono::seconds> idle;    // revert when nobody touched anything for so long
    std::optional<std::chrono::seconds> maximum; // of one session
    std::chrono::seconds warning{30};            // before either
};

class SessionClock {
  public:
    using Time = std::chrono::steady_clock::time_point;
    enum class Phase : uint8_t { Going, IdleWarning, IdleOver, TimeWarning, TimeOver };
    struct Verdict {
        Phase phase = Phase::Going;
        std::chrono::milliseconds left{}; // until it is over, in the warnings
    };

    SessionClock() = default;
    SessionClock(SessionTimes times, Time start) : times_(times), start_(start) {}

    [[nodiscard]] Verdict look(Time now, std::chrono::milliseconds idle) const;
    // A session whose time is over gets all of it from now on; none gets longer than a policy can allow.
    void extend(Time now, std::chrono::seconds by);

    [[nodiscard]] std::optional<std::chrono::milliseconds> left(Time now) const; // of the session's time
    [[nodiscard]] double share_used(Time now) const;
    [[nodiscard]] std::chrono::milliseconds warning_length(Phase phase) const;

  private:
    SessionTimes times_;
    Time start_{};
};

} // namespace kiosk
