#include "vmm/decoder/long_decoder.h"

#include "vmm/decoder/instruction_table.h"
#include "vmm/decoder/zydis_facts.h"

#include <array>
#include <cstring>

namespace vmm {

namespace {

// LZCNT and TZCNT are BSR and BSF with a prefix to a processor that lacks them.
const ZydisDecoder& decoder_for(uint32_t features) {
    static const auto make = [](bool lzcnt, bool tzcnt) {
        ZydisDecoder decoder;
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        for (ZydisDecoderMode extension : {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET,
                                           ZYDIS_DECODER_MODE_WBNOINVD, ZYDIS_DECODER_MODE_CLDEMOTE})
            ZydisDecoderEnableMode(&decoder, extension, ZYAN_FALSE);
        ZydisDecoderEnableMode(&decoder, ZYDIS_DECODER_MODE_LZCNT, lzcnt ? ZYAN_TRUE : ZYAN_FALSE);
        ZydisDecoderEnableMode(&decoder, ZYDIS_DECODER_MODE_TZCNT, tzcnt ? ZYAN_TRUE : ZYAN_FALSE);
        return decoder;
    };
    static const std::array<ZydisDecoder, 4> decoders = {make(false, false), make(true, false),
                                                         make(false, true), make(true, true)};
    return decoders[((features & feature::kLzcnt) != 0 ? 1 : 0) | ((features & feature::kBmi1) != 0 ? 2 : 0)];
}

uint8_t alignment_of(const ZydisDecodedInstruction& z, uint16_t bytes) {
    switch (z.mnemonic) {
    case ZYDIS_MNEMONIC_CMPXCHG16B:
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_FXRSTOR64:
        return 16;
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64:
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
    case ZYDIS_MNEMONIC_XSAVES:
    case ZYDIS_MNEMONIC_XSAVES64:
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64:
    case ZYDIS_MNEMONIC_XRSTORS:
    case ZYDIS_MNEMONIC_XRSTORS64:
        return 64;
    case ZYDIS_MNEMONIC_VMOVAPS:
    case ZYDIS_MNEMONIC_VMOVAPD:
    case ZYDIS_MNEMONIC_VMOVDQA:
    case ZYDIS_MNEMONIC_VMOVNTDQ:
    case ZYDIS_MNEMONIC_VMOVNTDQA:
    case ZYDIS_MNEMONIC_VMOVNTPS:
    case ZYDIS_MNEMONIC_VMOVNTPD:
        return static_cast<uint8_t>(bytes);
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI:
    case ZYDIS_MNEMONIC_PCMPISTRM:
    case ZYDIS_MNEMONIC_INVPCID:
        return 0;
    default:
        return z.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && bytes == 16 ? 16 : 0;
    }
}

void take_memory(const ZydisDecodedInstruction& z, const ZydisDecodedOperand& operand, LongInstruction& out) {
    LongMemory& memory = out.memory;
    out.has_memory = true;
    if (operand.mem.segment == ZYDIS_REGISTER_FS || operand.mem.segment == ZYDIS_REGISTER_GS)
        memory.segment = static_cast<uint8_t>(operand.mem.segment - ZYDIS_REGISTER_ES);
    memory.on_stack_segment = operand.mem.segment == ZYDIS_REGISTER_SS;
    memory.address_bits = z.address_width;
    memory.displacement = operand.mem.disp.has_displacement ? operand.mem.disp.value : 0;
    const bool relative = operand.mem.base == ZYDIS_REGISTER_RIP || operand.mem.base == ZYDIS_REGISTER_EIP;
    if (relative) {
        memory.rip_relative = true;
        uint64_t address = out.rip + z.length + static_cast<uint64_t>(memory.displacement);
        if (z.address_width == 32)
            address &= 0xFFFFFFFF;
        memory.displacement = static_cast<int64_t>(address);
    } else
        memory.base = register_number(operand.mem.base);
    memory.index = register_number(operand.mem.index);
    memory.vector_index = operand.mem.type == ZYDIS_MEMOP_TYPE_VSIB;
    memory.scale = operand.mem.scale == 0 ? 1 : operand.mem.scale;
    memory.bytes = static_cast<uint16_t>(operand.size / 8);
    if (z.mnemonic == ZYDIS_MNEMONIC_CLFLUSH)
        memory.bytes = 1;
    if (operand.mem.type == ZYDIS_MEMOP_TYPE_MEM || memory.vector_index) {
        memory.access = access_of(operand);
        memory.alignment = alignment_of(z, memory.bytes);
    }
}

void take_operand(const ZydisDecodedInstruction& z, const ZydisDecodedOperand& operand,
                  LongInstruction& out) {
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN) {
        take_memory(z, operand, out);
        return;
    }
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER)
        take_register(operand, out);
}

