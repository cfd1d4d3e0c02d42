// 64-bit code: bytes into LongInstruction. Apart from decode() of decoder.h, so that 32-bit guests pay
// nothing for it and FormCache, which knows neither REX nor VEX, never sees these instructions.
#pragma once
#include "vmm/decoder/decoder.h"

namespace vmm {

// What 64-bit code may be promised beyond x86-64-v1 with SSE3 and SSSE3; the rest is #UD.
namespace feature {
inline constexpr uint32_t kCmpxchg16b = 1u << 0;
inline constexpr uint32_t kLahf = 1u << 1;
inline constexpr uint32_t kSse41 = 1u << 2;
inline constexpr uint32_t kSse42 = 1u << 3;
inline constexpr uint32_t kPopcnt = 1u << 4;
inline constexpr uint32_t kMovbe = 1u << 5;
inline constexpr uint32_t kLzcnt = 1u << 6;
inline constexpr uint32_t kBmi1 = 1u << 7;
inline constexpr uint32_t kBmi2 = 1u << 8;
inline constexpr uint32_t kAvx = 1u << 9;
inline constexpr uint32_t kAvx2 = 1u << 10;
inline constexpr uint32_t kF16c = 1u << 11;
inline constexpr uint32_t kFma = 1u << 12;
inline constexpr uint32_t kAes = 1u << 13;
inline constexpr uint32_t kPclmul = 1u << 14;
inline constexpr uint32_t kAdx = 1u << 15;
inline constexpr uint32_t kRdrand = 1u << 16;
inline constexpr uint32_t kXsave = 1u << 17;
inline constexpr uint32_t kXsaveopt = 1u << 18;
inline constexpr uint32_t kXsavec = 1u << 19;
inline constexpr uint32_t kXsaves = 1u << 20;
inline constexpr uint32_t kRdtscp = 1u << 21;
inline constexpr uint32_t kInvpcid = 1u << 22;
inline constexpr uint32_t kFsGsBase = 1u << 23;
inline constexpr uint32_t kSmap = 1u << 24;
inline constexpr uint32_t kAll = (1u << 25) - 1;
// x86-64 psABI 3.1.1.
inline constexpr uint32_t kV2 = kCmpxchg16b | kLahf | kSse41 | kSse42 | kPopcnt;
inline constexpr uint32_t kV3 = kV2 | kMovbe | kLzcnt | kBmi1 | kBmi2 | kAvx | kAvx2 | kF16c | kFma | kXsave;
} // namespace feature

// A type of its own: no translator takes it for a Lowering.
enum class LongLowering : uint8_t {
    Undefined,  // #UD
    NotLowered, // valid and promised; nothing carries it out yet
};

struct LongMemory {
    uint8_t segment = kNoRegister; // 4 FS, 5 GS; the others have base 0
    bool on_stack_segment = false; // a fault is #SS, not #GP
    uint8_t base = kNoRegister, index = kNoRegister, scale = 1;
    bool vector_index = false; // VSIB
    bool rip_relative = false; // `displacement` is then the address itself, base none
    uint8_t address_bits = 64;
    uint8_t access = kAccessNone;
    uint16_t bytes = 0;
    uint8_t alignment = 0;    // in bytes, else #GP; 0: any
    int64_t displacement = 0; // MOV moffs64: the address
};

struct VexFacts {
    bool present = false, w = false, l = false;
    uint8_t pp = 0, vvvv = 0; // as it is meant, not inverted
};

struct LongInstruction {
    uint64_t rip = 0;
    uint8_t length = 0, examined = 0;
    bool too_long = false;
    LongLowering lowering = LongLowering::Undefined;
    uint8_t bytes[16]{};
    uint16_t mnemonic = 0;
    uint8_t opcode = 0, map = 0, mandatory = 0, repeat = 0;
    bool lock = false;
    bool rex = false, rex_w = false; // REX alone makes SPL..DIL of AH..BH
    VexFacts vex;
    bool has_modrm = false;
    uint8_t mod = 0, reg = 0, rm = 0; // reg and rm with their fourth bit
    uint8_t operand_bytes = 4, address_bits = 64;
    uint8_t reg_gpr = 0, rm_gpr = 0, opcode_gpr = 0, vvvv_gpr = 0; // sizes, as in GuestInstruction
    uint8_t opcode_register = 0;
    bool reg_written = false, rm_written = false, opcode_written = false, vvvv_written = false;
    bool has_memory = false;
    LongMemory memory;
    uint8_t immediate_bytes = 0, immediate2_bytes = 0;
    uint64_t immediate = 0, immediate2 = 0; // as Zydis extends them: signed ones to 64 bits
    uint64_t target = 0;
    uint16_t flags_read = 0, flags_written = 0;

    [[nodiscard]] uint64_t next_rip() const { return rip + length; }
};

// As decode(): false when the bytes end first; #UD is a success with LongLowering::Undefined.
bool decode_long(std::span<const uint8_t> bytes, uint64_t rip, uint32_t features, LongInstruction& out);

} // namespace vmm
