// Everything between clone and exec runs in a copy of a process with several threads: system calls on data
// made before, no allocation, no locks.
#include "appliance-format/jail.h"

#include "appliance-format/format.h"
#include "appliance-format/jail_filter.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <optional>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace appliance_format {

namespace {

constexpr uid_t kNobody = 65534;
constexpr int kFirst = 3, kMostDescriptors = 8,
              kAbove = 64; // kAbove: out of the way while they are renumbered

// What the child says before it becomes the program; silence until the descriptor closes is success.
enum Failure : char { kNoWall = 'w', kNoProgram = 'p' };

// All that the child needs, made before it exists.
struct Plan {
    int program = -1; // by descriptor: its name means nothing behind the wall
    std::vector<char*> arguments;
    std::string uid_map, gid_map;
    std::array<int, kMostDescriptors> descriptors{};
    int count = 0, listening = 0;
    int null = -1, report = -1, keeper = -1;
    bool root = false;
};

bool write_file(const char* path, const std::string& text) {
    const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
    const bool written =
        fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    if (fd >= 0)
        ::close(fd);
    return written;
}

[[noreturn]] void give_up(const Plan& plan, Failure failure) {
    const char word = failure;
    (void)!::write(plan.report, &word, 1);
    ::_exit(1);
}

bool limit(int what, rlim_t most) {
    const rlimit value{most, most};
    return ::setrlimit(static_cast<__rlimit_resource>(what), &value) == 0;
}

// user_namespaces(7). Another user's number inside, so that exec drops what privileges the namespace gave.
bool become_nobody_inside(const Plan& plan) {
    return write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", plan.uid_map) &&
           write_file("/proc/self/gid_map", plan.gid_map);
}

constexpr std::array kLibraries{"usr", "lib", "lib64"};

// pivot_root(2): a root with the system's libraries in it, read-only, and nothing else.
bool make_root() {
    constexpr const char* kAny = "/tmp"; // some folder to stand on
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", kAny, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=0555") != 0 || ::chdir(kAny) != 0)
        return false;
    for (const char* name : kLibraries) {
        std::array<char, 16> path{'/'}, target{};
        std::strncpy(path.data() + 1, name, path.size() - 2);
        struct stat info;
        if (::lstat(path.data(), &info) != 0)
            continue;
        if (S_ISLNK(info.st_mode)) { // into /usr, on today's systems
            if (::readlink(path.data(), target.data(), target.size() - 1) < 0 ||
                ::symlink(target.data(), name) != 0)
                return false;
        } else if (::mkdir(name, 0555) != 0 ||
                   ::mount(path.data(), name, nullptr, MS_BIND | MS_REC, nullptr) != 0) {
            return false;
        }
    }
    if (::mkdir("etc", 0555) != 0)
        return false;
    const int cache = ::open("etc/ld.so.cache", O_CREAT | O_WRONLY | O_CLOEXEC, 0444);
    if (cache < 0)
        return false;
    ::close(cache);
    // Without the cache the loader looks in its usual folders.
    (void)::mount("/etc/ld.so.cache", "etc/ld.so.cache", nullptr, MS_BIND, nullptr);
    return ::syscall(SYS_pivot_root, ".", ".") == 0 && ::umount2(".", MNT_DETACH) == 0 && ::chdir("/") == 0 &&
           ::mount("none", "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr) ==
               0;
}

bool take_libraries_away() {
    for (const char* name : {"/usr", "/lib", "/lib64", "/etc/ld.so.cache"})
        (void)::umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW); // links and what is not there say no
    for (const char* name : {"/usr/lib", "/lib/x86_64-linux-gnu", "/lib64/ld-linux-x86-64.so.2"}) {
        struct stat info;
        if (::stat(name, &info) == 0)
            return false;
    }
    return true;
}

