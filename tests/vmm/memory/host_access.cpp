#include "tests/vmm/memory/host_access.h"

#include <array>
#include <csetjmp>
#include <csignal>
#include <cstdlib>

namespace vmm::test {
namespace {

sigjmp_buf g_escape;
volatile bool g_armed = false;
Windows* g_windows = nullptr;
uint64_t g_base = 0;
AccessKind g_access = AccessKind::Read;
HostAccess::Result g_result;
struct sigaction g_previous;
alignas(64) std::array<uint8_t, 64 << 10> g_stack;

void on_fault(int, siginfo_t* info, void*) {
    if (!g_armed)
        std::abort();
    const uint64_t offset = reinterpret_cast<uint64_t>(info->si_addr) - g_base;
    if (g_windows != nullptr && offset < (4ull << 30)) {
        g_result.fault = g_windows->resolve(static_cast<uint32_t>(offset), g_access);
        g_result.outcome = g_result.fault.outcome;
        if (++g_result.faults < 8 && g_result.outcome == WindowFault::Outcome::Mapped)
            return;
    }
    siglongjmp(g_escape, 1);
}

// False when the access did not go through.
template <class Access> __attribute__((noinline)) bool attempt(Access access) {
    bool through = false;
    if (sigsetjmp(g_escape, 1) == 0) {
        g_armed = true;
        access();
        through = true;
    }
    g_armed = false;
    return through;
}

volatile uint32_t* at(uint64_t host) { return reinterpret_cast<volatile uint32_t*>(host); }

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
    volatile uint32_t value = 0;
    if (!attempt([&] { value = *at(host); }))
        return std::nullopt;
    return value;
}

bool HostAccess::try_write(uint64_t host, uint32_t value) {
    g_windows = nullptr;
    return attempt([&] { *at(host) = value; });
}

HostAccess::Result HostAccess::read(Windows& windows, uint32_t linear) {
    g_base = windows.select();
    g_windows = &windows;
    g_access = AccessKind::Read;
    g_result = {};
    volatile uint32_t value = 0;
    attempt([&] { value = *at(g_base + linear); });
    g_windows = nullptr;
    g_result.value = value;
    return g_result;
}

HostAccess::Result HostAccess::write(Windows& windows, uint32_t linear, uint32_t value) {
    g_base = windows.select();
    g_windows = &windows;
    g_access = AccessKind::Write;
    g_result = {};
    attempt([&] { *at(g_base + linear) = value; });
    g_windows = nullptr;
    return g_result;
}

} // namespace vmm::test
