#include "tests/vmm/translator/differential/report.h"

#include <Zydis/Zydis.h>
#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace differential {

namespace {

constexpr const char* kRegisterNames[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};

struct Line {
    uint32_t offset = 0;
    size_t length = 0;
    uint32_t memory_bytes = 0;
    std::string text;
};

std::vector<Line> disassemble(const Case& test) {
    const std::vector<uint8_t> code = test.assemble();
    ZydisDecoder decoder;
    ZydisFormatter formatter;
    ZydisDecoderInit(&decoder, test.code16() ? ZYDIS_MACHINE_MODE_LEGACY_16 : ZYDIS_MACHINE_MODE_LEGACY_32,
                     test.code16() ? ZYDIS_STACK_WIDTH_16 : ZYDIS_STACK_WIDTH_32);
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    std::vector<Line> lines;
    for (size_t at = 0; at < code.size();) {
        Line line{test.initial.eip + static_cast<uint32_t>(at), 1, 0, "(bad)"};
        ZydisDecodedInstruction instruction;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        if (ZYAN_SUCCESS(
                ZydisDecoderDecodeFull(&decoder, &code[at], code.size() - at, &instruction, operands))) {
            char text[128];
            ZydisFormatterFormatInstruction(&formatter, &instruction, operands,
                                            instruction.operand_count_visible, text, sizeof text, line.offset,
                                            nullptr);
            line.length = instruction.length;
            line.text = text;
            for (unsigned i = 0; i < instruction.operand_count; ++i)
                if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
                    line.memory_bytes = std::max<uint32_t>(line.memory_bytes, operands[i].size / 8);
        }
        lines.push_back(line);
        at += line.length;
    }
    return lines;
}

std::string hex(const uint8_t* from, size_t size) {
    std::string text;
    for (size_t i = 0; i < size; ++i)
        text += fmt::format("{:02x}", from[i]);
    return text;
}

} // namespace

uint32_t memory_operand_bytes(const Case& test, uint32_t eip) {
    for (const Line& line : disassemble(test))
        if (line.offset == eip)
            return line.memory_bytes;
    return 0;
}

std::string text_at(const Case& test, uint32_t eip) {
    for (const Line& line : disassemble(test))
        if (line.offset == eip)
            return line.text;
    return "";
}

std::string mnemonic_at(const Case& test, uint32_t eip) {
    const std::vector<Line> lines = disassemble(test);
    for (const Line& line : lines)
        if (line.offset == eip)
            return line.text.substr(0, line.text.find(' '));
    return lines.empty() ? "" : lines.back().text.substr(0, lines.back().text.find(' '));
}

bool is_extension(const Case& test, uint32_t eip) {
    const std::vector<uint8_t> code = test.assemble();
    const uint32_t offset = eip - test.initial.eip;
    if (offset >= code.size())
        return false;
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, test.code16() ? ZYDIS_MACHINE_MODE_LEGACY_16 : ZYDIS_MACHINE_MODE_LEGACY_32,
                     test.code16() ? ZYDIS_STACK_WIDTH_16 : ZYDIS_STACK_WIDTH_32);
    ZydisDecodedInstruction instruction;
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, nullptr, &code[offset], code.size() - offset,
                                                    &instruction)))
        return false;
    switch (instruction.meta.isa_ext) {
    case ZYDIS_ISA_EXT_BASE:
    case ZYDIS_ISA_EXT_X87:
    case ZYDIS_ISA_EXT_MMX:
    case ZYDIS_ISA_EXT_SSE:
    case ZYDIS_ISA_EXT_SSE2:
        return false;
    default:
        return true;
    }
}

std::string describe(const Case& test, const Outcome& expected, const std::vector<std::string>& differences) {
    const Registers& initial = test.initial;
    const std::vector<uint8_t> code = test.assemble();
    std::string out = fmt::format("case {} ({}-bit code), native vector {} at eip {:08x}\n", test.index,
                                  test.code16() ? 16 : 32, expected.vector, expected.registers.eip);
    for (const Line& line : disassemble(test))
        out += fmt::format("  {:08x}: {:<24} {}\n", line.offset,
                           hex(&code[line.offset - initial.eip], line.length), line.text);
    out += "  before:";
    for (size_t i = 0; i < 8; ++i)
        out += fmt::format(" {}={:08x}", kRegisterNames[i], initial.gpr[i]);
    out +=
        fmt::format("\n          eflags={:08x} es={:04x} cs={:04x} ss={:04x} ds={:04x} fs={:04x} gs={:04x}\n",
                    initial.eflags, initial.selectors[0], initial.selectors[1], initial.selectors[2],
                    initial.selectors[3], initial.selectors[4], initial.selectors[5]);
    out += fmt::format("          fcw,fsw,ftw={} mxcsr={} memory seed {:016x}\n", hex(initial.fx.data(), 5),
                       hex(&initial.fx[24], 4), test.memory_seed);
    out += "  native: ";
    for (size_t i = 0; i < 8; ++i)
        out += fmt::format(" {}={:08x}", kRegisterNames[i], expected.registers.gpr[i]);
    out += fmt::format("\n          eflags={:08x} error={:x} cr2={:08x}\n", expected.registers.eflags,
                       expected.error_code, expected.fault_address);
    for (const std::string& line : differences)
        out += "  " + line + "\n";
    return out;
}

Case shrink(Case test, const std::function<bool(const Case&)>& fails) {
    for (bool progress = true; progress;) {
        progress = false;
        for (size_t i = test.atoms.size(); i-- > 0 && test.atoms.size() > 1;) {
            Case smaller = test;
            smaller.atoms.erase(smaller.atoms.begin() + static_cast<std::ptrdiff_t>(i));
            for (Atom& atom : smaller.atoms)
                if (atom.target > i)
                    --atom.target;
            if (fails(smaller)) {
                test = std::move(smaller);
                progress = true;
            }
        }
    }
    return test;
}

} // namespace differential
