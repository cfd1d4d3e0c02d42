// Calls back on the vCPU's own thread when the earliest guest timer is due, by a signal: while the guest
// runs, that thread is in translated code, and a second thread that woke for every tick would cost more than
// the tick.
#pragma once
#include "vmm/base/result.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <ctime>
#include <functional>
#include <memory>
#include <sys/ucontext.h>

namespace vmm {

class VcpuTimer {
  public:
    using Time = std::chrono::steady_clock::time_point; // CLOCK_MONOTONIC
    // The signal goes to the calling thread, whatever it is doing: `due`, which gets the interrupted context,
    // may only set flags and make system calls, and change that context. One timer a thread.
    static base::Result<std::unique_ptr<VcpuTimer>> create(std::function<void(ucontext_t&)> due);
    ~VcpuTimer();
    VcpuTimer(const VcpuTimer&) = delete;
    VcpuTimer& operator=(const VcpuTimer&) = delete;

    void set(Time deadline); // Time::max(): never. Any thread; the one that was set last holds

  private:
    VcpuTimer() = default;
    static void on_signal(int, siginfo_t*, void* context);

    std::function<void(ucontext_t&)> due_;
    timer_t timer_{};
    std::atomic<bool> armed_ = false; // it may have fired since
};

} // namespace vmm
