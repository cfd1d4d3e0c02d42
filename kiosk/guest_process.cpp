#include "kiosk/guest_process.h"
#include "appliance-format/json_text.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

namespace kiosk {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr auto kHeartbeat = 250ms;
constexpr auto kFirstHeartbeat = 10ms; // until the first picture is there
constexpr auto kHungAfter = 4s;
constexpr auto kStartWithin = 20s;
constexpr auto kLeaveWithin = 15s;
constexpr size_t kMaxSaid = 4096, kMaxInput = 1u << 20;

} // namespace

base::Result<std::unique_ptr<GuestProcess>> GuestProcess::start(const Options& options) {
    constexpr int kShellSocket = 3; // in the child
    std::unique_ptr<GuestProcess> guest(new GuestProcess);
    std::vector<std::string> words = {options.encore, "run", options.bundle, "--shell",
                                      std::to_string(kShellSocket)};
    if (options.scene && options.scene->empty())
        words.emplace_back("--boot");
    else if (options.scene)
        words.insert(words.end(), {"--scene", *options.scene});
    if (options.embed != 0)
        words.insert(words.end(), {"--embed", std::to_string(options.embed)});
    if (options.full_screen)
        words.emplace_back("--full-screen");
    if (options.headless)
        words.emplace_back("--headless");
    if (!options.at.empty())
        words.insert(words.end(), {"--at", options.at});
    std::vector<char*> argv;
    for (std::string& word : words)
        argv.push_back(word.data());
    argv.push_back(nullptr);
    int ends[2], link[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
        return base::fail(fmt::format("cannot start a session: {}", std::strerror(errno)));
    guest->said_fd_ = base::UniqueFd(ends[0]);
    base::UniqueFd writing(ends[1]);
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, link) != 0)
        return base::fail(fmt::format("cannot start a session: {}", std::strerror(errno)));
    guest->socket_ = base::UniqueFd(link[0]);
    const base::UniqueFd theirs(link[1]);
    guest->started_ = guest->last_heard_ = Clock::now();
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child < 0)
        return base::fail(fmt::format("cannot start a session: {}", std::strerror(errno)));
    if (child == 0) {
        // The session must not outlive its shell: nobody would end it. prctl(2) PR_SET_PDEATHSIG.
        ::prctl(PR_SET_PDEATHSIG, SIGTERM);
        const int nothing = ::open("/dev/null", O_RDWR);
        ::dup2(nothing, 0);
        ::dup2(writing.get(), 1);
        ::dup2(writing.get(), 2);
        if (theirs.get() == kShellSocket) // dup2() would leave it to be closed
            ::fcntl(kShellSocket, F_SETFD, 0);
        else
            ::dup2(theirs.get(), kShellSocket);
        if (::getppid() == parent)
            ::execv(argv[0], argv.data());
        ::_exit(127);
    }
    guest->pid_ = child;
    return guest;
}

GuestProcess::~GuestProcess() { kill(); }

void GuestProcess::kill() {
    if (exit_status_ || pid_ <= 0)
        return;
    ::kill(pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR)
        ;
    exit_status_ = -SIGKILL;
}

GuestProcess::State GuestProcess::poll() {
    reap();
    read_output();
    if (exit_status_) {
        receive(); // what it answered last
        return State::Ended;
    }
    const auto now = Clock::now();
    const auto interval = status_.shown ? Clock::duration(kHeartbeat) : Clock::duration(kFirstHeartbeat);
    if (!status_asked_ && !leaving_ && now - last_asked_ >= interval) {
        status_asked_ = true;
        last_asked_ = now;
        ask({{"do", "status"}}, [this](const json& answer) { take_status(answer); });
    }
    send();
    receive();
    const auto limit = !answered_ ? Clock::duration(kStartWithin)
                       : leaving_ ? Clock::duration(kLeaveWithin)
                                  : Clock::duration(kHungAfter);
    if (now - last_heard_ > limit)
        return State::Hung;
    return status_.shown ? State::Live : State::Starting;
}

