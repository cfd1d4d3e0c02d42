#include "player/commands/ask_pin.h"

#include "player/commands/command.h"

#include <cerrno>
#include <csignal>
#include <fmt/format.h>
#include <termios.h>
#include <unistd.h>

namespace player {
namespace {

constexpr size_t kMaxLine = 1024;

volatile std::sig_atomic_t interrupted = 0;

// While one lives, what is typed on the terminal is not shown, and Ctrl-C ends the question, not the process:
// that would leave the terminal as it is now.
class NoEcho {
  public:
    NoEcho() {
        struct sigaction action {};
        action.sa_handler = [](int) { interrupted = 1; };
        for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT})
            ::sigaction(signal, &action, nullptr);
        if (::tcgetattr(STDIN_FILENO, &saved_) != 0)
            return;
        termios silent = saved_;
        silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
        silent.c_lflag |= ECHONL;
        changed_ = ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == 0;
    }
    ~NoEcho() {
        if (changed_)
            ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &saved_);
    }
    NoEcho(const NoEcho&) = delete;
    NoEcho& operator=(const NoEcho&) = delete;

  private:
    bool changed_ = false;
    termios saved_{};
};

base::Result<std::string> read_line(const char* prompt) {
    if (::isatty(STDIN_FILENO) != 0)
        fmt::print(stderr, "{}", prompt);
    std::string line;
    char byte = 0;
    for (;;) {
        const ssize_t got = ::read(STDIN_FILENO, &byte, 1);
        if (interrupted != 0)
            return base::fail("", 130);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || byte == '\n')
            break;
        if (line.size() >= kMaxLine)
            return base::fail("that is too long to be a PIN", kExitUsage);
        line.push_back(byte);
    }
    if (!line.empty() && line.back() == '\r')
        line.pop_back();
    return line;
}

} // namespace

base::Result<std::string> ask_pin(const char* prompt) {
    const NoEcho silent;
    return read_line(prompt);
}

base::Result<std::string> ask_new_pin() {
    const NoEcho silent;
    std::string pin = TRY(read_line("New staff PIN: "));
    if (::isatty(STDIN_FILENO) != 0 && TRY(read_line("Once more: ")) != pin)
        return base::fail("the two are not the same; nothing was changed");
    return pin;
}

} // namespace player
