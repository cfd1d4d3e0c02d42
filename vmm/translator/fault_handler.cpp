// Host signals raised by translated code. Each is synchronous, at an instruction the engine emitted, on the
// vCPU thread: the handler may therefore use any engine structure. It either repairs the cause and returns to
// retry the instruction, or points the thread at the leave stub, which saves the guest's registers as they
// stand.
//
// DEVIATION from resolving on the normal stack: the interrupted context is always generated code, which holds
// no lock and no half-made C++ state, so allocation here is as safe as anywhere, and sigreturn restores x87,
// XMM and flags for free.
#include "vmm/translator/host_window.h"
#include "vmm/translator/vcpu.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sys/ucontext.h>

namespace vmm {

namespace {

thread_local Vcpu* thread_vcpu = nullptr;

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
struct sigaction previous_actions[64];

void on_signal(int signal, siginfo_t* info, void* context) {
    if (thread_vcpu != nullptr && thread_vcpu->handle_signal(signal, info, context))
        return;
    // Not translated code: whoever was here before us decides (sanitizers, the default action).
    const struct sigaction& previous = previous_actions[signal];
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(signal);
    } else {
        struct sigaction default_action {};
        default_action.sa_handler = SIG_DFL;
        sigaction(signal, &default_action, nullptr);
    }
}

// Trap numbers as the kernel reports them (SDM Vol. 3A table 6-1).
constexpr long kTrapDivide = 0, kTrapInvalidOpcode = 6, kTrapProtection = 13, kTrapPage = 14, kTrapMath = 16,
               kTrapAlignment = 17, kTrapSimd = 19;
constexpr long kErrorWrite = 2;

greg_t& host_register(ucontext_t& uc, uint8_t number) {
    static constexpr uint8_t kPlaces[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                            REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                            REG_R12, REG_R13, REG_R14, REG_R15};
    return uc.uc_mcontext.gregs[kPlaces[number]];
}

} // namespace

void install_signal_handlers() {
    static std::once_flag once;
    std::call_once(once, [] {
        for (int signal : kSignals) {
            struct sigaction action {};
            action.sa_sigaction = on_signal;
            action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
            sigaction(signal, &action, &previous_actions[signal]);
        }
    });
}

ThreadSignals::ThreadSignals(Vcpu& vcpu, std::vector<uint8_t>& stack) : previous_(thread_vcpu) {
    thread_vcpu = &vcpu;
    stack_t alternate{};
    alternate.ss_sp = stack.data();
    alternate.ss_size = stack.size();
    sigaltstack(&alternate, &saved_);
}

ThreadSignals::~ThreadSignals() {
    thread_vcpu = previous_;
    sigaltstack(&saved_, nullptr);
}

namespace {

// The string instruction that translated code is at, if any; see BlockTranslator::lower_string.
struct HostString {
    explicit HostString(uint64_t host) {
        const auto* at = reinterpret_cast<const uint8_t*>(host);
        const bool word = *at == 0x66;
        at += word ? 1 : 0;
        repeated = *at == 0xF2 || *at == 0xF3;
        at += repeated ? 1 : 0;
        cmps = (*at & 0xFE) == 0xA6;
        scas = (*at & 0xFE) == 0xAE;
        moves = (*at & 0xFE) == 0xA4 || (*at >= 0xAA && *at <= 0xAD);
        bytes = (*at & 1) == 0 ? 1 : word ? 2 : 4;
    }
    bool repeated = false, cmps = false, scas = false, moves = false;
    uint32_t bytes = 0;
};

} // namespace