void take_prefixes(const ZydisDecodedInstruction& z, LongInstruction& out) {
    out.lock = (z.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0;
    for (unsigned i = 0; i < z.raw.prefix_count; ++i)
        if (z.raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
            out.mandatory = z.raw.prefixes[i].value;
    if (z.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
        out.repeat = 0xF3;
    if (z.attributes & ZYDIS_ATTRIB_HAS_REPNE)
        out.repeat = 0xF2;
    bool r = false, b = false;
    if (z.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
        const auto& vex = z.raw.vex;
        r = vex.R == 0;
        b = vex.size == 3 && vex.B == 0; // the short form has no such bit
        out.vex = {true, vex.W != 0, vex.L != 0, vex.pp, static_cast<uint8_t>(~vex.vvvv & 15)};
    } else if ((z.attributes & ZYDIS_ATTRIB_HAS_REX) != 0) {
        r = z.raw.rex.R != 0;
        b = z.raw.rex.B != 0;
        out.rex = true;
        out.rex_w = z.raw.rex.W != 0;
    }
    if (z.attributes & ZYDIS_ATTRIB_HAS_MODRM) {
        out.has_modrm = true;
        out.mod = z.raw.modrm.mod;
        out.reg = static_cast<uint8_t>(z.raw.modrm.reg | (r ? 8 : 0));
        out.rm = static_cast<uint8_t>(z.raw.modrm.rm | (b ? 8 : 0));
    } else
        out.opcode_register = static_cast<uint8_t>((z.opcode & 7) | (b ? 8 : 0));
}

void take_flags(const ZydisDecodedInstruction& z, LongInstruction& out) {
    if (z.cpu_flags == nullptr)
        return;
    const ZydisAccessedFlags& f = *z.cpu_flags;
    out.flags_read = static_cast<uint16_t>(f.tested & kArithmeticFlags);
    if (z.mnemonic == ZYDIS_MNEMONIC_PUSHF || z.mnemonic == ZYDIS_MNEMONIC_PUSHFQ ||
        z.mnemonic == ZYDIS_MNEMONIC_LAHF || z.meta.category == ZYDIS_CATEGORY_INTERRUPT ||
        z.mnemonic == ZYDIS_MNEMONIC_SYSCALL)
        out.flags_read = kArithmeticFlags; // an image of them
    // Shifts by CL, repeated compares and shifts by nothing may leave the flags alone.
    const bool legacy = z.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
    const bool by_cl = legacy && (out.map == 0 ? out.opcode == 0xD2 || out.opcode == 0xD3
                                               : out.map == 1 && (out.opcode == 0xA5 || out.opcode == 0xAD));
    const bool by_immediate =
        legacy && (out.map == 0 ? out.opcode == 0xC0 || out.opcode == 0xC1
                                : out.map == 1 && (out.opcode == 0xA4 || out.opcode == 0xAC));
    const uint64_t count_mask = out.operand_bytes == 8 ? 63 : 31;
    if (by_cl || out.repeat != 0 || (by_immediate && (out.immediate & count_mask) == 0))
        return;
    out.flags_written =
        static_cast<uint16_t>((f.modified | f.set_0 | f.set_1 | f.undefined) & kArithmeticFlags);
}

} // namespace

bool decode_long(std::span<const uint8_t> bytes, uint64_t rip, uint32_t features, LongInstruction& out) {
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    const size_t available = bytes.size() < 15 ? bytes.size() : 15;
    out = LongInstruction{};
    out.rip = rip;
    if (available == 0)
        return false;
    const ZydisDecoder& decoder = decoder_for(features);
    ZydisDecoderContext context;
    ZyanStatus status = ZydisDecoderDecodeInstruction(&decoder, &context, bytes.data(), available, &z);
    if (status == ZYDIS_STATUS_NO_MORE_DATA && available < 15)
        return false;
    if (ZYAN_SUCCESS(status))
        status = ZydisDecoderDecodeOperands(&decoder, &context, &z, operands, z.operand_count);
    if (!ZYAN_SUCCESS(status)) {
        out.length = 1;
        out.examined = static_cast<uint8_t>(available);
        out.too_long = status == ZYDIS_STATUS_NO_MORE_DATA || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG;
        out.bytes[0] = bytes[0];
        return true;
    }
    out.length = out.examined = z.length;
    std::memcpy(out.bytes, bytes.data(), z.length);
    out.mnemonic = static_cast<uint16_t>(z.mnemonic);
    out.opcode = z.opcode;
    switch (z.opcode_map) {
    case ZYDIS_OPCODE_MAP_0F38:
        out.map = 2;
        break;
    case ZYDIS_OPCODE_MAP_0F3A:
        out.map = 3;
        break;
    default:
        out.map = z.opcode_map == ZYDIS_OPCODE_MAP_0F ? 1 : 0;
    }
    // EVEX, XOP and 3DNow! are never promised.
    if (z.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY || z.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
        out.lowering = long_lowering_of(out.mnemonic, z.meta.isa_set, features);
    take_prefixes(z, out);
    out.operand_bytes = static_cast<uint8_t>(z.operand_width / 8);
    out.address_bits = z.address_width;
    for (unsigned i = 0; i < z.operand_count; ++i)
        take_operand(z, operands[i], out);
    out.immediate_bytes = z.raw.imm[0].size / 8;
    out.immediate = z.raw.imm[0].value.u;
    out.immediate2_bytes = z.raw.imm[1].size / 8;
    out.immediate2 = z.raw.imm[1].value.u;
    if (z.raw.imm[0].is_relative)
        out.target = rip + z.length + z.raw.imm[0].value.u;
    take_flags(z, out);
    return true;
}

} // namespace vmm
