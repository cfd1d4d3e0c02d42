// Virtual time: nanoseconds since power-on that stop while the machine is paused. Timers fire on the
// vCPU thread. While a device works time stands still: an operation (base/operation.h) reads the host's clock
// at most once, when it first asks, and is over at the moment at which it happened.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace vmm {

inline constexpr uint64_t kNever = UINT64_MAX;
inline constexpr uint64_t kNanosPerSecond = 1'000'000'000;

class Clock {
  public:
    using TimerId = unsigned;
    // The latest time that a saved state may hold: 36 years of running. From there on as long again, and the
    // years that a clock chip can show, stay within the signed 64 bits that devices reckon with.
    static constexpr uint64_t kLongestSaved = uint64_t{1} << 60;

    // The moment of the present operation, ns. While the clock runs nobody else may ask.
    [[nodiscard]] uint64_t now() const;
    // When it is that time by the host's steady clock, if the clock runs on; no operation is needed.
    [[nodiscard]] std::chrono::steady_clock::time_point host_time(uint64_t ns) const;
    // At a moment of the host's steady clock; not given: now.
    void start(uint64_t host_ns);
    void stop(uint64_t host_ns);
    void start() { start(host_now()); }
    void stop() { stop(host_now()); }
    void set(uint64_t ns); // on load; the clock stands
    // For tests. From now on the clock stands, at what the test says; or another host's steady clock.
    void set_manual(uint64_t ns) {
        running_ = false;
        base_ns_ = ns;
    }
    void set_host(std::function<uint64_t()> host_ns) { host_ = std::move(host_ns); }

    TimerId add_timer(std::string_view name, std::function<void()> fire);
    void arm(TimerId timer, uint64_t deadline); // absolute ns; kNever disarms
    void disarm(TimerId timer) { arm(timer, kNever); }
    void disarm_all(); // before a saved state is loaded, which arms what it needs
    [[nodiscard]] uint64_t deadline(TimerId timer) const;
    [[nodiscard]] uint64_t next_deadline() const;
    // Fires every timer whose deadline has passed, in order of deadline, as one operation: what falls due
    // meanwhile is for the next call. A timer that re-arms itself in the past fires again; at most 64 firings
    // a call, so a storm cannot hang the vCPU.
    void run_due();
    // Called when an earlier deadline than before was armed (the waker re-plans).
    void set_on_earlier(std::function<void(uint64_t)> callback) { on_earlier_ = std::move(callback); }

  private:
    struct Timer {
        std::string_view name;
        uint64_t deadline = kNever;
        std::function<void()> fire;
    };
    [[nodiscard]] uint64_t host_now() const;
    std::vector<Timer> timers_;
    std::function<void(uint64_t)> on_earlier_;
    std::function<uint64_t()> host_; // null: CLOCK_MONOTONIC
    bool running_ = false;
    uint64_t base_ns_ = 0;    // virtual time when it last started or stopped
    uint64_t started_at_ = 0; // host time when it last started
    // The present operation's moment, once it has been asked for.
    mutable uint64_t moment_ = 0, moment_of_ = 0;
};

} // namespace vmm
