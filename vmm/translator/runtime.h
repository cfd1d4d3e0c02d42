// What translated code addresses through one register: CPU state first, then the engine's own slots. Lives
// below 2 GiB, so that a slot can also be named by an absolute disp32 (no REX: needed beside AH..BH).
#pragma once
#include "vmm/arch/state.h"

#include <cstddef>
#include <cstdint>

namespace vmm {

struct Vcpu;

// Why translated code came back to the dispatcher.
enum class ExitReason32 : uint32_t {
    Link,     // a direct exit not yet linked: exit_argument is its link
    Indirect, // an indirect target that the table does not know: cpu.eip
    Callout,  // a call-out asked for it; cpu.eip is where to go on
    Fault,    // host fault turned into a guest fault: pending_fault
    Poll,     // asked to stop at cpu.eip
    Retry,    // code changed under us: go on at cpu.eip
};

// Limit violations through segment n fault n * this further into the reservation for them.
inline constexpr uint32_t kLimitTrapStride = 4096;
// What the scaled index can be on a violation: the high half of a negative difference, byte-swapped.
inline constexpr uint64_t kLimitTrapIndexes[] = {0xFEFFFFFF, 0xFFFFFFFF};
inline constexpr uint64_t kLimitTrapBytes = 8 * 4096;
// How far one step of the biased ESP may take it between accesses through it (RET imm16 is the farthest).
inline constexpr int32_t kFarthestStackStep = 0x10000 + 8;
inline constexpr uint32_t kOtherFlags = ~(eflags::kHostHeld | eflags::kIf | eflags::kRf | eflags::kVm);
inline constexpr uint32_t kInterruptWaiting = eflags::kFixed1; // a bit that no comparison of flags expects
inline constexpr unsigned kMaxCallouts = 96;
inline constexpr unsigned kSlotBytes = 576;

struct Runtime {
    CpuState cpu;
    // Host RFLAGS image with the guest's arithmetic flags and DF.
    uint64_t host_flags = 2;
    uint32_t exit_reason = 0;
    uint32_t exit_argument = 0;
    uint32_t next_eip = 0;
    uint32_t interrupt_flag = 0;    // EFLAGS.IF while translated code runs, in place
    uint32_t other_flags = 2;       // EFLAGS but for kHostHeld, IF, RF and VM
    uint32_t interrupt_waiting = 0; // kInterruptWaiting while INTR is up
    // Read through after STI; points at a PROT_NONE page while INTR is up.
    uint64_t sti_poll_pointer = 0;
    // Where FS/GS bases are read from: the base field, or a PROT_NONE page while the register is null.
    uint64_t fs_base_pointer = 0, gs_base_pointer = 0;
    uint64_t window_base = 0, jump_table = 0;
    uint64_t shadow_rsp = 0, shadow_top = 0; // host stack of translated code: pairs host call/ret
    uint64_t cpp_rsp = 0;
    uint32_t host_mxcsr = 0x1F80;
    uint64_t string_flags = 0; // RFLAGS before a repeated CMPS or SCAS, where the host does not keep them
    uint64_t pin_keep = ~uint64_t{0}, pin_flags = 0; // see Stubs::pin_flags
    uint32_t target_eip = 0; // of an indirect transfer, to take its halves apart (see load_table_entry)
    uint32_t slot_linear = 0, slot_packed = 0, slot_bit = 0;
    uint32_t site = 0; // of the call-out that is being made instead of a plain access (see Sites); 0: none
    Vcpu* vcpu = nullptr;
    uint64_t callouts[kMaxCallouts]{};
    alignas(64) uint8_t slot[kSlotBytes]{};
};

// Runtime's own mapping: the structure with room for the limit check's harmless load, then the poll page.
// RegisterPlan::runtime points behind both (see RuntimeMemory).
inline constexpr uint32_t kRuntimeBytes = 60 * 1024;
inline constexpr uint32_t kPollPageBytes = 4096;
inline constexpr int32_t kAnchor = kRuntimeBytes + kPollPageBytes;
inline constexpr int32_t kPoll = -8;
inline constexpr int32_t kArrival = -4;
static_assert(sizeof(Runtime) <= kRuntimeBytes / 2);

// Displacements from RegisterPlan::runtime.
// The low half of a register: all there is to see of it for 32-bit code.
inline constexpr int32_t rt_gpr(unsigned reg) {
    return static_cast<int32_t>(offsetof(CpuState, gpr) + reg * sizeof(Wide) + offsetof(Wide, low)) - kAnchor;
}
inline constexpr int32_t kRtEip = static_cast<int32_t>(offsetof(CpuState, eip)) - kAnchor;
#define ENCORE_RT(field) (static_cast<int32_t>(offsetof(::vmm::Runtime, field)) - ::vmm::kAnchor)

inline constexpr int32_t rt_segment(unsigned reg) {
    return static_cast<int32_t>(offsetof(CpuState, seg) + reg * sizeof(Segment)) - kAnchor;
}
inline constexpr int32_t rt_segment_base(unsigned reg) {
    return rt_segment(reg) + static_cast<int32_t>(offsetof(Segment, base));
}
inline constexpr int32_t rt_segment_limit(unsigned reg) {
    return rt_segment(reg) + static_cast<int32_t>(offsetof(Segment, limit));
}
inline constexpr int32_t rt_segment_selector(unsigned reg) {
    return rt_segment(reg) + static_cast<int32_t>(offsetof(Segment, selector));
}

} // namespace vmm
