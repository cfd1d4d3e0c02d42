// Calls back on the vCPU's own thread when the earliest guest timer is due, by a signal: while the guest
// runs, that thread is in translated code, and a second thread that woke for every tick would cost more than
// the tick.
#pragma once
#include "vmm/base/result.h"

#include <chrono>
#include <ctime>
#include <functional>
#include <memory>

namespace vmm {

class VcpuTimer {
  public:
    using Time = std::chrono::steady_clock::time_point; // CLOCK_MONOTONIC
    // The signal goes to the calling thread, whatever it is doing: `due` may only set flags and make system
    // calls. One timer a thread.
    static base::Result<std::unique_ptr<VcpuTimer>> create(std::function<void()> due);
    ~VcpuTimer();
    VcpuTimer(const VcpuTimer&) = delete;
    VcpuTimer& operator=(const VcpuTimer&) = delete;

    void set(Time deadline); // Time::max(): never. Any thread, one at a time.

  private:
    VcpuTimer() = default;
    static void on_signal(int);

    std::function<void()> due_;
    timer_t timer_{};
    bool armed_ = false; // it may have fired since
};

} // namespace vmm
