#include "vmm/translator/intel_flags.h"

#include "vmm/arch/state.h"
#include "vmm/decoder/decoder.h"

namespace vmm {

namespace {

using namespace eflags;

enum class Kind : uint8_t { None, Shift, DoubleShift, Multiply, BitScan, BitTest, Divide };

Kind kind_of(uint8_t map, uint8_t opcode, uint8_t reg) {
    if (map == 0) {
        if (opcode == 0xC0 || opcode == 0xC1 || (opcode >= 0xD0 && opcode <= 0xD3))
            return Kind::Shift;
        if (opcode == 0x69 || opcode == 0x6B)
            return Kind::Multiply;
        if ((opcode == 0xF6 || opcode == 0xF7) && reg >= 4)
            return reg <= 5 ? Kind::Multiply : Kind::Divide;
        return Kind::None;
    }
    if (map != 1)
        return Kind::None;
    switch (opcode) {
    case 0xA4:
    case 0xA5:
    case 0xAC:
    case 0xAD:
        return Kind::DoubleShift;
    case 0xAF:
        return Kind::Multiply;
    case 0xBC:
    case 0xBD:
        return Kind::BitScan;
    case 0xA3:
    case 0xAB:
    case 0xB3:
    case 0xBB:
        return Kind::BitTest;
    case 0xBA:
        return reg >= 4 ? Kind::BitTest : Kind::None;
    default:
        return Kind::None;
    }
}

struct Operands {
    Operands(PinnedInstruction instruction, const CpuState& state, uint32_t memory)
        : opcode(instruction.packed & 0xFF), map((instruction.packed >> 8) & 3),
          reg_field((instruction.packed >> 11) & 7), bits(((instruction.packed >> 17) & 7) * 8) {
        const unsigned rm_field = (instruction.packed >> 14) & 7;
        in_register = (instruction.packed >> 10 & 1) != 0;
        rm = (in_register ? general(state, rm_field) : memory) & mask();
        reg = general(state, reg_field) & mask();
        accumulator = state.gpr[0].low & mask();
        immediate = instruction.immediate;
        cl = state.gpr[1].low & 0xFF;
    }
    [[nodiscard]] uint32_t mask() const { return bits == 32 ? ~0u : (1u << bits) - 1; }
    [[nodiscard]] uint32_t sign() const { return 1u << (bits - 1); }

    uint8_t opcode, map;
    unsigned reg_field, bits;
    bool in_register = false;
    uint32_t rm = 0, reg = 0, accumulator = 0, immediate = 0, cl = 0;

