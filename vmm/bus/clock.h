// Virtual time: nanoseconds since power-on that stop while the machine is paused. Timers fire on the
// vCPU thread. Tests drive a clock by hand with set_manual().
#pragma once
#include <atomic>
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

    [[nodiscard]] uint64_t now() const; // ns
    void start();
    void stop();
    void set(uint64_t ns); // on load
    // From now on time is exactly what the test says.
    void set_manual(uint64_t ns);

    TimerId add_timer(std::string_view name, std::function<void()> fire);
    void arm(TimerId timer, uint64_t deadline); // absolute ns; kNever disarms
    void disarm(TimerId timer) { arm(timer, kNever); }
    void disarm_all(); // before a saved state is loaded, which arms what it needs
    [[nodiscard]] uint64_t deadline(TimerId timer) const;
    [[nodiscard]] uint64_t next_deadline() const;
    // Fires every timer whose deadline has passed, in order of deadline. A timer that re-arms itself in
    // the past fires again; at most 64 firings a call, so a storm cannot hang the vCPU.
    void run_due();
    // Called when an earlier deadline than before was armed (the waker re-plans).
    void set_on_earlier(std::function<void(uint64_t)> callback) { on_earlier_ = std::move(callback); }

  private:
    struct Timer {
        std::string_view name;
        uint64_t deadline = kNever;
        std::function<void()> fire;
    };
    [[nodiscard]] static uint64_t host_ns();
    std::vector<Timer> timers_;
    std::function<void(uint64_t)> on_earlier_;
    bool running_ = false, manual_ = false;
    uint64_t base_ns_ = 0;    // virtual time when it last started or stopped
    uint64_t started_at_ = 0; // host time when it last started
};

} // namespace vmm
