#include "vmm/vcpu_timer.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <unistd.h>

#ifndef sigev_notify_thread_id // glibc 2.36 has the field, but no public name for it
#define sigev_notify_thread_id _sigev_un._tid
#endif

namespace vmm {

namespace {

thread_local VcpuTimer* thread_timer = nullptr;

} // namespace

void VcpuTimer::on_signal(int, siginfo_t*, void* context) {
    const int before = errno;
    if (thread_timer != nullptr)
        thread_timer->due_(*static_cast<ucontext_t*>(context));
    errno = before;
}

base::Result<std::unique_ptr<VcpuTimer>> VcpuTimer::create(std::function<void(ucontext_t&)> due) {
    const int number = SIGRTMIN;
    static std::once_flag once;
    std::call_once(once, [number] {
        struct sigaction action {};
        action.sa_sigaction = on_signal;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART; // translated code has no stack for it
        sigaction(number, &action, nullptr);
    });
    std::unique_ptr<VcpuTimer> timer(new VcpuTimer);
    timer->due_ = std::move(due);
    struct sigevent event {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = number;
    event.sigev_notify_thread_id = gettid();
    if (timer_create(CLOCK_MONOTONIC, &event, &timer->timer_) != 0)
        return base::fail(std::string("cannot make a timer for the virtual processor: ") +
                          std::strerror(errno));
    thread_timer = timer.get();
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, number);
    pthread_sigmask(SIG_UNBLOCK, &wanted, nullptr);
    return timer;
}

VcpuTimer::~VcpuTimer() {
    if (thread_timer == this)
        thread_timer = nullptr;
    timer_delete(timer_);
}

void VcpuTimer::set(Time deadline) {
    if (deadline == Time::max() && !armed_)
        return;
    armed_ = deadline != Time::max();
    struct itimerspec when {};
    if (deadline != Time::max()) {
        const auto ns =
            std::chrono::duration_cast<std::chrono::nanoseconds>(deadline.time_since_epoch()).count();
        constexpr int64_t kSecond = 1'000'000'000;
        when.it_value.tv_sec = ns / kSecond;
        when.it_value.tv_nsec = ns % kSecond;
        if (when.it_value.tv_sec == 0 && when.it_value.tv_nsec == 0)
            when.it_value.tv_nsec = 1; // zero would disarm
    }
    timer_settime(timer_, TIMER_ABSTIME, &when, nullptr);
}

} // namespace vmm
