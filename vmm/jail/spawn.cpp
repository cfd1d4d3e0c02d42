#include "vmm/jail/spawn.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mman.h>
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

pid_t clone_copying(Spawn& spawn, Life live, void* context) {
    const long child = ::syscall(SYS_clone, SIGCHLD | spawn.namespaces, nullptr, nullptr, nullptr, nullptr);
    if (child == 0) {
        live(spawn, context);
        ::_exit(1);
    }
    return static_cast<pid_t>(child);
}

// As posix_spawn(3) does it: this thread waits until the child has become another program, and no handler of
// ours runs in the child meanwhile.
pid_t clone_borrowing(Spawn& spawn, Life live, void* context) {
    struct Begin {
        Spawn& spawn;
        Life live;
        void* context;
    } begin{spawn, live, context};
    constexpr size_t kStack = 128u << 10;
    void* stack =
        ::mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return -1;
    sigset_t all, before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const int child = ::clone(
        [](void* data) {
            const Begin& its = *static_cast<Begin*>(data);
            for (int number = 1; number < NSIG; ++number)
                ::signal(number, SIG_DFL); // fails for those that have no handler anyway
            its.live(its.spawn, its.context);
            return 1;
        },
        static_cast<char*>(stack) + kStack,
        static_cast<int>(static_cast<unsigned>(CLONE_VM | CLONE_VFORK | SIGCHLD) |
                         static_cast<unsigned>(spawn.namespaces)),
        &begin);
    const int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    ::munmap(stack, kStack);
    errno = error;
    return child;
}

} // namespace

Spawn::Spawn(uid_t inside)
    : uid_map(fmt::format("{} {} 1", inside, ::geteuid())),
      gid_map(fmt::format("{} {} 1", inside, ::getegid())), null(::open("/dev/null", O_RDWR | O_CLOEXEC)),
      root(::geteuid() == 0) {}

void give_up(int report, Failure failure) {
    const char word = failure;
    (void)!::write(report, &word, 1);
    ::_exit(1);
}

bool map_user(const Spawn& spawn) {
    return write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", spawn.uid_map) &&
           write_file("/proc/self/gid_map", spawn.gid_map);
}

Arranged arrange_descriptors(const Spawn& spawn) {
    std::array<int, kMostDescriptors> high{};
    for (int i = 0; i < spawn.count; ++i)
        if ((high[i] = ::fcntl(spawn.descriptors[i], F_DUPFD, kAbove)) < 0)
            return {false, -1, spawn.report};
    Arranged arranged{true, spawn.program, ::fcntl(spawn.report, F_DUPFD, kAbove)};
    if (arranged.report < 0)
        return {false, -1, spawn.report};
    if (spawn.program >= 0)
        arranged.done = (arranged.program = ::fcntl(spawn.program, F_DUPFD, kAbove)) >= 0;
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        arranged.done = arranged.done && ::dup2(spawn.null.get(), stream) >= 0;
    for (int i = 0; i < spawn.count; ++i)
        arranged.done = arranged.done && ::dup2(high[i], kFirstDescriptor + i) >= 0;
    constexpr unsigned kOnExec = 1u << 2; // CLOSE_RANGE_CLOEXEC
    arranged.done =
        arranged.done && ::syscall(SYS_close_range, kFirstDescriptor + spawn.count, ~0u, kOnExec) == 0;
    return arranged;
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

bool drop_capabilities() {
    __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> none{};
    return ::syscall(SYS_capset, &head, none.data()) == 0;
}

bool drop_privileges() {
    // capabilities(7): without SECBIT_NOROOT, exec would give them back to user 0.
    constexpr unsigned long kNoRoot = 1, kNoRootLocked = 2;
    return (::syscall(SYS_setgroups, 0, nullptr) == 0 &&
            ::syscall(SYS_setresgid, kNobody, kNobody, kNobody) == 0 &&
            ::syscall(SYS_setresuid, kNobody, kNobody, kNobody) == 0) ||
           (::prctl(PR_SET_SECUREBITS, kNoRoot | kNoRootLocked, 0, 0, 0) == 0 && drop_capabilities());
}

void execute(const Spawn& spawn, const Arranged& arranged) {
    ::execveat(arranged.program, "", spawn.arguments.data(), spawn.environment.data(), AT_EMPTY_PATH);
    give_up(arranged.report, kNoProgram);
}

base::Result<Attempt> attempt(Spawn& spawn, Life live, void* context) {
    std::array<int, 2> report{};
    if (::pipe2(report.data(), O_CLOEXEC) != 0)
        return base::fail(std::strerror(errno));
    const base::UniqueFd heard{report[0]};
    base::UniqueFd said{report[1]};
    spawn.report = said.get();
    const pid_t child =
        spawn.borrows_memory ? clone_borrowing(spawn, live, context) : clone_copying(spawn, live, context);
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
