// encore pin: the PIN by which staff leave a kiosk.
#include "player/commands/command.h"
#include "player/staff_pin.h"

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

base::Result<> set() {
    StaffPin staff = TRY(StaffPin::standard());
    std::string pin;
    {
        const NoEcho silent;
        pin = TRY(read_line("New staff PIN: "));
        if (::isatty(STDIN_FILENO) != 0 && TRY(read_line("Once more: ")) != pin)
            return base::fail("the two are not the same; nothing was changed");
    }
    TRY(staff.set(pin));
    fmt::print("the staff PIN is set, in {}\n", staff.places().own);
    return {};
}

base::Result<> remove() {
    StaffPin staff = TRY(StaffPin::standard());
    TRY(staff.remove());
    fmt::print("the staff PIN is removed{}\n",
               staff.is_set() ? fmt::format("; the one in {} holds now", staff.places().system) : "");
    return {};
}

base::Result<> check() {
    StaffPin staff = TRY(StaffPin::standard());
    if (!staff.is_set())
        return base::fail("no staff PIN is set; set one with: encore pin set");
    std::string pin;
    {
        const NoEcho silent;
        pin = TRY(read_line("Staff PIN: "));
    }
    const StaffPin::Answer answer = TRY(staff.check(pin));
    switch (answer.verdict) {
    case StaffPin::Verdict::Right:
        fmt::print("that is the staff PIN\n");
        return {};
    case StaffPin::Verdict::Wait:
        return base::fail(fmt::format("too many wrong tries: wait {} s", answer.wait.count()));
    case StaffPin::Verdict::Wrong:
    case StaffPin::Verdict::NotSet:
        break;
    }
    return base::fail(
        answer.wait.count() != 0
            ? fmt::format("that is not the staff PIN; the next try counts in {} s", answer.wait.count())
            : "that is not the staff PIN");
}

} // namespace

Command pin_command(cli::App& root) {
    cli::App* app = root.add_subcommand(
        "pin",
        "The PIN by which staff leave a kiosk. Forgotten: set a new one from a terminal of the account "
        "that runs the kiosk; there is no other way in");
    app->require_subcommand(1);
    app->add_subcommand("set", "Set it: asked on the terminal, unseen, or read from standard input");
    cli::App* remove_app = app->add_subcommand("remove", "Remove it; then nobody can leave a kiosk by a PIN");
    cli::App* check_app = app->add_subcommand("check", "Try it; wrong tries count as they do at the kiosk");
    return {app, [=] { return remove_app->parsed() ? remove() : check_app->parsed() ? check() : set(); }};
}

} // namespace player
