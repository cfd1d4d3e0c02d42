// encore run: a session with a bundle, in a window or without one.
#include "player/commands/command.h"
#include "player/commands/key_options.h"
#include "player/commands/script_options.h"
#include "player/control_socket.h"
#include "player/display.h"
#include "player/high_water_clock.h"
#include "player/png_writer.h"
#include "player/run_script.h"
#include "player/sound.h"
#include "player/stop_signals.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <mutex>
#include <poll.h>
#include <termios.h>

namespace player {
namespace {

constexpr int kExitTimedOut = 124, kExitStopped = 130;
constexpr auto kTick = std::chrono::milliseconds(10);

struct Options : KeyOptions {
    SessionOptions session;
    std::string memory, overlay;
    bool headless = false, full_screen = false, message_box = false;
    std::string aspect;
    std::string screenshot, serial, control, audio;
    std::string scene, save_to;
    bool author = false;
    bool boot = false, receipt = false, log = false;
    uint64_t embed = 0;
    int shell = -1;
    int screen = 0;
    std::vector<int> at; // instead, a point
    ScriptOptions script;
    std::vector<ScriptStep> steps;
};

// The person's terminal as the guest's: keys go through at once and unechoed; Ctrl-C still ends the session.
class TerminalInput {
  public:
    explicit TerminalInput(bool wanted) : active_(wanted) {
        if (!wanted || ::tcgetattr(STDIN_FILENO, &saved_) != 0)
            return;
        termios raw = saved_;
        raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
        raw.c_iflag &= ~static_cast<tcflag_t>(ICRNL);
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        changed_ = ::tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    }
    ~TerminalInput() {
        if (changed_)
            ::tcsetattr(STDIN_FILENO, TCSANOW, &saved_);
    }
    TerminalInput(const TerminalInput&) = delete;
    TerminalInput& operator=(const TerminalInput&) = delete;

    void pass_on(Session& session) {
        pollfd ready{STDIN_FILENO, POLLIN, 0};
        if (!active_ || ::poll(&ready, 1, 0) <= 0)
            return;
        char buffer[256];
        const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
        if (got > 0) {
            session.note_activity();
            session.machine()->serial_input({buffer, static_cast<size_t>(got)});
        }
        if (got == 0 || (got < 0 && errno != EINTR))
            active_ = false;
    }

