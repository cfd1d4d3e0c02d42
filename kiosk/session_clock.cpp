#include "kiosk/session_clock.h"

#include "appliance-format/policy.h"

#include <algorithm>

namespace kiosk {

using std::chrono::milliseconds;

namespace {

// What no rule may exceed, staff do not either.
constexpr std::chrono::minutes kLongest{appliance_format::kMaxMinutes};

// A limit shorter than two warnings is half warning.
milliseconds warning_of(std::chrono::seconds limit, std::chrono::seconds warning) {
    return std::min<milliseconds>(warning, milliseconds(limit) / 2);
}

} // namespace

SessionClock::Verdict SessionClock::look(Time now, milliseconds idle) const {
    if (const auto time = left(now)) {
        if (time->count() <= 0)
            return {Phase::TimeOver, {}};
        if (*time <= warning_of(*times_.maximum, times_.warning))
            return {Phase::TimeWarning, *time};
    }
    if (times_.idle) {
        // What happened before the session began does not count.
        const auto quiet = std::min(idle, std::chrono::duration_cast<milliseconds>(now - start_));
        const milliseconds until = milliseconds(*times_.idle) - quiet;
        if (until.count() <= 0)
            return {Phase::IdleOver, {}};
        if (until <= warning_of(*times_.idle, times_.warning))
            return {Phase::IdleWarning, until};
    }
    return {};
}

void SessionClock::extend(Time now, std::chrono::seconds by) {
    if (!times_.maximum)
        return;
    const auto used = std::max<Time::duration>(now - start_, {});
    times_.maximum = std::min<std::chrono::seconds>(
        std::max(*times_.maximum, std::chrono::ceil<std::chrono::seconds>(used)) + by, kLongest);
}

std::optional<milliseconds> SessionClock::left(Time now) const {
    if (!times_.maximum)
        return {};
    return milliseconds(*times_.maximum) - std::chrono::duration_cast<milliseconds>(now - start_);
}

double SessionClock::share_used(Time now) const {
    const auto time = left(now);
    if (!time || times_.maximum->count() == 0)
        return 0;
    return std::clamp(1 - static_cast<double>(time->count()) /
                              static_cast<double>(milliseconds(*times_.maximum).count()),
                      0.0, 1.0);
}

milliseconds SessionClock::warning_length(Phase phase) const {
    const auto limit = phase == Phase::IdleWarning ? times_.idle : times_.maximum;
    return limit ? warning_of(*limit, times_.warning) : milliseconds(times_.warning);
}

} // namespace kiosk
