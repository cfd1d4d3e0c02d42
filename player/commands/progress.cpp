#include "player/commands/progress.h"

#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <unistd.h>

namespace player {

namespace {

volatile std::sig_atomic_t stop_requested = 0;
struct sigaction previous_interrupt, previous_terminate;

void request_stop(int) { stop_requested = 1; }

} // namespace

Progress::Progress() : terminal_(::isatty(STDERR_FILENO) == 1) {
    stop_requested = 0;
    struct sigaction action {};
    action.sa_handler = request_stop;
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGINT, &action, &previous_interrupt);
    ::sigaction(SIGTERM, &action, &previous_terminate);
}

Progress::~Progress() {
    clear();
    ::sigaction(SIGINT, &previous_interrupt, nullptr);
    ::sigaction(SIGTERM, &previous_terminate, nullptr);
}

bool Progress::update(const std::string& label, uint64_t done, uint64_t total) {
    auto now = std::chrono::steady_clock::now();
    if (terminal_ && total > 0 && (now - last_ > std::chrono::milliseconds(100))) {
        fmt::print(stderr, "\r{} {:3}%\x1b[K", label, static_cast<unsigned>(100.0 * done / total));
        std::fflush(stderr);
        last_ = now;
        shown_ = true;
    }
    return stop_requested == 0;
}

void Progress::say(const std::string& sentence) const {
    fmt::print(stderr, "{}encore: {}\n", terminal_ ? "\r\x1b[K" : "", sentence);
}

void Progress::clear() {
    if (shown_)
        fmt::print(stderr, "\r\x1b[K");
    shown_ = false;
}

} // namespace player