// The program's own process, from here to exec.
[[noreturn]] void become_program(Plan& plan, bool landlock_needed) {
    std::array<int, kMostDescriptors> high{};
    for (int i = 0; i < plan.count; ++i)
        if ((high[i] = ::fcntl(plan.descriptors[i], F_DUPFD, kAbove)) < 0)
            give_up(plan, kNoWall);
    plan.report = ::fcntl(plan.report, F_DUPFD, kAbove);
    if (plan.program >= 0)
        plan.program = ::fcntl(plan.program, F_DUPFD, kAbove);
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        ::dup2(plan.null, stream);
    for (int i = 0; i < plan.count; ++i)
        ::dup2(high[i], kFirst + i);
    constexpr unsigned kOnExec = 1u << 2; // CLOSE_RANGE_CLOEXEC
    if (::syscall(SYS_close_range, kFirst + plan.count, ~0u, kOnExec) != 0)
        give_up(plan, kNoWall);

    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    constexpr rlim_t kMemory = rlim_t{4} << 30;
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        !limit(RLIMIT_CORE, 0) || !limit(RLIMIT_FSIZE, 0) || !limit(RLIMIT_NOFILE, 256) ||
        !limit(RLIMIT_AS, kMemory))
        give_up(plan, kNoWall);
    if (!read_only_libraries(plan.program) && landlock_needed)
        give_up(plan, kNoWall);
    if (!filter_calls())
        give_up(plan, kNoWall);

    // "LISTEN_PID=" and this process' number, which is known only here.
    std::array<char, 32> pid{"LISTEN_PID="}, count{"LISTEN_FDS="};
    std::array<char, 12> digits{};
    size_t length = 0, at = std::strlen(pid.data());
    for (pid_t rest = ::getpid(); rest != 0; rest /= 10)
        digits[length++] = static_cast<char>('0' + rest % 10);
    while (length != 0)
        pid[at++] = digits[--length];
    count[std::strlen(count.data())] = static_cast<char>('0' + plan.listening);
    std::array<char, 16> language{"LC_ALL=C"};
    std::array<char*, 4> environment{language.data(), plan.listening ? pid.data() : nullptr, count.data(),
                                     nullptr};
    ::execveat(plan.program, "", plan.arguments.data(), environment.data(), AT_EMPTY_PATH);
    give_up(plan, kNoProgram);
}

// The first process of the namespaces: builds the root, starts the program, takes the libraries away when
// told.
[[noreturn]] void keep(Plan& plan) {
    ::setsid(); // Ctrl-C is for us to decide about
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || !become_nobody_inside(plan) || !make_root())
        give_up(plan, kNoWall);
    const long child = ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
    if (child == 0)
        become_program(plan, false);
    if (child < 0)
        give_up(plan, kNoWall);
    // What only the program may hold open: others wait for these to close.
    const int keeper = ::dup2(plan.keeper, kFirst);
    if (keeper != kFirst || ::syscall(SYS_close_range, kFirst + 1, ~0u, 0) != 0)
        ::_exit(1);
    char word = 0;
    if (::read(keeper, &word, 1) == 1) {
        if (!take_libraries_away())
            ::_exit(1); // and the program with it
        (void)!::write(keeper, &word, 1);
    }
    int status = 0;
    while (::waitpid(static_cast<pid_t>(child), &status, 0) < 0 && errno == EINTR) {
    }
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 255);
}

// capabilities(7): without SECBIT_NOROOT, exec would give them back to user 0.
bool drop_capabilities() {
    constexpr unsigned long kNoRoot = 1, kNoRootLocked = 2;
    __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> none{};
    return ::prctl(PR_SET_SECUREBITS, kNoRoot | kNoRootLocked, 0, 0, 0) == 0 &&
           ::syscall(SYS_capset, &head, none.data()) == 0;
}

[[noreturn]] void without_namespaces(Plan& plan, bool landlock_needed) {
    ::setsid();
    // A privileged user's files must not be the program's. Some containers have no other user.
    const bool another_user = plan.root && ::syscall(SYS_setgroups, 0, nullptr) == 0 &&
                              ::syscall(SYS_setresgid, kNobody, kNobody, kNobody) == 0 &&
                              ::syscall(SYS_setresuid, kNobody, kNobody, kNobody) == 0;
    if (plan.root && !another_user && !drop_capabilities())
        give_up(plan, kNoWall);
    become_program(plan, landlock_needed);
}

struct Started {
    pid_t child = 0;
    base::UniqueFd keeper;
};

struct Attempt {
    enum class Outcome : uint8_t { NoWall, NoProgram, Runs } outcome = Outcome::NoWall;
    std::optional<Started> started{}; // when it runs
};

