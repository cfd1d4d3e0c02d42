// What the memory scheme for 64-bit guests rests on, measured on this host: the user half of a guest's
// addresses at the same host addresses, its kernel half folded over them (host = guest + 2^47 - 2^32),
// protection keys between the two, and a worker process for each guest address space. Prints figures, and
// says of each thing the scheme relies on whether it holds here. vmm/README.md, "64-bit guests", has the
// reasoning.
//
//     address_scheme
#include "vmm/base/unique_fd.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <immintrin.h>
#include <linux/futex.h>
#include <sched.h>
#include <string>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr size_t kPage = 4096;
constexpr uint64_t kUserEnd = uint64_t{1} << 47;
constexpr uint64_t kFold = kUserEnd - (uint64_t{1} << 32); // a segment base must be canonical: 2^47 is not
constexpr uint64_t kKernel = 0xFFFF888000000000;           // Linux's direct map begins there

using Clock = std::chrono::steady_clock;

// The fastest of several turns, in nanoseconds for each of `count`.
template <class F> double least(size_t count, F&& turn, int turns = 9) {
    double best = 1e18;
    for (int i = 0; i < turns; ++i) {
        const auto from = Clock::now();
        turn();
        const std::chrono::duration<double, std::nano> spent = Clock::now() - from;
        best = std::min(best, spent.count() / static_cast<double>(count));
    }
    return best;
}

void row(const char* name, double ns) { std::printf("%-64s %10.2f ns\n", name, ns); }
void fact(const char* name, bool holds) { std::printf("%-64s %10s\n", name, holds ? "yes" : "NO"); }
void heading(const char* name) { std::printf("\n%s\n", name); }

[[noreturn]] void fail(const char* what) {
    std::perror(what);
    std::exit(1);
}

// A file of pages, as guest memory is.
struct Pages {
    explicit Pages(size_t pages) : size(pages * kPage), fd(memfd_create("pages", MFD_CLOEXEC)) {
        if (fd.get() < 0 || ftruncate(fd.get(), static_cast<off_t>(size)) != 0)
            fail("memfd");
    }
    void* map(uint64_t at, size_t first, size_t pages, int protection = PROT_READ | PROT_WRITE,
              int more = 0) const {
        return mmap(reinterpret_cast<void*>(at), pages * kPage, protection,
                    MAP_SHARED | (at != 0 ? MAP_FIXED : 0) | more, fd.get(),
                    static_cast<off_t>(first * kPage));
    }
    size_t size;
    base::UniqueFd fd;
};

cpu_set_t all_processors; // this process may use

void pin(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(processor), &set);
    sched_setaffinity(0, sizeof set, &set);
}

uint32_t read_pkru() { return _rdpkru_u32(); }
void write_pkru(uint32_t value) { _wrpkru(value); }
constexpr uint32_t closed(int key) { return 3u << (2 * key); }
constexpr uint32_t read_only(int key) { return 2u << (2 * key); }

// -- operands ------------------------------------------------------------------------------------------

constexpr size_t kLinks = 2048, kSteps = 200'000; // 16 KiB: within the first cache

// A ring of pointers in random order; each holds the next one's address as the form under test wants it.
void make_ring(uint64_t* ring, uint64_t added) {
    std::vector<size_t> order(kLinks);
    for (size_t i = 0; i < kLinks; ++i)
        order[i] = i;
    uint32_t seed = 1;
    for (size_t i = kLinks - 1; i > 0; --i) {
        seed = seed * 1664525 + 1013904223;
        std::swap(order[i], order[seed % (i + 1)]);
    }
    for (size_t i = 0; i < kLinks; ++i)
        ring[order[i]] = reinterpret_cast<uint64_t>(&ring[order[(i + 1) % kLinks]]) + added;
}

// Eight steps, so that the loop around them does not count.
#define EIGHT(step) step step step step step step step step

#define CHASE(name, step)                                                                                    \
    uint64_t name(uint64_t at, uint64_t other) {                                                             \
        for (size_t i = 0; i < kSteps / 8; ++i)                                                              \
            asm volatile(EIGHT(step) : "+a"(at) : "d"(other), "c"(uint64_t{39}) : "r8", "r9", "memory");     \
        return at;                                                                                           \
    }