  private:
    bool active_, changed_ = false;
    termios saved_{};
};

base::Result<uint64_t> parse_size(const std::string& text, const char* option) {
    char* end = nullptr;
    errno = 0;
    const unsigned long long number = std::strtoull(text.c_str(), &end, 10);
    const std::string unit = end;
    const unsigned shift = unit == "G" ? 30 : unit == "M" ? 20 : 0;
    if (text.empty() || text[0] < '0' || text[0] > '9' || errno != 0 || shift == 0 ||
        number > (1ull << 40) >> shift)
        return base::fail(fmt::format("{} takes a size such as 512M or 2G, not '{}'", option, text),
                          kExitUsage);
    return number << shift;
}

base::Result<void> open_serial(Session& session, const std::string& where) {
    if (where.empty())
        return {};
    base::UniqueFd fd(where == "stdio"
                          ? ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
                          : ::open(where.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd.valid())
        return base::fail(fmt::format("cannot write {}: {}", where, std::strerror(errno)));
    session.serial().write_to(std::move(fd));
    return {};
}

class Runner {
  public:
    explicit Runner(const Options& options) : options_(options) {}

    base::Result<> run();

  private:
    enum class Why : uint8_t { SessionEnded, Matched, TimedOut, Closed, Signal, Halted };
    Why loop();
    [[nodiscard]] bool ends_with_halt() const;
    base::Result<> conclude(Why why);
    base::Result<> print_receipt();
    base::Result<> open_display(Session& session);
    void notice(const std::string& text);
    void print_screen();

    const Options& options_;
    std::mutex display_mutex_;
    DisplayState display_state_;
    std::shared_ptr<WavFile> wav_;
    std::shared_ptr<Loudspeaker> loudspeaker_;
    std::unique_ptr<Session> session_;
    std::unique_ptr<Display> display_;
    std::optional<RunScript> script_;
};

void Runner::notice(const std::string& text) {
    fmt::print(stderr, "encore: {}\n", text);
    const std::lock_guard lock(display_mutex_);
    if (display_)
        display_->notice(text);
}

base::Result<> Runner::run() {
    SessionOptions options = options_.session;
    options.notice = [this](const std::string& text) { notice(text); };
    ShellLink shell = TRY(adopt_shell(options_.shell));
    options.timed_by_shell = options_.embed != 0 && shell.is_shell;
    if (!options_.memory.empty())
        options.changes.memory_bytes = TRY(parse_size(options_.memory, "--memory"));
    if (!options_.overlay.empty())
        options.overlay_limit = TRY(parse_size(options_.overlay, "--overlay"));
    if (options_.boot || !options_.scene.empty())
        options.scene = options_.scene;
    if (options_.author)
        options.author = std::make_shared<const signing::Signer>(TRY(options_.load_signer()));
    options.operator_files = TRY(load_operator_files());
    if (options_.log || wants_log(*options.operator_files))
        options.log = TRY(open_log(*options.operator_files));
    if (!options_.audio.empty())
        options.audio = wav_ = TRY(WavFile::create(options_.audio));
    else if (!options_.headless)
        options.audio = loudspeaker_ = std::make_shared<Loudspeaker>();
    options.keyboard_layout = TRY(options_.script.layout());
    script_ = TRY(RunScript::create(
        options_.steps, std::chrono::milliseconds(static_cast<int64_t>(options_.script.type_after * 1000))));
    const StopSignals signals;
    if (!options_.headless)
        options.before_machine = [this,
                                  main = std::this_thread::get_id()](Session& session) -> base::Result<void> {
            if (!display_) {
                TRY(script_->prepare(session));
                return open_display(session);
            }
            if (std::this_thread::get_id() == main) // else frame() shows it
                display_->show_preview();
            return {};
        };
    auto opened = Session::open(std::move(options));
    if (!opened) {
        display_.reset();
        return tl::make_unexpected(opened.error());
    }
    session_ = std::move(*opened);
    TRY(script_->prepare(*session_));
    if (session_->resumed())
        notice(
            fmt::format("going on with {}: what the machine holds comes from that file and was not signed by "
                        "{}; a revert brings back what was",
                        options_.session.saved_session, session_->publisher().common_name));
    TRY(open_serial(*session_, options_.serial));
    std::unique_ptr<ControlSocket> control;
    if (!options_.control.empty() || shell.socket.valid())
        control = TRY(ControlSocket::open(*session_, options_.control, std::move(shell),
                                          options_.headless ? nullptr : &display_state_));
    session_->start();
    const Why why = loop();
    auto result = conclude(why);
    if (result && options_.receipt)
        result = print_receipt();
    control.reset();
    session_->end(why == Why::Halted ? SessionEnd::Halted : SessionEnd::Asked);
    session_->serial().finish();
    if (loudspeaker_)
        loudspeaker_->close();
    if (wav_)
        if (auto written = wav_->finish(); !written && result)
            result = written;
    {
        const std::lock_guard lock(display_mutex_);
        display_.reset();
    }
    session_.reset();
    return result;
}

base::Result<> Runner::open_display(Session& session) {
    std::function<void()> capture;
    if (options_.author)
        capture = [this] {
            if (auto captured = session_->capture_as_author({}); !captured)
                notice(captured.error().message);
        };
    std::function<void()> save;
    if (!options_.save_to.empty())
        save = [this] {
            auto saved = session_->save(options_.save_to, Session::AfterSave::GoOn);
            notice(saved ? "the session is saved in " + options_.save_to : saved.error().message);
        };
    auto display = TRY(Display::open(
        session,
        {options_.full_screen, std::move(capture), &display_state_, options_.embed, options_.screen,
         std::move(save),
         options_.at.size() == 2 ? std::optional(std::pair(options_.at[0], options_.at[1])) : std::nullopt,
         options_.aspect.empty()    ? Aspect::ByPlace
         : options_.aspect == "4:3" ? Aspect::FourThirds
                                    : Aspect::Square}));
    const std::lock_guard lock(display_mutex_);
    display_ = std::move(display);
    return {};
}

// A guest that halted for good: the user at its window, or the program at the control socket, decides what
// becomes of it; a script that waits for it, or nobody at all, does not.
bool Runner::ends_with_halt() const {
    return options_.script.expecting() ||
           (options_.headless && options_.control.empty() && options_.shell < 0);
}

Runner::Why Runner::loop() {
    TerminalInput input(options_.serial == "stdio");
    const auto start = std::chrono::steady_clock::now();
    const auto limit = std::chrono::duration<double>(options_.script.timeout);
    for (;;) {
        if (StopSignals::asked())
            return Why::Signal;
        const SessionEnd state = session_->poll();
        // What the guest said last counts even when it has turned itself off since.
        if (script_->tick(*session_) == RunScript::State::Matched)
            return Why::Matched;
        if (state != SessionEnd::None)
            return Why::SessionEnded;
        if (ends_with_halt() && script_->hopeless(*session_))
            return Why::Halted;
        if (options_.script.timeout > 0 && std::chrono::steady_clock::now() - start >= limit)
            return Why::TimedOut;
        input.pass_on(*session_);
        if (!display_)
            std::this_thread::sleep_for(kTick);
        else if (!display_->frame())
            return Why::Closed;
    }
}

void Runner::print_screen() {
    const std::string screen = session_->machine()->text_screen();
    if (screen.find_first_not_of(" \n") != std::string::npos) {
        fmt::print(stderr, "--- the screen at the end ---\n{}\n---\n", screen);
        return;
    }
    uint64_t from = 0;
    const std::string serial = session_->serial().text_since(from);
    if (!serial.empty())
        fmt::print(stderr, "--- the end of the serial output ---\n{}\n---\n",
                   serial.substr(serial.size() - std::min<size_t>(serial.size(), 2000)));
}

// The session goes back to its beginning, and everything touched is hashed against what the publisher signed.
base::Result<> Runner::print_receipt() {
    const std::string root = TRY(session_->revert_with_receipt());
    fmt::print("pristine {}\n", root);
    return {};
}

base::Result<> Runner::conclude(Why why) {
    if (!options_.screenshot.empty()) {
        auto written = write_png(session_->machine()->picture(), options_.screenshot);
        if (!written && why != Why::SessionEnded)
            return written;
        if (!written)
            notice(written.error().message);
    }
    const bool expecting = options_.script.expecting();
    switch (why) {
    case Why::Matched:
    case Why::Closed:
        return {};
    case Why::Signal:
        return base::fail("", kExitStopped);
    case Why::TimedOut:
        print_screen();
        return base::fail(fmt::format("timed out after {} s waiting for {}", options_.script.timeout,
                                      script_->waiting_for()),
                          kExitTimedOut);
    case Why::Halted:
        if (!expecting)
            return {};
        print_screen();
        return base::fail(fmt::format("the guest halted with interrupts disabled while waiting for {}",
                                      script_->waiting_for()));
    case Why::SessionEnded:
        break;
    }
    if (session_->state() == SessionEnd::Failed)
        return tl::make_unexpected(session_->failure());
    if (session_->state() == SessionEnd::Asked || !expecting ||
        script_->tick(*session_) != RunScript::State::Going)
        return {};
    print_screen();
    return base::fail(fmt::format("the session ended while waiting for {}", script_->waiting_for()));
}

void add_options(cli::App& app, Options& options) {
    auto* bundle = app.add_option("bundle", options.session.bundle, "The bundle")->type_name("X.encore");
    auto* saved = app.add_option("--session", options.session.saved_session,
                                 "Go on with this saved session; its bundle is looked for beside it")
                      ->type_name("FILE");
    app.require_one_of({bundle, saved});
    app.add_flag("--headless", options.headless, "No window");
    app.add_flag("--message-box", options.message_box,
                 "Why it could not be opened is shown in a window, too (for desktops)");
    app.add_flag("--full-screen", options.full_screen, "Start on the whole screen (Ctrl+Alt+F toggles)");
    app.add_option("--aspect", options.aspect,
                   "How VGA's modes are shown: 4:3, as a monitor does, or with square pixels; "
                   "not given: 4:3 where they fill the screen, square in a window (Ctrl+Alt+A changes it)")
        ->type_name("4:3|square")
        ->check(cli::one_of({"4:3", "square"}));
    app.add_option("--screen", options.screen, "Which display the window opens on, 0 is the first")
        ->type_name("N")
        ->check(cli::range(0, 63));
    app.add_option("--at", options.at, "Open the window around this point, on whichever display shows it")
        ->type_name("X,Y")
        ->delimiter(',')
        ->expected(2)
        ->check(cli::range(0, 65535))
        ->excludes("--headless", "--screen");
    app.add_option("--embed", options.embed, "Fill this X11 window (for launchers)")
        ->type_name("WINDOW")
        ->excludes("--headless", "--full-screen");
    app.add_option(
           "--shell", options.shell,
           "Serve requests on this inherited socket; when encore-kiosk made it, the kiosk keeps the time "
           "of a session in its window")
        ->type_name("FD")
        ->check(cli::range(3, 1 << 20));
    app.add_option("--memory", options.memory, "Memory instead of the publisher's choice")->type_name("SIZE");
    app.add_option("--overlay", options.overlay, "Most that the session may write (default 8G)")
        ->type_name("SIZE");
    app.add_option("--cdrom", options.session.changes.cdrom, "Put this CD image in")->type_name("ISO");
    app.add_option("--kernel-append", options.session.changes.kernel_append,
                   "Add to the kernel's command line")
        ->type_name("TEXT");
    app.add_option("--serial", options.serial, "Where the serial line goes: a file, or stdio for both ways")
        ->type_name("FILE|stdio");
    app.add_option("--screenshot", options.screenshot,
                   "Write the screen when the session ends or --expect matches")
        ->type_name("FILE.png");
    app.add_option("--audio", options.audio, "What the guest plays goes to this file instead of being heard")
        ->type_name("FILE.wav");
    app.add_option("--control", options.control,
                   "Serve requests, one JSON object a line, on this Unix socket")
        ->type_name("PATH");
    app.add_option("--scene", options.scene, "Begin at this scene")->type_name("NAME")->excludes(saved);
    app.add_flag("--boot", options.boot, "Begin at power-on")->excludes("--scene")->excludes(saved);
    app.add_option("--save", options.save_to, "Ctrl+Alt+W saves the session to this file, to go on later")
        ->type_name("FILE");
    cli::Option* key = options.declare_keys(app);
    app.add_flag("--author", options.author,
                 "Ctrl+Alt+S, or the control socket, captures what is there as a scene of the bundle")
        ->needs(key);
    app.add_option("--seed", options.session.seed,
                   "Make generation ID, random seed and MAC address a function of this number")
        ->check(cli::not_negative())
        ->type_name("N");
    app.add_flag("--receipt", options.receipt,
                 "Check at the end that everything touched is what the publisher signed again");
    app.add_flag("--log", options.log,
                 "Note the session in the operations log ($XDG_STATE_HOME/encore/log), as [log] in "
                 "operator.toml does for all");
    options.script.add_to(app);
}

} // namespace

Command run_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand(
        "run", "Play a bundle. --expect..., --type and --keys may be repeated and are carried "
               "out in the order given; when the last of them is an expectation, its match ends the run");
    add_options(*app, *options);
    return {app, [options, app]() -> base::Result<> {
                options->steps = TRY(options->script.steps(*app));
                auto done = Runner(*options).run();
                if (!done && options->message_box && done.error().code != kExitStopped)
                    show_message(done.error().message);
                return done;
            }};
}

} // namespace player