// Intel's processors read ES:[EDI] first, all of it, and a fault there comes before one at the other operand.
Fault Vcpu::first_fault_of_compare(const ucontext_t& uc, const Fault& found) {
    const HostString compare(static_cast<uint64_t>(uc.uc_mcontext.gregs[REG_RIP]));
    if (shared->config.host_maker == HostMaker::Intel || !compare.cmps)
        return found;
    const auto first = static_cast<uint32_t>(uc.uc_mcontext.gregs[REG_RDI]);
    const uint32_t last_page = (first + compare.bytes - 1) & ~(kPageSize - 1);
    for (const uint32_t address : {first, std::max(first, last_page)})
        if (WindowFault fault = windows->resolve(address, AccessKind::Read);
            fault.outcome == WindowFault::Outcome::GuestFault)
            return fault.fault;
    return found;
}

void Vcpu::leave_from_handler(ucontext_t& uc, ExitReason32 reason, uint32_t eip) {
    if (shared->config.host_maker != HostMaker::Intel) {
        // A repeated compare that is not finished has left the flags alone; AMD's processors show those of
        // the last element.
        auto& gregs = uc.uc_mcontext.gregs;
        const HostString compare(static_cast<uint64_t>(gregs[REG_RIP]));
        if (compare.repeated && (compare.cmps || compare.scas))
            gregs[REG_EFL] = (gregs[REG_EFL] & ~greg_t{eflags::kArithmetic}) |
                             static_cast<greg_t>(rt->string_flags & eflags::kArithmetic);
    }
    const auto host = static_cast<uint64_t>(uc.uc_mcontext.gregs[REG_RIP]);
    if (const Block* block = shared->cache->find_host(host); block != nullptr) // ESP is ahead of its register
        host_register(uc, shared->stubs.plan->stack()) += shared->cache->side_point(*block, host).stack;
    rt->cpu.eip = eip;
    rt->exit_reason = static_cast<uint32_t>(reason);
    uc.uc_mcontext.gregs[REG_RIP] = shared->stubs.leave;
}

// The registers are the progress so far, as at a fault.
void Vcpu::leave_string(ucontext_t& uc) {
    const auto host = static_cast<uint64_t>(uc.uc_mcontext.gregs[REG_RIP]);
    if (!running || !poll_armed() || !shared->cache->memory().contains(host))
        return;
    const Block* block = shared->cache->find_host(host);
    if (block == nullptr)
        return;
    const HostString string(host);
    if (string.repeated && (string.cmps || string.scas || string.moves))
        leave_from_handler(uc, ExitReason32::Poll, shared->cache->guest_eip(*block, host));
}

void Vcpu::window_fault(ucontext_t& uc, Block& block, uint32_t address) {
    auto& gregs = uc.uc_mcontext.gregs;
    const uint32_t eip = shared->cache->guest_eip(block, static_cast<uint64_t>(gregs[REG_RIP]));
    const bool write = (gregs[REG_ERR] & kErrorWrite) != 0;
    WindowFault fault = windows->resolve(address, write ? AccessKind::Write : AccessKind::Read);
    switch (fault.outcome) {
    case WindowFault::Outcome::Mapped:
        if (turns_cold(block, eip, address))
            retry_with_callout(uc, block, eip, Sites::Reason::Cold);
        else
            leave_string(uc); // page after page it may be, with no moment for a signal in between
        return;
    case WindowFault::Outcome::GuestFault:
        if (turns_cold(block, eip, address)) {
            retry_with_callout(uc, block, eip, Sites::Reason::Cold);
            return;
        }
        pending_fault = first_fault_of_compare(uc, fault.fault);
        leave_from_handler(uc, ExitReason32::Fault, eip);
        return;
    case WindowFault::Outcome::Mmio:
        retry_with_callout(uc, block, eip, Sites::Reason::Device);
        return;
    case WindowFault::Outcome::HostFailure: // the dispatcher has been told to stop
        leave_from_handler(uc, ExitReason32::Retry, eip);
        return;
    case WindowFault::Outcome::Guarded: // by a data breakpoint on the page
        VERIFY(!running_key.has(ModeKey::kWatched));
        alone_left = Breakpoints::kAlone;
        leave_from_handler(uc, ExitReason32::Retry, eip);
        return;
    case WindowFault::Outcome::CodeWrite:
        break;
    }
    store_into_code(uc, block, eip, address, fault.backing);
}

