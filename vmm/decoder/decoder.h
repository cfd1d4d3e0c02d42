// Turns guest bytes into GuestInstruction: the facts the translator's lowerings need, taken from Zydis,
// plus the lowering class from the instruction table (instruction_table.cpp).
// Knows nothing of memory, state or host code.
#pragma once
#include <cstdint>
#include <span>
#include <string>

namespace vmm {

// How an instruction is carried out. One value per lowering function; see translator/.
enum class Lowering : uint8_t {
    Undefined,    // #UD: not promised by our CPUID, or not an instruction
    Nop,          // hints: nothing to do
    Identity,     // re-encoded as itself, operands rewritten
    SimdIdentity, // likewise; needs #NM / CR4.OSFXSR checks, prefixes are part of the opcode
    X87Identity,  // likewise, x87 and MMX
    Lea,
    MoveSegment, // MOV r/m,Sreg and MOV Sreg,r/m
    LoadFarPointer,
    IncDec,      // 40h-4Fh short forms (REX in 64-bit mode)
    ExchangeAcc, // 90h+r
    MoveOffset,  // A0h-A3h
    Xlat,
    Push,
    Pop,
    PushSegment,
    PopSegment,
    PushAll,
    PopAll,
    PushFlags,
    PopFlags,
    Leave,
    Enter,
    JumpRelative,
    JumpConditional,
    JumpIndirect,
    JumpFar,
    LoopOrJcxz,
    CallRelative,
    CallIndirect,
    CallFar,
    Return,
    ReturnFar,
    InterruptReturn,
    SoftwareInterrupt, // INT n, INT3, INTO, INT1
    StringMove,
    StringIo,
    PortIn,
    PortOut,
    ClearInterrupt,
    SetInterrupt,
    SystemCall,   // carried out by a C++ routine, register operands only or none; by mnemonic
    SystemMemory, // likewise with a memory (or r/m) operand
    Bcd,          // DAA DAS AAA AAS AAM AAD SALC
    Bound,
    Arpl,
    FpuEnvironment, // FNSTENV FNSAVE FLDENV FRSTOR FXSAVE FXRSTOR
    LoadMxcsr,
};

enum MemoryAccess : uint8_t { kAccessNone = 0, kAccessRead = 1, kAccessWrite = 2 };

inline constexpr uint8_t kNoRegister = 0xFF;

// A memory operand as encoded: segment:[base + index*scale + displacement].
struct MemoryOperand {
    uint8_t segment = 3; // SegReg number, override applied
    uint8_t base = kNoRegister;
    uint8_t index = kNoRegister;
    uint8_t scale = 1;
    uint8_t address_bits = 32;
    uint8_t access = kAccessNone; // MemoryAccess bits
    uint16_t bytes = 0;           // size of the access; 0: address only
    int32_t displacement = 0;

    bool operator==(const MemoryOperand&) const = default;
};

struct GuestInstruction {
    uint32_t eip = 0; // of its first byte
    uint8_t length = 0;
    uint8_t examined = 0;  // bytes the answer depends on: `length`, or more for what did not decode
    bool too_long = false; // more than 15 bytes: #GP(0) (SDM Vol. 3A 6.15 "Interrupt 13")
    Lowering lowering = Lowering::Undefined;
    uint8_t bytes[16]{};   // zeros beyond `length`
    uint16_t mnemonic = 0; // ZydisMnemonic
    uint8_t opcode = 0;    // primary opcode byte
    uint8_t map = 0;       // 0: one byte, 1: 0Fh, 2: 0F38h, 3: 0F3Ah
    uint8_t mandatory = 0; // 66h, F2h or F3h when part of the opcode, else 0
    uint8_t repeat = 0;    // F3h / F2h effective on string instructions, else 0
    bool lock = false;
    bool has_modrm = false;
    uint8_t mod = 0, reg = 0, rm = 0;
    uint8_t operand_bytes = 4; // effective operand size: 1, 2 or 4
    uint8_t address_bits = 32;
    // Size in bytes of a general register named by that field; 0 when it names none.
    uint8_t reg_gpr = 0, rm_gpr = 0, opcode_gpr = 0;
    bool reg_written = false, rm_written = false, opcode_written = false;
    bool has_memory = false;
    MemoryOperand memory;
    uint8_t immediate_bytes = 0, immediate2_bytes = 0;
    uint32_t immediate = 0, immediate2 = 0;     // zero-extended raw bytes
    uint32_t target = 0;                        // relative branches: guest EIP, wrapped to the operand size
    uint16_t flags_read = 0, flags_written = 0; // arithmetic flags, as bits of EFLAGS; what is certain
    bool aligned_memory = false;                // 16-byte operand that must be aligned (#GP)
    uint8_t segment_override = kNoRegister;

    [[nodiscard]] uint32_t next_eip() const { return eip + length; }
    [[nodiscard]] bool ends_block() const; // control never falls through to the next instruction here

    bool operator==(const GuestInstruction&) const = default;
};

// A displacement or immediate among an instruction's bytes.
struct EncodedValue {
    uint8_t at = 0, bytes = 0;
    bool is_signed = false;
};

// How an instruction is laid out: form first, then values. See FormCache.
struct Encoding {
    // Prefixes, opcode, ModRM and SIB; 0 where these bytes are not all that says what the instruction is.
    uint8_t form_bytes = 0;
    EncodedValue displacement, immediate, immediate2;
    bool relative = false;           // the first immediate leads to `target`
    bool counted = false;            // the first immediate is a shift count: none, and no flag is written
    uint16_t flags_when_counted = 0; // flags_written with any other count
};

// Decodes one instruction. `bytes` holds what can be fetched (at most 15 used); `code32` is CS.D.
// False when the bytes end before the instruction does (the caller fetches more or faults); undefined
// encodings succeed with Lowering::Undefined.
bool decode(std::span<const uint8_t> bytes, uint32_t eip, bool code32, GuestInstruction& out,
            Encoding* encoding = nullptr);

// For reports.
std::string disassemble(const GuestInstruction& instruction, bool code32);

} // namespace vmm