CHASE(chase_plain, "movq (%%rax), %%rax\n")
CHASE(chase_fold, "movq %%gs:(%%rax), %%rax\n")
CHASE(chase_window, "movq (%%rdx,%%rax), %%rax\n")
CHASE(chase_table, "shrxq %%rcx, %%rax, %%r8\n movq (%%rdx,%%r8,8), %%r8\n movq (%%r8,%%rax), %%rax\n")

#define STORE(name, one, two)                                                                                \
    void name(uint64_t at, uint64_t other) {                                                                 \
        for (size_t i = 0; i < kSteps / 8; ++i)                                                              \
            asm volatile(EIGHT(one two) : : "a"(at), "d"(other), "c"(uint64_t{39}) : "r8", "r9", "memory");  \
    }
STORE(store_plain, "movq %%rcx, (%%rax)\n", "movq %%rcx, 8(%%rax)\n")
STORE(store_fold, "movq %%rcx, %%gs:(%%rax)\n", "movq %%rcx, %%gs:8(%%rax)\n")
STORE(store_window, "movq %%rcx, (%%rdx,%%rax)\n", "movq %%rcx, 8(%%rdx,%%rax)\n")

void operands() {
    heading("Operands: a load's latency in a pointer chase of 16 KiB; two stores into one line");
    const Pages pages(8);
    auto* ring = static_cast<uint64_t*>(pages.map(0, 0, 8));
    const auto at = reinterpret_cast<uint64_t>(ring);
    uint64_t sink = 0;

    make_ring(ring, 0);
    row("load  [reg]: user half", least(kSteps, [&] { sink += chase_plain(at, 0); }));
    std::vector<uint64_t> table(256, 0);
    row("load  [reg + table[reg >> 39]]: the alternative",
        least(kSteps, [&] { sink += chase_table(at, reinterpret_cast<uint64_t>(table.data())); }));

    make_ring(ring, 0 - kFold); // what the guest's kernel would call these addresses
    _writegsbase_u64(kFold);
    row("load  gs:[reg]: kernel half, folded", least(kSteps, [&] { sink += chase_fold(at - kFold, 0); }));
    row("load  [window + reg]: kernel half, folded",
        least(kSteps, [&] { sink += chase_window(at - kFold, kFold); }));

    row("store [reg], [reg + 8]", least(kSteps, [&] { store_plain(at, 0); }));
    row("store gs:[reg], gs:[reg + 8]", least(kSteps, [&] { store_fold(at - kFold, 0); }));
    row("store [window + reg], [window + reg + 8]", least(kSteps, [&] { store_window(at - kFold, kFold); }));
    _writegsbase_u64(0);
    munmap(ring, pages.size);
    if (sink == 42)
        std::puts("");
}

// -- changing rings ------------------------------------------------------------------------------------

void rings() {
    constexpr size_t kTimes = 20'000;
    heading("Changing rings");
    const uint32_t now = read_pkru();
    row("WRPKRU", least(kTimes, [&] {
            for (size_t i = 0; i < kTimes; ++i)
                write_pkru(now);
        }));
    row("WRGSBASE", least(kTimes, [&] {
            for (size_t i = 0; i < kTimes; ++i)
                _writegsbase_u64(i);
        }));
    row("WRPKRU and WRGSBASE", least(kTimes, [&] {
            for (size_t i = 0; i < kTimes; ++i) {
                write_pkru(now);
                _writegsbase_u64(i);
            }
        }));
    row("a system call of the host, for scale", least(kTimes, [&] {
            for (size_t i = 0; i < kTimes; ++i)
                syscall(SYS_getppid);
        }));
    _writegsbase_u64(0);
}

// -- mappings and faults -------------------------------------------------------------------------------

struct FaultCounts {
    size_t faults = 0;
    int code = 0, key = -1;
    uint64_t address = 0;
};
FaultCounts seen;
const Pages* fault_pages = nullptr;
int fault_key = 0;    // what a missing page is mapped with
int access_bytes = 3; // length of the instruction that may be stepped over

// Gives a missing page, or opens the key that was in the way; what the interrupted code may do is in its
// frame.
void on_fault(int, siginfo_t* info, void* context) {
    auto& uc = *static_cast<ucontext_t*>(context);
    ++seen.faults;
    seen.code = info->si_code;
    seen.address = reinterpret_cast<uint64_t>(info->si_addr);
    if (info->si_code == SEGV_PKUERR) {
        seen.key = static_cast<int>(info->si_pkey);
        uc.uc_mcontext.gregs[REG_RIP] += access_bytes;
        return;
    }
    const uint64_t page = seen.address & ~(kPage - 1);
    if (fault_pages == nullptr || fault_pages->map(page, page / kPage % 1024, 1) == MAP_FAILED) {
        uc.uc_mcontext.gregs[REG_RIP] += access_bytes;
        return;
    }
    if (fault_key > 0)
        pkey_mprotect(reinterpret_cast<void*>(page), kPage, PROT_READ | PROT_WRITE, fault_key);
}

