// The room that our own jailed processes work in: what code that has taken one over can do there.
#include "tests/folder.h"
#include "tests/vmm/jail/elsewhere.h"
#include "tests/vmm/jail/room_attempts.h"
#include "vmm/base/verify.h"
#include "vmm/jail/filters/filters.h"
#include "vmm/jail/foreign_program.h"
#include "vmm/jail/program.h"
#include "vmm/jail/room.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <optional>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace fs = std::filesystem;
using namespace jail_test;

namespace {

std::atomic<int> signals{0};
volatile long variable = 0x5AFE;

// Everything an attempt is about: a folder with a file and a listening socket, this process and its memory.
class World {
  public:
    explicit World(std::string program) : program_(std::move(program)) {
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
            auto program =
                jail::Program::start(program_, words, descriptors, jail::Program::Network::OfThisComputer);
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
               std::distance(fs::directory_iterator(folder_.path()), {}) == 2 &&
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
    Folder folder_;
    base::UniqueFd listening_, file_;
};

} // namespace

namespace {

// What is not as it should be, a line each.
std::string judge_inside(const std::string& program, bool nobody, const Lacks& lacks) {
    if (nobody)
        become_nobody();
    do_without(lacks);
    std::string wrong;
    const auto possible = jail::possible_walls();
    VERIFY(possible);
    for (size_t i = 0; i < kRoomAttemptCount; ++i) {
        if (!jail::kLimitsMemory && std::string(kRoomAttempts[i].name) == "take more memory than its limit")
            continue;
        World world(program);
        const auto told = world.attempt("network", i);
        if (!told.inside || (told.error && *told.error == 0) || !world.untouched())
            wrong += fmt::format("it could {}; {}\n", kRoomAttempts[i].name, told.end);
        if (told.walls != *possible)
            wrong += fmt::format("walls: {}; possible: {}\n", to_string(told.walls), to_string(*possible));
    }
    return wrong;
}

std::string judge_outside(const std::string& program, bool nobody) {
    if (nobody)
        become_nobody();
    std::string wrong;
    for (size_t i = 0; i < kRoomAttemptCount; ++i) {
        const RoomAttempt& attempt = kRoomAttempts[i];
        World world(program);
        const auto told = world.attempt("outside", i);
        const bool works = attempt.outside == Outside::Replaces
                               ? !told.error && told.end == "ended with status 0"
                               : told.error && *told.error == 0;
        if (!told.inside ||
            (!works && (attempt.outside == Outside::Works || attempt.outside == Outside::Replaces)))
            wrong += fmt::format("{}: {}, {}\n", attempt.name,
                                 told.error ? std::strerror(*told.error) : "no answer", told.end);
    }
    return wrong;
}

} // namespace

TEST_CASE(
    "room: whatever code in the network process tries is denied or ends it, and nothing outside changes",
    "[jail]") {
    CHECK(kRoomAttemptCount >= 60);
    const auto user = GENERATE(false, true);
    const auto lacks = GENERATE(Lacks{}, Lacks{.namespaces = true}, Lacks{.landlock = true},
                                Lacks{true, true, false}, Lacks{.privileges = true});
    if (user && ::geteuid() != 0)
        return; // already one
    INFO((user ? "an ordinary user" : "whoever runs this")
         << ", without namespaces: " << lacks.namespaces << ", without Landlock: " << lacks.landlock
         << ", without privileges in namespaces: " << lacks.privileges);
    const PublicCopy prisoner(ROOM_PRISONER);
    CHECK(apart([&] { return judge_inside(prisoner.path, user, lacks); }) == "");
}

TEST_CASE("room: outside of it the same attempts work", "[jail]") {
    const auto user = GENERATE(false, true);
    if (user && ::geteuid() != 0)
        return;
    const PublicCopy prisoner(ROOM_PRISONER);
    CHECK(apart([&] { return judge_outside(prisoner.path, user); }) == "");
}

TEST_CASE("room: while a program is developed it says which call it may not make", "[jail]") {
    size_t number = 0;
    while (std::string(kRoomAttempts[number].name) != "hold a process")
        ++number;
    World world(ROOM_PRISONER);
    const auto told = world.attempt("explained", number);
    CHECK(told.rest.find("system call 434(") != std::string::npos); // pidfd_open
    CHECK(told.end == "ended with status 159");
}

namespace {

// Whether a line leaves room for this protection, mmap(2)'s third argument.
bool admits(const jail::Line& line, uint64_t protection) {
    for (const jail::Condition& condition : line.when) {
        using Kind = jail::Condition::Kind;
        if (condition.kind == Kind::Always || condition.argument != 2)
            continue;
        if ((condition.kind == Kind::Equals && protection != condition.value) ||
            (condition.kind == Kind::Differs && protection == condition.value) ||
            (condition.kind == Kind::BitsAre && (protection & condition.mask) != condition.value))
            return false;
    }
    return line.answer == jail::Answer::Allow;
}

} // namespace

TEST_CASE("room: each line of a table has its reason, and none lets memory be written and run", "[jail]") {
    for (const jail::CallTable* table :
         {&jail::kNetworkCalls, &jail::kMachineCalls, &jail::kMachineOrdersCalls,
          &jail::kMachineRequestsCalls, &jail::kMachineEventsCalls, &jail::kMachineVcpuCalls,
          &jail::kMachineDiskCalls, &jail::kMachineReadAheadCalls, &jail::kMachineCableCalls}) {
        CHECK(table->rest == jail::Answer::Kill);
        for (const jail::Line& line : table->lines) {
            INFO("call " << line.call);
            CHECK(std::strlen(line.why) > 3);
            if (line.call == SYS_mmap || line.call == SYS_mprotect || line.call == SYS_pkey_mprotect)
                CHECK_FALSE(admits(line, PROT_READ | PROT_WRITE | PROT_EXEC));
        }
    }
}

TEST_CASE(
    "room: a machine's threads make no code, threads or descriptors, and nothing that its process may not",
    "[jail]") {
    const auto knows = [](const jail::CallTable& table, int call) {
        return std::ranges::any_of(table.lines, [&](const jail::Line& line) {
            return line.call == call && line.answer == jail::Answer::Allow;
        });
    };
    for (const jail::CallTable* table :
         {&jail::kMachineOrdersCalls, &jail::kMachineRequestsCalls, &jail::kMachineEventsCalls,
          &jail::kMachineVcpuCalls, &jail::kMachineDiskCalls, &jail::kMachineReadAheadCalls,
          &jail::kMachineCableCalls}) {
        CHECK(jail::Filter::compile(*table));
        for (const int call : {SYS_clone, SYS_clone3, SYS_memfd_create, SYS_eventfd2, SYS_socket, SYS_openat,
                               SYS_seccomp, SYS_prctl, SYS_prlimit64, SYS_fcntl, SYS_dup, SYS_ioctl})
            CHECK_FALSE(knows(*table, call));
        for (const jail::Line& line : table->lines) {
            INFO("call " << line.call);
            CHECK((line.answer != jail::Answer::Allow || knows(jail::kMachineCalls, line.call)));
            if (line.call == SYS_mmap || line.call == SYS_mprotect)
                CHECK_FALSE(admits(line, PROT_READ | PROT_EXEC));
        }
    }
}
