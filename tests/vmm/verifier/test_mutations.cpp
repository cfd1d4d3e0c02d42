// What the translator makes of anything is accepted, and no block of it with one rule broken is. The guest
// code is random bytes under random modes, which the decoder makes instructions of; the mutations are made by
// Zydis' view of the host code, and each breaks a rule by what it is.
//
// ENCORE_MUTATIONS: how many; some thousands by default.
#include "tests/vmm/verifier/bench.h"
#include "vmm/translator/block_translator.h"

#include <Zydis/Zydis.h>
#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <random>

using namespace vmm;
using namespace vmm::verifier_test;

namespace {

using Random = std::mt19937;

struct Instruction {
    uint32_t at = 0;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

struct Translated {
    HostCode code;
    BlockFacts facts;
    std::vector<uint32_t> landings;
    std::vector<uint8_t> bytes;
    std::vector<Instruction> instructions;
};

class Maker : public CodeSource {
  public:
    explicit Maker(uint32_t seed) : random_(seed) {}
    const uint8_t* next_page(uint32_t& backing) override {
        backing = 2;
        return page_ + kPageSize;
    }

    // Many random blocks; what each is checked with, as it was made.
    const Block& translate(Bench& bench, Translated& out) {
        BlockTranslator& translator = this->translator(bench);
        if (bench.cache->room() < 2 * BlockTranslator::kMaxBlockBytes)
            bench.cache->flush();
        // Half of it opcodes that code has often, each with a random byte for its operands.
        for (size_t n = 0; n < sizeof page_; ++n)
            page_[n] = static_cast<uint8_t>(n % 2 == 0 ? kCommon[random_() % sizeof kCommon] : random_());
        if (random_() % 4 == 0)
            for (uint8_t& byte : page_)
                byte = static_cast<uint8_t>(random_());
        ModeKey key;
        key.bits = random_() & ~(ModeKey::kTrapFlag | ModeKey::kOneInstruction | ModeKey::kBreakpoints);
        if (random_() % 8 != 0)
            key.bits &=
                ~(ModeKey::kWatched | ModeKey::kAlignCheck | ModeKey::kEmulateFpu | ModeKey::kTaskSwitched);
        if (random_() % 2 != 0) { // flat and 32 bits wide, as most code
            key.bits &= (1u << ModeKey::kSegmentShift) - 1;
            key.bits |= ModeKey::kCode32 | ModeKey::kStack32 | ModeKey::kProtected | ModeKey::kSse;
            key.bits &= ~ModeKey::kV86;
        }
        key.cs_limit = random_() % 4 != 0 ? 0xFFFFFFFF : 0xFFFF;
        const uint32_t offset = random_() % kPageSize;
        const uint32_t eip = (key.cs_limit == 0xFFFF ? 0x8000u : 0x08048000u) + offset;
        TranslateOptions options;
        options.brief = random_() % 2 != 0;
        options.link = random_() % 4 != 0;
        options.same_page_only = random_() % 2 != 0;
        options.cross = random_() % 2 != 0;
        options.call_out = random_() % 16 == 0;
        const Block* block = translator.translate(
            eip, key, {.backing = 1, .first = page_ + offset, .first_length = kPageSize - offset}, *this,
            options);
        REQUIRE(block != nullptr);
        const HostCode made = block_code(*bench.cache, *block, BlockUse::Fresh, out.facts);
        out.bytes.assign(made.bytes, made.bytes + made.size);
        out.landings.assign(made.landings.begin(), made.landings.end());
        out.code = made;
        out.code.bytes = out.bytes.data();
        out.code.landings = out.landings;
        out.instructions.clear();
        ZydisDecoder decoder;
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        for (uint32_t at = 0; at < made.size; at += out.instructions.back().z.length) {
            Instruction& i = out.instructions.emplace_back();
            i.at = at;
            REQUIRE(ZYAN_SUCCESS(
                ZydisDecoderDecodeFull(&decoder, out.bytes.data() + at, made.size - at, &i.z, i.operands)));
        }
        return *block;
    }

    Random& random() { return random_; }