void touch(uint64_t at) {
    access_bytes = 3;
    asm volatile("movq (%%rax), %%rcx" : : "a"(at) : "rcx", "memory");
}

uint64_t touch_folded(uint64_t at) {
    uint64_t got = 0;
    access_bytes = 4;
    asm volatile("movq %%gs:(%%rax), %%rcx" : "=c"(got) : "a"(at) : "memory");
    return got;
}

// What the code under test provokes, as the handler saw it.
template <class F> FaultCounts faults_of(F&& code) {
    seen = {};
    code();
    return seen;
}

void* signal_stack(size_t bytes = 64 * 1024) {
    void* stack = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t alternate{};
    alternate.ss_sp = stack;
    alternate.ss_size = bytes;
    sigaltstack(&alternate, nullptr);
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, nullptr);
    return stack;
}

void mappings(bool keys) {
    constexpr size_t kTimes = 512;
    heading("Mappings, a page each unless said");
    const Pages pages(1024);
    std::memset(pages.map(0, 0, 1024), 1, pages.size); // they exist
    constexpr uint64_t kAt = 0x500000000000;
    const auto map_some = [&](size_t apart, int more) {
        for (size_t i = 0; i < kTimes; ++i)
            pages.map(kAt + i * apart * kPage, i, 1, PROT_READ | PROT_WRITE, more);
    };
    const auto unmap_all = [&] { munmap(reinterpret_cast<void*>(kAt), kTimes * 8 * kPage); };
    row("mmap with MAP_POPULATE", least(kTimes, [&] { map_some(2, MAP_POPULATE); }));
    row("mmap of 16 pages with MAP_POPULATE", least(kTimes / 16, [&] {
            for (size_t i = 0; i < kTimes / 16; ++i)
                pages.map(kAt + i * 17 * kPage, i * 16, 16, PROT_READ | PROT_WRITE, MAP_POPULATE);
        }));
    unmap_all();
    map_some(2, MAP_POPULATE);
    row("mprotect", least(2 * kTimes, [&] {
            for (int protection : {PROT_READ, PROT_READ | PROT_WRITE})
                for (size_t i = 0; i < kTimes; ++i)
                    mprotect(reinterpret_cast<void*>(kAt + i * 2 * kPage), kPage, protection);
        }));
    row("mmap and munmap of all of them, each", least(kTimes, [&] {
            map_some(2, MAP_POPULATE);
            unmap_all();
        }));

    fault_pages = &pages;
    fault_key = 0;
    row("first access: SIGSEGV, mmap, again", least(kTimes, [&] {
            unmap_all();
            for (size_t i = 0; i < kTimes; ++i)
                touch(kAt + i * 2 * kPage);
        }));
    {
        constexpr size_t kThere = 30'000;
        unmap_all();
        const auto base = kAt + (uint64_t{1} << 40);
        for (size_t i = 0; i < kThere; ++i)
            pages.map(base + i * 2 * kPage, i % 1024, 1);
        row("the same beside 30,000 other mappings", least(kTimes, [&] {
                unmap_all();
                for (size_t i = 0; i < kTimes; ++i)
                    touch(kAt + i * 2 * kPage);
            }));
        row("munmap of those, all of them",
            least(
                1, [&] { munmap(reinterpret_cast<void*>(base), kThere * 2 * kPage); }, 1));
    }
    if (!keys)
        return;
    fault_key = pkey_alloc(0, 0);
    row("first access with a key: SIGSEGV, mmap, pkey_mprotect, again", least(kTimes, [&] {
            unmap_all();
            for (size_t i = 0; i < kTimes; ++i)
                touch(kAt + i * 2 * kPage);
        }));
    fault_pages = nullptr;
    const uint32_t open = read_pkru();
    row("access under a closed key: SIGSEGV, stepped over", least(kTimes, [&] {
            write_pkru(open | closed(fault_key));
            for (size_t i = 0; i < kTimes; ++i)
                touch(kAt + i * 2 * kPage);
            write_pkru(open);
        }));
    fact("the fault names the key", seen.code == SEGV_PKUERR && seen.key == fault_key);
    const int other = pkey_alloc(0, 0);
    row("a page changes its key: pkey_mprotect", least(2 * kTimes, [&] {
            for (int key : {other, fault_key})
                for (size_t i = 0; i < kTimes; ++i)
                    pkey_mprotect(reinterpret_cast<void*>(kAt + i * 2 * kPage), kPage, PROT_READ | PROT_WRITE,
                                  key);
        }));
    unmap_all();
    pkey_free(other);
    pkey_free(fault_key);
}

