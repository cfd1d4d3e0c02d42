// Everything between clone and exec runs in a copy of a process with several threads: see spawn.h.
#include "vmm/jail/foreign_program.h"

#include "vmm/jail/filters/filters.h"
#include "vmm/jail/landlock.h"
#include "vmm/jail/root.h"
#include "vmm/jail/spawn.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace jail {
namespace {

using Wall = ForeignProgram::Wall;

struct Plan {
    Wall wall = Wall::None;
    Filter filter;
    int listening = 0;
    int keeper = -1;
};

// The program's own process, from here to exec.
[[noreturn]] void become_program(Spawn& spawn, Plan& plan) {
    constexpr rlim_t kMemory = rlim_t{4} << 30;
    const Arranged arranged = arrange_descriptors(spawn);
    if (!arranged.done || !become_obedient() || !limit(RLIMIT_FSIZE, 0) || !limit(RLIMIT_NOFILE, 256) ||
        !limit(RLIMIT_AS, kMemory))
        give_up(arranged.report, kNoWall);
    if (!read_only_libraries(arranged.program) && plan.wall == Wall::Landlock)
        give_up(arranged.report, kNoWall);
    plan.filter.fill_in(kOwnProcess, static_cast<uint32_t>(::getpid())); // exec keeps it
    if (!plan.filter.install())
        give_up(arranged.report, kNoWall);

    // "LISTEN_PID=" and this process' number, which is known only here.
    std::array<char, 32> pid{"LISTEN_PID="}, count{"LISTEN_FDS="};
    std::array<char, 12> digits{};
    size_t length = 0, at = std::strlen(pid.data());
    for (pid_t rest = ::getpid(); rest != 0; rest /= 10)
        digits[length++] = static_cast<char>('0' + rest % 10);
    while (length != 0)
        pid[at++] = digits[--length];
    count[std::strlen(count.data())] = static_cast<char>('0' + plan.listening);
    if (plan.listening != 0) {
        spawn.environment[1] = pid.data();
        spawn.environment[2] = count.data();
    }
    execute(spawn, arranged);
}

// The first process of the namespaces: builds the root, starts the program, takes the libraries away when
// told.
[[noreturn]] void keep(Spawn& spawn, Plan& plan) {
    ::setsid(); // Ctrl-C is for us to decide about
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || !map_user(spawn) || !make_root_of_libraries())
        give_up(spawn.report, kNoWall);
    const long child = ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
    if (child == 0)
        become_program(spawn, plan);
    if (child < 0)
        give_up(spawn.report, kNoWall);
    // What only the program may hold open: others wait for these to close.
    const int keeper = ::dup2(plan.keeper, kFirstDescriptor);
    if (keeper != kFirstDescriptor || ::syscall(SYS_close_range, kFirstDescriptor + 1, ~0u, 0) != 0)
        ::_exit(1);
    char word = 0;
    if (::read(keeper, &word, 1) == 1) {
        if (!take_libraries_away())
            ::_exit(1); // and the program with it
        (void)!::write(keeper, &word, 1);
    }
    const int status = wait_for(static_cast<pid_t>(child));
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 255);
}

[[noreturn]] void without_namespaces(Spawn& spawn, Plan& plan) {
    ::setsid();
    if (spawn.root && !drop_privileges())
        give_up(spawn.report, kNoWall);
    become_program(spawn, plan);
}

struct Started {
    Attempt attempt;
    base::UniqueFd keeper;
};

base::Result<Started> start_behind(Spawn& spawn, Plan& plan, Wall wall) {
    std::array<int, 2> keeper{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, keeper.data()) != 0)
        return base::fail(std::strerror(errno));
    base::UniqueFd ours{keeper[0]}, theirs{keeper[1]};
    plan.wall = wall;
    plan.keeper = theirs.get();
    constexpr unsigned long kAll =
        CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    spawn.namespaces = wall == Wall::Namespaces ? kAll : 0;
    const Attempt tried = TRY(attempt(
        spawn,
        [](Spawn& child, void* context) {
            Plan& its = *static_cast<Plan*>(context);
            if (its.wall == Wall::Namespaces)
                keep(child, its);
            without_namespaces(child, its);
        },
        &plan));
    return Started{tried, std::move(ours)};
}

base::Result<Plan> prepare(Spawn& spawn) {
    static char language[] = "LC_ALL=C";
    spawn.environment = {language, nullptr, nullptr, nullptr};
    return Plan{Wall::None, TRY(Filter::compile(kImageReaderCalls)), 0, -1};
}

} // namespace

base::Result<ForeignProgram> ForeignProgram::start(const std::string& program,
                                                   const std::vector<std::string>& arguments,
                                                   std::span<const int> descriptors, int listening) {
    base::UniqueFd executable;
    for (const char* folder : {"/usr/local/bin/", "/usr/bin/"})
        if (const std::string path = program.starts_with('/') ? program : folder + program;
            !executable.valid())
            executable = base::UniqueFd{::open(path.c_str(), O_PATH | O_CLOEXEC)};
    if (!executable.valid())
        return base::fail(
            fmt::format("{}, which reads it, is missing; install the package qemu-utils", program));
    Spawn spawn(kNobody); // another user's number, so that exec drops what privileges the namespace gave
    Plan plan = TRY(prepare(spawn));
    plan.listening = listening;
    spawn.program = executable.get();
    std::vector<std::string> words{program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    for (std::string& word : words)
        spawn.arguments.push_back(word.data());
    spawn.arguments.push_back(nullptr);
    for (const int descriptor : descriptors)
        spawn.descriptors.at(static_cast<size_t>(spawn.count++)) = descriptor;
    for (const Wall wall : {Wall::Namespaces, Wall::Landlock, Wall::None}) {
        Started started = TRY(start_behind(spawn, plan, wall));
        if (started.attempt.outcome == Attempt::Outcome::Runs)
            return ForeignProgram(wall, started.attempt.child, std::move(started.keeper));
        if (started.attempt.outcome == Attempt::Outcome::NoProgram)
            return base::fail(fmt::format("{} cannot be run; install the package qemu-utils", program));
    }
    return base::fail(fmt::format("{} cannot be walled in on this system", program));
}

base::Result<Walls> possible_walls() {
    Spawn spawn(kNobody);
    Plan plan = TRY(prepare(spawn));
    spawn.arguments.push_back(nullptr);
    const auto stands = [&](Wall wall) -> base::Result<bool> {
        return TRY(start_behind(spawn, plan, wall)).attempt.outcome != Attempt::Outcome::NoWall;
    };
    return Walls{TRY(stands(Wall::Namespaces)), TRY(stands(Wall::Landlock)), TRY(stands(Wall::None))};
}

ForeignProgram::ForeignProgram(ForeignProgram&& other) noexcept
    : wall_(other.wall_), child_(std::exchange(other.child_, 0)), keeper_(std::move(other.keeper_)) {}

ForeignProgram::~ForeignProgram() {
    if (child_ != 0) {
        ::kill(child_, SIGKILL);
        wait();
    }
}

bool ForeignProgram::close_wall() {
    if (wall_ != Wall::Namespaces)
        return true;
    char word = 1;
    return ::send(keeper_.get(), &word, 1, MSG_NOSIGNAL) == 1 && ::recv(keeper_.get(), &word, 1, 0) == 1;
}

int ForeignProgram::wait() {
    keeper_.reset();
    const int status = child_ != 0 ? wait_for(child_) : 0;
    child_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

} // namespace jail
