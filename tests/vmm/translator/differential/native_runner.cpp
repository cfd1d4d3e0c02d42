#include "tests/vmm/translator/differential/native_runner.h"

#include "tests/vmm/thread_time.h"
#include "vmm/base/unique_fd.h"
#include "vmm/base/verify.h"

#include <asm/ldt.h>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <thread>
#include <ucontext.h>
#include <vector>

namespace differential {

namespace {

// Read by native_enter below; the offsets in its code are checked here.
struct Entry {
    uint32_t gpr[8];             // 0
    uint64_t rflags;             // 32
    uint32_t eip;                // 40: with cs, the m16:32 of the far jump
    uint16_t cs;                 // 44
    uint16_t ss;                 // 46
    uint16_t ds, es;             // 48, 50
    uint16_t fs, gs;             // 52, 54
    alignas(64) uint8_t fx[512]; // 64
};
static_assert(offsetof(Entry, rflags) == 32 && offsetof(Entry, eip) == 40 && offsetof(Entry, ss) == 46 &&
              offsetof(Entry, ds) == 48 && offsetof(Entry, fs) == 52 && offsetof(Entry, fx) == 64);

constexpr int kSignals[] = {SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGBUS, SIGUSR1};
constexpr uint16_t kCode64 = 0x33;
constexpr size_t kSignalStackBytes = 64 * 1024;

uint8_t* code_alias = nullptr; // writable view of the code pages
alignas(16) uint8_t signal_stack[kSignalStackBytes];

// Written by the handler on the thread that runs the case.
Outcome* current_outcome = nullptr;

} // namespace

extern "C" {
uint64_t differential_saved_rsp, differential_saved_fs, differential_saved_gs;
void differential_native_enter(const Entry* entry);
void differential_native_exit();
}

// SAFETY: everything the C++ side needs on the way back (stack, FS and GS base, callee-saved registers) is
// saved before the guest's values are loaded; MOV SS is followed at once by the load of ESP.
asm(R"(
    .text
    .globl differential_native_enter
differential_native_enter:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, differential_saved_rsp(%rip)
    rdfsbase %rax
    mov %rax, differential_saved_fs(%rip)
    rdgsbase %rax
    mov %rax, differential_saved_gs(%rip)
    mov %rdi, %r8
    fxrstor 64(%r8)
    mov 48(%r8), %ds
    mov 50(%r8), %es
    mov 52(%r8), %fs
    mov 54(%r8), %gs
    pushq 32(%r8)
    mov 0(%r8), %eax
    mov 4(%r8), %ecx
    mov 8(%r8), %edx
    mov 12(%r8), %ebx
    mov 20(%r8), %ebp
    mov 24(%r8), %esi
    mov 28(%r8), %edi
    popfq
    mov 46(%r8), %ss
    mov 16(%r8), %esp
    ljmp *40(%r8)

    .globl differential_native_exit
differential_native_exit:
    mov differential_saved_rsp(%rip), %rsp
    xor %eax, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov differential_saved_fs(%rip), %rax
    wrfsbase %rax
    mov differential_saved_gs(%rip), %rax
    wrgsbase %rax
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    cld
    ret
)");

namespace {

uint64_t read_fs_base() {
    uint64_t base = 0;
    asm volatile("rdfsbase %0" : "=r"(base));
    return base;
}
void write_fs_base(uint64_t base) { asm volatile("wrfsbase %0" ::"r"(base)); }

bool watchdog_meant(const siginfo_t& info);

// Entered with the guest's FS base: nothing before the first line may touch thread-local storage.
__attribute__((optimize("no-stack-protector"))) void on_signal(int signal, siginfo_t* info, void* context) {
    const uint64_t interrupted_fs = read_fs_base();
    write_fs_base(differential_saved_fs);
    auto& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
    auto& gregs = machine.gregs;
    const auto segments = static_cast<uint64_t>(gregs[REG_CSGSFS]);
    const auto cs = static_cast<uint16_t>(segments);
    if (cs == kCode64 || (signal == SIGUSR1 && !watchdog_meant(*info))) {
        // The watchdog was late; or our own code, when the harness has a bug and dies of it.
        if (signal != SIGUSR1)
            ::signal(signal, SIG_DFL);
        write_fs_base(interrupted_fs);
        return;
    }
    Outcome& outcome = *current_outcome;
    Registers& registers = outcome.registers;
    static constexpr int kOrder[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI};
    for (unsigned i = 0; i < 8; ++i)
        registers.gpr[i] = static_cast<uint32_t>(gregs[kOrder[i]]);
    registers.eip = static_cast<uint32_t>(gregs[REG_RIP]);
    registers.eflags = static_cast<uint32_t>(gregs[REG_EFL]);
    registers.selectors[kCs] = cs;
    registers.selectors[kSs] = static_cast<uint16_t>(segments >> 48);
    asm volatile("mov %%es, %0" : "=r"(registers.selectors[kEs]));
    asm volatile("mov %%ds, %0" : "=r"(registers.selectors[kDs]));
    asm volatile("mov %%fs, %0" : "=r"(registers.selectors[kFs]));
    asm volatile("mov %%gs, %0" : "=r"(registers.selectors[kGs]));
    std::memcpy(registers.fx.data(), machine.fpregs, registers.fx.size());
    outcome.vector = signal == SIGUSR1 ? kTimedOut : static_cast<uint8_t>(gregs[REG_TRAPNO]);
    outcome.error_code = static_cast<uint32_t>(gregs[REG_ERR]);
    outcome.fault_address = static_cast<uint32_t>(gregs[REG_CR2]);

    // Resume in native_exit with a fresh FPU (a null pointer asks the kernel for that).
    gregs[REG_RIP] = reinterpret_cast<greg_t>(&differential_native_exit);
    gregs[REG_RSP] = static_cast<greg_t>(differential_saved_rsp);
    gregs[REG_EFL] = 0x202;
    gregs[REG_CSGSFS] = static_cast<greg_t>(uint64_t{kFlatData} << 48 | kCode64);
    machine.fpregs = nullptr;
}

// Stops a case that loops for ever: one that has taken kMostCaseTime gets SIGUSR1. Time on the
// wall says nothing on a busy machine, where a case of two instructions may take that long.
class Watchdog {
  public:
    Watchdog() : runner_(pthread_self()), thread_([this] { watch(); }) {}
    ~Watchdog() {
        {
            const std::lock_guard lock(mutex_);
            done_ = true;
        }
        wake_.notify_one();
        thread_.join();
    }
    void begin() { started_.fetch_add(1, std::memory_order_relaxed); }
    // Was this signal sent because of the case that now runs?
    [[nodiscard]] bool meant(const siginfo_t& info) const {
        return reinterpret_cast<uint64_t>(info.si_value.sival_ptr) ==
               started_.load(std::memory_order_relaxed);
    }

