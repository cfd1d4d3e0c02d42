// What code in a jailed process tries (room_attempts.h), made to happen, and what must be as it was
// afterwards.
#pragma once
#include "tests/folder.h"
#include "tests/vmm/jail/elsewhere.h"
#include "tests/vmm/jail/room_attempts.h"
#include "vmm/base/verify.h"
#include "vmm/jail/foreign_program.h"
#include "vmm/jail/program.h"
#include "vmm/jail/room.h"

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <optional>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace jail_test {

inline std::atomic<int> signals{0};
inline volatile long variable = 0x5AFE;

// Everything an attempt is about: a folder with a file and a listening socket, this process and its memory.
class World {
  public:
    using Network = jail::Program::Network;
    explicit World(std::string program, Network network = Network::OfThisComputer)
        : program_(std::move(program)), network_(network) {
        std::ofstream(folder_ / "file") << "secret";
        ::chmod((folder_ / "file").c_str(), 0600);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, (folder_ / "socket").c_str(), sizeof address.sun_path - 1);
        listening_ = base::UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        VERIFY(::bind(listening_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
               ::listen(listening_.get(), 1) == 0);
        file_ = base::UniqueFd{::open((folder_ / "file").c_str(), O_RDONLY | O_CLOEXEC)};
        signals = 0;
        ::signal(SIGWINCH, [](int) { ++signals; });
    }
    ~World() { ::signal(SIGWINCH, SIG_DFL); }
    World(const World&) = delete;

    struct Told {
        bool inside = false;
        jail::Walls walls;
        std::optional<int> error; // of the attempt; none: it never said
        std::string rest, end;
    };
    Told attempt(const std::string& where, size_t number) {
        std::array<int, 2> pair{};
        VERIFY(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) == 0);
        const base::UniqueFd ours{pair[0]};
        base::UniqueFd theirs{pair[1]};
        const std::array<int, kDescriptors> descriptors{theirs.get(), file_.get()};
        const std::vector<std::string> words{where, fmt::format("{}", number), folder_.path(),
                                             fmt::format("{}", ::getpid()),
                                             fmt::format("{}", reinterpret_cast<intptr_t>(&variable))};
        std::optional<jail::Program> jailed;
        pid_t free = 0;
        if (where == "outside") {
            free = run_free(words, descriptors);
        } else {
            auto program = jail::Program::start(program_, words, descriptors, network_);
            VERIFY(program);
            jailed.emplace(std::move(*program));
        }
        theirs.reset();
        Told told;
        std::array<char, 256> bytes{};
        for (ssize_t got = 0; (got = ::read(ours.get(), bytes.data(), bytes.size())) > 0;)
            told.rest.append(bytes.data(), static_cast<size_t>(got));
        if (jailed) {
            told.end = jailed->wait();
        } else {
            int status = 0;
            ::waitpid(free, &status, 0);
            told.end = fmt::format("ended with status {}", status);
        }
        told.inside = told.rest.size() > 1 && told.rest[0] == kInside;
        if (told.inside)
            told.walls = jail::Walls::from_bits(static_cast<uint8_t>(told.rest[1]));
        int error = 0;
        if (told.inside && told.rest.size() == 2 + sizeof error) {
            std::memcpy(&error, told.rest.data() + 2, sizeof error);
            told.error = error;
        }
        return told;
    }
    [[nodiscard]] bool untouched() const {
        std::ifstream in(folder_ / "file");
        struct stat info {};
        pollfd connection{listening_.get(), POLLIN, 0};
        return std::string(std::istreambuf_iterator<char>(in), {}) == "secret" &&
               ::stat((folder_ / "file").c_str(), &info) == 0 && (info.st_mode & 0777) == 0600 &&
               std::distance(std::filesystem::directory_iterator(folder_.path()), {}) == 2 &&
               ::poll(&connection, 1, 0) == 0 && signals == 0 && variable == 0x5AFE;
    }

  private:
    [[nodiscard]] pid_t run_free(const std::vector<std::string>& words,
                                 const std::array<int, kDescriptors>& given) const {
        const pid_t child = ::fork();
        if (child == 0) {
            std::array<int, kDescriptors> high{};
            for (size_t i = 0; i < high.size(); ++i)
                high[i] = ::fcntl(given[i], F_DUPFD, 64);
            for (size_t i = 0; i < high.size(); ++i)
                ::dup2(high[i], kToTest + static_cast<int>(i));
            ::execl(program_.c_str(), program_.c_str(), words[0].c_str(), words[1].c_str(), words[2].c_str(),
                    words[3].c_str(), words[4].c_str(), nullptr);
            ::_exit(127);
        }
        return child;
    }

    std::string program_;
    Network network_;
    Folder folder_;
    base::UniqueFd listening_, file_;
};

// Attempt `number` in the room that `where` says, by somebody on a system that lacks things. What is not as
// it should be, a line each.
inline std::string judge_inside(World::Network network, const std::string& program, bool nobody,
                                const Lacks& lacks,
                                const std::function<std::vector<std::string>(size_t number)>& where) {
    if (nobody)
        become_nobody();
    do_without(lacks);
    std::string wrong;
    const auto possible = jail::possible_walls();
    VERIFY(possible);
    for (size_t i = 0; i < kRoomAttemptCount; ++i) {
        if (!jail::kLimitsMemory && std::string(kRoomAttempts[i].name) == "take more memory than its limit")
            continue;
        for (const std::string& place : where(i)) {
            World world(program, network);
            const auto told = world.attempt(place, i);
            if (!told.inside || (told.error && *told.error == 0) || !world.untouched())
                wrong += fmt::format("in {} it could {}; {}\n", place, kRoomAttempts[i].name, told.end);
            if (told.walls != *possible)
                wrong +=
                    fmt::format("walls: {}; possible: {}\n", to_string(told.walls), to_string(*possible));
        }
    }
    return wrong;
}

} // namespace jail_test
