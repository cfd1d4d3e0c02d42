// A thread that no signal is delivered to: those belong to the vCPU's and the session's threads.
#pragma once
#include <csignal>
#include <thread>
#include <utility>

namespace base {

template <class Work> [[nodiscard]] std::thread quiet_thread(Work&& work) {
    sigset_t all, previous;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous); // which the new thread inherits
    std::thread thread(std::forward<Work>(work));
    pthread_sigmask(SIG_SETMASK, &previous, nullptr);
    return thread;
}

} // namespace base
