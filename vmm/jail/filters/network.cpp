// The network process: one thread that carries a guest's frames, by libslirp, to sockets of this computer's.
// Its libraries are loaded and its ports forwarded before it is walled in.
#include "vmm/jail/filters/filters.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace jail {
namespace {

// Of a socket's type, beside these.
constexpr uint64_t kType = ~uint64_t{SOCK_CLOEXEC | SOCK_NONBLOCK};

constexpr Line kLines[] = {
    // connections of the guest's, by IPv4 alone: no sockets of this computer's own (AF_UNIX), none that tell
    // of
    // its network (AF_NETLINK) or hear all of it (AF_PACKET)
    {SYS_socket, "a guest's TCP", {equals(0, AF_INET), bits_are(1, kType, SOCK_STREAM), equals(2, 0)}},
    {SYS_socket, "a guest's UDP", {equals(0, AF_INET), bits_are(1, kType, SOCK_DGRAM), equals(2, 0)}},
    {SYS_socket,
     "a guest's pings",
     {equals(0, AF_INET), bits_are(1, kType, SOCK_DGRAM), equals(2, IPPROTO_ICMP)}},
    {SYS_socket,
     "tried where pings are not allowed",
     {equals(0, AF_INET), bits_are(1, kType, SOCK_RAW)},
     Answer::Refuse},
    {SYS_connect, "a guest's connection begins"},
    {SYS_accept, "one to a forwarded port arrives"},
    {SYS_sendto, "a guest's bytes go out; orders' answers"},
    {SYS_sendmsg, "datagrams go out"},
    {SYS_recvfrom, "bytes for a guest; orders"},
    {SYS_recvmsg, "datagrams for a guest, with their senders"},
    {SYS_shutdown, "a guest closed one direction"},
    {SYS_getsockname, "which port a socket got"},
    {SYS_getpeername, "who is at the other end"},
    {SYS_getsockopt, "why a connection failed", {equals(1, SOL_SOCKET), equals(2, SO_ERROR)}},
    {SYS_setsockopt, "urgent bytes in line", {equals(1, SOL_SOCKET), equals(2, SO_OOBINLINE)}},
    {SYS_setsockopt, "ports that were in use a moment ago", {equals(1, SOL_SOCKET), equals(2, SO_REUSEADDR)}},
    {SYS_setsockopt, "the guest's own packing", {equals(1, IPPROTO_TCP), equals(2, TCP_NODELAY)}},
    {SYS_setsockopt, "the guest's time to live", {equals(1, IPPROTO_IP), equals(2, IP_TTL)}},
    {SYS_setsockopt, "why a datagram was not delivered", {equals(1, IPPROTO_IP), equals(2, IP_RECVERR)}},
    {SYS_ioctl, "how much has arrived", {equals(1, FIONREAD)}},
    {SYS_fcntl, "sockets that do not block", {equals(1, F_GETFL)}},
    {SYS_fcntl, "sockets that do not block", {equals(1, F_SETFL)}},
    {SYS_fcntl, "sockets that no program inherits", {equals(1, F_GETFD)}},
    {SYS_fcntl, "sockets that no program inherits", {equals(1, F_SETFD)}},
    {SYS_poll, "sleep until something happens"},
    {SYS_restart_syscall, "... and sleep on after a stop"},
    {SYS_read, "bells of the ring of frames"},
    {SYS_write, "bells of the ring of frames"},
    {SYS_close, "connections end"},
    // libslirp looks for the name server in a file; what it finds there is what our orders say
    {SYS_openat, "only /etc/resolv.conf, which is a pipe of ours", {}, Answer::Ask},
    {SYS_newfstatat, "only of that", {}, Answer::Ask},
    {SYS_fstat, "only of that", {}, Answer::Ask},
    {SYS_pipe2, "... which is made for it"},
    {SYS_lseek, "tried on it when it is closed"},
    // memory: never any that runs
    {SYS_brk, "malloc"},
    {SYS_mmap, "malloc", {has_none(2, PROT_EXEC), has(3, MAP_PRIVATE | MAP_ANONYMOUS)}},
    {SYS_munmap, "free"},
    {SYS_mremap, "realloc"},
    {SYS_madvise, "free", {equals(2, MADV_DONTNEED)}},
    {SYS_mprotect, "malloc's arenas", {has_none(2, PROT_EXEC)}},
    {SYS_futex, "locks in the libraries"},
    {SYS_clock_gettime, "TCP's timers, where the kernel must be asked"},
    {SYS_gettimeofday, "TCP's timers, where the kernel must be asked"},
    {SYS_getpid, "the libraries' messages"},
    {SYS_rt_sigreturn, "from the handler that answers for the name server's file"},
    {SYS_exit_group, "the end"},
};

} // namespace

const CallTable kNetworkCalls{kLines};

} // namespace jail
