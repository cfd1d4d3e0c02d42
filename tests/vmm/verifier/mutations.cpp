#include "tests/vmm/verifier/mutations.h"

#include "tests/vmm/verifier/host_code_oracle.h"
#include "vmm/base/verify.h"
#include "vmm/translator/callouts.h"
#include "vmm/translator/runtime.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace vmm::verifier_test {

Translated::Translated(const HostCode& made) : CodeCopy(made) {
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (uint32_t at = 0; at < code.size; at += instructions.back().z.length) {
        Instruction& i = instructions.emplace_back();
        i.at = at;
        VERIFY(ZYAN_SUCCESS(
            ZydisDecoderDecodeFull(&decoder, bytes.data() + at, code.size - at, &i.z, i.operands)));
    }
}

std::string MutationCount::mutate(const HostCode& unchanged, Verifier& verifier, const VerifierRules& rules,
                                  Random& random) {
    Translated block(unchanged);
    ++blocks;
    instructions += block.instructions.size();
    std::string said;
    for (const auto& [name, breaks] : kMutators) {
        const std::vector<uint8_t> before = block.bytes;
        const HostCode code = block.code;
        if (breaks(block, random, rules)) {
            ++made;
            if (verifier.check(block.code)) {
                ++refused[name];
                seen_otherwise[name] += broken_rule(rules, block.code).empty() ? 0 : 1;
            } else {
                ++accepted;
                said += fmt::format("block {}: {} {}\n", blocks, name,
                                    listing(block.code, {"", block.code.address + block.code.size}));
            }
        }
        block.bytes = before;
        block.code = code;
        block.code.bytes = block.bytes.data();
    }
    return said;
}

std::string MutationCount::summary() const {
    return fmt::format("{} blocks of {} instructions on average; {} mutations, {} refused", blocks,
                       blocks == 0 ? 0 : instructions / blocks, made, made - accepted);
}

