// Power-on state (SDM Vol. 3A 9.1.1 and table 9-1).
#include "vmm/arch/tsc.h"
#include "vmm/cpu/internals.h"

#include <cstring>

namespace vmm {
namespace {

constexpr uint32_t kResetAttributesCode = 0x00009B00;
constexpr uint32_t kLdtAttributes = 0x00008200, kTssAttributes = 0x00008B00; // busy 32-bit TSS
constexpr uint32_t kDr6Reset = 0xFFFF0FF0, kDr7Reset = 0x00000400;
constexpr uint16_t kFcwReset = 0x0040;
constexpr uint32_t kMxcsrReset = 0x1F80;
constexpr size_t kFxFcw = 0, kFxTag = 4, kFxMxcsr = 24; // SDM Vol. 1 table 10-2

} // namespace

void Cpu::reset() {
    const uint32_t tsc_khz = state_.tsc_khz; // a machine's counter keeps its rate
    const uint64_t tsc_ratio = state_.tsc_ratio;
    const uint32_t promised = state_.promised;
    state_ = CpuState{};
    state_.promised = promised;
    state_.tsc_khz = tsc_khz;
    state_.tsc_ratio = tsc_ratio;
    for (Segment& segment : state_.seg)
        segment = Segment{0, 1, 0, 0xFFFF, kRealAttributes};
    state_.segment(SegReg::Cs) = Segment{0xF000, 1, 0xFFFF0000, 0xFFFF, kResetAttributesCode};
    state_.ldtr = Segment{0, 1, 0, 0xFFFF, kLdtAttributes};
    state_.tr = Segment{0, 1, 0, 0xFFFF, kTssAttributes};
    state_.gdtr = {0, 0xFFFF};
    state_.idtr = {0, 0xFFFF};
    state_.cr0 = cr0::kCd | cr0::kNw | cr0::kEt;
    state_.dr[6] = kDr6Reset;
    state_.dr[7] = kDr7Reset;
    set_guest_tsc(state_, 0);

    // x87 after RESET: all registers tagged zero, so valid in FXSAVE's abridged tag word.
    state_.fx.bytes[kFxTag] = 0xFF;
    std::memcpy(&state_.fx.bytes[kFxFcw], &kFcwReset, sizeof kFcwReset);
    std::memcpy(&state_.fx.bytes[kFxMxcsr], &kMxcsrReset, sizeof kMxcsrReset);

    // EDX holds the processor signature, the other registers are zero.
    state_.reg(Reg::Eax) = 1;
    cpuid();
    const uint32_t signature = state_.reg(Reg::Eax);
    state_.gpr = {};
    state_.reg(Reg::Edx) = signature;
    state_.eip = 0xFFF0;

    memory_.flush();
    tlb_.paging_changed();
    tlb_.debug_registers_changed();
}

} // namespace vmm
