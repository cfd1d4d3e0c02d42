#include "vmm/bus/clock.h"

#include "vmm/base/operation.h"
#include "vmm/base/verify.h"

#include <ctime>

namespace vmm {

// CLOCK_MONOTONIC rather than a TSC of our own: it is a vDSO call (some 20 ns) and survives migration of the
// thread between cores.
uint64_t Clock::host_now() const {
    if (host_)
        return host_();
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<uint64_t>(t.tv_sec) * kNanosPerSecond + static_cast<uint64_t>(t.tv_nsec);
}

uint64_t Clock::now() const {
    if (!running_)
        return base_ns_;
    VERIFY(base::Operation::under_way());
    if (moment_of_ != base::Operation::number()) {
        moment_of_ = base::Operation::number();
        moment_ = base_ns_ + (host_now() - started_at_);
    }
    return moment_;
}

std::chrono::steady_clock::time_point Clock::host_time(uint64_t ns) const {
    using HostTime = std::chrono::steady_clock::time_point;
    constexpr auto kLatest = static_cast<uint64_t>(HostTime::max().time_since_epoch().count());
    const uint64_t ahead = ns > base_ns_ ? ns - base_ns_ : 0;
    return ahead < kLatest - started_at_
               ? HostTime(std::chrono::nanoseconds(static_cast<int64_t>(started_at_ + ahead)))
               : HostTime::max();
}

void Clock::start(uint64_t host_ns) {
    if (running_)
        return;
    started_at_ = host_ns;
    running_ = true;
    moment_of_ = 0;
}

void Clock::stop(uint64_t host_ns) {
    if (running_)
        base_ns_ += host_ns - started_at_;
    running_ = false;
}

void Clock::set(uint64_t ns) {
    VERIFY(!running_);
    base_ns_ = ns;
}

Clock::TimerId Clock::add_timer(std::string_view name, std::function<void()> fire) {
    timers_.push_back({name, kNever, std::move(fire)});
    return static_cast<TimerId>(timers_.size() - 1);
}

void Clock::arm(TimerId timer, uint64_t deadline) {
    VERIFY(timer < timers_.size());
    if (timers_[timer].deadline == deadline)
        return;
    const uint64_t earliest = next_deadline();
    timers_[timer].deadline = deadline;
    if (deadline < earliest && on_earlier_)
        on_earlier_(deadline);
}

void Clock::disarm_all() {
    for (Timer& timer : timers_)
        timer.deadline = kNever;
}

uint64_t Clock::deadline(TimerId timer) const {
    VERIFY(timer < timers_.size());
    return timers_[timer].deadline;
}

uint64_t Clock::next_deadline() const {
    uint64_t earliest = kNever;
    for (const Timer& timer : timers_)
        earliest = timer.deadline < earliest ? timer.deadline : earliest;
    return earliest;
}

void Clock::run_due() {
    constexpr unsigned kMaxFirings = 64;
    const base::Operation operation;
    const uint64_t time = now();
    for (unsigned firings = 0; firings < kMaxFirings; ++firings) {
        Timer* due = nullptr;
        for (Timer& timer : timers_)
            if (timer.deadline <= time && timer.deadline != kNever &&
                (due == nullptr || timer.deadline < due->deadline))
                due = &timer;
        if (due == nullptr)
            return;
        due->deadline = kNever;
        const auto fire = due->fire; // by value: the callback may add timers and move the vector
        fire();
    }
}

} // namespace vmm
