#include "tests/vmm/jail/room_attempts.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

namespace jail_test {

Target target{};

namespace {

template <class... Arguments> long call(long number, Arguments... arguments) {
    return ::syscall(number, arguments...);
}

const char* in_folder(const char* name) {
    static std::array<char, 200> path;
    std::snprintf(path.data(), path.size(), "%s/%s", target.folder, name);
    return path.data();
}

long exec(int descriptor, const char* path) {
    std::array<char*, 1> none{};
    return call(SYS_execveat, descriptor, path, none.data(), none.data(), descriptor < 0 ? 0 : AT_EMPTY_PATH);
}

long in_child(long child) {
    if (child == 0)
        ::_exit(0);
    return child;
}

long connect_to(const char* path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "%.*s", 100, path);
    return ::connect(::socket(AF_UNIX, SOCK_STREAM, 0), reinterpret_cast<sockaddr*>(&address),
                     sizeof address);
}

long bind_port() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return ::bind(::socket(AF_INET, SOCK_STREAM, 0), reinterpret_cast<sockaddr*>(&address), sizeof address);
}

void* page(int protection) { return ::mmap(nullptr, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }
long mapped(void* at) { return at == MAP_FAILED ? -1 : 0; }

long look_into(long number) {
    long word = 0x600D;
    iovec own{&word, sizeof word}, other{reinterpret_cast<void*>(target.variable), sizeof word};
    return call(number, target.process, &own, 1, &other, 1, 0);
}

// Through the door for 32-bit programs: getpid(2) there.
long as_32_bit() {
    long result = 20;
    asm volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    return result < 0 ? -1 : 0;
}

long queue_signal() {
    std::array<int, 32> info{SIGWINCH, 0, -1}; // si_code: SI_QUEUE
    return call(SYS_rt_sigqueueinfo, target.process, SIGWINCH, info.data());
}

constexpr long kClone3 = 435, kOpenat2 = 437, kX32 = 0x40000000;

} // namespace

