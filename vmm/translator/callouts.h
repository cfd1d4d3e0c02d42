// Call-outs: C++ routines that translated code calls. Each gets two 32-bit arguments (what they mean is said
// at each) and answers whether to go on in the block or leave it. On entry cpu.eip is the calling instruction
// and Runtime::next_eip the one after it.
#pragma once
#include "vmm/translator/runtime.h"

namespace vmm {

enum class Callout : uint8_t {
    Raise,          // a: vector
    SlotPrepare,    // a: offset, b: packed SlotAccess; checks, and fills the slot for a read
    SlotCommit,     // writes the slot back; b: as above
    Push,           // a: value, b: width, | kEndsInstruction
    PushSegment,    // a: selector, b: width
    Pop,            // b: width; result in the slot; ESP moved
    PopPeek,        // b: width; result in the slot; ESP not moved
    LoadSegment,    // a: selector, b: SegReg
    PopSegment,     // a: SegReg, b: width
    LoadFarPointer, // slot holds the pointer; a: SegReg, b: width
    String,         // a: packed StringCall
    PortIn,         // a: port, b: width
    PortOut,        // a: port, b: width
    Cli,
    Sti,
    PushFlags,         // b: width
    PopFlags,          // b: width
    PushAll,           // b: width
    PopAll,            // b: width
    Enter,             // a: size | level << 16, b: width
    FarJump,           // a: offset, b: selector | width << 16
    FarCall,           // likewise
    FarReturn,         // a: bytes to release, b: width
    InterruptReturn,   // b: width
    SoftwareInterrupt, // a: vector, b: EventKind
    MoveFromControl,   // a: CR number, b: general register
    MoveToControl,
    MoveFromDebug,
    MoveToDebug,
    Simple,            // a: SimpleOperation: no operands
    TableLoad,         // slot holds limit and base; a: 0 LGDT, 1 LIDT; b: width
    TableStore,        // fills the slot; a: 0 SGDT, 1 SIDT; b: width
    SelectorOperation, // a: value, b: SelectorOperation | general register << 8 | width << 16
    Invlpg,            // a: offset, b: SegReg
    Bcd,               // a: BcdOperation, b: immediate
    Bound,             // a: offset, b: SegReg | width << 8 | general register << 16
    FpuStore,          // a: offset, b: packed FpuAccess
    FpuLoad,
    LoadMxcsr,  // slot holds the value
    MaskedMove, // MASKMOVQ/MASKMOVDQU: a: source | mask << 8 | 128-bit << 16, b: SegReg | address bits << 8
    DebugCheck, // instruction breakpoints
    PinFlags,   // what comes before Stubs::pin_flags; a, b: PinnedInstruction; the slot: a memory operand
    Count,
};
static_assert(static_cast<unsigned>(Callout::Count) <= kMaxCallouts);

enum class SimpleOperation : uint8_t {
    Hlt,
    Clts,
    Cpuid,
    Rdtsc,
    Rdpmc,
    Rdmsr,
    Wrmsr,
    Wbinvd,
    Sysenter,
    Sysexit
};
enum class SelectorOperation : uint8_t { Lldt, Ltr, Lmsw, Lar, Lsl, Verr, Verw, Sldt, Str, Smsw, Arpl };
enum class BcdOperation : uint8_t { Daa, Das, Aaa, Aas, Aam, Aad, Salc };

// Packed argument of SlotPrepare/SlotCommit.
struct SlotAccess {
    static constexpr uint32_t kRead = 1, kWrite = 2, kAligned16 = 4, kBitString = 8;
    // bits 0-3 flags, 4-6 segment, 8-17 bytes, 18-20 general register of a bit string, 21 16-bit addressing,
    // 22-24 bytes of stack that the commit releases (POP to memory)
    static uint32_t pack(uint32_t flags, unsigned segment, unsigned bytes, unsigned bit_register = 0,
                         bool address16 = false) {
        return flags | segment << 4 | bytes << 8 | bit_register << 18 | uint32_t{address16} << 21;
    }
    static uint32_t releasing(uint32_t packed, unsigned stack_bytes) { return packed | stack_bytes << 22; }
};

using CalloutFunction = uint32_t (*)(Runtime& rt, uint32_t a, uint32_t b);
inline constexpr uint32_t kGoOn = 0, kLeave = 1;
inline constexpr uint32_t kEndsInstruction = 0x100;

void install_callouts(Runtime& rt);

} // namespace vmm
