// The instruction forms that random cases are made of, one line each in the SDM's notation, and the parsed
// shape the generator works from. Forms with operands that need care (string pointers, stack frames, branch
// targets, FNSTENV) are built by generator.cpp instead.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace differential {

enum class Group : uint8_t { Alu, Shift, MulDiv, Bits, Move, Stack, Misc, X87, Mmx, Sse, Sse2, Ssse3, Count };

struct Form {
    std::string_view text;
    Group group = Group::Alu;
    std::vector<uint8_t> prefixes; // mandatory 66/F2/F3
    std::vector<uint8_t> opcode;
    enum class ModRm : uint8_t { None, AnyReg, Digit } modrm = ModRm::None;
    uint8_t digit = 0;
    enum class Rm : uint8_t { Any, MemoryOnly, RegisterOnly } rm = Rm::Any;
    bool plus_register = false;  // low three bits of the opcode
    bool operand_size = false;   // 66h may be put before it
    bool lock = false;           // LOCK may be, with a memory operand
    uint8_t immediate_bytes = 0; // fixed part
    bool immediate_z = false;    // and/or 16 or 32 bits by operand size
    bool moffs = false;          // address-size offset
    bool aligned = false;        // 16-byte alignment is demanded
    uint16_t memory_bytes = 16;
};

std::span<const Form> all_forms(Group group);

} // namespace differential
