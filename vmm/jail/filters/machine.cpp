// The machine's process while it puts a machine together: by the one thread that reads the player's socket,
// and by others until they begin their work, which has tables of its own. All files it works with are handed
// to it, so none of this names one. What has read its libraries' files and knows its time zone is in this
// room before it hears of a guest. What a table of a thread allows, this one must: the kernel asks both.
#include "vmm/jail/filters/filters.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace jail {
namespace {

constexpr uint64_t kThread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                             CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

constexpr Line kLines[] = {
    // a guest's memory: windows come, go and change their protection all the time
    {SYS_mprotect, "pages of windows, shadow stacks, the poll page", {has_none(2, PROT_EXEC)}},
    {SYS_mmap, "windows; malloc; stacks of threads", {has_none(2, PROT_EXEC)}},
    {SYS_mmap, "translated code, which this mapping cannot write", {equals(2, PROT_READ | PROT_EXEC)}},
    {SYS_munmap, "windows; free"},
    {SYS_mremap, "realloc", {equals(3, MREMAP_MAYMOVE)}},
    {SYS_madvise, "free; stacks of threads that ended", {equals(2, MADV_DONTNEED)}},
    {SYS_madvise, "... later", {equals(2, MADV_FREE)}},
    {SYS_brk, "malloc"},
    {SYS_memfd_create, "a guest's memory, translated code"},
    {SYS_ftruncate, "their size; an overlay that is dropped"},
    {SYS_fcntl, "... which stays; the picture's does as well", {equals(1, F_ADD_SEALS)}},
    {SYS_fcntl, "... and is looked at", {equals(1, F_GET_SEALS)}},
    {SYS_fallocate, "a guest's memory is forgotten", {equals(1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)}},
    {SYS_lseek, "which of a guest's pages are there; how long a file is"},
    // faults and the timer
    {SYS_rt_sigreturn, "from the handlers of faults and of the timer"},
    {SYS_rt_sigaction, "their handlers"},
    {SYS_rt_sigprocmask, "who hears the timer; threads that begin"},
    {SYS_sigaltstack, "translated code has no stack for handlers"},
    {SYS_timer_create, "the vCPU's timer"},
    {SYS_timer_settime, "... which is set"},
    {SYS_timer_delete, "... until the end"},
    // waiting for one another
    {SYS_futex, "locks, conditions"},
    {SYS_sched_yield, "a lock that is held for an instant"},
    {SYS_clock_gettime, "guest time, where the kernel must be asked"},
    {SYS_clock_nanosleep, "until the time-stamp counter is measured"},
    {SYS_restart_syscall, "... and sleep on after a stop"},
    {SYS_poll, "the network's socket"},
    {SYS_eventfd2, "... and who wants it looked at"},
    // disks, and what the player sends for
    {SYS_pread64, "bundles, overlays"},
    {SYS_pwrite64, "overlays, what is captured"},
    {SYS_read, "eventfds"},
    {SYS_write, "eventfds; last words on standard error"},
    {SYS_writev, "... of the C library's"},
    {SYS_newfstatat, "of an open file", {has(3, AT_EMPTY_PATH)}},
    {SYS_fstat, "of an open file"},
    {SYS_close, "files that are done with"},
    {SYS_recvmsg, "the player's messages"},
    {SYS_sendmsg, "answers"},
    {SYS_recvfrom, "frames for the guest"},
    {SYS_sendto, "frames of the guest's"},
    {SYS_shutdown, "the conversation is over"},
    // threads, never processes
    {SYS_clone, "a thread", {equals(0, kThread)}},
    {SYS_clone3, "what it would do is not to be seen: the C library tries clone next", {}, Answer::Unknown},
    {SYS_set_robust_list, "a thread begins"},
    {SYS_rseq, "a thread begins"},
    {SYS_prctl, "... and has a name", {equals(0, PR_SET_NAME)}},
    {SYS_seccomp, "... and a table of its own", {equals(0, SECCOMP_SET_MODE_FILTER)}},
    {SYS_prlimit64, "limits are lowered", {equals(0, 0)}},
    {SYS_gettid, "whose timer it is"},
    {SYS_getpid, "abort"},
    {SYS_tgkill, "abort", {equals(0, kOwnProcess)}},
    {SYS_exit, "a thread ends"},
    {SYS_exit_group, "the end"},
    {SYS_getrandom, "hash tables, malloc"},
#if defined(__SANITIZE_ADDRESS__)
    {SYS_pipe2, "the sanitizers look whether memory can be read"},
    {SYS_process_vm_readv, "... of this process", {equals(0, kOwnProcess)}},
    {SYS_madvise, "... and mark their shadow", {equals(2, MADV_NOHUGEPAGE)}},
    {SYS_madvise, "... as not for core files", {equals(2, MADV_DONTDUMP)}},
#endif
    // libraries that would like to look and manage without
    {SYS_openat, "no file has a name here", {}, Answer::Refuse},
    {SYS_sched_getaffinity, "how many processors there are"},
};

} // namespace

const CallTable kMachineCalls{kLines};

} // namespace jail