const RoomAttempt kRoomAttempts[] = {
    // files
    {"read a file", Outside::Works, [] { return long{::open(in_folder("file"), O_RDONLY)}; }},
    {"write a file", Outside::Works, [] { return long{::open(in_folder("file"), O_WRONLY | O_APPEND)}; }},
    {"make a file", Outside::Works, [] { return long{::open(in_folder("new"), O_WRONLY | O_CREAT, 0600)}; }},
    {"list a folder", Outside::Works, [] { return long{::open(target.folder, O_RDONLY | O_DIRECTORY)}; }},
    {"open by open(2)", Outside::Works, [] { return call(SYS_open, in_folder("file"), O_RDONLY); }},
    {"open by openat2(2)", Outside::Works,
     [] {
         const std::array<uint64_t, 3> how{};
         return call(kOpenat2, AT_FDCWD, in_folder("file"), how.data(), sizeof how);
     }},
    {"open the name server's file to write", Outside::Root,
     [] { return long{::open("/etc/resolv.conf", O_WRONLY | O_APPEND)}; }},
    {"look at a file", Outside::Works,
     [] {
         struct stat info {};
         return long{::stat(in_folder("file"), &info)};
     }},
    {"look at a file by statx(2)", Outside::Works,
     [] {
         struct statx info {};
         return long{::statx(AT_FDCWD, in_folder("file"), 0, STATX_ALL, &info)};
     }},
    {"read a link", Outside::Works,
     [] {
         std::array<char, 99> room{};
         return long{::readlink("/proc/self/exe", room.data(), room.size())};
     }},
    {"remove a file", Outside::Works, [] { return long{::unlink(in_folder("file"))}; }},
    {"rename a file", Outside::Works,
     [] {
         const std::string from = in_folder("file");
         return long{::rename(from.c_str(), in_folder("moved"))};
     }},
    {"link a file", Outside::Works,
     [] {
         const std::string from = in_folder("file");
         return long{::link(from.c_str(), in_folder("second"))};
     }},
    {"make a link", Outside::Works, [] { return long{::symlink("/", in_folder("link"))}; }},
    {"make a folder", Outside::Works, [] { return long{::mkdir(in_folder("sub"), 0700)}; }},
    {"open a file up", Outside::Works, [] { return long{::chmod(in_folder("file"), 0666)}; }},
    {"cut a file", Outside::Works, [] { return long{::truncate(in_folder("file"), 0)}; }},
    {"go to a folder", Outside::Works, [] { return long{::chdir(target.folder)}; }},
    {"take another root", Outside::Root, [] { return long{::chroot(target.folder)}; }},
    {"watch files", Outside::Works, [] { return call(SYS_inotify_init1, 0); }},
    {"take a file's handle", Outside::Fails,
     [] {
         std::array<unsigned, 40> handle{128};
         int mount = 0;
         return call(SYS_name_to_handle_at, AT_FDCWD, target.folder, handle.data(), &mount, 0);
     }},
    {"write to a read-only descriptor", Outside::Fails, [] { return long{::write(kReadOnly, "x", 1)}; }},
    {"cut a read-only descriptor", Outside::Fails, [] { return long{::ftruncate(kReadOnly, 0)}; }},
    {"read a descriptor that was not handed over", Outside::Fails,
     [] {
         char byte = 0;
         for (int fd = target.others; fd < 64; ++fd)
             if (::read(fd, &byte, 0) == 0)
                 return 0L;
         return -1L;
     }},
    // sockets
    {"connect to a socket of this computer's", Outside::Works,
     [] { return connect_to(in_folder("socket")); }},
    {"make a pair of sockets", Outside::Works,
     [] {
         std::array<int, 2> pair{};
         return long{::socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data())};
     }},
    {"make a socket of the kernel's routes", Outside::Works,
     [] { return long{::socket(AF_NETLINK, SOCK_RAW, 0)}; }},
    {"hear the wire", Outside::Root, [] { return long{::socket(AF_PACKET, SOCK_RAW, 0)}; }},
    {"make an IPv6 socket", Outside::Fails, [] { return long{::socket(AF_INET6, SOCK_STREAM, 0)}; }},
    {"make a raw socket", Outside::Root, [] { return long{::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)}; }},
    {"take a port", Outside::Works, [] { return bind_port(); }},
    {"serve", Outside::Works, [] { return long{::listen(::socket(AF_INET, SOCK_STREAM, 0), 1)}; }},
    {"route a socket by another device", Outside::Root,
     [] {
         return long{::setsockopt(::socket(AF_INET, SOCK_DGRAM, 0), SOL_SOCKET, SO_BINDTODEVICE, "lo", 3)};
     }},
    {"list the network's devices", Outside::Works,
     [] {
         std::array<char, 64> request{"lo"};
         constexpr unsigned long kFlags = 0x8913; // SIOCGIFFLAGS
         return long{::ioctl(::socket(AF_INET, SOCK_DGRAM, 0), kFlags, request.data())};
     }},
    // programs and processes
    {"become another program", Outside::Replaces, [] { return exec(AT_FDCWD, "/bin/true"); }},
    {"run a program out of memory", Outside::Replaces,
     [] {
         const int file = static_cast<int>(call(SYS_memfd_create, "x", 0));
         return ::write(file, "#!/bin/true\n", 12) == 12 ? exec(file, "") : -1;
     }},
    {"make a file in memory", Outside::Works, [] { return call(SYS_memfd_create, "x", 0); }},
    {"fork", Outside::Works, [] { return in_child(call(SYS_fork)); }},
    {"fork by clone", Outside::Works, [] { return in_child(call(SYS_clone, SIGCHLD, 0, 0, 0, 0)); }},
    {"fork by clone3", Outside::Works,
     [] {
         const std::array<uint64_t, 8> how{0, 0, 0, 0, SIGCHLD};
         return in_child(call(kClone3, how.data(), sizeof how));
     }},
    {"signal a process", Outside::Works, [] { return long{::kill(target.process, SIGWINCH)}; }},
    {"signal everybody", Outside::Fails, [] { return long{::kill(-1, 0)}; }},
    {"signal a thread", Outside::Works,
     [] { return call(SYS_tgkill, target.process, target.process, SIGWINCH); }},
    {"queue a signal", Outside::Works, [] { return queue_signal(); }},
    {"hold a process", Outside::Works, [] { return call(SYS_pidfd_open, target.process, 0); }},
    {"trace a process", Outside::Root,
     [] { return call(SYS_ptrace, 0x4206 /* SEIZE */, target.process, 0, 0); }},
    {"read a process' memory", Outside::Root, [] { return look_into(SYS_process_vm_readv); }},
    {"write a process' memory", Outside::Root, [] { return look_into(SYS_process_vm_writev); }},
    {"limit a process", Outside::Works,
     [] {
         rlimit old{};
         return call(SYS_prlimit64, target.process, RLIMIT_CORE, 0, &old);
     }},
    {"raise a limit", Outside::Root,
     [] {
         const rlimit more{1u << 20, 1u << 20};
         return long{::setrlimit(RLIMIT_NOFILE, &more)};
     }},
    {"compare processes", Outside::Root,
     [] { return call(SYS_kcmp, target.process, target.process, 2 /* FS */, 0, 0); }},
    {"slow others down", Outside::Root, [] { return long{::setpriority(PRIO_PROCESS, 0, -5)}; }},
    {"choose a processor", Outside::Works,
     [] {
         cpu_set_t all;
         std::memset(&all, 0xFF, sizeof all);
         return long{::sched_setaffinity(0, sizeof all, &all)};
     }},
    // privileges, name spaces
    {"become another user", Outside::Root, [] { return call(SYS_setresuid, 1, 1, 1); }},
    {"take privileges", Outside::Works,
     [] {
         std::array<unsigned, 2> head{0x20080522, 0};
         std::array<unsigned, 6> none{};
         return call(SYS_capset, head.data(), none.data());
     }},
    {"mount a file system", Outside::Root,
     [] {
         return ::unshare(CLONE_NEWNS) != 0 ||
                        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0
                    ? -1L
                    : long{::mount("none", target.folder, "tmpfs", 0, nullptr)};
     }},
    {"begin a mount", Outside::Root, [] { return call(SYS_fsopen, "tmpfs", 0); }},
    {"leave its name spaces", Outside::Works, [] { return long{::unshare(CLONE_FS)}; }},
    {"make name spaces", Outside::Root, [] { return long{::unshare(CLONE_NEWUTS)}; }},
    // the kernel's wide doors
    {"use a keyring", Outside::Works, [] { return call(SYS_keyctl, 0, -4, 1, 0, 0); }},
    {"add a key", Outside::Works, [] { return call(SYS_add_key, "user", "x", "y", 1, -2); }},
    {"be looked into", Outside::Works, [] { return long{::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)}; }},
    {"outlive its starter", Outside::Works, [] { return long{::prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)}; }},
    {"lay another filter over", Outside::Fails,
     [] { return call(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, 0); }},
    {"make a ring of calls", Outside::Fails,
     [] {
         std::array<unsigned, 30> parameters{};
         return call(SYS_io_uring_setup, 4, parameters.data());
     }},
    {"serve page faults", Outside::Fails, [] { return call(SYS_userfaultfd, 1 /* user mode only */); }},
    {"load a program into the kernel", Outside::Fails, [] { return call(SYS_bpf, 0, 0, 0); }},
    {"count events", Outside::Fails,
     [] {
         std::array<uint64_t, 16> what{1, 128};
         return call(SYS_perf_event_open, what.data(), 0, -1, -1, 0);
     }},
    {"begin asynchronous reads", Outside::Fails,
     [] {
         unsigned long context = 0;
         return call(SYS_io_setup, 1, &context);
     }},
    {"share memory by number", Outside::Works, [] { return call(SYS_shmget, 0, 4096, 0600); }},
    {"read the kernel's log", Outside::Root, [] { return call(SYS_syslog, 10, 0, 0); }},
    {"use ports", Outside::Fails, [] { return call(SYS_iopl, 3); }},
    {"change segments", Outside::Fails,
     [] {
         std::array<char, 64> room{};
         return call(SYS_modify_ldt, 0, room.data(), room.size());
     }},
    {"make all memory run", Outside::Works, [] { return call(SYS_personality, 0x0400000); }},
    {"call as a 32-bit program", Outside::Fails, [] { return as_32_bit(); }},
    {"call as an x32 program", Outside::Fails, [] { return call(kX32 | SYS_getpid); }},
    // memory that runs
    {"map memory that is written and run", Outside::Works,
     [] { return mapped(page(PROT_READ | PROT_WRITE | PROT_EXEC)); }},
    {"map memory that is run", Outside::Works, [] { return mapped(page(PROT_READ | PROT_EXEC)); }},
    {"map a file", Outside::Works,
     [] { return mapped(::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, kReadOnly, 0)); }},
    {"make written memory run", Outside::Works,
     [] {
         void* at = page(PROT_READ | PROT_WRITE);
         return long{::mprotect(at, 4096, PROT_READ | PROT_EXEC)};
     }},
    {"make it run with a key", Outside::Fails,
     [] {
         void* at = page(PROT_READ | PROT_WRITE);
         return call(SYS_pkey_mprotect, at, 4096, PROT_READ | PROT_EXEC, -1);
     }},
    {"make its own code writable", Outside::Works,
     [] {
         const auto code = reinterpret_cast<uintptr_t>(&bind_port) & ~uintptr_t{4095};
         return long{::mprotect(reinterpret_cast<void*>(code), 4096, PROT_READ | PROT_WRITE | PROT_EXEC)};
     }},
    {"take more memory than its limit", Outside::Works,
     [] { return mapped(::mmap(nullptr, size_t{8} << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); }},
};
const size_t kRoomAttemptCount = std::size(kRoomAttempts);

} // namespace jail_test
