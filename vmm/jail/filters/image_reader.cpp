// Debian's readers of disk images. Programs that are not ours and that change with Debian's releases: what
// they need is theirs to know, so this table says what they must not do. What may be read, and run in the
// process' place, is Landlock's affair and that of the namespaces.
#include "vmm/jail/filters/filters.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>

namespace jail {
namespace {

constexpr int kClone3 = 435, kOpenat2 = 437;

constexpr Line kLines[] = {
    // other name spaces than the descriptors in hand
    {SYS_socket, "a socket leads to the network and to this computer's services", {}, Answer::Refuse},
    {SYS_connect, "so does one that it was handed", {}, Answer::Refuse},
    {SYS_bind, "nobody is to find it by a name", {}, Answer::Refuse},
    {SYS_open_by_handle_at, "opens files past their names", {}, Answer::Refuse},
    {SYS_name_to_handle_at, "makes such handles", {}, Answer::Refuse},
    {SYS_inotify_add_watch, "watches what others do with files", {}, Answer::Refuse},
    {SYS_fanotify_init, "likewise, for all of a file system", {}, Answer::Refuse},
    // files: it reads, by descriptors that it has
    {SYS_creat, "makes files", {}, Answer::Refuse},
    {SYS_mknod, "makes files and devices", {}, Answer::Refuse},
    {SYS_mknodat, "makes files and devices", {}, Answer::Refuse},
    {SYS_mkdir, "makes folders", {}, Answer::Refuse},
    {SYS_mkdirat, "makes folders", {}, Answer::Refuse},
    {SYS_rmdir, "removes folders", {}, Answer::Refuse},
    {SYS_truncate, "cuts files", {}, Answer::Refuse},
    {SYS_unlink, "removes files", {}, Answer::Refuse},
    {SYS_unlinkat, "removes files", {}, Answer::Refuse},
    {SYS_rename, "moves files", {}, Answer::Refuse},
    {SYS_renameat, "moves files", {}, Answer::Refuse},
    {SYS_renameat2, "moves files", {}, Answer::Refuse},
    {SYS_link, "gives files a second name", {}, Answer::Refuse},
    {SYS_linkat, "gives files a second name", {}, Answer::Refuse},
    {SYS_symlink, "makes links", {}, Answer::Refuse},
    {SYS_symlinkat, "makes links", {}, Answer::Refuse},
    {SYS_chmod, "opens files up to others", {}, Answer::Refuse},
    {SYS_fchmod, "opens files up to others", {}, Answer::Refuse},
    {SYS_fchmodat, "opens files up to others", {}, Answer::Refuse},
    {SYS_chown, "gives files away", {}, Answer::Refuse},
    {SYS_lchown, "gives files away", {}, Answer::Refuse},
    {SYS_fchown, "gives files away", {}, Answer::Refuse},
    {SYS_fchownat, "gives files away", {}, Answer::Refuse},
    {SYS_utime, "dates files; Landlock does not know of that", {}, Answer::Refuse},
    {SYS_utimes, "dates files", {}, Answer::Refuse},
    {SYS_futimesat, "dates files", {}, Answer::Refuse},
    {SYS_utimensat, "dates files", {}, Answer::Refuse},
    {SYS_setxattr, "marks files; Landlock does not know of that", {}, Answer::Refuse},
    {SYS_lsetxattr, "marks files", {}, Answer::Refuse},
    {SYS_fsetxattr, "marks files", {}, Answer::Refuse},
    {SYS_removexattr, "unmarks files", {}, Answer::Refuse},
    {SYS_lremovexattr, "unmarks files", {}, Answer::Refuse},
    {SYS_fremovexattr, "unmarks files", {}, Answer::Refuse},
    // file systems
    {SYS_mount, "builds another tree of files", {}, Answer::Refuse},
    {SYS_umount2, "uncovers what is below", {}, Answer::Refuse},
    {SYS_pivot_root, "another root", {}, Answer::Refuse},
    {SYS_chroot, "another root", {}, Answer::Refuse},
    {SYS_open_tree, "mount(2) by other means", {}, Answer::Refuse},
    {SYS_move_mount, "mount(2) by other means", {}, Answer::Refuse},
    {SYS_fsopen, "mount(2) by other means", {}, Answer::Refuse},
    {SYS_fsmount, "mount(2) by other means", {}, Answer::Refuse},
    {SYS_fspick, "mount(2) by other means", {}, Answer::Refuse},
    {SYS_mount_setattr, "makes read-only mounts writable", {}, Answer::Refuse},
    // processes
    {SYS_fork, "it is one process; threads are made by clone, below", {}, Answer::Refuse},
    {SYS_vfork, "likewise", {}, Answer::Refuse},
    {SYS_ptrace, "drives other processes", {}, Answer::Refuse},
    {SYS_process_vm_readv, "reads their memory", {}, Answer::Refuse},
    {SYS_process_vm_writev, "writes it", {}, Answer::Refuse},
    {SYS_kill, "signals them", {}, Answer::Refuse},
    {SYS_tkill, "signals their threads", {}, Answer::Refuse},
    {SYS_rt_sigqueueinfo, "signals them with data", {}, Answer::Refuse},
    {SYS_rt_tgsigqueueinfo, "likewise", {}, Answer::Refuse},
    {SYS_pidfd_open, "holds on to a process", {}, Answer::Refuse},
    {SYS_pidfd_getfd, "takes its descriptors", {}, Answer::Refuse},
    {SYS_pidfd_send_signal, "signals it", {}, Answer::Refuse},
    {SYS_unshare, "new namespaces bring privileges in them", {}, Answer::Refuse},
    {SYS_setns, "other processes' namespaces", {}, Answer::Refuse},
    {SYS_setpriority, "slows others down", {}, Answer::Refuse},
    {SYS_ioprio_set, "likewise", {}, Answer::Refuse},
    {SYS_migrate_pages, "moves others' memory", {}, Answer::Refuse},
    {SYS_move_pages, "likewise", {}, Answer::Refuse},
    // System V's and POSIX' own names
    {SYS_shmget, "memory that others find by a number", {}, Answer::Refuse},
    {SYS_shmat, "maps it", {}, Answer::Refuse},
    {SYS_shmctl, "removes it", {}, Answer::Refuse},
    {SYS_semget, "semaphores that others find by a number", {}, Answer::Refuse},
    {SYS_semop, "uses them", {}, Answer::Refuse},
    {SYS_semtimedop, "uses them", {}, Answer::Refuse},
    {SYS_semctl, "removes them", {}, Answer::Refuse},
    {SYS_msgget, "queues that others find by a number", {}, Answer::Refuse},
    {SYS_msgsnd, "writes to them", {}, Answer::Refuse},
    {SYS_msgrcv, "reads them", {}, Answer::Refuse},
    {SYS_msgctl, "removes them", {}, Answer::Refuse},
    {SYS_mq_open, "queues that others find by a name", {}, Answer::Refuse},
    {SYS_mq_unlink, "removes them", {}, Answer::Refuse},
    // the kernel's wide doors
    {SYS_io_uring_setup, "does all of the above past this filter", {}, Answer::Refuse},
    {SYS_bpf, "runs programs in the kernel", {}, Answer::Refuse},
    {SYS_perf_event_open, "watches other processes, and is often at fault", {}, Answer::Refuse},
    {SYS_userfaultfd, "stops the kernel at a page of its choice, which exploits want", {}, Answer::Refuse},
    {SYS_add_key, "the account's keyrings", {}, Answer::Refuse},
    {SYS_request_key, "the account's keyrings", {}, Answer::Refuse},
    {SYS_keyctl, "the account's keyrings", {}, Answer::Refuse},
    {SYS_kexec_load, "another kernel", {}, Answer::Refuse},
    {SYS_init_module, "more kernel", {}, Answer::Refuse},
    {SYS_finit_module, "more kernel", {}, Answer::Refuse},
    // newer forms whose arguments a filter cannot see: callers fall back on the older ones
    {kClone3, "its flags are in memory; clone is judged below", {}, Answer::Unknown},
    {kOpenat2, "its flags are in memory; openat is judged below", {}, Answer::Unknown},
    // of these, arguments decide
    {SYS_open, "files are not written", {has(1, O_WRONLY)}, Answer::Refuse},
    {SYS_open, "files are not written", {has(1, O_RDWR)}, Answer::Refuse},
    {SYS_open, "files are not written", {has(1, O_CREAT)}, Answer::Refuse},
    {SYS_open, "files are not written", {has(1, O_TRUNC)}, Answer::Refuse},
    {SYS_openat, "files are not written", {has(2, O_WRONLY)}, Answer::Refuse},
    {SYS_openat, "files are not written", {has(2, O_RDWR)}, Answer::Refuse},
    {SYS_openat, "files are not written", {has(2, O_CREAT)}, Answer::Refuse},
    {SYS_openat, "files are not written", {has(2, O_TRUNC)}, Answer::Refuse},
    {SYS_clone, "threads are made, processes not", {has_none(0, CLONE_THREAD)}, Answer::Refuse},
    {SYS_tgkill, "abort(3) signals the own process", {differs(0, kOwnProcess)}, Answer::Refuse},
    {SYS_prlimit64, "the own limits are read; 0 is the own process", {differs(0, 0)}, Answer::Refuse},
};

} // namespace

const CallTable kImageReaderCalls{kLines, Answer::Allow};

} // namespace jail
