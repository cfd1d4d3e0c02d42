#include "tests/vmm/memory/host_access.h"

#include <array>
#include <csignal>
#include <cstdlib>
#include <ucontext.h>

namespace vmm::test {
namespace {

// Where to go on when the access is refused. Not siglongjmp: its sanitizer wrapper parses
// /proc/self/maps every time.
volatile uint64_t g_recover = 0;
volatile bool g_refused = false;
Windows* g_windows = nullptr;
uint64_t g_base = 0;
AccessKind g_access = AccessKind::Read;
HostAccess::Result g_result;
struct sigaction g_previous;
alignas(64) std::array<uint8_t, 64 << 10> g_stack;

void on_fault(int, siginfo_t* info, void* context) {
    if (g_recover == 0)
        std::abort();
    const uint64_t offset = reinterpret_cast<uint64_t>(info->si_addr) - g_base;
    if (g_windows != nullptr && offset < (4ull << 30)) {
        g_result.fault = g_windows->resolve(static_cast<uint32_t>(offset), g_access);
        g_result.outcome = g_result.fault.outcome;
        if (++g_result.faults < 8 && g_result.outcome == WindowFault::Outcome::Mapped)
            return;
    }
    g_refused = true;
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(g_recover);
}

// False when the access did not go through.
bool load(uint64_t host, uint32_t& value) {
    g_refused = false;
    asm volatile("leaq 1f(%%rip), %%rax\n\t"
                 "movq %%rax, %[recover]\n\t"
                 "movl (%[host]), %[value]\n"
                 "1:"
                 : [value] "+&r"(value), [recover] "=m"(g_recover)
                 : [host] "r"(host)
                 : "rax", "memory");
    g_recover = 0;
    return !g_refused;
}

bool store(uint64_t host, uint32_t value) {
    g_refused = false;
    asm volatile("leaq 1f(%%rip), %%rax\n\t"
                 "movq %%rax, %[recover]\n\t"
                 "movl %[value], (%[host])\n"
                 "1:"
                 : [recover] "=m"(g_recover)
                 : [value] "r"(value), [host] "r"(host)
                 : "rax", "memory");
    g_recover = 0;
    return !g_refused;
}

} // namespace

HostAccess::HostAccess() {
    stack_t stack{};
    stack.ss_sp = g_stack.data();
    stack.ss_size = g_stack.size();
    sigaltstack(&stack, nullptr);
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &g_previous);
}

HostAccess::~HostAccess() {
    sigaction(SIGSEGV, &g_previous, nullptr);
    stack_t stack{};
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, nullptr);
}

std::optional<uint32_t> HostAccess::try_read(uint64_t host) {
    g_windows = nullptr;
    uint32_t value = 0;
    return load(host, value) ? std::optional(value) : std::nullopt;
}

bool HostAccess::try_write(uint64_t host, uint32_t value) {
    g_windows = nullptr;
    return store(host, value);
}

HostAccess::Result HostAccess::read(Windows& windows, uint32_t linear) {
    g_base = windows.select();
    g_windows = &windows;
    g_access = AccessKind::Read;
    g_result = {};
    uint32_t value = 0;
    load(g_base + linear, value);
    g_windows = nullptr;
    g_result.value = value;
    return g_result;
}

HostAccess::Result HostAccess::write(Windows& windows, uint32_t linear, uint32_t value) {
    g_base = windows.select();
    g_windows = &windows;
    g_access = AccessKind::Write;
    g_result = {};
    store(g_base + linear, value);
    g_windows = nullptr;
    return g_result;
}

} // namespace vmm::test
