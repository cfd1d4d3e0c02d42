#include "vmm/bus/clock.h"

#include "vmm/base/verify.h"

#include <ctime>

namespace vmm {

// CLOCK_MONOTONIC rather than a TSC of our own: it is a vDSO call (some 20 ns) and survives migration of the
// thread between cores.
uint64_t Clock::host_ns() {
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<uint64_t>(t.tv_sec) * kNanosPerSecond + static_cast<uint64_t>(t.tv_nsec);
}

uint64_t Clock::now() const { return manual_ || !running_ ? base_ns_ : base_ns_ + (host_ns() - started_at_); }

void Clock::start() {
    if (running_)
        return;
    started_at_ = host_ns();
    running_ = true;
}

void Clock::stop() {
    base_ns_ = now();
    running_ = false;
}

void Clock::set(uint64_t ns) {
    base_ns_ = ns;
    started_at_ = host_ns();
}

void Clock::set_manual(uint64_t ns) {
    manual_ = true;
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
