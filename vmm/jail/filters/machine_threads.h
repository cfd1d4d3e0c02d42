// What the tables of a machine's threads have in common. None of them makes threads, descriptors or memory
// that runs: by then the machine is put together.
#pragma once
#include "vmm/jail/filters/filters.h"

#include <array>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace jail {

inline constexpr int kPlayer = 3; // the socket to it, by descriptor

inline constexpr std::array kOfMachineThreads {
    // malloc, of less than 4 GiB at a time
    Line{SYS_brk, "malloc"},
        Line{SYS_mmap,
             "malloc",
             {has_none(1, ~uint64_t{0xFFFFFFFF}), has_none(2, PROT_EXEC),
              has(3, MAP_PRIVATE | MAP_ANONYMOUS)}},
        Line{SYS_mprotect, "malloc's arenas; pages of windows, the poll page", {has_none(2, PROT_EXEC)}},
        Line{SYS_mremap, "realloc", {equals(3, MREMAP_MAYMOVE)}}, Line{SYS_munmap, "free"},
        Line{SYS_madvise, "free; the stack of a thread that ends", {equals(2, MADV_DONTNEED)}},
        Line{SYS_madvise, "... later", {equals(2, MADV_FREE)}}, Line{SYS_getrandom, "malloc"},
        Line{SYS_openat, "an arena would like to know how many processors there are", {}, Answer::Refuse},
        Line{SYS_sched_getaffinity, "... and asks so next"},
#if defined(__SANITIZE_ADDRESS__)
        Line{SYS_pipe2, "the sanitizers look whether memory can be read"},
        Line{SYS_process_vm_readv, "... of this process", {equals(0, kOwnProcess)}},
        Line{SYS_read, "... by a pipe"}, Line{SYS_write, "... by a pipe"}, Line{SYS_close, "... by a pipe"},
#endif
        // waiting for one another
        Line{SYS_futex, "locks, conditions"}, Line{SYS_sched_yield, "a lock that is held for an instant"},
        Line{SYS_clock_gettime, "where the kernel must be asked"},
        Line{SYS_restart_syscall, "sleeping on after a stop"},
        Line{SYS_timer_settime, "the vCPU's timer: whoever waits for it makes it look"},
        Line{SYS_rt_sigreturn, "from the handlers of faults and of the timer"},
        // its end, and the process' with a last word
        Line{SYS_rt_sigprocmask, "a thread ends"},
        Line{SYS_sigaltstack, "translated code has no stack for handlers; AddressSanitizer's threads end"},
        Line{SYS_exit, "a thread ends"}, Line{SYS_exit_group, "the process ends"},
        Line{SYS_write, "last words", {equals_int(0, STDERR_FILENO)}},
        Line{SYS_writev, "the C library's", {equals_int(0, STDERR_FILENO)}}, Line{SYS_gettid, "abort"},
        Line{SYS_getpid, "abort"}, Line{SYS_rt_sigaction, "abort; the handlers of faults"},
        Line{SYS_tgkill, "abort", {equals(0, kOwnProcess)}},
};

// Of threads that map and unmap pages of a guest's memory, which is their descriptor (kOwnDescriptor).
inline constexpr std::array kOfWindows{
    Line{SYS_mmap, "pages come into windows", {has_none(2, PROT_EXEC), equals_int(4, kOwnDescriptor)}},
    Line{SYS_mmap, "... and leave them", {equals(2, PROT_NONE), has(3, MAP_FIXED | MAP_ANONYMOUS)}},
    Line{SYS_pread64, "pages of a scene, a kernel, a disk"},
    Line{SYS_clock_nanosleep, "until the time-stamp counter is measured"},
    Line{SYS_sendto, "to the network's cable", {differs(0, kPlayer)}},
    Line{SYS_recvfrom, "... and from it", {differs(0, kPlayer)}},
    Line{SYS_write, "the cable's bell"},
};

template <size_t... kCounts> constexpr auto joined(const std::array<Line, kCounts>&... parts) {
    std::array<Line, (kCounts + ...)> all{};
    size_t next = 0;
    const auto append = [&](const auto& part) {
        for (const Line& line : part)
            all[next++] = line;
    };
    (append(parts), ...);
    return all;
}

} // namespace jail