// The one access to the guest outside blocks: a stub compares a descriptor. Its caller is on the shadow
// stack.
void Vcpu::stub_fault(ucontext_t& uc, uint64_t address) {
    auto& gregs = uc.uc_mcontext.gregs;
    const uint64_t call = *reinterpret_cast<const uint64_t*>(gregs[REG_RSP]) - 1;
    Block* block = shared->cache->find_host(call);
    VERIFY(block != nullptr);
    // A descriptor across the top of the 4 GiB ends in the guard; the call-out knows how it wraps.
    const Addressing::Meeting met = shared->stubs.addressing->meeting(address, rt->window_base, 0);
    const bool wraps = met.what != Addressing::Meeting::What::Guest;
    if (!wraps && windows->resolve(static_cast<uint32_t>(met.linear), AccessKind::Read).outcome ==
                      WindowFault::Outcome::Mapped)
        return;
    gregs[REG_RSP] += 8;
    retry_with_callout(uc, *block, shared->cache->guest_eip(*block, call),
                       wraps ? Sites::Reason::Wrap : Sites::Reason::Cold);
}

// An indirect transfer came to a block, or a return to a landing, that was made for another EIP; it is in
// scratch[0].
void Vcpu::wrong_arrival(ucontext_t& uc, Block& block) {
    auto& gregs = uc.uc_mcontext.gregs;
    const auto host = static_cast<uint32_t>(gregs[REG_RIP]);
    const uint32_t made_for = shared->cache->guest_eip(block, host);
    gregs[REG_RIP] = host < block.body ? shared->stubs.indirect_miss : shared->stubs.return_miss;
    note_wrong_arrival(block, made_for);
}

// Calls nested deeper than the shadow stack: it starts afresh. Calls do not poll, for their returns do; ones
// that never return meet this every few thousand calls.
void Vcpu::shadow_stack_full(ucontext_t& uc) {
    auto& gregs = uc.uc_mcontext.gregs;
    gregs[REG_RSP] = static_cast<greg_t>(rt->shadow_top);
    const auto* call = reinterpret_cast<const uint8_t*>(gregs[REG_RIP]);
    constexpr uint8_t kCallRelative = 0xE8;
    if (!poll_armed() || call[0] != kCallRelative)
        return;
    int32_t distance = 0;
    std::memcpy(&distance, call + 1, sizeof distance);
    const uint64_t target = static_cast<uint64_t>(gregs[REG_RIP]) + 5 + static_cast<int64_t>(distance);
    const Block* callee = shared->cache->find_host(target);
    if (callee != nullptr && callee->body == target) // the guest's own push is done: it is about to begin
        leave_from_handler(uc, ExitReason32::Poll, callee->eip);
}