// -- what keys promise ---------------------------------------------------------------------------------

// How a child that does this ends: 0, or its signal.
template <class F> int child(F&& does) {
    std::fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        alarm(10);
        does();
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

// Touches no memory before the keys are open.
[[gnu::naked]] void open_all_and_exit(int, siginfo_t*, void*) {
    asm volatile("xorl %eax, %eax\n xorl %ecx, %ecx\n xorl %edx, %edx\n wrpkru\n"
                 "pushq $0\n popq %rdi\n movl $231, %eax\n syscall\n"); // exit_group(0)
}

void promises() {
    heading("What the keys are for");
    const Pages pages(2);
    const int ours = pkey_alloc(0, 0);
    auto* table = static_cast<uint64_t*>(pages.map(0, 0, 1));
    auto* code = static_cast<uint8_t*>(
        mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    code[0] = 0xC3; // ret
    mprotect(code, kPage, PROT_READ | PROT_EXEC);
    table[0] = reinterpret_cast<uint64_t>(code);
    pkey_mprotect(table, kPage, PROT_READ | PROT_WRITE, ours);
    const uint32_t open = read_pkru();
    fact("a table is read but not written under a write-disabled key",
         child([&] {
             write_pkru(open | read_only(ours));
             const volatile uint64_t first = table[0];
             if (first == 0)
                 _exit(2);
         }) == 0 &&
             child([&] {
                 signal(SIGSEGV, SIG_DFL);
                 write_pkru(open | read_only(ours));
                 table[0] = 0;
             }) == SIGSEGV);
    pkey_mprotect(code, kPage, PROT_READ | PROT_EXEC, ours);
    fact("code runs under a closed key, and cannot be read",
         child([&] {
             write_pkru(open | closed(ours));
             reinterpret_cast<void (*)()>(code)();
         }) == 0 &&
             child([&] {
                 signal(SIGSEGV, SIG_DFL);
                 write_pkru(open | closed(ours));
                 const volatile uint8_t first = *static_cast<volatile uint8_t*>(code);
                 (void)first;
             }) == SIGSEGV);
    fact("a handler begins with only key 0 open",
         child([&] {
             static uint32_t in_handler;
             struct sigaction action {};
             action.sa_handler = [](int) { in_handler = read_pkru(); };
             sigaction(SIGUSR1, &action, nullptr);
             write_pkru(0);
             raise(SIGUSR1);
             _exit((in_handler & 3) == 0 && (in_handler & ~3u) == 0x55555554 ? 0 : 1);
         }) == 0);
    fact("a signal stack may lie under a closed key that the handler opens",
         child([&] {
             void* stack = signal_stack();
             pkey_mprotect(stack, 64 * 1024, PROT_READ | PROT_WRITE, ours);
             struct sigaction action {};
             action.sa_flags = SA_ONSTACK | SA_SIGINFO;
             action.sa_sigaction = open_all_and_exit;
             sigaction(SIGSEGV, &action, nullptr);
             write_pkru(open | closed(ours));
             touch(0);
             _exit(1);
         }) == 0);
    munmap(table, kPage);
    munmap(code, kPage);
    pkey_free(ours);
}

// -- one host page, wanted by both halves --------------------------------------------------------------

void halves(bool keys) {
    heading("Two halves over each other");
    const Pages pages(4);
    constexpr uint64_t kUser = 0x500000000000;
    auto* user = static_cast<volatile uint64_t*>(pages.map(kUser, 0, 1));
    *user = 0x1111;
    const uint64_t kernel = kUser - kFold; // what is there in the kernel half
    _writegsbase_u64(kFold);
    fact("the kernel half reaches its page through the fold",
         touch_folded(kernel) == 0x1111 && kernel >> 47 == 0x1FFFF);
    fault_pages = nullptr;
    FaultCounts fault = faults_of([] { touch_folded(0x400000); });
    fact("a user address through the fold faults (below 4 GiB: unmapped)", fault.faults == 1);
    fault = faults_of([] { touch_folded(kUser); });
    fact("a user address through the fold faults (above: not canonical)",
         fault.faults == 1 && fault.code == SI_KERNEL);
    fault = faults_of([] { touch(kKernel); });
    fact("a kernel address without the fold faults", fault.faults == 1);
    fault = faults_of([] { touch(uint64_t{1} << 47); });
    fact("a non-canonical one, too, and is told apart", fault.faults == 1 && fault.code == SI_KERNEL);
    if (keys) {
        const int users = pkey_alloc(0, 0);
        pkey_mprotect(const_cast<uint64_t*>(user), kPage, PROT_READ | PROT_WRITE, users);
        const uint32_t open = read_pkru();
        write_pkru(open | closed(users));
        fault = faults_of([] { touch(kUser); });
        write_pkru(open);
        fact("ring 0 does not see a user page at its own address", fault.code == SEGV_PKUERR);
        pkey_free(users);
    }
    _writegsbase_u64(0);
    munmap(reinterpret_cast<void*>(kUser), kPage);
}

// -- workers -------------------------------------------------------------------------------------------

struct Shared {
    alignas(64) uint32_t turn; // whose it is
    alignas(64) uint64_t result[16];
};

long futex(uint32_t& word, int operation, uint32_t value) {
    return syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
}

void hand_over(Shared& shared, uint32_t to, uint32_t me, int spin) {
    __atomic_store_n(&shared.turn, to, __ATOMIC_RELEASE);
    futex(shared.turn, FUTEX_WAKE, 1);
    for (int i = 0; i < spin; ++i) {
        if (__atomic_load_n(&shared.turn, __ATOMIC_ACQUIRE) == me)
            return;
        _mm_pause();
    }
    while (__atomic_load_n(&shared.turn, __ATOMIC_ACQUIRE) != me)
        futex(shared.turn, FUTEX_WAIT, to);
}

void hand_offs() {
    constexpr uint32_t kRounds = 20'000;
    heading("Workers: from one process to another and back, half of it");
    auto& shared = *static_cast<Shared*>(
        mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    const auto measure = [&](const char* name, int first, int second, int spin) {
        shared.turn = 0;
        std::fflush(stdout);
        const pid_t pid = fork();
        if (pid == 0) {
            pin(second);
            while (__atomic_load_n(&shared.turn, __ATOMIC_ACQUIRE) != 1)
                futex(shared.turn, FUTEX_WAIT, 0);
            for (uint32_t i = 1; i < kRounds; ++i)
                hand_over(shared, 0, 1, spin);
            __atomic_store_n(&shared.turn, 0, __ATOMIC_RELEASE);
            futex(shared.turn, FUTEX_WAKE, 1);
            _exit(0);
        }
        pin(first);
        row(name, least(
                      2 * kRounds,
                      [&] {
                          for (uint32_t i = 0; i < kRounds; ++i)
                              hand_over(shared, 1, 0, spin);
                      },
                      1));
        waitpid(pid, nullptr, 0);
    };
    const cpu_set_t before = all_processors;
    measure("by futex, on one processor", 0, 0, 0);
    if (CPU_COUNT(&before) > 1) {
        measure("by futex, on two", 0, 1, 0);
        measure("spinning, on two", 0, 1, 100'000);
    }
    sched_setaffinity(0, sizeof before, &before);
    munmap(&shared, kPage);
}

struct Range {
    uint64_t first, end;
};

std::vector<Range> mapped() {
    std::vector<Range> ranges;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        const size_t dash = line.find('-');
        ranges.push_back({std::stoull(line.substr(0, dash), nullptr, 16),
                          std::stoull(line.substr(dash + 1), nullptr, 16)});
    }
    return ranges;
}

constexpr std::array<uint64_t, 6> kWanted = {
    0x10000,        // vm.mmap_min_addr
    0x400000,       // programs that are not position-independent
    0x555555554000, // those that are
    0x7FFFF7FC0000, // libraries without randomisation
    0x7FFFFFFDE000, // a stack
    kUserEnd - 2 * kPage,
};

// A worker keeps its own program, and gives all else of the user half away: the old stack, vdso, whatever was
// mapped.
int worker(void* argument) {
    auto& shared = *static_cast<Shared*>(argument);
    const auto address = [](const auto* of) { return reinterpret_cast<uint64_t>(of); };
    const uint64_t own = address(&shared), code = reinterpret_cast<uint64_t>(&worker), data = address(&seen),
                   stack = address(&argument), heap = address(static_cast<char*>(sbrk(0))),
                   thread = _readfsbase_u64();
    const std::vector<Range> ranges = mapped();
    uint64_t kept = 0;
    constexpr uint64_t kImage = 16 << 20; // program and heap, wherever in there
    for (const Range& range : ranges) {
        const auto near = [&](uint64_t at) { return at + kImage >= range.first && at < range.end + kImage; };
        if (near(code) || near(data) || near(heap) || (own >= range.first && own < range.end) ||
            (stack >= range.first && stack < range.end) || (thread >= range.first && thread < range.end)) {
            kept += range.end - range.first;
            continue;
        }
        if (range.first < kUserEnd) // vsyscall is not in this half
            munmap(reinterpret_cast<void*>(range.first), range.end - range.first);
    }
    shared.result[15] = kept;
    const int pages = static_cast<int>(shared.result[14]);
    for (size_t i = 0; i < kWanted.size(); ++i) {
        auto* at = reinterpret_cast<void*>(kWanted[i]);
        const bool got = syscall(SYS_mmap, at, kPage, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_FIXED_NOREPLACE, pages, 0) == static_cast<long>(kWanted[i]);
        shared.result[i] = got ? *static_cast<volatile uint64_t*>(at) : 0;
    }
    syscall(SYS_exit_group, 0);
    return 0;
}

void workers() {
    heading("Workers: what of the user half is theirs to give");
    const Pages pages(1);
    auto* page = static_cast<uint64_t*>(pages.map(0, 0, 1));
    *page = 0x600D;
    constexpr size_t kStack = 256 * 1024;
    // Beside the program, where a worker's memory is together.
    auto* arena = static_cast<uint8_t*>(
        mmap(nullptr, kStack + kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    auto& shared = *reinterpret_cast<Shared*>(arena + kStack);
    shared.result[14] = static_cast<uint64_t>(pages.fd.get());
    std::fflush(stdout);
    const pid_t pid = clone(worker, arena + kStack, SIGCHLD, &shared);
    int status = 0;
    waitpid(pid, &status, 0);
    std::printf("%-64s %10llu KiB\n", "a worker keeps for itself",
                static_cast<unsigned long long>(shared.result[15] >> 10));
    for (size_t i = 0; i < kWanted.size(); ++i) {
        char name[64];
        std::snprintf(name, sizeof name, "a guest's page at %#llx",
                      static_cast<unsigned long long>(kWanted[i]));
        fact(name, shared.result[i] == 0x600D);
    }

    heading("Workers: a new guest process, with so many pages mapped in the parent");
    for (const size_t count : {100u, 1000u, 5000u}) {
        const Pages many(count);
        constexpr uint64_t kAt = 0x500000000000;
        for (size_t i = 0; i < count; ++i)
            *static_cast<volatile uint8_t*>(many.map(kAt + i * 2 * kPage, i, 1)) = 1;
        char name[64];
        std::snprintf(name, sizeof name, "fork and exit of a worker, %zu pages", count);
        row(name, least(1, [&] { child([] {}); }));
        munmap(reinterpret_cast<void*>(kAt), count * 2 * kPage);
    }
}

bool have_keys() {
    const int key = pkey_alloc(0, 0);
    if (key < 0)
        return false;
    pkey_free(key);
    return true;
}

} // namespace

int main() {
    constexpr unsigned long kFsgsbase = 1 << 1; // HWCAP2_FSGSBASE
    if ((getauxval(AT_HWCAP2) & kFsgsbase) == 0) {
        std::fputs("this host's kernel does not let programs write GS.base (Linux 5.9 does)\n", stderr);
        return 1;
    }
    if (!__builtin_cpu_supports("bmi2")) {
        std::fputs("this host has no SHRX (BMI2), which one of the forms is made of\n", stderr);
        return 1;
    }
    const bool keys = have_keys();
    std::printf("protection keys: %s\n", keys ? "yes" : "no");
    sched_getaffinity(0, sizeof all_processors, &all_processors);
    pin(0);
    signal_stack();
    operands();
    if (keys)
        rings();
    mappings(keys);
    if (keys)
        promises();
    halves(keys);
    hand_offs();
    workers();
    return 0;
}
