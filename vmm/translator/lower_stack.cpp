// PUSH, POP and the implicit stack accesses. On a flat 32-bit stack its register is used directly; otherwise
// the offset is wrapped to the stack's width, checked and based like any operand.
//
// The register moves late: of a row of pushes and pops, with what is between them, each accesses its own
// distance from it, and one LEA makes up for all when something needs ESP itself. Side points say how far ESP
// is ahead, and who leaves at a fault adds that.
#include "vmm/translator/block_translator.h"

#include <cstdlib>

namespace vmm {

static constexpr auto kSs = static_cast<unsigned>(SegReg::Ss);

bool BlockTranslator::flat_stack() const {
    return key_.has(ModeKey::kStack32) && key_.segment(kSs) == SegmentClass::Flat && !force_callouts_;
}

// From here on ESP is that much farther.
void BlockTranslator::move_stack(int32_t bytes) {
    const int32_t pending = stack_pending_ + bytes;
    if (pending % SidePoint::kStackUnit != 0 || std::abs(pending) > SidePoint::kFarthestStack)
        settle_stack(bytes);
    else
        stack_pending_ = pending;
}

void BlockTranslator::settle_stack(int32_t bytes) {
    if (stack_pending_ + bytes != 0)
        e_->lea64(plan_.stack(), stack_top(bytes));
    if (stack_pending_ == 0)
        return;
    stack_pending_ = 0;
    side_point(insn_->eip);
}

// Does the instruction's lowering do without ESP in its register? What leaves it by a fault has the side
// point; what leaves it by a call or a jump has not.
bool BlockTranslator::carries_stack() const {
    const GuestInstruction& i = *insn_;
    if (!flat_stack() || wraps_)
        return false;
    // With what is pending a step must stay within kFarthestStackStep.
    constexpr int32_t kFarthestCarried = kFarthestStackStep - SidePoint::kFarthestStack - 8;
    const auto is_esp = [](uint8_t gpr_class, uint8_t number) {
        return gpr_class >= 2 && number == static_cast<uint8_t>(Reg::Esp);
    };
    if (i.has_memory) {
        constexpr int32_t kFar = 1 << 20;
        const bool high_byte = i.reg_gpr == 1 && i.reg >= 4;
        if (use_callout(i.memory.segment, (i.memory.access & kAccessWrite) != 0) ||
            i.memory.address_bits != 32 || high_byte ||
            (i.memory.base == static_cast<uint8_t>(Reg::Esp) &&
             std::abs(int64_t{i.memory.displacement}) > kFar))
            return false;
    }
    switch (i.lowering) {
    case Lowering::Nop:
    case Lowering::MoveOffset:
        return true;
    case Lowering::Leave:
        return i.operand_bytes == 4;
    case Lowering::Push:
        return i.operand_bytes == 4 &&
               (i.has_modrm ? i.mod != 3 || i.rm != static_cast<uint8_t>(Reg::Esp)
                            : i.immediate_bytes != 0 || (i.opcode & 7) != static_cast<uint8_t>(Reg::Esp));
    case Lowering::Pop:
        return i.operand_bytes == 4 && (!i.has_modrm || i.mod == 3);
    case Lowering::CallRelative:
        return i.operand_bytes == 4 && !indirect_can_exceed();
    case Lowering::Return:
        return i.operand_bytes == 4 && !indirect_can_exceed() &&
               (i.immediate_bytes == 0 || (i.immediate & 0xFFFF) <= kFarthestCarried);
    case Lowering::CallIndirect:
        return i.operand_bytes == 4 && !indirect_can_exceed() &&
               (i.mod != 3 || i.rm != static_cast<uint8_t>(Reg::Esp));
    case Lowering::Lea:
        return i.mod != 3 && i.reg != static_cast<uint8_t>(Reg::Esp);
    case Lowering::IncDec:
    case Lowering::ExchangeAcc:
        return (i.opcode & 7) != static_cast<uint8_t>(Reg::Esp);
    case Lowering::Identity:
        if (is_stack_adjustment(i))
            return std::abs(int64_t{stack_adjustment(i)}) <= kFarthestCarried;
        return !(is_bit_string(i) || (i.has_modrm && is_esp(i.reg_gpr, i.reg)) ||
                 (i.has_modrm && i.mod == 3 && is_esp(i.rm_gpr, i.rm)) ||
                 (!i.has_modrm && i.opcode_gpr >= 2 && (i.opcode & 7) == static_cast<uint8_t>(Reg::Esp)));
    case Lowering::SimdIdentity:
    case Lowering::X87Identity: {
        const bool masked_move = i.map == 1 && i.opcode == 0xF7;
        return !fpu_fault() && !masked_move && !(i.has_modrm && is_esp(i.reg_gpr, i.reg)) &&
               !(i.has_modrm && i.mod == 3 && is_esp(i.rm_gpr, i.rm));
    }
    default:
        return false;
    }
}

// Before an instruction: its register catches up with ESP where it has to, and operands based on ESP are
// based on that.
void BlockTranslator::prepare_stack() {
    if (stack_pending_ == 0)
        return;
    // Nothing may come between a compare and its branch, for the host to fuse them.
    const bool before_branch = index_ + 1 < count_ &&
                               instructions_[index_ + 1].lowering == Lowering::JumpConditional &&
                               (insn_->lowering == Lowering::Identity || insn_->lowering == Lowering::IncDec);
    if (before_branch || !carries_stack() || begins_jump_target()) {
        e_->lea64(plan_.stack(), stack_top());
        stack_pending_ = 0;
        return;
    }
    if (insn_->has_memory && insn_->memory.base == static_cast<uint8_t>(Reg::Esp)) {
        beside_pending_ = *insn_;
        beside_pending_.memory.displacement += stack_pending_;
        insn_ = &beside_pending_;
    }
}

void BlockTranslator::push_reg(uint8_t reg, unsigned bytes) {
    if (use_callout(kSs, true)) {
        e_->mov32(plan_.scratch[0], reg);
        callout_b(Callout::Push, bytes | (insn_->lowering == Lowering::Push ? kEndsInstruction : 0));
        return;
    }
    push_part(reg, bytes, bytes);
}

// Writes the low `written` bytes of a slot of `bytes`.
void BlockTranslator::push_part(uint8_t reg, unsigned bytes, unsigned written) {
    const auto size = static_cast<int32_t>(bytes);
    if (flat_stack()) {
        e_->store(stack_top(-size), reg, written);
        move_stack(-size);
        return;
    }
    e_->lea32(plan_.scratch[0], {.base = plan_.stack(), .displacement = -size});
    if (!key_.has(ModeKey::kStack32))
        e_->movzx16(plan_.scratch[0], plan_.scratch[0]);
    e_->store(at_offset(kSs, plan_.scratch[0], written, true), reg, written);
    if (key_.has(ModeKey::kStack32))
        addressing_.set_stack(*e_, plan_.scratch[0]);
    else
        e_->mov16(plan_.stack(), plan_.scratch[0]);
}

void BlockTranslator::push_imm(uint32_t value, unsigned bytes) {
    if (flat_stack()) {
        const auto size = static_cast<int32_t>(bytes);
        bytes == 4 ? e_->store32_imm(stack_top(-size), value)
                   : e_->store16_imm(stack_top(-size), static_cast<uint16_t>(value));
        move_stack(-size);
        return;
    }
    e_->mov32_imm(plan_.scratch[2], value);
    push_reg(plan_.scratch[2], bytes);
}

// The return address of a call.
void BlockTranslator::push_next_eip() {
    const unsigned bytes = insn_->operand_bytes;
    if (flat_stack() && bytes == 4) {
        e_->store32_imm(stack_top(-4), insn_->next_eip());
        note_eip();
        settle_stack(-4);
        return;
    }
    relocatable_ = false;
    push_imm(insn_->next_eip(), bytes);
    settle_stack();
}

// Loads the top of the stack into `scratch` (s0 or s2); `move` also releases it.
void BlockTranslator::pop_to(uint8_t scratch, unsigned bytes, bool move) {
    if (flat_stack()) {
        e_->load(scratch, stack_top(), bytes);
    } else if (use_callout(kSs, false)) {
        callout(move ? Callout::Pop : Callout::PopPeek, 0, bytes);
        e_->load(scratch, slot(), bytes);
        return;
    } else {
        key_.has(ModeKey::kStack32) ? e_->mov32(plan_.scratch[0], plan_.stack())
                                    : e_->movzx16(plan_.scratch[0], plan_.stack());
        e_->load(scratch, at_offset(kSs, plan_.scratch[0], bytes, true), bytes);
    }
    if (!move)
        return;
    VERIFY(scratch != plan_.scratch[1]);
    if (flat_stack()) {
        move_stack(static_cast<int32_t>(bytes));
    } else {
        e_->lea32(plan_.scratch[1], {.base = plan_.stack(), .displacement = static_cast<int32_t>(bytes)});
        if (key_.has(ModeKey::kStack32))
            addressing_.set_stack(*e_, plan_.scratch[1]);
        else
            e_->mov16(plan_.stack(), plan_.scratch[1]);
    }
}

void BlockTranslator::release_stack(uint32_t bytes) {
    if (bytes == 0)
        return;
    e_->lea32(plan_.scratch[1], {.base = plan_.stack(), .displacement = static_cast<int32_t>(bytes)});
    if (key_.has(ModeKey::kStack32))
        addressing_.set_stack(*e_, plan_.scratch[1]);
    else
        e_->mov16(plan_.stack(), plan_.scratch[1]);
}

void BlockTranslator::lower_push() {
    const GuestInstruction& i = *insn_;
    const unsigned bytes = i.operand_bytes;
    if (i.has_modrm) { // FF /6
        if (i.mod == 3) {
            push_reg(host_reg(i.rm), bytes);
            return;
        }
        e_->load(plan_.scratch[2], memory_operand(), bytes);
        push_reg(plan_.scratch[2], bytes);
    } else if (i.immediate_bytes != 0) {
        const uint32_t value =
            i.immediate_bytes == 1
                ? static_cast<uint32_t>(static_cast<int32_t>(static_cast<int8_t>(i.immediate)))
                : i.immediate;
        push_imm(value, bytes);
    } else {
        push_reg(host_reg(i.opcode & 7), bytes);
    }
}

void BlockTranslator::lower_pop() {
    const GuestInstruction& i = *insn_;
    const unsigned bytes = i.operand_bytes;
    if (!i.has_modrm || i.mod == 3) {
        const uint8_t to = host_reg(i.has_modrm ? i.rm : i.opcode & 7);
        if (flat_stack() && to != plan_.stack() && bytes == 4) {
            e_->load32(to, stack_top());
            move_stack(4);
            return;
        }
        pop_to(plan_.scratch[2], bytes);
        if (to == plan_.stack())
            settle_stack();
        bytes == 4 ? e_->mov32(to, plan_.scratch[2]) : e_->mov16(to, plan_.scratch[2]);
        if (to == plan_.stack() && bytes == 4)
            rebias_esp();
        return;
    }
    // POP [mem]: the address uses ESP after the increment (SDM Vol. 2B "POP"), which is committed last.
    GuestInstruction adjusted = i;
    if (adjusted.memory.base == 4)
        adjusted.memory.displacement += static_cast<int32_t>(bytes);
    insn_ = &adjusted;
    if (use_callout(adjusted.memory.segment, true) || use_callout(kSs, false)) {
        force_callouts_ = true;
        callout(Callout::PopPeek, 0, bytes); // into the very slot that is then written out
        (void)memory_operand();
        slot_packed_ = SlotAccess::releasing(slot_packed_, bytes);
        finish_memory();
    } else {
        pop_to(plan_.scratch[2], bytes, false);
        e_->store(memory_operand(), plan_.scratch[2], bytes);
        release_stack(bytes);
    }
    insn_ = &instructions_[index_];
}

// Two bytes whatever the operand size: see Cpu::push_selector.
void BlockTranslator::lower_push_segment() {
    const unsigned segment = (insn_->opcode >> 3) & 7;
    const uint8_t selector = use_callout(kSs, true) ? plan_.scratch[0] : plan_.scratch[2];
    e_->load16(selector, rt(rt_segment_selector(segment)));
    if (use_callout(kSs, true))
        callout_b(Callout::PushSegment, insn_->operand_bytes);
    else
        push_part(selector, insn_->operand_bytes, 2);
}

void BlockTranslator::lower_leave() {
    const unsigned bytes = insn_->operand_bytes;
    const bool wide = key_.has(ModeKey::kStack32);
    const auto frame = [&] {
        wide ? e_->mov32(plan_.scratch[0], host_reg(Reg::Ebp))
             : e_->movzx16(plan_.scratch[0], host_reg(Reg::Ebp));
    };
    frame();
    if (use_callout(kSs, false)) {
        callout_b(Callout::SlotPrepare, SlotAccess::pack(SlotAccess::kRead, kSs, bytes));
        frame();
        e_->load(plan_.scratch[2], slot(), bytes);
    } else {
        e_->load(plan_.scratch[2], at_offset(kSs, plan_.scratch[0], bytes, true), bytes);
    }
    e_->lea32(plan_.scratch[0], {.base = plan_.scratch[0], .displacement = static_cast<int32_t>(bytes)});
    if (wide)
        addressing_.set_stack(*e_, plan_.scratch[0]);
    else
        e_->mov16(plan_.stack(), plan_.scratch[0]);
    stack_pending_ = 0;
    bytes == 4 ? e_->mov32(host_reg(Reg::Ebp), plan_.scratch[2])
               : e_->mov16(host_reg(Reg::Ebp), plan_.scratch[2]);
}

} // namespace vmm
