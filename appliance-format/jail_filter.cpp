#include "appliance-format/jail_filter.h"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace appliance_format {

namespace {

// Documentation/userspace-api/landlock.rst. Later kernels know more rights than Debian 12's headers do.
struct Ruleset {
    uint64_t file_system, network, scopes;
};
struct [[gnu::packed]] PathBeneath {
    uint64_t allowed;
    int32_t parent;
};
constexpr unsigned kCreate = 444, kAddRule = 445, kRestrictSelf = 446; // system calls
constexpr unsigned kAskVersion = 1, kRulePathBeneath = 1;
constexpr uint64_t kExecute = 1, kReadFile = 4;

// The rights of each version: all that it can forbid is forbidden.
Ruleset everything(long version) {
    uint64_t rights = (1u << 13) - 1; // execute to make_sym
    if (version >= 2)
        rights |= 1u << 13; // refer
    if (version >= 3)
        rights |= 1u << 14; // truncate
    if (version >= 5)
        rights |= 1u << 15; // ioctl_dev
    return {rights, version >= 4 ? 3u : 0u, version >= 6 ? 3u : 0u};
}

bool allow(int ruleset, const char* path, uint64_t rights) {
    const int parent = ::open(path, O_PATH | O_CLOEXEC);
    if (parent < 0)
        return errno == ENOENT;
    const PathBeneath rule{rights, parent};
    const bool added = ::syscall(kAddRule, ruleset, kRulePathBeneath, &rule, 0) == 0;
    ::close(parent);
    return added;
}

constexpr uint32_t deny(int error) { return SECCOMP_RET_ERRNO | static_cast<uint32_t>(error); }

} // namespace

bool read_only_libraries() {
    const long version = ::syscall(kCreate, nullptr, 0, kAskVersion);
    if (version < 1)
        return false;
    const Ruleset all = everything(version);
    const size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    const int ruleset = static_cast<int>(::syscall(kCreate, &all, size, 0));
    if (ruleset < 0)
        return false;
    bool done = true;
    for (const char* folder :
         {"/usr/bin", "/usr/local/bin", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64"})
        done = done && allow(ruleset, folder, kExecute | kReadFile);
    done = done && allow(ruleset, "/etc/ld.so.cache", kReadFile) && ::syscall(kRestrictSelf, ruleset, 0) == 0;
    ::close(ruleset);
    return done;
}

bool filter_calls() {
    // Whatever leads to another name space than the descriptors in hand, and what a reader of images never
    // needs of the kernel.
    constexpr std::array kDenied{SYS_socket,
                                 SYS_connect,
                                 SYS_bind,
                                 SYS_ptrace,
                                 SYS_process_vm_readv,
                                 SYS_process_vm_writev,
                                 SYS_mount,
                                 SYS_umount2,
                                 SYS_pivot_root,
                                 SYS_chroot,
                                 SYS_unshare,
                                 SYS_setns,
                                 SYS_open_by_handle_at,
                                 SYS_open_tree,
                                 SYS_move_mount,
                                 SYS_fsopen,
                                 SYS_fsmount,
                                 SYS_io_uring_setup,
                                 SYS_bpf,
                                 SYS_perf_event_open,
                                 SYS_userfaultfd,
                                 SYS_add_key,
                                 SYS_request_key,
                                 SYS_keyctl,
                                 SYS_kexec_load,
                                 SYS_init_module,
                                 SYS_finit_module,
                                 SYS_pidfd_getfd,
                                 SYS_kill};
    constexpr unsigned kX32 = 0x40000000; // the other way to call the same kernel
    constexpr size_t kHead = 4;
    std::array<sock_filter, kHead + 2 * kDenied.size() + 3> program{};
    size_t at = 0;
    const auto load = [&](size_t offset) {
        program[at++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset));
    };
    load(offsetof(seccomp_data, arch));
    program[at++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    program[at++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    load(offsetof(seccomp_data, nr));
    for (const long call : kDenied) {
        program[at++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 1);
        program[at++] = BPF_STMT(BPF_RET | BPF_K, deny(EPERM));
    }
    program[at++] = BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kX32, 1, 0);
    program[at++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program[at++] = BPF_STMT(BPF_RET | BPF_K, deny(ENOSYS));
    const sock_fprog text{static_cast<unsigned short>(program.size()), program.data()};
    return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &text, 0, 0) == 0;
}

} // namespace appliance_format