  private:
    [[nodiscard]] uint32_t general(const CpuState& state, unsigned number) const {
        return bits == 8 ? state.gpr[number & 3].low >> (number & 4 ? 8 : 0) : state.gpr[number].low;
    }
};

uint32_t of_if(bool set) { return set ? kOf : 0; }
bool even_parity(uint32_t value) { return __builtin_parity(value & 0xFF) == 0; }

// OF is that of the first of the single steps, AF clear. ROL and ROR of a register by an immediate
// leave OF as it was.
PinnedFlags shift(const Operands& o, uint32_t before) {
    const bool by_cl = o.opcode == 0xD2 || o.opcode == 0xD3, by_one = o.opcode == 0xD0 || o.opcode == 0xD1;
    const uint32_t count = by_one ? 1 : (by_cl ? o.cl : o.immediate) & 31;
    if (count == 0)
        return {};
    const bool top = (o.rm & o.sign()) != 0, next = (o.rm & o.sign() >> 1) != 0;
    const bool carry = (before & kCf) != 0, immediate = !by_cl && !by_one && count != 1;
    if (immediate && o.in_register && o.reg_field <= 1)
        return {kOf, before & kOf};
    switch (o.reg_field) {
    case 0: // ROL
        return {kOf, of_if(top != next)};
    case 1: // ROR
        return {kOf, of_if(top != ((o.rm & 1) != 0))};
    case 2: // RCL: OF stays in a turn all the way round (Zen 4 sets it)
        return {kOf, count % (o.bits + 1) == 0 ? before & kOf : of_if(top != next)};
    case 3: // RCR
        return {kOf, count % (o.bits + 1) == 0 ? before & kOf : of_if(top != carry)};
    case 5: // SHR
        return {kOf | kAf, of_if(top)};
    case 7: // SAR
        return {kOf | kAf, 0};
    default: // SHL
        return {kOf | kAf, of_if(top != next)};
    }
}

PinnedFlags double_shift(const Operands& o) {
    const bool by_cl = o.opcode == 0xA5 || o.opcode == 0xAD, left = o.opcode <= 0xA5;
    if (((by_cl ? o.cl : o.immediate) & 31) == 0)
        return {};
    const bool top = (o.rm & o.sign()) != 0;
    const bool moved_in = left ? (o.rm & o.sign() >> 1) != 0 : (o.reg & 1) != 0;
    return {kOf | kAf, of_if(top != moved_in)};
}

// SF and PF of the product's low half; ZF and AF clear.
PinnedFlags multiply(const Operands& o) {
    uint32_t low;
    if (o.map == 1)
        low = o.reg * o.rm;
    else if (o.opcode == 0x69)
        low = o.rm * o.immediate;
    else if (o.opcode == 0x6B)
        low = o.rm * static_cast<uint32_t>(static_cast<int32_t>(static_cast<int8_t>(o.immediate)));
    else
        low = o.accumulator * o.rm;
    return {kSf | kZf | kAf | kPf, ((low & o.sign()) != 0 ? kSf : 0u) | (even_parity(low) ? kPf : 0u)};
}

// PF of the result, or of 0 when there is none; ZF is defined.
PinnedFlags bit_scan(const Operands& o) {
    uint32_t result = 0;
    if (o.rm != 0)
        result = static_cast<uint32_t>(o.opcode == 0xBC ? __builtin_ctz(o.rm) : 31 - __builtin_clz(o.rm));
    return {kCf | kOf | kSf | kAf | kPf, even_parity(result) ? kPf : 0u};
}

} // namespace

uint32_t maker_dependent_flags(const GuestInstruction& instruction) {
    if (instruction.lowering != Lowering::Identity || !instruction.has_modrm)
        return 0;
    switch (kind_of(instruction.map, instruction.opcode, instruction.reg)) {
    case Kind::Shift:
        return instruction.reg < 4 ? kOf : kOf | kAf;
    case Kind::DoubleShift:
        return kOf | kAf;
    case Kind::Multiply:
        return kSf | kZf | kAf | kPf;
    case Kind::BitScan:
        return kCf | kOf | kSf | kAf | kPf;
    case Kind::BitTest:
        return kOf | kSf | kAf | kPf;
    case Kind::Divide:
        return kArithmetic;
    default:
        return 0;
    }
}

PinnedInstruction PinnedInstruction::of(const GuestInstruction& i) {
    const bool byte = i.map == 0 && (i.opcode & 1) == 0;
    const unsigned bytes = byte ? 1 : i.operand_bytes;
    return {i.opcode | uint32_t{i.map} << 8 | (i.mod == 3 ? 1u << 10 : 0) | uint32_t{i.reg} << 11 |
                uint32_t{i.rm} << 14 | bytes << 17,
            i.immediate};
}

PinnedFlags intel_flags(PinnedInstruction instruction, const CpuState& state, uint32_t memory) {
    const Operands o(instruction, state, memory);
    switch (kind_of(o.map, o.opcode, static_cast<uint8_t>(o.reg_field))) {
    case Kind::Shift:
        return shift(o, state.eflags);
    case Kind::DoubleShift:
        return double_shift(o);
    case Kind::Multiply:
        return multiply(o);
    case Kind::BitScan:
        return bit_scan(o);
    case Kind::BitTest: // CF is the only one that it touches
        return {kOf | kSf | kAf | kPf, state.eflags & (kOf | kSf | kAf | kPf)};
    case Kind::Divide:
        return {kArithmetic, state.eflags & kArithmetic};
    default:
        return {};
    }
}

} // namespace vmm