  private:
    void watch() {
        watchdog::ThreadTime time(runner_);
        uint64_t last = 0;
        std::unique_lock lock(mutex_);
        while (!wake_.wait_for(lock, std::chrono::milliseconds(10), [this] { return done_; })) {
            const uint64_t now = started_.load(std::memory_order_relaxed);
            if (now != last)
                time.restart();
            last = now;
            if (time.passed() > kMostCaseTime) {
                sigval which{};
                which.sival_ptr = reinterpret_cast<void*>(now);
                pthread_sigqueue(runner_, SIGUSR1, which);
                time.restart();
            }
        }
    }
    std::atomic<uint64_t> started_ = 0;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool done_ = false;
    pthread_t runner_;
    std::thread thread_;
};

// A mapping of the engine's below 4 GiB. Native cases could reach it, so it is inaccessible while they run.
struct Hidden {
    void* address = nullptr;
    size_t bytes = 0;
    int protection = 0;
};

bool ours(uint64_t address) {
    return (address >= kCodeBase && address < kCodeBase + kCodePages * kPage) ||
           (address >= kDataBase && address <= kReadOnlyBase) ||
           (address >= kStackBase && address < kStackBase + kStackBytes);
}

std::vector<Hidden> low_mappings() {
    std::vector<Hidden> found;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        unsigned long start = 0, end = 0;
        char mode[5] = {};
        if (std::sscanf(line.c_str(), "%lx-%lx %4s", &start, &end, mode) != 3 || start >> 32 != 0)
            break; // in order of address
        if (ours(start))
            continue;
        const int protection = (mode[0] == 'r' ? PROT_READ : 0) | (mode[1] == 'w' ? PROT_WRITE : 0) |
                               (mode[2] == 'x' ? PROT_EXEC : 0);
        found.push_back({reinterpret_cast<void*>(start), end - start, protection});
    }
    return found;
}

struct Batch {
    std::vector<Hidden> hidden;
    struct sigaction old_actions[std::size(kSignals)]{};
    stack_t old_stack{};
    std::unique_ptr<Watchdog> watchdog;
};
Batch batch;

bool watchdog_meant(const siginfo_t& info) { return batch.watchdog->meant(info); }

base::Result<void> map_fixed(uint32_t address, size_t bytes, int protection, int flags, int fd) {
    void* wanted = reinterpret_cast<void*>(static_cast<uintptr_t>(address));
    if (mmap(wanted, bytes, protection, flags | MAP_FIXED_NOREPLACE | MAP_POPULATE, fd, 0) != wanted)
        return base::fail("cannot map the test's fixed addresses");
    return {};
}

uint8_t* host(uint32_t address) { return reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(address)); }

} // namespace

