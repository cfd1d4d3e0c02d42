#include "vmm/translator/containment.h"

#include "vmm/base/log.h"
#include "vmm/code_cache/contexts.h"
#include "vmm/translator/callouts.h"
#include "vmm/verifier/reasons.h"

#include <Zydis/Zydis.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace vmm {

namespace {

std::vector<CalloutRule> callout_rules() {
    constexpr auto kCount = static_cast<size_t>(Callout::Count);
    // What is not named takes constants only.
    std::vector<CalloutRule> rules(kCount, {Argument::Constant, Argument::Constant});
    const auto rule = [&](Callout which) -> CalloutRule& { return rules[static_cast<size_t>(which)]; };
    for (const Callout which :
         {Callout::SlotPrepare, Callout::Push, Callout::PushSegment, Callout::LoadSegment, Callout::PortIn,
          Callout::PortOut, Callout::FarJump, Callout::FarCall, Callout::SelectorOperation, Callout::Invlpg,
          Callout::Bound, Callout::FpuStore, Callout::FpuLoad})
        rule(which).a = Argument::Data;
    rule(Callout::SlotCommit).a = Argument::Nothing;
    rule(Callout::SlotPrepare).b_has_slot_bytes = rule(Callout::SlotCommit).b_has_slot_bytes = true;
    rule(Callout::FarJump).b = rule(Callout::FarCall).b = Argument::Tagged;
    return rules;
}

std::vector<Field> runtime_fields() {
    using Holds = Field::Holds;
    constexpr uint32_t kMxcsr = offsetof(CpuState, fx) + 24, kXmm = offsetof(CpuState, fx) + 160;
    constexpr bool kRead = true, kWritten = true;
#define ENCORE_FIELD(name) offsetof(Runtime, name), sizeof(Runtime::name)
    std::vector<Field> fields{
        {offsetof(CpuState, eip), 4, Holds::Data, 4, false, kWritten},
        {offsetof(CpuState, seg), sizeof(CpuState::seg), Holds::Data, 8, kRead},
        {kXmm, 8 * 16, Holds::Vector, 16},
        {kMxcsr, 4},
        {ENCORE_FIELD(host_flags), Holds::Flags, 8},
        {ENCORE_FIELD(exit_reason), Holds::Data, 4, false, kWritten},
        {ENCORE_FIELD(exit_argument), Holds::Data, 4, kRead, kWritten},
        {ENCORE_FIELD(next_eip), Holds::Data, 4, false, kWritten},
        {ENCORE_FIELD(interrupt_flag), Holds::Data, 4, false, kWritten},
        {ENCORE_FIELD(other_flags)},
        {ENCORE_FIELD(interrupt_waiting)},
        {ENCORE_FIELD(sti_poll_pointer), Holds::BasePointer, 8, kRead},
        {ENCORE_FIELD(fs_base_pointer), Holds::BasePointer, 8, kRead},
        {ENCORE_FIELD(gs_base_pointer), Holds::BasePointer, 8, kRead},
        {ENCORE_FIELD(window_base), Holds::WindowBase, 8},
        {ENCORE_FIELD(jump_table), Holds::JumpTable, 8},
        {ENCORE_FIELD(shadow_rsp), Holds::ShadowStack, 8},
        {ENCORE_FIELD(shadow_top), Holds::ShadowStack, 8},
        {ENCORE_FIELD(cpp_rsp), Holds::HostStack, 8},
        {ENCORE_FIELD(host_mxcsr)},
        {ENCORE_FIELD(string_flags), Holds::Flags, 8},
        {ENCORE_FIELD(pin_keep), Holds::Flags, 8},
        {ENCORE_FIELD(pin_flags), Holds::Flags, 8},
        {ENCORE_FIELD(target_eip), Holds::Data, 4, kRead, kWritten},
        {ENCORE_FIELD(slot_bit), Holds::BitIndex, 4, kRead},
        {ENCORE_FIELD(site), Holds::Data, 4, false, kWritten},
        {ENCORE_FIELD(callouts), Holds::Callouts, 8},
    };
#undef ENCORE_FIELD
    for (unsigned reg = 0; reg < kLegacyRegisterCount; ++reg) // the upper halves are not 32-bit code's
        fields.push_back({static_cast<uint32_t>(rt_gpr(reg) + kAnchor), 4});
    return fields;
}

HostRegisters registers_of(const RegisterPlan& plan) {
    HostRegisters registers{.eip = plan.scratch[0],
                            .target = plan.scratch[1],
                            .number = plan.scratch[2],
                            .stack = plan.stack(),
                            .jump_table = plan.jump_table,
                            .window = plan.window,
                            .runtime = plan.runtime};
    for (const uint8_t reg : plan.guest)
        registers.guest |= reg != host::kNone && reg != plan.stack() ? 1u << reg : 0;
    for (const uint8_t reg : plan.scratch)
        registers.scratch |= 1u << reg;
    return registers;
}

std::vector<Gate> gates_of(const Stubs& stubs) {
    const auto enter = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(stubs.enter));
    std::vector<Gate> gates{
        {.address = enter, .called = true, .from_host = true},
        {.address = stubs.leave, .saves_esp = true},
        {.address = stubs.callout, .called = true, .number = Need::Callout, .saves_esp = true},
        {.address = stubs.indirect_miss, .eip = Need::Data},
        {.address = stubs.return_miss, .eip = Need::Data},
        {.address = stubs.leave_link, .eip = Need::Data, .target = Need::Data},
        {.address = stubs.keep_flags, .called = true},
        {.address = stubs.pin_flags, .called = true},
        {.address = stubs.flags_image, .called = true, .answers_number = true},
        {.address = stubs.pop_flags, .called = true, .number = Need::Data, .moves_esp = true},
    };
    for (unsigned reg = 0; reg < kSegmentCount; ++reg) {
        if (stubs.load_segment[reg] == 0)
            continue;
        gates.push_back({.address = stubs.load_segment[reg],
                         .called = true,
                         .eip = Need::Word,
                         .target = Need::SegmentTable});
        gates.push_back({.address = stubs.pop_segment[reg],
                         .called = true,
                         .eip = Need::Word,
                         .target = Need::SegmentTable,
                         .moves_esp = true});
    }
    std::sort(gates.begin(), gates.end(), [](const Gate& a, const Gate& b) { return a.address < b.address; });
    return gates;
}

} // namespace