void GuestProcess::reap() {
    int status = 0;
    if (exit_status_ || ::waitpid(pid_, &status, WNOHANG) != pid_)
        return;
    exit_status_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void GuestProcess::read_output() {
    char buffer[1024];
    for (ssize_t got; (got = ::read(said_fd_.get(), buffer, sizeof buffer)) > 0;) {
        said_.append(buffer, static_cast<size_t>(got));
        if (said_.size() > kMaxSaid)
            said_.erase(0, said_.size() - kMaxSaid);
        if (static_cast<size_t>(got) < sizeof buffer)
            break;
    }
}

void GuestProcess::ask(const json& request, Answer answer) {
    std::string line = appliance_format::json_text(request) + "\n";
    waiting_.push_back(std::move(answer));
    // A guest that reads nothing any more is about to be found hung; its input need not be kept meanwhile.
    if (output_.size() > kMaxInput)
        waiting_.pop_back();
    else
        output_ += line;
    send();
}

void GuestProcess::key(uint16_t scan_code, bool pressed) {
    if (answered_ && !leaving_)
        ask({{"do", "key"}, {"code", scan_code}, {"pressed", pressed}});
}

void GuestProcess::leave(std::function<void(const base::Result<std::string>&)> receipt) {
    if (std::exchange(leaving_, true))
        return;
    last_heard_ = Clock::now();
    ask({{"do", "revert"}, {"receipt", true}}, [receipt = std::move(receipt)](const json& answer) {
        if (answer.value("ok", false) && answer.contains("root") && answer["root"].is_string())
            receipt(answer["root"].get<std::string>());
        else
            receipt(base::fail(answer.contains("error") && answer["error"].is_string()
                                   ? answer["error"].get<std::string>()
                                   : "the session gave no receipt"));
    });
    ask({{"do", "quit"}});
}

void GuestProcess::send() {
    while (!output_.empty()) {
        const ssize_t put = ::send(socket_.get(), output_.data(), output_.size(), MSG_NOSIGNAL);
        if (put <= 0)
            return;
        output_.erase(0, static_cast<size_t>(put));
    }
}

void GuestProcess::receive() {
    char buffer[4096];
    for (;;) {
        const ssize_t got = ::recv(socket_.get(), buffer, sizeof buffer, 0);
        if (got <= 0)
            break;
        input_.append(buffer, static_cast<size_t>(got));
        if (input_.size() > kMaxInput)
            input_.clear();
    }
    for (size_t end; (end = input_.find('\n')) != std::string::npos;) {
        const std::string line = input_.substr(0, end);
        input_.erase(0, end + 1);
        take_answer(line);
    }
}

void GuestProcess::take_answer(const std::string& line) {
    last_heard_ = Clock::now();
    answered_ = true;
    if (waiting_.empty())
        return;
    const Answer answer = std::move(waiting_.front());
    waiting_.pop_front();
    const json parsed = appliance_format::parse_json(line);
    if (answer && parsed.is_object())
        answer(parsed);
}

void GuestProcess::take_status(const json& answer) {
    status_asked_ = false;
    const auto number = [&](const char* key) {
        const auto found = answer.find(key);
        return found != answer.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
    };
    const bool shown = answer.contains("shown") && answer["shown"] == true;
    if (shown && !status_.shown)
        time_to_live_ = Clock::now() - started_;
    status_.shown = shown;
    status_.halted = answer.contains("state") && answer["state"] == "halted";
    status_.reverts = number("reverts");
    status_.overlay_bytes = number("overlay_bytes");
    status_.chords = number("chords");
    const auto chord = answer.find("chord");
    status_.chord =
        chord != answer.end() && chord->is_string() && chord->get_ref<const std::string&>().size() == 1
            ? chord->get_ref<const std::string&>()[0]
            : char{0};
}

} // namespace kiosk
