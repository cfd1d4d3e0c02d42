#include "vmm/decoder/decoder.h"

#include "vmm/base/verify.h"
#include "vmm/decoder/instruction_table.h"
#include "vmm/decoder/zydis_facts.h"

#include <cstring>

namespace vmm {

namespace {

const ZydisDecoder& decoder_for(bool code32) {
    static const auto make = [](ZydisMachineMode mode, ZydisStackWidth width) {
        ZydisDecoder decoder;
        ZydisDecoderInit(&decoder, mode, width);
        // Extensions our CPUID does not promise decode as what an older processor saw.
        for (ZydisDecoderMode extension :
             {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET, ZYDIS_DECODER_MODE_LZCNT,
              ZYDIS_DECODER_MODE_TZCNT, ZYDIS_DECODER_MODE_WBNOINVD, ZYDIS_DECODER_MODE_CLDEMOTE})
            ZydisDecoderEnableMode(&decoder, extension, ZYAN_FALSE);
        return decoder;
    };
    static const ZydisDecoder decoder32 = make(ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    static const ZydisDecoder decoder16 = make(ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    return code32 ? decoder32 : decoder16;
}

// The table's class, refined where one mnemonic covers encodings that need different lowerings.
Lowering classify(const ZydisDecodedInstruction& z, const ZydisDecodedOperand* operands) {
    // What SSE3 and SSSE3 add to the x87 unit.
    if (z.mnemonic == ZYDIS_MNEMONIC_FISTTP || z.meta.isa_set == ZYDIS_ISA_SET_SSSE3MMX)
        return Lowering::X87Identity;
    switch (z.meta.isa_ext) {
    case ZYDIS_ISA_EXT_X87:
    case ZYDIS_ISA_EXT_MMX:
        if (const Lowering row = lowering_of(z.mnemonic); row == Lowering::FpuEnvironment)
            return row;
        return Lowering::X87Identity;
    case ZYDIS_ISA_EXT_SSE:
    case ZYDIS_ISA_EXT_SSE2:
    case ZYDIS_ISA_EXT_SSE3:
    case ZYDIS_ISA_EXT_SSSE3:
        // 0Fh-map MOVSD/CMPSD share mnemonics with the string instructions.
        if (const Lowering row = lowering_of(z.mnemonic);
            row != Lowering::Undefined && row != Lowering::StringMove)
            return row;
        return Lowering::SimdIdentity;
    case ZYDIS_ISA_EXT_BASE:
    case ZYDIS_ISA_EXT_PAUSE:
    case ZYDIS_ISA_EXT_CLFSH:
        break;
    default:
        return z.mnemonic == ZYDIS_MNEMONIC_NOP ? Lowering::Nop : Lowering::Undefined;
    }
    const Lowering row = lowering_of(z.mnemonic);
    switch (z.mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        if (z.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (z.opcode == 0x8C || z.opcode == 0x8E))
            return Lowering::MoveSegment;
        if (z.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && z.opcode >= 0xA0 && z.opcode <= 0xA3)
            return Lowering::MoveOffset;
        if (z.opcode_map == ZYDIS_OPCODE_MAP_0F) // MOV CRn / DRn
            return Lowering::SystemCall;
        return row;
    case ZYDIS_MNEMONIC_XCHG:
        return z.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && z.opcode >= 0x90 && z.opcode <= 0x97
                   ? Lowering::ExchangeAcc
                   : row;
    case ZYDIS_MNEMONIC_INC:
    case ZYDIS_MNEMONIC_DEC:
        return z.opcode >= 0x40 && z.opcode <= 0x4F ? Lowering::IncDec : Lowering::Identity;
    case ZYDIS_MNEMONIC_PUSH:
    case ZYDIS_MNEMONIC_POP:
        if (operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(operands[0].reg.value) == ZYDIS_REGCLASS_SEGMENT)
            return z.mnemonic == ZYDIS_MNEMONIC_PUSH ? Lowering::PushSegment : Lowering::PopSegment;
        return row;
    case ZYDIS_MNEMONIC_JMP:
    case ZYDIS_MNEMONIC_CALL: {
        const bool jump = z.mnemonic == ZYDIS_MNEMONIC_JMP;
        if (z.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
            return jump ? Lowering::JumpFar : Lowering::CallFar;
        if (operands[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
            return jump ? Lowering::JumpIndirect : Lowering::CallIndirect;
        return row;
    }
    case ZYDIS_MNEMONIC_RET:
        return z.opcode == 0xCA || z.opcode == 0xCB ? Lowering::ReturnFar : Lowering::Return;
    default:
        return row;
    }
}

void take_memory(const ZydisDecodedInstruction& z, const ZydisDecodedOperand& operand,
                 GuestInstruction& out) {
    MemoryOperand& memory = out.memory;
    out.has_memory = true;
    memory.segment = static_cast<uint8_t>(operand.mem.segment - ZYDIS_REGISTER_ES);
    if (memory.segment > 5)
        memory.segment = 3;
    memory.base = register_number(operand.mem.base);
    memory.index = register_number(operand.mem.index);
    memory.scale = operand.mem.scale == 0 ? 1 : operand.mem.scale;
    memory.displacement =
        operand.mem.disp.has_displacement ? static_cast<int32_t>(operand.mem.disp.value) : 0;
    memory.address_bits = z.address_width;
    memory.bytes = static_cast<uint16_t>(operand.size / 8);
    if (z.mnemonic == ZYDIS_MNEMONIC_CLFLUSH)
        memory.bytes = 1; // checked like a byte load (SDM Vol. 2A "CLFLUSH")
    if (operand.mem.type == ZYDIS_MEMOP_TYPE_MEM)
        memory.access = access_of(operand);
}

void take_operand(const ZydisDecodedInstruction& z, const ZydisDecodedOperand& operand,
                  GuestInstruction& out) {
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN) {
        take_memory(z, operand, out);
        return;
    }
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER)
        take_register(operand, out);
}

// Shifts by CL and repeated compares may leave the flags alone.
bool may_keep_flags(const GuestInstruction& out) {
    if (out.lowering == Lowering::StringMove)
        return out.repeat != 0;
    return out.map == 0 ? out.opcode == 0xD2 || out.opcode == 0xD3
                        : out.map == 1 && (out.opcode == 0xA5 || out.opcode == 0xAD);
}

bool shifts_by_immediate(const GuestInstruction& out) {
    return out.map == 0 ? out.opcode == 0xC0 || out.opcode == 0xC1
                        : out.map == 1 && (out.opcode == 0xA4 || out.opcode == 0xAC);
}

void take_flags(const ZydisDecodedInstruction& z, GuestInstruction& out, Encoding* encoding) {
    if (z.cpu_flags == nullptr)
        return;
    const ZydisAccessedFlags& f = *z.cpu_flags;
    out.flags_read = static_cast<uint16_t>(f.tested & kArithmeticFlags);
    if (!may_keep_flags(out))
        out.flags_written =
            static_cast<uint16_t>((f.modified | f.set_0 | f.set_1 | f.undefined) & kArithmeticFlags);
    if (shifts_by_immediate(out)) {
        if (encoding != nullptr)
            encoding->counted = true, encoding->flags_when_counted = out.flags_written;
        if ((out.immediate & 31) == 0)
            out.flags_written = 0;
    }
    if (out.lowering == Lowering::PushFlags || out.lowering == Lowering::SoftwareInterrupt ||
        z.mnemonic == ZYDIS_MNEMONIC_LAHF)
        out.flags_read = kArithmeticFlags; // an image of them
}

bool needs_alignment(const ZydisDecodedInstruction& z, const GuestInstruction& out) {
    if (out.lowering != Lowering::SimdIdentity || out.memory.bytes != 16)
        return false;
    switch (z.mnemonic) {
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
        return false;
    default:
        return true;
    }
}

// What Zydis read before any value. An opcode behind the operands, as 3DNow! has, or fields in a VEX prefix
// are no form in this sense.
void describe_encoding(const ZydisDecodedInstruction& z, const GuestInstruction& out, Encoding& encoding) {
    if (z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        return;
    const auto value = [](const auto& raw, bool is_signed) {
        return EncodedValue{raw.offset, static_cast<uint8_t>(raw.size / 8), is_signed};
    };
    if (z.raw.disp.size != 0 && out.has_memory)
        encoding.displacement = value(z.raw.disp, true);
    encoding.immediate = value(z.raw.imm[0], z.raw.imm[0].is_signed);
    encoding.immediate2 = value(z.raw.imm[1], z.raw.imm[1].is_signed);
    encoding.relative = z.raw.imm[0].is_relative;
    encoding.form_bytes =
        static_cast<uint8_t>(z.length - (z.raw.disp.size + z.raw.imm[0].size + z.raw.imm[1].size) / 8);
}

} // namespace

bool decode(std::span<const uint8_t> bytes, uint32_t eip, bool code32, GuestInstruction& out,
            Encoding* encoding) {
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    const size_t available = bytes.size() < 15 ? bytes.size() : 15;
    const ZydisDecoder& decoder = decoder_for(code32);
    ZydisDecoderContext context;
    ZyanStatus status = ZydisDecoderDecodeInstruction(&decoder, &context, bytes.data(), available, &z);
    out = GuestInstruction{};
    out.eip = eip;
    if (status == ZYDIS_STATUS_NO_MORE_DATA && available < 15)
        return false;
    if (ZYAN_SUCCESS(status))
        status = ZydisDecoderDecodeOperands(&decoder, &context, &z, operands, z.operand_count);
    if (!ZYAN_SUCCESS(status)) {
        out.length = 1;
        out.examined = static_cast<uint8_t>(available);
        out.too_long = status == ZYDIS_STATUS_NO_MORE_DATA || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG;
        out.bytes[0] = bytes[0];
        out.lowering = Lowering::Undefined;
        return true;
    }
    out.length = out.examined = z.length;
    std::memcpy(out.bytes, bytes.data(), z.length);
    out.mnemonic = static_cast<uint16_t>(z.mnemonic);
    out.opcode = z.opcode;
    out.map = static_cast<uint8_t>(z.opcode_map);
    out.lowering =
        z.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ? classify(z, operands) : Lowering::Undefined;
    out.lock = (z.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0;
    for (unsigned i = 0; i < z.raw.prefix_count; ++i) {
        const auto& prefix = z.raw.prefixes[i];
        if (prefix.type == ZYDIS_PREFIX_TYPE_MANDATORY)
            out.mandatory = prefix.value;
        switch (prefix.value) {
        case 0x26:
            out.segment_override = 0;
            break;
        case 0x2E:
            out.segment_override = 1;
            break;
        case 0x36:
            out.segment_override = 2;
            break;
        case 0x3E:
            out.segment_override = 3;
            break;
        case 0x64:
            out.segment_override = 4;
            break;
        case 0x65:
            out.segment_override = 5;
            break;
        default:
            break;
        }
    }
    if (z.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
        out.repeat = 0xF3;
    if (z.attributes & ZYDIS_ATTRIB_HAS_REPNE)
        out.repeat = 0xF2;
    if (z.attributes & ZYDIS_ATTRIB_HAS_MODRM) {
        out.has_modrm = true;
        out.mod = z.raw.modrm.mod;
        out.reg = z.raw.modrm.reg;
        out.rm = z.raw.modrm.rm;
    }
    out.operand_bytes = static_cast<uint8_t>(z.operand_width / 8);
    out.address_bits = z.address_width;
    for (unsigned i = 0; i < z.operand_count; ++i)
        take_operand(z, operands[i], out);
    if (z.raw.imm[0].size != 0) {
        out.immediate_bytes = z.raw.imm[0].size / 8;
        out.immediate = static_cast<uint32_t>(z.raw.imm[0].value.u);
    }
    if (z.raw.imm[1].size != 0) {
        out.immediate2_bytes = z.raw.imm[1].size / 8;
        out.immediate2 = static_cast<uint32_t>(z.raw.imm[1].value.u);
    }
    if (z.raw.imm[0].is_relative) {
        out.target = eip + z.length + static_cast<uint32_t>(static_cast<int32_t>(z.raw.imm[0].value.s));
        if (z.operand_width == 16)
            out.target &= 0xFFFF;
    }
    out.aligned_memory = out.has_memory && needs_alignment(z, out);
    take_flags(z, out, encoding);
    if (encoding != nullptr)
        describe_encoding(z, out, *encoding);
    return true;
}

bool GuestInstruction::ends_block() const {
    switch (lowering) {
    case Lowering::Undefined:
    case Lowering::JumpRelative:
    case Lowering::JumpIndirect:
    case Lowering::JumpFar:
    case Lowering::CallFar:
    case Lowering::Return:
    case Lowering::ReturnFar:
    case Lowering::InterruptReturn:
        return true;
    case Lowering::SoftwareInterrupt:
        return mnemonic != ZYDIS_MNEMONIC_INTO;
    case Lowering::SystemCall:
        return mnemonic == ZYDIS_MNEMONIC_HLT || mnemonic == ZYDIS_MNEMONIC_SYSENTER ||
               mnemonic == ZYDIS_MNEMONIC_SYSEXIT;
    default:
        return false;
    }
}

std::string disassemble(const GuestInstruction& instruction, bool code32) {
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_for(code32), instruction.bytes, instruction.length, &z,
                                             operands)))
        return "(undefined)";
    ZydisFormatter formatter;
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    char text[128];
    ZydisFormatterFormatInstruction(&formatter, &z, operands, z.operand_count_visible, text, sizeof text,
                                    instruction.eip, nullptr);
    return text;
}

} // namespace vmm
