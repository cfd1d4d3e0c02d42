// What both decoders take from Zydis in the same way: registers by number and size, and what is done to them.
#pragma once
#include "vmm/decoder/decoder.h"

#include <Zydis/Zydis.h>

namespace vmm {

inline constexpr uint32_t kArithmeticFlags = ZYDIS_CPUFLAG_CF | ZYDIS_CPUFLAG_PF | ZYDIS_CPUFLAG_AF |
                                             ZYDIS_CPUFLAG_ZF | ZYDIS_CPUFLAG_SF | ZYDIS_CPUFLAG_OF;

inline uint8_t register_number(ZydisRegister reg) {
    return reg == ZYDIS_REGISTER_NONE ? kNoRegister : static_cast<uint8_t>(ZydisRegisterGetId(reg));
}

// Of a general register; 0: it is none.
inline uint8_t general_register_bytes(ZydisRegister reg) {
    switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR8:
        return 1;
    case ZYDIS_REGCLASS_GPR16:
        return 2;
    case ZYDIS_REGCLASS_GPR32:
        return 4;
    case ZYDIS_REGCLASS_GPR64:
        return 8;
    default:
        return 0;
    }
}

inline uint8_t access_of(const ZydisDecodedOperand& operand) {
    uint8_t access = kAccessNone;
    if (operand.actions & ZYDIS_OPERAND_ACTION_MASK_READ)
        access |= kAccessRead;
    if (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
        access |= kAccessWrite;
    return access;
}

// A general register that ModRM or the opcode names, into the fields of either kind of instruction.
template <class Instruction> void take_register(const ZydisDecodedOperand& operand, Instruction& out) {
    const uint8_t bytes = general_register_bytes(operand.reg.value);
    if (bytes == 0)
        return;
    const bool written = (access_of(operand) & kAccessWrite) != 0;
    switch (operand.encoding) {
    case ZYDIS_OPERAND_ENCODING_MODRM_REG:
        out.reg_gpr = bytes, out.reg_written = written;
        break;
    case ZYDIS_OPERAND_ENCODING_MODRM_RM:
        out.rm_gpr = bytes, out.rm_written = written;
        break;
    case ZYDIS_OPERAND_ENCODING_OPCODE:
        out.opcode_gpr = bytes, out.opcode_written = written;
        break;
    case ZYDIS_OPERAND_ENCODING_NDSNDD:
        if constexpr (requires { out.vvvv_gpr; })
            out.vvvv_gpr = bytes, out.vvvv_written = written;
        break;
    default:
        break;
    }
}

} // namespace vmm
