#include "vmm/jail/room.h"

#include "vmm/jail/landlock.h"
#include "vmm/jail/root.h"
#include "vmm/jail/spawn.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

namespace jail {
namespace {

decltype(Room::answer) answerer = nullptr;
bool explains = false;

// Not _exit(2), which the sanitizers use to look for leaks: that asks for more than is allowed here.
[[noreturn]] void end_at_once(int status) {
    for (;;)
        ::syscall(SYS_exit_group, status);
}

// seccomp(2), SECCOMP_RET_TRAP: the call was not made, and its result is what we leave in RAX.
void asked(int, siginfo_t* info, void* context) {
    greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    const auto argument = [&](int name) { return static_cast<uint64_t>(registers[name]); };
    const std::array<uint64_t, 6> arguments{argument(REG_RDI), argument(REG_RSI), argument(REG_RDX),
                                            argument(REG_R10), argument(REG_R8),  argument(REG_R9)};
    const int error = errno;
    const auto result =
        answerer != nullptr ? answerer(info->si_syscall, arguments) : std::optional<long>(std::nullopt);
    errno = error;
    if (result) {
        registers[REG_RAX] = *result;
        return;
    }
    if (explains) {
        std::array<char, 64> text{};
        const int length =
            std::snprintf(text.data(), text.size(), "system call %d(%#lx, %#lx, %#lx) is not allowed\n",
                          info->si_syscall, arguments[0], arguments[1], arguments[2]);
        (void)!::write(STDERR_FILENO, text.data(), std::min(text.size() - 1, static_cast<size_t>(length)));
        end_at_once(kExplained);
    }
    // As the kernel ends those that no table mentions.
    ::signal(SIGSYS, SIG_DFL);
    sigset_t all;
    sigfillset(&all);
    sigdelset(&all, SIGSYS);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    ::syscall(SYS_tgkill, ::getpid(), ::syscall(SYS_gettid), SIGSYS);
    end_at_once(kExplained);
}

base::Result<Filter> compile(const Room& room) {
    if (room.answer == nullptr && !room.explain)
        return Filter::compile(room.calls);
    answerer = room.answer;
    explains = room.explain;
    struct sigaction action {};
    action.sa_sigaction = asked;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    ::sigaction(SIGSYS, &action, nullptr);
    return Filter::compile(
        {room.calls.lines, room.explain && room.calls.rest == Answer::Kill ? Answer::Ask : room.calls.rest});
}

} // namespace

base::Result<Walls> enter(const Room& room) {
    Filter filter = TRY(compile(room));
    filter.fill_in(kOwnProcess, static_cast<uint32_t>(::getpid()));
    const bool own_namespaces = ::getpid() == 1; // else somebody else's program would be our first process
    Walls walls;
    walls.namespaces = own_namespaces && make_empty_root();
    // Some systems give namespaces and no privileges in them, and then there is no root to make.
    if (own_namespaces ? !drop_capabilities() : ::geteuid() == 0 && !drop_privileges())
        return base::fail(fmt::format("privileges cannot be given up: {}", std::strerror(errno)));
    if (::syscall(SYS_close_range, kFirstDescriptor + room.descriptors, ~0u, 0) != 0)
        return base::fail(fmt::format("descriptors cannot be closed: {}", std::strerror(errno)));
    const bool limits_memory = room.memory != 0 && kLimitsMemory;
    // Without a namespace all of the user's processes count.
    const bool limits_threads = own_namespaces || room.threads <= 1;
    if (!become_obedient() || !limit(RLIMIT_FSIZE, room.file_size) || !limit(RLIMIT_NOFILE, room.files) ||
        !limit(RLIMIT_MSGQUEUE, 0) || (limits_memory && !limit(RLIMIT_AS, room.memory)) ||
        (limits_threads && !limit(RLIMIT_NPROC, room.threads <= 1 ? 0 : room.threads)) ||
        ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return base::fail(fmt::format("a limit cannot be set: {}", std::strerror(errno)));
    walls.landlock = no_names(room.connects);
    walls.filter = filter.install();
    return walls;
}

} // namespace jail