base::Result<void> NativeRunner::prepare() {
    constexpr unsigned long kHwcap2Fsgsbase = 1u << 1;
    if ((getauxval(AT_HWCAP2) & kHwcap2Fsgsbase) == 0)
        return base::fail("the host kernel does not allow FSGSBASE instructions");

    const base::UniqueFd code(memfd_create("differential-code", MFD_CLOEXEC));
    const size_t code_bytes = size_t{kCodePages} * kPage;
    if (!code.valid() || ftruncate(code.get(), static_cast<off_t>(code_bytes)) != 0)
        return base::fail("cannot create memory for the test's code");
    void* alias = mmap(nullptr, code_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, code.get(), 0);
    if (alias == MAP_FAILED)
        return base::fail("cannot map memory for the test's code");
    code_alias = static_cast<uint8_t*>(alias);
    std::memset(code_alias, kSentinel, code_bytes);
    TRY(map_fixed(kCodeBase, code_bytes, PROT_READ | PROT_EXEC, MAP_SHARED, code.get()));

    constexpr int kPrivate = MAP_PRIVATE | MAP_ANONYMOUS;
    TRY(map_fixed(kDataBase, kDataBytes, PROT_READ | PROT_WRITE, kPrivate, -1));
    TRY(map_fixed(kStackBase, kStackBytes, PROT_READ | PROT_WRITE, kPrivate, -1));
    TRY(map_fixed(kReadOnlyBase, kPage, PROT_READ | PROT_WRITE, kPrivate, -1));
    std::memcpy(host(kReadOnlyBase), read_only_page().data(), kPage);
    if (mprotect(host(kReadOnlyBase), kPage, PROT_READ) != 0)
        return base::fail("cannot protect the test's read-only page");

    for (unsigned i = 0; i < kLdtCount; ++i) {
        const Descriptor& d = kLdt[i];
        user_desc entry{};
        entry.entry_number = i;
        entry.base_addr = d.base;
        entry.limit = d.limit;
        entry.seg_32bit = d.big;
        entry.contents = d.code ? 2 : (d.expand_down ? 1 : 0);
        entry.limit_in_pages = d.pages;
        if (syscall(SYS_modify_ldt, 0x11, &entry, sizeof entry) != 0)
            return base::fail("the host kernel refuses modify_ldt");
    }
    return {};
}

NativeRunner::NativeRunner() {
    stack_t stack{};
    stack.ss_sp = signal_stack;
    stack.ss_size = sizeof signal_stack;
    VERIFY(sigaltstack(&stack, &batch.old_stack) == 0);
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < std::size(kSignals); ++i)
        VERIFY(sigaction(kSignals[i], &action, &batch.old_actions[i]) == 0);
    batch.hidden = low_mappings();
    for (const Hidden& mapping : batch.hidden)
        VERIFY(mprotect(mapping.address, mapping.bytes, PROT_NONE) == 0);
    differential_saved_fs = read_fs_base();
    batch.watchdog = std::make_unique<Watchdog>();
}

NativeRunner::~NativeRunner() {
    batch.watchdog.reset();
    for (const Hidden& mapping : batch.hidden)
        VERIFY(mprotect(mapping.address, mapping.bytes, mapping.protection) == 0);
    for (size_t i = 0; i < std::size(kSignals); ++i)
        sigaction(kSignals[i], &batch.old_actions[i], nullptr);
    sigaltstack(&batch.old_stack, nullptr);
}

void NativeRunner::run(const Case& test, Outcome& outcome) {
    static Memory memory;
    fill_memory(test.memory_seed, memory);
    std::memcpy(host(kDataBase), memory.data.data(), kDataBytes);
    std::memcpy(host(kStackBase), memory.stack.data(), kStackBytes);
    const Slot slot = code_slot(test);
    std::memcpy(code_alias + (slot.address - kCodeBase), slot.bytes.data(), slot.bytes.size());

    Entry entry{};
    const Registers& initial = test.initial;
    std::memcpy(entry.gpr, initial.gpr.data(), sizeof entry.gpr);
    entry.rflags = initial.eflags;
    entry.eip = initial.eip;
    entry.cs = initial.selectors[kCs];
    entry.ss = initial.selectors[kSs];
    entry.ds = initial.selectors[kDs];
    entry.es = initial.selectors[kEs];
    entry.fs = initial.selectors[kFs];
    entry.gs = initial.selectors[kGs];
    std::memcpy(entry.fx, initial.fx.data(), sizeof entry.fx);

    outcome.vector = kTimedOut;
    current_outcome = &outcome;
    batch.watchdog->begin();
    differential_native_enter(&entry);
    // Other cases that read code find sentinels here, whatever ran before them.
    std::memset(code_alias + (slot.address - kCodeBase), kSentinel, kSlotBytes);
    std::memcpy(outcome.memory.data.data(), host(kDataBase), kDataBytes);
    std::memcpy(outcome.memory.stack.data(), host(kStackBase), kStackBytes);
}

} // namespace differential