VerifierRules containment_rules(const CodeMemory& memory, const Stubs& stubs, const RuntimeMemory& runtime,
                                const SegmentCache& segments) {
    VerifierRules rules;
    rules.registers = registers_of(*stubs.plan);
    rules.code = memory.executable();
    rules.stub_bytes = stubs.ring0_end - memory.executable();
    rules.gates = gates_of(stubs);
    rules.indirect_miss = stubs.indirect_miss;
    rules.return_miss = stubs.return_miss;
    rules.leave_link = stubs.leave_link;
    rules.callouts = callout_rules();
    rules.runtime = -kAnchor;
    rules.runtime_bytes = sizeof(Runtime);
    rules.fields = runtime_fields();
    rules.poll = kPoll;
    rules.arrival = kArrival;
    rules.arrival_guard = runtime.has_arrival_guard();
    constexpr int32_t kSplitWord = -32 * 63, kSplitBits = -512; // see BlockTranslator::check_split
    rules.split_first = kSplitWord;
    rules.split_last = kSplitBits;
    rules.limit_stride = kLimitTrapStride;
    rules.limit_count = kSegmentCount;
    rules.slot = static_cast<int64_t>(reinterpret_cast<uintptr_t>(&runtime.runtime().slot[0]));
    rules.slot_bytes = kSlotBytes;
    rules.table_bytes = Contexts::kEntries * sizeof(uint32_t);
    rules.stack_step = kFarthestStackStep;
    rules.segment_tables = segments.first_table();
    rules.segment_table_bytes = SegmentCache::kTableBytes;
    rules.segment_table_count = SegmentCache::kTables;
    rules.segment_entry_bytes = sizeof(SegmentCacheEntry);
    rules.segment_base_pointers = offsetof(SegmentCacheEntry, fs_pointer);
    rules.host_frame = kHostFrame;
    return rules;
}

// What the block itself says of its code: all but its ways out and holes.
static HostCode plain_code(CodeCache& cache, const Block& block) {
    HostCode code;
    code.bytes = cache.memory().writable(block.entry);
    code.address = block.entry;
    code.size = block.host_end - block.entry;
    code.body = block.body;
    code.eip = block.eip;
    code.window = !block.key.has(ModeKey::kWatched);
    code.landings = {cache.landings.data() + block.landing_first, block.landing_count};
    return code;
}

HostCode block_code(CodeCache& cache, const Block& block, BlockUse use, BlockFacts& facts) {
    facts.ways_out.resize(block.link_count);
    auto link = cache.links.begin() + block.link_first;
    for (WayOut& way : facts.ways_out) {
        way = {link->site, link->to != nullptr ? link->to->body : link->stub, link->stub};
        ++link;
    }
    static constexpr Hole::Kind kKinds[] = {Hole::Kind::Data, Hole::Kind::MinusEip, Hole::Kind::Branch,
                                            Hole::Kind::TableEntry}; // by Fixup::Kind
    facts.holes.resize(use == BlockUse::Revived ? 0 : block.fixup_count);
    auto fixup = cache.fixups.begin() + (facts.holes.empty() ? 0 : block.fixup_first);
    for (Hole& hole : facts.holes) {
        hole = {fixup->at, kKinds[static_cast<unsigned>(fixup->kind)]};
        ++fixup;
    }
    if (use == BlockUse::Fresh) // those of branches come last
        std::sort(facts.holes.begin(), facts.holes.end(),
                  [](const Hole& a, const Hole& b) { return a.at < b.at; });
    HostCode code = plain_code(cache, block);
    code.ways_out = facts.ways_out;
    code.holes = facts.holes;
    return code;
}

