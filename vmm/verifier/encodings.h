// The host instructions that translated code may consist of, as a table of encodings written from the SDM
// (Vol. 2, appendix A) and not from the emitter. What has no row, or stands in another form than its row
// allows, is refused; so nobody has to know what else a processor, this one or a later one, makes of bytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vmm {

// How the verifier follows an instruction.
enum class Effect : uint8_t {
    Refused,
    None,  // flags, x87 and XMM only; or EAX, EDX and AX, which stay as wide as they are
    Plain, // operands as the row's flags have them
    Store, // MOV r/m, r
    Load,  // MOV r, r/m
    StoreImmediate,
    Extend, // MOVZX
    Lea,
    MoveImmediate,
    Reverse, // BSWAP
    Group3,  // F6, F7
    Group5,  // FF: INC, DEC, indirect branches
    String,
    MaskedMove,
    Rotate, // RORX r32, r32, 16
    Nop,
    Jump,
    JumpIf,
    JumpIfZero, // JRCXZ
    Call,
    Return,
    // In stubs only
    Push,
    Pop,
    PopMemory,
    PushFlags,
    PopFlags,
    Mxcsr,
};

struct EncodingRow {
    uint32_t flags = 0;
    Effect effect = Effect::Refused;
    uint8_t prefixes = 0;             // sets of prefixes that may stand before it
    uint8_t extensions = 0xFF;        // values of ModRM.reg, where that is part of the opcode
    uint8_t memory_extensions = 0xFF; // those with a memory operand
};

namespace row {
// Prefix sets
inline constexpr uint8_t kNone = 1, k66 = 2, kF3 = 4, kF2 = 8, k66Repeat = 16;
// Flags
inline constexpr uint32_t kModrm = 1u << 0, kImmediate8 = 1u << 1,
                          kImmediate = 1u << 2, // 4 bytes, 2 with 66h
    kByte = 1u << 3,                            // general operands of 8 bits
    kReg = 1u << 4, kRm = 1u << 5,              // the field names a general register
    kWritesReg = 1u << 6, kWritesRm = 1u << 7, kMemory = 1u << 8, kRegister = 1u << 9, // that form only
    kLock = 1u << 10, kKeeps = 1u << 11,                        // may leave its destination as it was
    kWide = 1u << 12,                                           // REX.W has a meaning that is followed
    kStub = 1u << 13,                                           // in stubs only
    kOpcodeReg = 1u << 14,                                      // register in the opcode byte
    kLastReads = 1u << 15,                                      // /7 (CMP) writes nothing
    kFourthReads = 1u << 16,                                    // /4 (BT) writes nothing
    kBitString = 1u << 17,                                      // the register moves a memory operand
    kReadsRmIfScalar = 1u << 18, kWritesRegIfScalar = 1u << 19, // general registers with F2 or F3
    kWritesRmUnlessF3 = 1u << 20,                               // MOVD
    kGroup = 1u << 21,                                          // ModRM.reg is part of the opcode
    kTests = 1u << 23,                                          // /0 and /1 have an immediate
    kVector = 1u << 22; // 66h belongs to the opcode; general registers are 32 bits wide
} // namespace row

inline constexpr uint8_t kNoHostRegister = 16;

// One instruction, taken apart.
struct HostInstruction {
    const EncodingRow* row = nullptr;
    uint8_t length = 0;
    uint8_t opcode = 0, map = 0;
    uint8_t rex = 0;
    uint8_t repeat = 0; // F2h, F3h
    bool lock = false, window = false /* gs: with 32-bit addresses */, word = false /* 66h */;
    bool memory = false;
    uint8_t reg = 0, rm = 0; // with REX
    uint8_t extension = 0;   // ModRM.reg without
    uint8_t base = kNoHostRegister, index = kNoHostRegister, scale = 1;
    int32_t displacement = 0;
    uint32_t immediate = 0;

    [[nodiscard]] bool high_bytes() const { return rex == 0; } // 4-7 are AH..BH
    [[nodiscard]] bool wide() const { return (rex & 8) != 0; }
    [[nodiscard]] bool has(uint32_t flag) const { return (row->flags & flag) != 0; }
};

inline uint32_t read32(const uint8_t* at) {
    uint32_t value = 0;
    std::memcpy(&value, at, sizeof value);
    return value;
}

// The instruction at `at`; null, or why there is none that is allowed. Looks at no byte from `end` on.
const char* take_apart(const uint8_t* at, const uint8_t* end, bool stub, HostInstruction& out);

} // namespace vmm