base::Result<Attempt> attempt(Plan& plan, JailedProgram::Wall wall) {
    std::array<int, 2> report{}, keeper{};
    if (::pipe2(report.data(), O_CLOEXEC) != 0)
        return base::fail(std::strerror(errno), kIo);
    base::UniqueFd heard{report[0]}, said{report[1]};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, keeper.data()) != 0)
        return base::fail(std::strerror(errno), kIo);
    base::UniqueFd ours{keeper[0]}, theirs{keeper[1]};
    plan.report = said.get();
    plan.keeper = theirs.get();
    constexpr unsigned long kNamespaces =
        CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    const bool apart = wall == JailedProgram::Wall::Namespaces;
    const auto child = static_cast<pid_t>(
        ::syscall(SYS_clone, SIGCHLD | (apart ? kNamespaces : 0), nullptr, nullptr, nullptr, nullptr));
    if (child == 0 && apart)
        keep(plan);
    if (child == 0)
        without_namespaces(plan, wall == JailedProgram::Wall::Landlock);
    if (child < 0)
        return apart ? base::Result<Attempt>(Attempt{}) : base::fail(std::strerror(errno), kIo);
    said.reset();
    theirs.reset();
    char word = 0;
    ssize_t length = 0;
    while ((length = ::read(heard.get(), &word, 1)) < 0 && errno == EINTR) {
    }
    if (length == 0)
        return Attempt{Attempt::Outcome::Runs, Started{child, std::move(ours)}};
    ours.reset();
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    return Attempt{word == kNoWall ? Attempt::Outcome::NoWall : Attempt::Outcome::NoProgram};
}

// What every plan needs of this process. The descriptor lives as long as the plan is carried out.
base::UniqueFd prepare(Plan& plan) {
    base::UniqueFd null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    plan.null = null.get();
    plan.root = ::geteuid() == 0;
    plan.uid_map = fmt::format("{} {} 1", kNobody, ::geteuid());
    plan.gid_map = fmt::format("{} {} 1", kNobody, ::getegid());
    return null;
}

} // namespace

base::Result<JailedProgram> JailedProgram::start(const std::string& program,
                                                 const std::vector<std::string>& arguments,
                                                 std::span<const int> descriptors, int listening) {
    Plan plan;
    base::UniqueFd executable;
    for (const char* folder : {"/usr/local/bin/", "/usr/bin/"})
        if (const std::string path = program.starts_with('/') ? program : folder + program;
            !executable.valid())
            executable = base::UniqueFd{::open(path.c_str(), O_PATH | O_CLOEXEC)};
    plan.program = executable.get();
    if (!executable.valid())
        return base::fail(
            fmt::format("{}, which reads it, is missing; install the package qemu-utils", program), kIo);
    std::vector<std::string> words{program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    for (std::string& word : words)
        plan.arguments.push_back(word.data());
    plan.arguments.push_back(nullptr);
    for (const int descriptor : descriptors)
        plan.descriptors.at(static_cast<size_t>(plan.count++)) = descriptor;
    plan.listening = listening;
    const base::UniqueFd null = prepare(plan);
    for (const Wall wall : {Wall::Namespaces, Wall::Landlock, Wall::None}) {
        Attempt built = TRY(attempt(plan, wall));
        if (built.started)
            return JailedProgram(wall, built.started->child, std::move(built.started->keeper));
        if (built.outcome == Attempt::Outcome::NoProgram)
            return base::fail(fmt::format("{} cannot be run; install the package qemu-utils", program), kIo);
    }
    return base::fail(fmt::format("{} cannot be walled in on this system", program), kIo);
}

base::Result<JailedProgram::Layers> JailedProgram::layers() {
    Plan plan;
    plan.arguments.push_back(nullptr);
    const base::UniqueFd null = prepare(plan);
    const auto stands = [&](Wall wall) -> base::Result<bool> {
        return TRY(attempt(plan, wall)).outcome != Attempt::Outcome::NoWall;
    };
    return Layers{TRY(stands(Wall::Namespaces)), TRY(stands(Wall::Landlock)), TRY(stands(Wall::None))};
}

JailedProgram::JailedProgram(JailedProgram&& other) noexcept
    : wall_(other.wall_), child_(std::exchange(other.child_, 0)), keeper_(std::move(other.keeper_)) {}

JailedProgram::~JailedProgram() {
    if (child_ != 0) {
        ::kill(child_, SIGKILL);
        wait();
    }
}

bool JailedProgram::close_wall() {
    if (wall_ != Wall::Namespaces)
        return true;
    char word = 1;
    return ::send(keeper_.get(), &word, 1, MSG_NOSIGNAL) == 1 && ::recv(keeper_.get(), &word, 1, 0) == 1;
}

int JailedProgram::wait() {
    keeper_.reset();
    int status = 0;
    while (child_ != 0 && ::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
    }
    child_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

} // namespace appliance_format
