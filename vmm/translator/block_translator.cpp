#include "vmm/translator/block_translator.h"

#include "vmm/code_cache/contexts.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/translator/intel_flags.h"

#include <algorithm>
#include <cstring>

namespace vmm {

using namespace host;

BlockTranslator::BlockTranslator(CodeCache& cache, const Stubs& stubs, const Runtime& rt,
                                 const SegmentCache& segments, bool arrival_guard, HostMaker host_maker,
                                 bool host_rotates)
    : cache_(cache), stubs_(stubs), addressing_(*stubs.addressing), plan_(addressing_.plan),
      link_stub_(link_stub_for(plan_)), segments_(segments), arrival_guard_(arrival_guard),
      host_maker_(host_maker), host_rotates_(host_rotates),
      slot_address_(static_cast<int32_t>(reinterpret_cast<uintptr_t>(&rt.slot[0]))) {
    VERIFY(reinterpret_cast<uintptr_t>(&rt.slot[0]) < (uintptr_t{1} << 31));
}

Block* BlockTranslator::translate(uint32_t eip, const ModeKey& key, const CodeBytes& code, CodeSource& source,
                                  const TranslateOptions& options) {
    key_ = key;
    options_ = options;
    start_eip_ = eip;
    page_room_ = code.first_length;
    backing_ = code.backing;
    second_backing_ = kNoPage;
    count_ = 0;
    truncated_fetch_ = false;
    exits_.clear();
    landings_.clear();
    loop_heads_.clear();
    points_.clear();
    fixups_.clear();
    branches_out_.clear();
    relocatable_ = options.link && !options.global && options.stops == nullptr &&
                   key.cs_limit == 0xFFFFFFFF && key.has(ModeKey::kUser) && key.has(ModeKey::kCode32) &&
                   CodeCache::relocatable_at(eip);
    emitted_.fill(false);
    sti_poll_at_ = -1;
    stack_pending_ = 0;

    decode_block(code, source, options);
    if (truncated_fetch_)
        return nullptr;

    const uint32_t base = cache_.cursor();
    VERIFY(cache_.room() >= kMaxBlockBytes);
    Emitter emitter(cache_.memory().writable(base), cache_.room(), base);
    e_ = &emitter;
    if (relocatable_)
        emitter.collect_branches_out(&branches_out_);

    Block block;
    block.key = key;
    block.eip = eip;
    block.backing = backing_;
    block.global = options.global;
    block.second_backing = second_backing_;
    block.offset = static_cast<uint16_t>(kPageSize - page_room_);
    const GuestInstruction& last = instructions_[count_ - 1];
    block.guest_bytes = static_cast<uint16_t>(last.eip + last.examined - eip);
    block.entry = base;
    index_ = 0;
    insn_ = &instructions_[0];
    side_point(eip);
    arrival(eip, stubs_.indirect_miss);
    block.body = static_cast<uint32_t>(emitter.address());
    block.link_first = static_cast<uint32_t>(cache_.links.size());
    emit_body();
    emit_exits();
    block.link_count = static_cast<uint32_t>(cache_.links.size()) - block.link_first;
    block.host_end = static_cast<uint32_t>(emitter.address());
    cache_.set_side_points(block, points_);
    block.landing_first = static_cast<uint32_t>(cache_.landings.size());
    block.landing_count = static_cast<uint32_t>(landings_.size());
    cache_.landings.insert(cache_.landings.end(), landings_.begin(), landings_.end());
    block.whole = !options.brief;
    block.relocatable = relocatable_ && second_backing_ == kNoPage;
    block.fixup_first = static_cast<uint32_t>(cache_.fixups.size());
    if (block.relocatable) {
        for (const uint32_t at : branches_out_)
            fixups_.push_back({static_cast<uint16_t>(at), Fixup::Kind::BranchOut});
        cache_.fixups.insert(cache_.fixups.end(), fixups_.begin(), fixups_.end());
    }
    block.fixup_count = static_cast<uint32_t>(cache_.fixups.size()) - block.fixup_first;
    e_ = nullptr;
    return cache_.add(block);
}

void BlockTranslator::decode_block(const CodeBytes& code, CodeSource& source,
                                   const TranslateOptions& options) {
    // Much code runs once or never, and what is made ahead of it is lost.
    constexpr unsigned kBriefInstructions = 32, kBriefBranches = 3;
    const unsigned most = options.brief ? kBriefInstructions : kMaxInstructions;
    const unsigned limit =
        key_.has(ModeKey::kAlone) ? 1 : std::min(std::max(options.max_instructions, 1u), most);
    unsigned branches = 0;
    const bool code32 = key_.has(ModeKey::kCode32);
    uint32_t at = 0;
    while (count_ < limit) {
        GuestInstruction& insn = instructions_[count_];
        const uint32_t room = page_room_ - at;
        if (room == 0)
            return;
        if (count_ > 0 && options.stops != nullptr &&
            options.stops->within(key_, start_eip_ + at, kPageSize - room, 1))
            return;
        bool complete = forms_.decode({code.first + at, room}, start_eip_ + at, code32, insn);
        if (!complete) {
            if (count_ > 0)
                return; // the spanning instruction gets a block of its own
            const uint8_t* next = source.next_page(second_backing_);
            if (next == nullptr) {
                truncated_fetch_ = true;
                return;
            }
            uint8_t joined[32];
            std::memcpy(joined, code.first, room);
            std::memcpy(joined + room, next, 16);
            complete = forms_.decode({joined, room + 16}, start_eip_, code32, insn);
            VERIFY(complete);
        }
        if (beyond_limit(insn)) { // #GP(0) when execution gets there
            if (count_ > 0)
                return;
            insn.lowering = Lowering::Undefined;
        }
        ++count_;
        at += insn.length;
        const bool calls = insn.lowering == Lowering::CallRelative || insn.lowering == Lowering::CallIndirect;
        if (second_backing_ != kNoPage || insn.ends_block() || (calls && !options.link))
            return; // without links no call comes back to its block
        branches += insn.target != 0 || insn.lowering == Lowering::CallIndirect ? 1 : 0;
        if (options.brief && branches == kBriefBranches)
            return;
    }
}

// The dword just emitted holds an EIP.
void BlockTranslator::note_eip(Fixup::Kind kind) {
    if (relocatable_)
        fixups_.push_back({static_cast<uint16_t>(e_->offset() - sizeof(uint32_t)), kind});
}

void BlockTranslator::side_point(uint32_t eip) {
    const uint32_t offset = e_->offset();
    VERIFY(offset < 65536);
    points_.push_back({static_cast<uint16_t>(offset), static_cast<uint16_t>(eip - start_eip_),
                       static_cast<int16_t>(stack_pending_)});
}

// Leaves through `miss` unless s0 == eip, and polls. Flag-neutral even where the block does not need the
// flags: whoever a miss leads to may. Begins with at least 5 bytes that can be overwritten with a jump.
void BlockTranslator::arrival(uint32_t eip, uint32_t miss) {
    const auto offset = static_cast<uint16_t>((kPageSize - page_room_ + eip - start_eip_) % kPageSize);
    if (arrival_guard_ &&
        cache_.mark_at({backing_, offset, Sites::Kind::Arrival}) == 0) { // see RuntimeMemory
        e_->lea32(plan_.scratch[1], {.base = plan_.scratch[0], .displacement = static_cast<int32_t>(-eip)});
        note_eip(Fixup::Kind::MinusEip);
        e_->load32(plan_.scratch[0],
                   {.base = plan_.runtime, .index = plan_.scratch[1], .displacement = kArrival});
        return;
    }
    e_->mov32(plan_.scratch[1], kRcx);
    e_->lea32(kRcx, {.base = plan_.scratch[0], .displacement = static_cast<int32_t>(-eip)});
    note_eip(Fixup::Kind::MinusEip);
    e_->byte(0xE3); // jrcxz over the miss path: mov ecx, scratch (3) + jmp rel32 (5)
    e_->byte(8);
    e_->mov32(kRcx, plan_.scratch[1]);
    e_->jump(miss);
    e_->mov32(kRcx, plan_.scratch[1]);
    poll();
}

void BlockTranslator::emit_body() {
    ended_ = polled_early_ = false;
    after_callout_ = 0;
    unsigned loop_end = ~0u;         // last instruction of a loop that is being emitted several times
    std::vector<uint32_t> loop_left; // where its first turns leave
    for (index_ = 0; index_ < count_; ++index_) {
        begin_instruction();
        if (begins_loop())
            align_loop();
        host_offset_[index_] = e_->offset();
        emitted_[index_] = true;
        if (const unsigned last = short_loop(); last != 0) {
            constexpr unsigned kTiny = 6, kMoreTurns = 3;
            for (unsigned turn = 0; turn < (last - index_ < kTiny ? kMoreTurns : 1); ++turn)
                loop_left.push_back(loop_turn(last));
            begin_instruction();
            loop_end = last;
        }
        side_point(insn_->eip);
        const bool early_poll = polls_for_next();
        if (early_poll)
            poll();
        lower();
        polled_early_ = early_poll;
        if (sti_poll_at_ == static_cast<int>(index_) && !ended_) {
            side_point(insn_->next_eip());
            e_->load64(plan_.scratch[0], rt(ENCORE_RT(sti_poll_pointer)));
            e_->load32(plan_.scratch[0], {.base = plan_.scratch[0]});
        }
        if (loop_end == index_) {
            for (const uint32_t site : loop_left)
                e_->patch_rel32(site, e_->address());
            loop_left.clear();
        }
    }
    if (!ended_) {
        settle_stack();
        side_point(insn_->next_eip());
        exit_direct(insn_->next_eip());
    } else if (after_callout_ == e_->offset()) {
        e_->jump(
            stubs_.leave); // such a call-out never comes back; code does not run past its end if one does
    }
}

void BlockTranslator::begin_instruction() {
    insn_ = &instructions_[index_];
    ended_ = false;
    site_ = site_of(index_);
    force_callouts_ = calls_out(index_);
    wraps_ = site_of(index_, Sites::Kind::Address) != 0;
    slot_write_pending_ = false;
    prepare_stack();
}

uint16_t BlockTranslator::site_of(unsigned index, Sites::Kind kind) const {
    const uint32_t offset = (kPageSize - page_room_) + (instructions_[index].eip - start_eip_);
    return cache_.mark_at({backing_, static_cast<uint16_t>(offset), kind});
}

// Does this instruction leave flags that another maker's host computes in its own way, and does something in
// this block look at them? Whoever takes them along through a jump, a call or a return is left to the host: a
// program would have to compute with what its manual calls undefined, and the price would be the hot path's.
bool BlockTranslator::pins_flags(unsigned index) const {
    if (host_maker_ == HostMaker::Intel)
        return false;
    uint32_t open = maker_dependent_flags(instructions_[index]);
    for (unsigned i = index + 1; open != 0; ++i) {
        if (i == count_)
            return true; // the block's size ended it: the next one goes on
        const GuestInstruction& next = instructions_[i];
        if ((next.flags_read & open) != 0)
            return true;
        open &= ~uint32_t{next.flags_written};
        if (next.ends_block() || next.lowering == Lowering::CallRelative ||
            next.lowering == Lowering::CallIndirect)
            return false;
    }
    return false;
}

// The last instruction of a short loop without branches that begins here, or 0. Such a loop is emitted
// several times in a row, and only its last turn polls: in a loop of five instructions the poll's load is a
// fifth of the memory traffic.
unsigned BlockTranslator::short_loop() const {
    constexpr unsigned kMost = 10;
    constexpr uint32_t kMostBytes = 100; // a side point can step back that far
    if (!options_.link || index_ + kMost >= kMaxInstructions)
        return 0;
    unsigned last = 0;
    for (unsigned i = index_; i < count_ && i <= index_ + kMost; ++i) {
        const GuestInstruction& insn = instructions_[i];
        if (calls_out(i) || insn.next_eip() - insn_->eip > kMostBytes)
            return 0;
        if (insn.lowering == Lowering::JumpConditional) {
            last = insn.target == insn_->eip && insn.target <= key_.cs_limit ? i : 0;
            break;
        }
        if (insn.lowering != Lowering::Identity && insn.lowering != Lowering::SimdIdentity &&
            insn.lowering != Lowering::Lea && insn.lowering != Lowering::IncDec)
            return 0;
    }
    if (last == 0)
        return 0;
    for (unsigned i = 0; i < count_; ++i) // nothing may jump into the middle
        if (instructions_[i].target > insn_->eip && instructions_[i].target <= instructions_[last].eip)
            return 0;
    return last;
}

// Answers the site of the jump that is taken when the loop ends after this turn.
uint32_t BlockTranslator::loop_turn(unsigned last) {
    const unsigned head = index_;
    for (; index_ < last; ++index_) {
        begin_instruction();
        side_point(insn_->eip);
        lower();
    }
    begin_instruction();
    side_point(insn_->eip);
    const uint32_t site = e_->jump_if((insn_->opcode & 0xF) ^ 1, e_->address());
    index_ = head;
    return site;
}

void BlockTranslator::emit_exits() {
    for (size_t i = 0; i < exits_.size(); ++i) {
        const PendingExit exit = exits_[i];
        const int inside = index_of(exit.target);
        if (options_.link && inside >= 0 && emitted_[static_cast<size_t>(inside)] &&
            (exit.site & 0x80000000u) == 0) {
            loop_heads_.push_back(host_offset_[static_cast<size_t>(inside)]);
            e_->patch_rel32(exit.site,
                            e_->address() - e_->offset() + host_offset_[static_cast<size_t>(inside)]);
            continue;
        }
        const uint32_t site = exit.site & 0x7FFFFFFFu;
        e_->patch_rel32(site, e_->address());
        const auto stub = static_cast<uint32_t>(e_->address());
        e_->mov32_imm(plan_.scratch[0], exit.target);
        note_eip();
        // A copy elsewhere is far from where addresses wrap, and so must its targets be.
        constexpr uint32_t kFar = 1u << 27;
        relocatable_ = relocatable_ && exit.target - start_eip_ + kFar < 2 * kFar;
        if (can_link(exit.target)) {
            const auto link = static_cast<uint32_t>(cache_.links.size());
            const auto base = static_cast<uint32_t>(e_->address() - e_->offset());
            cache_.links.push_back({.target_eip = exit.target,
                                    .site = base + site,
                                    .stub = stub,
                                    .call = site != exit.site,
                                    .crosses = options_.same_page_only && !in_page(exit.target)});
            e_->mov32_imm(plan_.scratch[1], link);
            e_->jump(stubs_.leave_link);
        } else if (options_.link) {
            const LinkStub::Load& load = link_stub_.load();
            e_->raw(load.data(), load.size());
            e_->dword(Contexts::index_of(exit.target) * 4);
            note_eip(Fixup::Kind::TableEntry);
            e_->jump_reg(plan_.scratch[1]);
        } else {
            e_->jump(stubs_.indirect_miss);
        }
    }
}

// Does a later jump of this block come back to this instruction?
bool BlockTranslator::begins_loop() const {
    if (!options_.link)
        return false;
    for (unsigned i = index_; i < count_; ++i)
        if (instructions_[i].target == insn_->eip &&
            (instructions_[i].lowering == Lowering::JumpConditional ||
             instructions_[i].lowering == Lowering::LoopOrJcxz))
            return true;
    return false;
}

// Prefixes make our loops longer than the guest's were: keep a short one within as few cache lines as it
// fits. Multi-byte NOPs (SDM Vol. 2B "NOP").
void BlockTranslator::align_loop() {
    constexpr uint64_t kLine = 64;
    static constexpr uint8_t kNops[10][9] = {{},
                                             {0x90},
                                             {0x66, 0x90},
                                             {0x0F, 0x1F, 0x00},
                                             {0x0F, 0x1F, 0x40, 0x00},
                                             {0x0F, 0x1F, 0x44, 0x00, 0x00},
                                             {0x66, 0x0F, 0x1F, 0x44, 0x00, 0x00},
                                             {0x0F, 0x1F, 0x80, 0x00, 0x00, 0x00, 0x00},
                                             {0x0F, 0x1F, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
                                             {0x66, 0x0F, 0x1F, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00}};
    for (uint64_t pad = -e_->address() % kLine; pad != 0;) {
        const uint64_t now = pad < 9 ? pad : 9;
        e_->raw(kNops[now], now);
        pad -= now;
    }
}

bool BlockTranslator::begins_jump_target() const {
    return std::any_of(instructions_.begin(), instructions_.begin() + count_,
                       [&](const GuestInstruction& insn) { return insn.target == insn_->eip; });
}

void BlockTranslator::poll() { e_->load32(plan_.scratch[0], rt(kPoll)); }

// May the poll of the conditional jump that comes next be made before this instruction, so that the host can
// fuse the two? Not when something in the block jumps straight to that jump: such a loop would never poll.
bool BlockTranslator::polls_for_next() const {
    if (index_ + 1 >= count_ || force_callouts_)
        return false;
    const GuestInstruction& next = instructions_[index_ + 1];
    if (next.lowering != Lowering::JumpConditional || next.target > next.eip || next.target > key_.cs_limit ||
        (insn_->lowering != Lowering::Identity && insn_->lowering != Lowering::IncDec))
        return false;
    for (unsigned i = 0; i < count_; ++i)
        if (instructions_[i].target == next.eip)
            return false;
    return true;
}

// Those that tell Sites how they fared.
static bool tells_access(Callout which) {
    return which == Callout::SlotPrepare || which == Callout::Push || which == Callout::Pop ||
           which == Callout::PopPeek || which == Callout::PushFlags || which == Callout::PopFlags ||
           which == Callout::String || which == Callout::LoadSegment || which == Callout::PopSegment;
}

void BlockTranslator::callout(Callout which) {
    VERIFY(stack_pending_ == 0);
    if (site_ != 0 && tells_access(which))
        e_->store32_imm(rt(ENCORE_RT(site)), site_);
    store_eips();
    e_->mov32_imm(plan_.scratch[2], static_cast<uint32_t>(which));
    e_->call(stubs_.callout);
    after_callout_ = e_->offset();
}

void BlockTranslator::store_eips() {
    e_->store32_imm(rt(kRtEip), insn_->eip);
    note_eip();
    e_->store32_imm(rt(ENCORE_RT(next_eip)), insn_->next_eip());
    note_eip();
}

void BlockTranslator::callout(Callout which, uint32_t a, uint32_t b) {
    e_->mov32_imm(plan_.scratch[0], a);
    e_->mov32_imm(plan_.scratch[1], b);
    callout(which);
}

void BlockTranslator::callout_b(Callout which, uint32_t b) {
    e_->mov32_imm(plan_.scratch[1], b);
    callout(which);
}

int BlockTranslator::index_of(uint32_t eip) const {
    const auto first = instructions_.begin(), last = first + count_;
    const auto found = std::lower_bound(
        first, last, eip, [](const GuestInstruction& insn, uint32_t at) { return insn.eip < at; });
    return found != last && found->eip == eip ? static_cast<int>(found - first) : -1;
}

bool BlockTranslator::in_page(uint32_t eip) const {
    const uint32_t page_start = start_eip_ - (kPageSize - page_room_);
    return second_backing_ == kNoPage && eip - page_start < kPageSize;
}

bool BlockTranslator::can_link(uint32_t target) const {
    return options_.link &&
           (!options_.same_page_only || in_page(target) || (options_.cross && second_backing_ == kNoPage));
}

// An instruction that ends beyond CS.limit. A flat segment has no end: code goes on at 0.
bool BlockTranslator::beyond_limit(const GuestInstruction& insn) const {
    return uint64_t{insn.eip} + insn.length - 1 > key_.cs_limit &&
           key_.segment(static_cast<unsigned>(SegReg::Cs)) != SegmentClass::Flat;
}

bool BlockTranslator::check_target(uint32_t target) {
    if (target <= key_.cs_limit)
        return true;
    callout(Callout::Raise, static_cast<uint32_t>(Vector::GeneralProtection), 1);
    return false;
}

void BlockTranslator::exit_direct(uint32_t target, std::optional<uint8_t> condition, Transfer transfer) {
    VERIFY(stack_pending_ == 0);
    // Back into this block: a two-byte jump where it reaches. Short loops then fit the processor's cache of
    // decoded instructions as the guest's do.
    if (const int inside = index_of(target);
        transfer == Transfer::Jump && options_.link && inside >= 0 && emitted_[static_cast<size_t>(inside)]) {
        constexpr int64_t kShortJump = 2;
        const int64_t delta =
            int64_t{host_offset_[static_cast<size_t>(inside)]} - (e_->offset() + kShortJump);
        if (delta >= INT8_MIN) {
            loop_heads_.push_back(host_offset_[static_cast<size_t>(inside)]);
            e_->byte(static_cast<uint8_t>(condition ? 0x70 | *condition : 0xEB));
            e_->byte(static_cast<uint8_t>(delta));
            ended_ = ended_ || !condition;
            return;
        }
    }
    const uint64_t here = e_->address();
    uint32_t site;
    if (transfer == Transfer::Call)
        site = e_->call(here) | 0x80000000u; // never folded into the block: the callee must be entered as one
    else
        site = condition ? e_->jump_if(*condition, here) : e_->jump(here);
    exits_.push_back({site, target});
    if (!condition && transfer == Transfer::Jump)
        ended_ = true;
}

void BlockTranslator::exit_indirect() {
    VERIFY(stack_pending_ == 0);
    if (options_.link) {
        load_table_entry(*e_, plan_, host_rotates_);
        e_->jump_reg(plan_.scratch[1]);
    } else {
        e_->jump(stubs_.indirect_miss);
    }
    ended_ = true;
}

// Where the host RET of a guest return arrives: s0 holds the guest's return address.
void BlockTranslator::return_landing() {
    landings_.push_back(static_cast<uint32_t>(e_->address()));
    side_point(insn_->next_eip());
    arrival(insn_->next_eip(), stubs_.return_miss);
}

void BlockTranslator::lower() {
    switch (insn_->lowering) {
    case Lowering::Undefined:
        if (insn_->too_long || beyond_limit(*insn_))
            callout(Callout::Raise, static_cast<uint32_t>(Vector::GeneralProtection), 1);
        else
            raise(Vector::InvalidOpcode);
        ended_ = true;
        break;
    case Lowering::Nop:
        break;
    case Lowering::Identity:
        lower_identity();
        break;
    case Lowering::SimdIdentity:
        lower_simd();
        break;
    case Lowering::X87Identity:
        lower_x87();
        break;
    case Lowering::Lea:
        lower_lea();
        break;
    case Lowering::MoveSegment:
        lower_move_segment();
        break;
    case Lowering::LoadFarPointer:
        lower_load_far_pointer();
        break;
    case Lowering::IncDec:
        lower_inc_dec();
        break;
    case Lowering::ExchangeAcc:
        lower_exchange();
        break;
    case Lowering::MoveOffset:
        lower_move_offset();
        break;
    case Lowering::Xlat:
        lower_xlat();
        break;
    case Lowering::Push:
        lower_push();
        break;
    case Lowering::Pop:
        lower_pop();
        break;
    case Lowering::PushSegment:
        lower_push_segment();
        break;
    case Lowering::PopSegment:
        lower_pop_segment();
        break;
    case Lowering::PushAll:
        callout(Callout::PushAll, 0, insn_->operand_bytes);
        break;
    case Lowering::PopAll:
        callout(Callout::PopAll, 0, insn_->operand_bytes);
        break;
    case Lowering::PushFlags:
        lower_push_flags();
        break;
    case Lowering::PopFlags:
        lower_pop_flags();
        break;
    case Lowering::Leave:
        lower_leave();
        break;
    case Lowering::Enter:
        callout(Callout::Enter, (insn_->immediate & 0xFFFF) | (insn_->immediate2 & 0xFF) << 16,
                insn_->operand_bytes);
        break;
    case Lowering::JumpRelative:
        lower_jump_relative();
        break;
    case Lowering::JumpConditional:
        lower_jump_conditional();
        break;
    case Lowering::JumpIndirect:
        lower_jump_indirect();
        break;
    case Lowering::JumpFar:
        lower_far(false);
        break;
    case Lowering::LoopOrJcxz:
        lower_loop();
        break;
    case Lowering::CallRelative:
        lower_call_relative();
        break;
    case Lowering::CallIndirect:
        lower_call_indirect();
        break;
    case Lowering::CallFar:
        lower_far(true);
        break;
    case Lowering::Return:
        lower_return();
        break;
    case Lowering::ReturnFar:
        callout(Callout::FarReturn, insn_->immediate_bytes != 0 ? insn_->immediate : 0, insn_->operand_bytes);
        ended_ = true;
        break;
    case Lowering::InterruptReturn:
        callout(Callout::InterruptReturn, 0, insn_->operand_bytes);
        ended_ = true;
        break;
    case Lowering::SoftwareInterrupt:
        lower_software_interrupt();
        break;
    case Lowering::StringMove:
        lower_string();
        break;
    case Lowering::StringIo:
        lower_string_io();
        break;
    case Lowering::PortIn:
        lower_port(true);
        break;
    case Lowering::PortOut:
        lower_port(false);
        break;
    case Lowering::ClearInterrupt:
        lower_cli();
        break;
    case Lowering::SetInterrupt:
        lower_sti();
        break;
    case Lowering::SystemCall:
        lower_system_call();
        break;
    case Lowering::SystemMemory:
        lower_system_memory();
        break;
    case Lowering::Bcd:
        lower_bcd();
        break;
    case Lowering::Bound:
        lower_bound();
        break;
    case Lowering::Arpl:
        lower_arpl();
        break;
    case Lowering::FpuEnvironment:
        lower_fpu_environment();
        break;
    case Lowering::LoadMxcsr:
        lower_load_mxcsr();
        break;
    }
}

} // namespace vmm