  private:
    BlockTranslator& translator(Bench& bench) {
        if (!translator_)
            translator_ =
                std::make_unique<BlockTranslator>(*bench.cache, bench.stubs, bench.runtime->runtime(),
                                                  bench.segments, true, HostMaker::Intel, true);
        return *translator_;
    }

    static constexpr uint8_t kCommon[] = {
        0x01, 0x03, 0x21, 0x2B, 0x31, 0x39, 0x3B,
        0x85, 0x87, 0x88, 0x89, 0x8A, 0x8B, 0x8D, // ALU, MOV, LEA
        0x89, 0x8B, 0x89, 0x8B, 0x50, 0x53, 0x55,
        0x58, 0x5B, 0x5D, 0x6A, 0x83, 0xC1, 0xD3, // PUSH, POP, shifts
        0xF7, 0xFF, 0x40, 0x4A, 0x0F, 0x66, 0xF3,
        0xA4, 0xA5, 0xAA, 0xAB, 0xA7, 0x74, 0x75, // strings, Jcc
        0xEB, 0xE8, 0xE2, 0xC3, 0xD9, 0xDD, 0xF0,
        0x64, 0x9C, 0x9D, 0x60, 0xC9, 0xCD, 0xE4, // the rest
    };
    Random random_;
    std::unique_ptr<BlockTranslator> translator_;
    uint8_t page_[kPageSize + 32]{};
};

// Finds a place in the block for itself and breaks a rule there; false: there is none.
using Mutator = bool (*)(Translated&, Random&, const Bench&);

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

bool indirect_through_other(Translated& t, Random& random, const Bench&) {
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

bool base_without_window(Translated& t, Random& random, const Bench&) {
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

bool index_of_ours(Translated& t, Random& random, const Bench&) {
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

bool window_of_64_bits(Translated& t, Random& random, const Bench&) {
    const Instruction* i = pick(
        t, random, [&](const Instruction& i) { return t.bytes[i.at] == 0x65 && t.bytes[i.at + 1] == 0x67; });
    if (i == nullptr)
        return false;
    t.bytes[i->at + random() % 2] = random() % 2 != 0 ? 0x64 : 0x2E; // FS:, CS:, or GS: alone
    return true;
}

bool loads_64_bits(Translated& t, Random& random, const Bench&) {
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

bool branch_into_middle(Translated& t, Random& random, const Bench&) {
    const Instruction* from =
        pick(t, random, [](const Instruction& i) { return is_branch(i) && i.z.raw.imm[0].size == 32; });
    const Instruction* to = pick(t, random, [](const Instruction& i) { return i.z.length > 1; });
    if (from == nullptr || to == nullptr)
        return false;
    const uint32_t target = to->at + 1 + static_cast<uint32_t>(random() % (to->z.length - 1u));
    put32(t, from->at + from->z.length - 4, target - (from->at + from->z.length));
    return true;
}

bool short_branch_into_middle(Translated& t, Random& random, const Bench&) {
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

bool branch_elsewhere(Translated& t, Random& random, const Bench& bench) {
    const Instruction* from =
        pick(t, random, [](const Instruction& i) { return is_branch(i) && i.z.raw.imm[0].size == 32; });
    if (from == nullptr)
        return false;
    const Gate& gate = bench.rules.gates[random() % bench.rules.gates.size()];
    const uint32_t next = t.code.address + from->at + from->z.length;
    uint32_t target = gate.address + 1 + random() % 2; // no stub is so short
    if (random() % 2 != 0)
        target = t.code.address + t.code.size + random() % 65536;
    put32(t, from->at + from->z.length - 4, target - next);
    return true;
}

bool runs_out(Translated& t, Random& random, const Bench&) {
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

bool other_field(Translated& t, Random& random, const Bench&) {
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
        ENCORE_RT(window_base), ENCORE_RT(vcpu),       static_cast<int32_t>(random() % 4096),
        -kAnchor - 8,           ENCORE_RT(slot)};
    put32(t, i->at + i->z.raw.disp.offset, static_cast<uint32_t>(fields[random() % std::size(fields)]));
    return true;
}

bool forbidden_instruction(Translated& t, Random& random, const Bench&) {
    static const std::vector<uint8_t> kForbidden[] = {
        {0x0F, 0x05}, {0xCD, 0x80}, {0xF4},       {0x0F, 0x34}, {0xEC}, {0x50},       {0x5C},      {0xCC},
        {0x9D},       {0x0F, 0x31}, {0x0F, 0xA2}, {0xCB},       {0xC9}, {0x8E, 0xD8}, {0x0F, 0x0B}};
    const std::vector<uint8_t>& bytes = kForbidden[random() % std::size(kForbidden)];
    const Instruction* i = pick(t, random, [&](const Instruction& i) { return i.z.length >= bytes.size(); });
    std::fill_n(t.bytes.data() + i->at, i->z.length, uint8_t{0x90});
    std::copy(bytes.begin(), bytes.end(), t.bytes.begin() + i->at);
    return true;
}

bool wrong_eip(Translated& t, Random& random, const Bench&) {
    t.code.eip ^= 1u << random() % 32;
    return true;
}

bool unknown_callout(Translated& t, Random& random, const Bench& bench) {
    const Instruction* call = pick(t, random, [&](const Instruction& i) {
        return i.at != 0 && i.z.mnemonic == ZYDIS_MNEMONIC_CALL && is_branch(i) &&
               t.code.address + i.at + i.z.length + static_cast<uint32_t>(i.operands[0].imm.value.s) ==
                   bench.stubs.callout;
    });
    if (call == nullptr)
        return false;
    put32(t, call->at - 4, static_cast<uint32_t>(Callout::Count) + random() % 1000); // of mov r10d, number
    return true;
}

bool outside_slot(Translated& t, Random& random, const Bench& bench) {
    const Instruction* i = pick(t, random, [](const Instruction& i) {
        const auto* m = memory_of(i);
        return m != nullptr && m->base == ZYDIS_REGISTER_NONE && m->index == ZYDIS_REGISTER_NONE &&
               m->segment != ZYDIS_REGISTER_GS && i.z.raw.disp.size == 32;
    });
    if (i == nullptr)
        return false;
    const auto slot = static_cast<uint32_t>(bench.rules.slot);
    const uint32_t at[] = {slot - 16, slot + kSlotBytes, slot - 1,
                           static_cast<uint32_t>(random()) | 0x80000000u};
    put32(t, i->at + i->z.raw.disp.offset, at[random() % std::size(at)]);
    return true;
}

bool writes_ours(Translated& t, Random& random, const Bench&) {
    const Instruction* i = pick(t, random, [&](const Instruction& i) {
        return t.bytes[i.at] == 0x41 && (t.bytes[i.at + 1] & 0xF8) == 0xB8; // mov r8d.., imm
    });
    if (i == nullptr)
        return false;
    t.bytes[i->at + 1] = static_cast<uint8_t>(0xBD + random() % 3); // r13d-r15d
    return true;
}

bool moves_ours(Translated& t, Random& random, const Bench&) {
    const Instruction* i = pick(t, random, [](const Instruction& i) {
        return i.z.mnemonic == ZYDIS_MNEMONIC_LEA && i.operands[0].reg.value == ZYDIS_REGISTER_R12;
    });
    if (i == nullptr)
        return false;
    uint8_t& modrm = t.bytes[i->at + i->z.raw.modrm.offset];
    modrm = static_cast<uint8_t>((modrm & 0xC7) | (5 + random() % 3) << 3); // r13-r15
    return true;
}

bool steps_far(Translated& t, Random& random, const Bench&) {
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

bool other_return(Translated& t, Random& random, const Bench&) {
    const Instruction* i = pick(t, random, [&](const Instruction& i) { return t.bytes[i.at] == 0xC3; });
    if (i == nullptr)
        return false;
    static constexpr uint8_t kOther[] = {0xCB, 0xCF, 0xF4, 0xCC, 0x90};
    const bool last = i->at + 1 == t.code.size;
    t.bytes[i->at] = kOther[random() % (last ? 5 : 4)];
    return true;
}

bool landing_unchecked(Translated& t, Random& random, const Bench&) {
    if (t.landings.empty())
        return false;
    const uint32_t landing = t.landings[random() % t.landings.size()] - t.code.address;
    t.bytes[landing + random() % 3] ^= static_cast<uint8_t>(1u << random() % 3); // of lea r9d, [r8 + ...]
    return true;
}

bool string_unbiased(Translated& t, Random& random, const Bench&) {
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

bool table_beyond(Translated& t, Random& random, const Bench&) {
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

} // namespace

TEST_CASE("verifier: what the translator makes is accepted, and with one rule broken refused", "[verifier]") {
    const char* const asked = std::getenv("ENCORE_MUTATIONS");
    const unsigned wanted = asked != nullptr ? static_cast<unsigned>(std::strtoul(asked, nullptr, 10)) : 6000;
    constexpr uint32_t kSeed = 20261129;
    Bench bench;
    Maker maker(kSeed);
    std::map<std::string, unsigned> refused;
    unsigned total = 0, blocks = 0, accepted = 0;
    size_t instructions = 0;
    while (total < wanted) {
        Translated block;
        maker.translate(bench, block);
        ++blocks;
        instructions += block.instructions.size();
        const auto refusal = bench.verifier->check(block.code);
        INFO(fmt::format("block {}", blocks));
        INFO((refusal ? refusal->reason + listing(block.code, *refusal) : std::string()));
        REQUIRE(!refusal);
        for (const auto& [name, mutate] : kMutators) {
            const std::vector<uint8_t> before = block.bytes;
            const HostCode code = block.code;
            if (mutate(block, maker.random(), bench)) {
                ++total;
                const auto found = bench.verifier->check(block.code);
                refused[name] += found ? 1 : 0;
                if (!found) {
                    ++accepted;
                    INFO(fmt::format("block {}: {} {}", blocks, name,
                                     listing(block.code, {"", block.code.address + block.code.size})));
                    CHECK(found);
                }
            }
            block.bytes = before;
            block.code = code;
            block.code.bytes = block.bytes.data();
        }
        REQUIRE(accepted < 5);
    }
    for (const auto& [name, mutate] : kMutators) {
        (void)mutate;
        INFO(name);
        CHECK(refused[name] != 0);
    }
    if (asked != nullptr)
        WARN(fmt::format("{} blocks of {} instructions on average accepted; {} mutations, {} refused", blocks,
                         instructions / blocks, total, total - accepted));
}

TEST_CASE("containment: refused code is told in a sentence, once", "[verifier]") {
    Bench bench;
    unsigned told = 0;
    Containment containment(*bench.cache, bench.rules, Containment::Blocks::Sampled, [&] { ++told; });
    CHECK(containment.check_stubs());
    Maker maker(1);
    Translated ignored;
    const Block& block = maker.translate(bench, ignored);
    CHECK(containment.check_block(block, BlockUse::Fresh, {}));
    CHECK(containment.failure().empty());
    uint8_t& first = *bench.cache->memory().writable(block.body);
    first = 0xF4; // HLT
    CHECK_FALSE(containment.check_block(block, BlockUse::Fresh, {}));
    CHECK(containment.failure().find(refusal::kNotAllowed) != std::string::npos);
    CHECK(containment.failure().find('\n') == std::string::npos);
    CHECK_FALSE(containment.check_block(block, BlockUse::Fresh, {}));
    CHECK(told == 1);
}

TEST_CASE("containment: after the first megabytes a sample of blocks is checked, and every patch",
          "[verifier]") {
    Bench bench;
    Containment sampled(*bench.cache, bench.rules, Containment::Blocks::Sampled, [] {});
    Containment all(*bench.cache, bench.rules, Containment::Blocks::All, [] {});
    Maker maker(2);
    Translated ignored;
    const Block& block = maker.translate(bench, ignored);
    const unsigned many = (16u << 20) / (block.host_end - block.entry);
    for (unsigned n = 0; n < many; ++n) {
        REQUIRE(sampled.check_block(block, BlockUse::Fresh, {}));
        REQUIRE(all.check_block(block, BlockUse::Fresh, {}));
    }
    CHECK(all.statistics.left_out == 0);
    CHECK(all.statistics.blocks == many);
    CHECK(sampled.statistics.left_out > many / 3);
    CHECK(sampled.statistics.blocks > many / 2);
    uint8_t* at = bench.cache->memory().writable(block.body);
    sampled.branch_patched(at, block.body, 5, block.entry); // not one that leads there
    CHECK_FALSE(sampled.failure().empty());
}