void Vcpu::handle_page_fault(ucontext_t& uc, Block* block, uint64_t address) {
    auto& gregs = uc.uc_mcontext.gregs;
    const auto host = static_cast<uint64_t>(gregs[REG_RIP]);
    if (contexts.in_shadow_guard(address)) {
        shadow_stack_full(uc);
        return;
    }
    VERIFY(block != nullptr && !contexts.in_shadow_sentinels(address));
    const uint32_t eip = shared->cache->guest_eip(*block, host);
    const RuntimeMemory::Place place = runtime_memory->place_of(address);
    const bool polls = place == RuntimeMemory::Place::Poll || place == RuntimeMemory::Place::Arrival;
    if (polls && !block->whole)
        caught_polling = block; // requests come by the clock mostly: a sample of what runs
    if (place == RuntimeMemory::Place::Poll || address - trap_page_ < kPageSize) {
        leave_from_handler(uc, ExitReason32::Poll, eip);
        return;
    }
    if (place == RuntimeMemory::Place::Arrival) { // a poll; whether it came here by right is not known yet
        leave_from_handler(uc, ExitReason32::Poll,
                           static_cast<uint32_t>(host_register(uc, shared->stubs.plan->scratch[0])));
        return;
    }
    if (place == RuntimeMemory::Place::Guard) {
        if (shared->translator->is_split_check(
                reinterpret_cast<const uint8_t*>(host))) // arrivals load in another way
            retry_with_callout(uc, *block, eip, Sites::Reason::Split);
        else
            wrong_arrival(uc, *block);
        return;
    }
    if (address - null_segment_page_ < kPageSize) {
        pending_fault = {Vector::GeneralProtection, true, 0, 0};
        leave_from_handler(uc, ExitReason32::Fault, eip);
        return;
    }
    if (place == RuntimeMemory::Place::Limit) {
        const bool stack = runtime_memory->segment_of_limit(address) == static_cast<unsigned>(SegReg::Ss);
        pending_fault = {stack ? Vector::StackFault : Vector::GeneralProtection, true, 0, 0};
        leave_from_handler(uc, ExitReason32::Fault, eip);
        return;
    }
    greg_t& stack = host_register(uc, shared->stubs.plan->stack());
    const Addressing::Meeting met =
        shared->stubs.addressing->meeting(address, rt->window_base, static_cast<uint64_t>(stack));
    switch (met.what) {
    case Addressing::Meeting::What::Guest:
        window_fault(uc, *block, static_cast<uint32_t>(met.linear));
        return;
    case Addressing::Meeting::What::Astray:
        stack = static_cast<greg_t>(met.stack);
        return;
    case Addressing::Meeting::What::Wrapped:
        address_wrapped(uc, *block, eip);
        return;
    case Addressing::Meeting::What::Elsewhere:
        break;
    }
    VERIFY(!"translated code has met a fault where it has nothing to do");
}

bool Vcpu::handle_signal(int signal, siginfo_t* info, void* context) {
    auto& uc = *static_cast<ucontext_t*>(context);
    auto& gregs = uc.uc_mcontext.gregs;
    const auto host = static_cast<uint64_t>(gregs[REG_RIP]);
    if (!shared->cache->memory().contains(host) || !running)
        return false;
    ++counters.host_faults;
    Block* block = shared->cache->find_host(host);
    const long trap = gregs[REG_TRAPNO];
    if (signal == SIGSEGV && trap == kTrapPage && host >= shared->stubs.ring0_first &&
        host < shared->stubs.ring0_end) {
        stub_fault(uc, static_cast<uint64_t>(gregs[REG_CR2]));
        return true;
    }
    if (signal == SIGSEGV && trap == kTrapPage) {
        handle_page_fault(uc, block, static_cast<uint64_t>(gregs[REG_CR2]));
        return true;
    }
    if (block == nullptr)
        return false;
    (void)info;
    Fault fault;
    switch (trap) {
    case kTrapDivide:
        fault.vector = Vector::DivideError;
        break;
    case kTrapInvalidOpcode:
        fault.vector = Vector::InvalidOpcode;
        break;
    case kTrapMath:
        fault.vector = Vector::MathFault;
        break;
    case kTrapSimd:
        fault.vector = (rt->cpu.cr4 & cr4::kOsxmmexcpt) ? Vector::SimdFault : Vector::InvalidOpcode;
        break;
    case kTrapProtection: // misaligned SSE operands, reserved MXCSR bits: natural on this instruction
        fault = {Vector::GeneralProtection, true, 0, 0};
        break;
    case kTrapAlignment:
        // The guest's own alignment checks are made by call-outs: the host refuses a locked access across
        // cache lines (split_lock_detect=fatal), if one has come past check_split(). The slot never is one.
        retry_with_callout(uc, *block, shared->cache->guest_eip(*block, host), Sites::Reason::Split);
        return true;
    default:
        return false; // SIGBUS on guest memory: the host is out of memory
    }
    pending_fault = fault;
    leave_from_handler(uc, ExitReason32::Fault, shared->cache->guest_eip(*block, host));
    return true;
}

} // namespace vmm