namespace {

template <class Fits> const Instruction* pick(const Translated& t, Random& random, Fits&& fits) {
    const size_t count = t.instructions.size(), first = random() % count;
    for (size_t n = 0; n < count; ++n)
        if (const Instruction& i = t.instructions[(first + n) % count]; fits(i))
            return &i;
    return nullptr;
}

const ZydisDecodedOperandMem* memory_of(const Instruction& i) {
    for (unsigned n = 0; n < i.z.operand_count; ++n)
        if (i.operands[n].type == ZYDIS_OPERAND_TYPE_MEMORY && i.operands[n].mem.type == ZYDIS_MEMOP_TYPE_MEM)
            return &i.operands[n].mem;
    return nullptr;
}

bool is_nop(const Instruction& i) {
    return i.z.meta.category == ZYDIS_CATEGORY_NOP || i.z.meta.category == ZYDIS_CATEGORY_WIDENOP;
}

void put32(Translated& t, uint32_t at, uint32_t value) {
    std::memcpy(t.bytes.data() + at, &value, sizeof value);
}

bool is_branch(const Instruction& i) {
    return i.z.raw.imm[0].is_relative && i.z.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
}

bool indirect_through_other(Translated& t, Random& random, const VerifierRules&) {
    const Instruction* i = pick(t, random, [](const Instruction& i) {
        return (i.z.mnemonic == ZYDIS_MNEMONIC_JMP || i.z.mnemonic == ZYDIS_MNEMONIC_CALL) &&
               i.z.opcode == 0xFF;
    });
    if (i == nullptr)
        return false;
    const bool extended = random() % 2 != 0;
    uint8_t reg = static_cast<uint8_t>(random() % 8);
    if (extended && reg == 1)
        reg = 0; // r9 is the right one
    t.bytes[i->at] = static_cast<uint8_t>(extended ? 0x41 : 0x40);
    t.bytes[i->at + 2] = static_cast<uint8_t>((t.bytes[i->at + 2] & 0xF8) | reg);
    return true;
}

bool base_without_window(Translated& t, Random& random, const VerifierRules&) {
    const Instruction* i = pick(t, random, [](const Instruction& i) {
        const auto* m = memory_of(i);
        return m != nullptr && m->base == ZYDIS_REGISTER_R14 && !is_nop(i) &&
               i.z.raw.rex.offset != 0 + i.z.length;
    });
    if (i == nullptr)
        return false;
    t.bytes[i->at + i->z.raw.rex.offset] &= 0xFE; // RSI
    return true;
}

bool index_of_ours(Translated& t, Random& random, const VerifierRules&) {
    const Instruction* i = pick(t, random, [](const Instruction& i) {
        const auto* m = memory_of(i);
        return m != nullptr && m->base == ZYDIS_REGISTER_R14 && !is_nop(i) &&
               (m->index == ZYDIS_REGISTER_RBP || m->index == ZYDIS_REGISTER_RSI ||
                m->index == ZYDIS_REGISTER_RDI);
    });
    if (i == nullptr)
        return false;
    t.bytes[i->at + i->z.raw.rex.offset] |= 2; // R13, R14, R15
    return true;
}

bool window_of_64_bits(Translated& t, Random& random, const VerifierRules&) {
    const Instruction* i = pick(
        t, random, [&](const Instruction& i) { return t.bytes[i.at] == 0x65 && t.bytes[i.at + 1] == 0x67; });
    if (i == nullptr)
        return false;
    t.bytes[i->at + random() % 2] = random() % 2 != 0 ? 0x64 : 0x2E; // FS:, CS:, or GS: alone
    return true;
}

bool loads_64_bits(Translated& t, Random& random, const VerifierRules&) {
    const Instruction* i = pick(t, random, [](const Instruction& i) {
        const auto* m = memory_of(i);
        return m != nullptr && (m->base == ZYDIS_REGISTER_R14 || m->base == ZYDIS_REGISTER_R12) &&
               i.z.mnemonic == ZYDIS_MNEMONIC_MOV && i.z.opcode == 0x8B && i.operands[0].size == 32;
    });
    if (i == nullptr)
        return false;
    t.bytes[i->at + i->z.raw.rex.offset] |= 8;
    return true;
}

bool branch_into_middle(Translated& t, Random& random, const VerifierRules&) {
    const Instruction* from =
        pick(t, random, [](const Instruction& i) { return is_branch(i) && i.z.raw.imm[0].size == 32; });
    const Instruction* to = pick(t, random, [](const Instruction& i) { return i.z.length > 1; });
    if (from == nullptr || to == nullptr)
        return false;
    const uint32_t target = to->at + 1 + static_cast<uint32_t>(random() % (to->z.length - 1u));
    put32(t, from->at + from->z.length - 4, target - (from->at + from->z.length));
    return true;
}

bool short_branch_into_middle(Translated& t, Random& random, const VerifierRules&) {
    const Instruction* from =
        pick(t, random, [](const Instruction& i) { return is_branch(i) && i.z.raw.imm[0].size == 8; });
    if (from == nullptr)
        return false;
    const uint32_t next = from->at + from->z.length;
    const Instruction* to = pick(t, random, [&](const Instruction& i) {
        return i.z.length > 1 && static_cast<int32_t>(i.at - next) > -120 &&
               static_cast<int32_t>(i.at - next) < 120;
    });
    if (to == nullptr)
        return false;
    t.bytes[next - 1] = static_cast<uint8_t>(to->at + 1 - next);
    return true;
}

bool branch_elsewhere(Translated& t, Random& random, const VerifierRules& rules) {
    const Instruction* from =
        pick(t, random, [](const Instruction& i) { return is_branch(i) && i.z.raw.imm[0].size == 32; });
    if (from == nullptr)
        return false;
    const Gate& gate = rules.gates[random() % rules.gates.size()];
    const uint32_t next = t.code.address + from->at + from->z.length;
    uint32_t target = gate.address + 1 + random() % 2; // no stub is so short
    if (random() % 2 != 0)
        target = t.code.address + t.code.size + random() % 65536;
    put32(t, from->at + from->z.length - 4, target - next);
    return true;
}

bool runs_out(Translated& t, Random& random, const VerifierRules&) {
    const Instruction* last = pick(t, random, [&](const Instruction& i) {
        if (i.at == 0)
            return false;
        const Instruction& before = *(&i - 1);
        return before.z.mnemonic != ZYDIS_MNEMONIC_JMP && before.z.mnemonic != ZYDIS_MNEMONIC_RET;
    });
    if (last == nullptr)
        return false;
    t.code.size = last->at; // or somewhere in the middle of it
    if (random() % 2 != 0)
        t.code.size += static_cast<uint32_t>(random() % last->z.length);
    return true;
}

bool other_field(Translated& t, Random& random, const VerifierRules&) {
    const Instruction* i = pick(t, random, [](const Instruction& i) {
        const auto* m = memory_of(i);
        return m != nullptr && m->base == ZYDIS_REGISTER_R15 && m->index == ZYDIS_REGISTER_NONE &&
               i.z.raw.disp.size == 32;
    });
    if (i == nullptr)
        return false;
    const int32_t fields[] = {
        ENCORE_RT(cpu.cr3),     ENCORE_RT(cpu.cpl) & ~1, ENCORE_RT(callouts),
        ENCORE_RT(cpp_rsp),     ENCORE_RT(shadow_rsp),   ENCORE_RT(jump_table),
        ENCORE_RT(window_base), ENCORE_RT(vcpu),         static_cast<int32_t>(random() % 4096),
        -kAnchor - 8,           ENCORE_RT(slot)};
    put32(t, i->at + i->z.raw.disp.offset, static_cast<uint32_t>(fields[random() % std::size(fields)]));
    return true;
}

bool forbidden_instruction(Translated& t, Random& random, const VerifierRules&) {
    static const std::vector<uint8_t> kForbidden[] = {
        {0x0F, 0x05}, {0xCD, 0x80}, {0xF4},       {0x0F, 0x34}, {0xEC}, {0x50},       {0x5C},      {0xCC},
        {0x9D},       {0x0F, 0x31}, {0x0F, 0xA2}, {0xCB},       {0xC9}, {0x8E, 0xD8}, {0x0F, 0x0B}};
    const std::vector<uint8_t>& bytes = kForbidden[random() % std::size(kForbidden)];
    const Instruction* i = pick(t, random, [&](const Instruction& i) { return i.z.length >= bytes.size(); });
    std::fill_n(t.bytes.data() + i->at, i->z.length, uint8_t{0x90});
    std::copy(bytes.begin(), bytes.end(), t.bytes.begin() + i->at);
    return true;
}

bool wrong_eip(Translated& t, Random& random, const VerifierRules&) {
    t.code.eip ^= 1u << random() % 32;
    return true;
}

bool unknown_callout(Translated& t, Random& random, const VerifierRules& rules) {
    const auto gate = std::find_if(rules.gates.begin(), rules.gates.end(),
                                   [](const Gate& there) { return there.number == Need::Callout; });
    const Instruction* call = pick(t, random, [&](const Instruction& i) {
        return i.at != 0 && i.z.mnemonic == ZYDIS_MNEMONIC_CALL && is_branch(i) &&
               t.code.address + i.at + i.z.length + static_cast<uint32_t>(i.operands[0].imm.value.s) ==
                   gate->address;
    });
    if (call == nullptr)
        return false;
    put32(t, call->at - 4, static_cast<uint32_t>(Callout::Count) + random() % 1000); // of mov r10d, number
    return true;
}

bool outside_slot(Translated& t, Random& random, const VerifierRules& rules) {
    const Instruction* i = pick(t, random, [](const Instruction& i) {
        const auto* m = memory_of(i);
        return m != nullptr && m->base == ZYDIS_REGISTER_NONE && m->index == ZYDIS_REGISTER_NONE &&
               m->segment != ZYDIS_REGISTER_GS && i.z.raw.disp.size == 32;
    });
    if (i == nullptr)
        return false;
    const auto slot = static_cast<uint32_t>(rules.slot);
    const uint32_t at[] = {slot - 16, slot + kSlotBytes, slot - 1,
                           static_cast<uint32_t>(random()) | 0x80000000u};
    put32(t, i->at + i->z.raw.disp.offset, at[random() % std::size(at)]);
    return true;
}

bool writes_ours(Translated& t, Random& random, const VerifierRules&) {
    const Instruction* i = pick(t, random, [&](const Instruction& i) {
        return t.bytes[i.at] == 0x41 && (t.bytes[i.at + 1] & 0xF8) == 0xB8; // mov r8d.., imm
    });
    if (i == nullptr)
        return false;
    t.bytes[i->at + 1] = static_cast<uint8_t>(0xBD + random() % 3); // r13d-r15d
    return true;
}

bool moves_ours(Translated& t, Random& random, const VerifierRules&) {
    const Instruction* i = pick(t, random, [](const Instruction& i) {
        return i.z.mnemonic == ZYDIS_MNEMONIC_LEA && i.operands[0].reg.value == ZYDIS_REGISTER_R12;
    });
    if (i == nullptr)
        return false;
    uint8_t& modrm = t.bytes[i->at + i->z.raw.modrm.offset];
    modrm = static_cast<uint8_t>((modrm & 0xC7) | (5 + random() % 3) << 3); // r13-r15
    return true;
}

bool steps_far(Translated& t, Random& random, const VerifierRules&) {
    const Instruction* i = pick(t, random, [](const Instruction& i) {
        return i.z.mnemonic == ZYDIS_MNEMONIC_LEA && i.operands[0].reg.value == ZYDIS_REGISTER_R12 &&
               i.operands[1].mem.base == ZYDIS_REGISTER_R12 && i.operands[1].mem.index == ZYDIS_REGISTER_NONE;
    });
    if (i == nullptr)
        return false;
    if (i->z.raw.disp.size == 32)
        put32(t, i->at + i->z.raw.disp.offset,
              static_cast<uint32_t>(kFarthestStackStep) + 1 + random() % 65536);
    else // by a register: lea r12, [r12 + guest + disp8]
        t.bytes[i->at + i->z.raw.modrm.offset + 1u] = static_cast<uint8_t>(0x04 | (random() % 4) << 3);
    return true;
}

bool other_return(Translated& t, Random& random, const VerifierRules&) {
    const Instruction* i = pick(t, random, [&](const Instruction& i) { return t.bytes[i.at] == 0xC3; });
    if (i == nullptr)
        return false;
    static constexpr uint8_t kOther[] = {0xCB, 0xCF, 0xF4, 0xCC, 0x90};
    const bool last = i->at + 1 == t.code.size;
    t.bytes[i->at] = kOther[random() % (last ? 5 : 4)];
    return true;
}

bool landing_unchecked(Translated& t, Random& random, const VerifierRules&) {
    if (t.landings.empty())
        return false;
    const uint32_t landing = t.landings[random() % t.landings.size()] - t.code.address;
    t.bytes[landing + random() % 3] ^= static_cast<uint8_t>(1u << random() % 3); // of lea r9d, [r8 + ...]
    return true;
}

bool string_unbiased(Translated& t, Random& random, const VerifierRules&) {
    const Instruction* i = pick(t, random, [](const Instruction& i) {
        return i.z.mnemonic == ZYDIS_MNEMONIC_LEA && i.operands[0].size == 64 &&
               (i.operands[0].reg.value == ZYDIS_REGISTER_RSI ||
                i.operands[0].reg.value == ZYDIS_REGISTER_RDI);
    });
    if (i == nullptr)
        return false;
    std::fill_n(t.bytes.data() + i->at, i->z.length, uint8_t{0x90});
    return true;
}

bool table_beyond(Translated& t, Random& random, const VerifierRules&) {
    const Instruction* i = pick(t, random, [](const Instruction& i) {
        const auto* m = memory_of(i);
        return m != nullptr && m->base == ZYDIS_REGISTER_R13;
    });
    if (i == nullptr)
        return false;
    if (i->z.raw.disp.size == 32)
        put32(t, i->at + i->z.raw.disp.offset, 65536 * 4 + 4 * (random() % 65536));
    else if ((t.bytes[i->at + i->z.raw.modrm.offset] & 0xC0) == 0x40)
        t.bytes[i->at + i->z.raw.sib.offset] ^= 0x40; // another scale
    else
        return false;
    return true;
}

} // namespace

const std::map<std::string, Mutator> kMutators = {
    {"indirect branch through another register", indirect_through_other},
    {"a guest address without its window", base_without_window},
    {"a register of ours as an index", index_of_ours},
    {"another segment, or gs: with 64 bits", window_of_64_bits},
    {"a load of 64 bits", loads_64_bits},
    {"a branch into the middle of an instruction", branch_into_middle},
    {"a short branch into the middle of an instruction", short_branch_into_middle},
    {"a branch to elsewhere", branch_elsewhere},
    {"an end that code runs past", runs_out},
    {"another field of Runtime", other_field},
    {"an instruction that is not allowed", forbidden_instruction},
    {"an arrival for another EIP", wrong_eip},
    {"a call-out that there is not", unknown_callout},
    {"an operand beside the slot", outside_slot},
    {"a register of ours written", writes_ours},
    {"a register of ours moved", moves_ours},
    {"ESP moved too far", steps_far},
    {"another return", other_return},
    {"a landing that checks nothing", landing_unchecked},
    {"a string without its window", string_unbiased},
    {"beyond the jump table", table_beyond},
};

} // namespace vmm::verifier_test
