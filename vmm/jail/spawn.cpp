#include "vmm/jail/spawn.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace jail {
namespace {

constexpr int kAbove = 64; // out of the way while descriptors are renumbered

bool write_file(const char* path, const std::string& text) {
    const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
    const bool written =
        fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    if (fd >= 0)
        ::close(fd);
    return written;
}

// capabilities(7): without SECBIT_NOROOT, exec would give them back to user 0.
bool drop_capabilities() {
    constexpr unsigned long kNoRoot = 1, kNoRootLocked = 2;
    __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> none{};
    return ::prctl(PR_SET_SECUREBITS, kNoRoot | kNoRootLocked, 0, 0, 0) == 0 &&
           ::syscall(SYS_capset, &head, none.data()) == 0;
}

} // namespace

Spawn::Spawn(uid_t inside)
    : uid_map(fmt::format("{} {} 1", inside, ::geteuid())),
      gid_map(fmt::format("{} {} 1", inside, ::getegid())), null(::open("/dev/null", O_RDWR | O_CLOEXEC)),
      root(::geteuid() == 0) {}

void give_up(const Spawn& spawn, Failure failure) {
    const char word = failure;
    (void)!::write(spawn.report, &word, 1);
    ::_exit(1);
}

bool map_user(const Spawn& spawn) {
    return write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", spawn.uid_map) &&
           write_file("/proc/self/gid_map", spawn.gid_map);
}

bool arrange_descriptors(Spawn& spawn) {
    std::array<int, kMostDescriptors> high{};
    for (int i = 0; i < spawn.count; ++i)
        if ((high[i] = ::fcntl(spawn.descriptors[i], F_DUPFD, kAbove)) < 0)
            return false;
    if ((spawn.report = ::fcntl(spawn.report, F_DUPFD, kAbove)) < 0 ||
        (spawn.program >= 0 && (spawn.program = ::fcntl(spawn.program, F_DUPFD, kAbove)) < 0))
        return false;
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (::dup2(spawn.null.get(), stream) < 0)
            return false;
    for (int i = 0; i < spawn.count; ++i)
        if (::dup2(high[i], kFirstDescriptor + i) < 0)
            return false;
    constexpr unsigned kOnExec = 1u << 2; // CLOSE_RANGE_CLOEXEC
    return ::syscall(SYS_close_range, kFirstDescriptor + spawn.count, ~0u, kOnExec) == 0;
}

bool become_obedient() {
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    return ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && limit(RLIMIT_CORE, 0);
}

bool limit(int what, rlim_t most) {
    const rlimit value{most, most};
    return ::setrlimit(static_cast<__rlimit_resource>(what), &value) == 0;
}

bool drop_privileges() {
    return (::syscall(SYS_setgroups, 0, nullptr) == 0 &&
            ::syscall(SYS_setresgid, kNobody, kNobody, kNobody) == 0 &&
            ::syscall(SYS_setresuid, kNobody, kNobody, kNobody) == 0) ||
           drop_capabilities();
}

void execute(const Spawn& spawn) {
    ::execveat(spawn.program, "", spawn.arguments.data(), spawn.environment.data(), AT_EMPTY_PATH);
    give_up(spawn, kNoProgram);
}

base::Result<Attempt> attempt(Spawn& spawn, void (*live)(Spawn& spawn, void* context), void* context) {
    std::array<int, 2> report{};
    if (::pipe2(report.data(), O_CLOEXEC) != 0)
        return base::fail(std::strerror(errno));
    const base::UniqueFd heard{report[0]};
    base::UniqueFd said{report[1]};
    spawn.report = said.get();
    const auto child = static_cast<pid_t>(
        ::syscall(SYS_clone, SIGCHLD | spawn.namespaces, nullptr, nullptr, nullptr, nullptr));
    if (child == 0) {
        live(spawn, context);
        ::_exit(1);
    }
    if (child < 0)
        return spawn.namespaces != 0 ? base::Result<Attempt>(Attempt{}) : base::fail(std::strerror(errno));
    said.reset();
    char word = 0;
    ssize_t length = 0;
    while ((length = ::read(heard.get(), &word, 1)) < 0 && errno == EINTR) {
    }
    if (length == 0)
        return Attempt{Attempt::Outcome::Runs, child};
    ::kill(child, SIGKILL); // the keeper of a program that was not to be
    wait_for(child);
    return Attempt{word == kNoWall ? Attempt::Outcome::NoWall : Attempt::Outcome::NoProgram, 0};
}

int wait_for(pid_t child) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

} // namespace jail
