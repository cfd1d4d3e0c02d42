// Processor time of one thread, for watchdogs: time on the wall says nothing on a busy machine.
#pragma once
#include "vmm/base/verify.h"

#include <chrono>
#include <ctime>
#include <pthread.h>

namespace watchdog {

class ThreadTime {
  public:
    explicit ThreadTime(pthread_t thread) {
        VERIFY(pthread_getcpuclockid(thread, &clock_) == 0);
        restart();
    }
    void restart() { start_ = now(); }
    [[nodiscard]] std::chrono::nanoseconds passed() const { return now() - start_; }

  private:
    [[nodiscard]] std::chrono::nanoseconds now() const {
        timespec time{};
        clock_gettime(clock_, &time);
        return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
    }

    clockid_t clock_{};
    std::chrono::nanoseconds start_{};
};

} // namespace watchdog
