#include "player/stop_signals.h"

#include <csignal>
#include <initializer_list>

namespace player {
namespace {

volatile std::sig_atomic_t noted = 0;

} // namespace

StopSignals::StopSignals() {
    struct sigaction action {};
    action.sa_handler = [](int signal) { noted = signal; };
    action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP})
        ::sigaction(signal, &action, nullptr);
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &ignore, nullptr);
}

bool StopSignals::asked() { return noted != 0; }

} // namespace player
