// Host-thread state the engine borrows while it runs: the GS base, the signal stack, the x87 unit.
#pragma once
#include <asm/prctl.h>
#include <csignal>
#include <cstdint>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace vmm {

struct Vcpu;

// WRGSBASE where the kernel allows it (AT_HWCAP2 bit 1), the system call elsewhere.
inline void write_gs_base(uint64_t base) {
    static const bool direct = (getauxval(AT_HWCAP2) & 2) != 0;
    if (direct)
        asm volatile("wrgsbase %0" : : "r"(base) : "memory");
    else
        syscall(SYS_arch_prctl, ARCH_SET_GS, base);
}

// For the duration of run(): this thread's faults go to the engine, on a stack of their own.
class ThreadSignals {
  public:
    ThreadSignals(Vcpu& vcpu, std::vector<uint8_t>& stack);
    ~ThreadSignals();
    ThreadSignals(const ThreadSignals&) = delete;
    ThreadSignals& operator=(const ThreadSignals&) = delete;

  private:
    Vcpu* previous_;
    stack_t saved_{};
};

} // namespace vmm
