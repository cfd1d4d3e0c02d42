#include "appliance-format/jail_filter.h"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
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

bool allow(int ruleset, int parent, uint64_t rights) {
    const PathBeneath rule{rights, parent};
    return ::syscall(kAddRule, ruleset, kRulePathBeneath, &rule, 0) == 0;
}

bool allow(int ruleset, const char* path, uint64_t rights) {
    const int parent = ::open(path, O_PATH | O_CLOEXEC);
    if (parent < 0)
        return errno == ENOENT;
    const bool added = allow(ruleset, parent, rights);
    ::close(parent);
    return added;
}

// Whatever leads to another name space than the descriptors in hand, changes what a name leads to (Landlock
// knows neither attributes nor owners), reaches other processes, or is no business of a reader of images.
constexpr std::array kDenied{
    SYS_socket, SYS_connect, SYS_bind,
    // files
    SYS_creat, SYS_truncate, SYS_unlink, SYS_unlinkat, SYS_rename, SYS_renameat, SYS_renameat2, SYS_mkdir,
    SYS_mkdirat, SYS_rmdir, SYS_link, SYS_linkat, SYS_symlink, SYS_symlinkat, SYS_mknod, SYS_mknodat,
    SYS_chmod, SYS_fchmod, SYS_fchmodat, SYS_chown, SYS_lchown, SYS_fchown, SYS_fchownat, SYS_utime,
    SYS_utimes, SYS_futimesat, SYS_utimensat, SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_removexattr,
    SYS_lremovexattr, SYS_fremovexattr, SYS_open_by_handle_at, SYS_name_to_handle_at, SYS_inotify_add_watch,
    SYS_fanotify_init,
    // file systems
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_open_tree, SYS_move_mount, SYS_fsopen,
    SYS_fsmount, SYS_fspick, SYS_mount_setattr,
    // processes
    SYS_fork, SYS_vfork, SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kill, SYS_tkill,
    SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_pidfd_open, SYS_pidfd_getfd, SYS_pidfd_send_signal,
    SYS_unshare, SYS_setns, SYS_setpriority, SYS_ioprio_set, SYS_migrate_pages, SYS_move_pages,
    // System V's and POSIX' own names
    SYS_shmget, SYS_shmat, SYS_shmctl, SYS_semget, SYS_semop, SYS_semtimedop, SYS_semctl, SYS_msgget,
    SYS_msgsnd, SYS_msgrcv, SYS_msgctl, SYS_mq_open, SYS_mq_unlink,
    // the kernel
    SYS_io_uring_setup, SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_add_key, SYS_request_key,
    SYS_keyctl, SYS_kexec_load, SYS_init_module, SYS_finit_module};

// Newer forms whose arguments a filter cannot see: callers fall back on the older ones.
constexpr long kClone3 = 435, kOpenat2 = 437;
constexpr std::array kUnknown{kClone3, kOpenat2};

class Filter {
  public:
    void load(size_t offset) { add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset))); }
    void answer(uint32_t verdict) { add(BPF_STMT(BPF_RET | BPF_K, verdict)); }
    // Otherwise the next `skip` steps are left out.
    void if_(uint16_t test, uint32_t value, uint8_t skip) {
        add(BPF_JUMP(BPF_JMP | BPF_K | test, value, 0, skip));
    }
    void unless(uint16_t test, uint32_t value, uint8_t skip) {
        add(BPF_JUMP(BPF_JMP | BPF_K | test, value, skip, 0));
    }
    void deny(long call, int error) {
        if_(BPF_JEQ, static_cast<uint32_t>(call), 1);
        answer(refusal(error));
    }
    // Of this call, one argument decides.
    void judge(long call, size_t argument, uint16_t test, uint32_t value, uint32_t yes, uint32_t no) {
        if_(BPF_JEQ, static_cast<uint32_t>(call), 4);
        load(offsetof(seccomp_data, args) + argument * sizeof(uint64_t)); // its lower half
        if_(test, value, 1);
        answer(yes);
        answer(no);
    }
    [[nodiscard]] bool apply() {
        const sock_fprog text{static_cast<unsigned short>(size_), steps_.data()};
        return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &text, 0, 0) == 0;
    }
    static constexpr uint32_t refusal(int error) { return SECCOMP_RET_ERRNO | static_cast<uint32_t>(error); }

  private:
    void add(sock_filter step) { steps_[size_++] = step; }
    std::array<sock_filter, 2 * kDenied.size() + 64> steps_{};
    size_t size_ = 0;
};

} // namespace

bool read_only_libraries(int program) {
    const long version = ::syscall(kCreate, nullptr, 0, kAskVersion);
    if (version < 1)
        return false;
    const Ruleset all = everything(version);
    const size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    const int ruleset = static_cast<int>(::syscall(kCreate, &all, size, 0));
    if (ruleset < 0)
        return false;
    bool done = true;
    for (const char* name :
         {"/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache"})
        done = done && allow(ruleset, name, kReadFile);
    // A program is run by its loader.
    done = done && allow(ruleset, "/lib64/ld-linux-x86-64.so.2", kExecute | kReadFile) &&
           (program < 0 || allow(ruleset, program, kExecute | kReadFile)) &&
           ::syscall(kRestrictSelf, ruleset, 0) == 0;
    ::close(ruleset);
    return done;
}

bool filter_calls() {
    constexpr uint32_t kAllow = SECCOMP_RET_ALLOW, kRefuse = Filter::refusal(EPERM);
    constexpr uint32_t kX32 = 0x40000000; // the other way to call the same kernel
    constexpr uint32_t kWrites = O_ACCMODE | O_CREAT | O_TRUNC;
    const auto own = static_cast<uint32_t>(::getpid()); // exec keeps it
    Filter filter;
    filter.load(offsetof(seccomp_data, arch));
    filter.unless(BPF_JEQ, AUDIT_ARCH_X86_64, 1);
    filter.answer(SECCOMP_RET_KILL_PROCESS);
    filter.load(offsetof(seccomp_data, nr));
    for (const long call : kDenied)
        filter.deny(call, EPERM);
    for (const long call : kUnknown)
        filter.deny(call, ENOSYS);
    filter.judge(SYS_open, 1, BPF_JSET, kWrites, kRefuse, kAllow);
    filter.judge(SYS_openat, 2, BPF_JSET, kWrites, kRefuse, kAllow);
    filter.judge(SYS_clone, 0, BPF_JSET, CLONE_THREAD, kAllow, kRefuse);
    filter.judge(SYS_tgkill, 0, BPF_JEQ, own, kAllow, kRefuse); // abort(3)
    filter.judge(SYS_prlimit64, 0, BPF_JEQ, 0, kAllow, kRefuse);
    filter.if_(BPF_JGE, kX32, 1);
    filter.answer(Filter::refusal(ENOSYS));
    filter.answer(kAllow);
    return filter.apply();
}

} // namespace appliance_format