std::string listing(const HostCode& code, const Refusal& refusal) {
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisFormatter formatter;
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    std::vector<std::string> lines;
    for (uint32_t at = 0; at < code.size && code.address + at <= refusal.at;) {
        ZydisDecodedInstruction instruction;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        char text[128] = "?";
        uint32_t length = 1;
        if (ZYAN_SUCCESS(
                ZydisDecoderDecodeFull(&decoder, code.bytes + at, code.size - at, &instruction, operands))) {
            ZydisFormatterFormatInstruction(&formatter, &instruction, operands,
                                            instruction.operand_count_visible, text, sizeof text,
                                            code.address + at, nullptr);
            length = instruction.length;
        }
        lines.push_back(fmt::format("\n  {:08x}  {}", code.address + at, text));
        at += length;
    }
    constexpr size_t kShown = 12;
    std::string listed;
    for (size_t n = lines.size() > kShown ? lines.size() - kShown : 0; n < lines.size(); ++n)
        listed += lines[n];
    return listed;
}

Containment::Containment(CodeCache& cache, VerifierRules rules, Blocks which, std::function<void()> refused)
    : cache_(cache), rules_(std::move(rules)), verifier_(rules_), which_(which),
      refused_(std::move(refused)) {}

bool Containment::is_due(const Block& block) {
    if (which_ == Blocks::Sampled && statistics.bytes >= kFirstBytes && ++sampled_ % kOneIn != 0) {
        ++statistics.left_out;
        return false;
    }
    statistics.bytes += block.host_end - block.entry;
    return true;
}

bool Containment::heed(const std::optional<Refusal>& refusal, const HostCode& code) {
    if (!refusal)
        return true;
    if (failure_.empty()) {
        base::log(base::LogLevel::Warn, "translated code refused: {}{}", refusal->reason,
                  listing(code, *refusal));
        failure_ =
            fmt::format("the program's code was not run: a check of its translation failed ({}); report "
                        "this with the name of the program",
                        refusal->reason);
        refused_();
    }
    return false;
}

bool Containment::check_stubs() {
    const uint32_t end = rules_.code + rules_.stub_bytes;
    bool kept = true;
    for (size_t n = 0; n < rules_.gates.size(); ++n) {
        HostCode code;
        code.kind = HostCode::Kind::Stub;
        code.address = rules_.gates[n].address;
        code.bytes = cache_.memory().writable(code.address);
        code.size = (n + 1 < rules_.gates.size() ? rules_.gates[n + 1].address : end) - code.address;
        kept = kept && heed(verifier_.check(code), code);
    }
    return kept;
}

bool Containment::check_block(const Block& block, BlockUse use, std::span<const uint32_t> heads) {
    if (!is_due(block))
        return true;
    ++statistics.blocks;
    HostCode code = block_code(cache_, block, use, facts_);
    code.heads = heads;
    return heed(verifier_.check(code), code);
}

void Containment::branch_patched(const uint8_t* bytes, uint32_t address, uint32_t size, uint32_t target) {
    ++statistics.patches;
    if (const auto refusal = Verifier::check_branch(bytes, address, size, target))
        (void)heed(refusal, {.bytes = bytes, .address = address, .size = size});
}

void Containment::stub_patched(const uint8_t* bytes, uint32_t address, uint32_t size) {
    ++statistics.patches;
    const HostCode code{.kind = HostCode::Kind::Fragment, .bytes = bytes, .address = address, .size = size};
    (void)heed(verifier_.check(code), code);
}

void Containment::block_copied(const Block& original, const Block& copy) {
    if (!is_due(copy))
        return;
    ++statistics.copies;
    const HostCode code = block_code(cache_, copy, BlockUse::Copy, facts_);
    const HostCode from = plain_code(cache_, original);
    // What was said of the original holds for the copy.
    const uint32_t moved = copy.entry - original.entry;
    bool same = copy.link_count == original.link_count && copy.fixup_first == original.fixup_first &&
                copy.fixup_count == original.fixup_count;
    auto link = cache_.links.begin() + original.link_first;
    for (size_t n = 0; same && n < facts_.ways_out.size(); ++n, ++link)
        same = facts_.ways_out[n].site - link->site == moved && facts_.ways_out[n].stub - link->stub == moved;
    (void)heed(same ? verifier_.check_copy(from, code) : Refusal{refusal::kCopy, copy.entry}, code);
}

} // namespace vmm
