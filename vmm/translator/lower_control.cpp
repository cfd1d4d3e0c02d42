// Near control transfers. A guest CALL is paired with a host CALL and a guest RET with a host RET: the
// landing after the CALL checks that the guest really returned there. Backward jumps poll for attention, and
// so do indirect arrivals; a CALL leaves it to its landing (see Vcpu::shadow_stack_full).
#include "vmm/translator/block_translator.h"

#include <Zydis/Zydis.h>

namespace vmm {

using namespace host;

void BlockTranslator::lower_jump_relative() {
    if (!check_target(insn_->target)) {
        ended_ = true;
        return;
    }
    if (insn_->target <= insn_->eip)
        poll();
    exit_direct(insn_->target);
}

void BlockTranslator::lower_jump_conditional() {
    const uint8_t condition = insn_->opcode & 0xF;
    if (insn_->target > key_.cs_limit) {
        const uint32_t skip = e_->jump_if(condition ^ 1, e_->address());
        (void)check_target(insn_->target);
        e_->patch_rel32(skip, e_->address());
        return;
    }
    if (insn_->target <= insn_->eip && !polled_early_)
        poll();
    exit_direct(insn_->target, condition);
}

void BlockTranslator::lower_jump_indirect() {
    const bool kept = !indirect_can_exceed();
    load_branch_operand(kept ? plan_.scratch[0] : plan_.scratch[2]);
    check_indirect_target(plan_.scratch[2]);
    if (!kept)
        e_->mov32(plan_.scratch[0], plan_.scratch[2]);
    exit_indirect();
}

void BlockTranslator::load_branch_operand(uint8_t to) {
    const unsigned bytes = insn_->operand_bytes;
    if (insn_->mod == 3) {
        const uint8_t from = host_reg(insn_->rm);
        bytes == 4 ? e_->mov32(to, from) : e_->movzx16(to, from);
    } else {
        e_->load(to, memory_operand(), bytes);
    }
}

bool BlockTranslator::indirect_can_exceed() const {
    return key_.cs_limit < (insn_->operand_bytes == 4 ? 0xFFFFFFFFu : 0xFFFFu);
}

// #GP(0) before anything is committed when the target in `reg` (s2) lies beyond CS.limit.
void BlockTranslator::check_indirect_target(uint8_t reg) {
    if (indirect_can_exceed())
        check_limit(static_cast<unsigned>(SegReg::Cs), reg, 1);
}

// LOOP, LOOPE, LOOPNE, JCXZ, JECXZ. None touches flags, so the counter is tested with JRCXZ.
void BlockTranslator::lower_loop() {
    const bool wide = insn_->address_bits == 32;
    const bool jcxz = insn_->mnemonic == ZYDIS_MNEMONIC_JCXZ || insn_->mnemonic == ZYDIS_MNEMONIC_JECXZ;
    std::optional<uint8_t> condition;
    if (insn_->mnemonic == ZYDIS_MNEMONIC_LOOPE)
        condition = 4;
    if (insn_->mnemonic == ZYDIS_MNEMONIC_LOOPNE)
        condition = 5;
    poll();
    if (!jcxz) {
        if (wide) {
            e_->lea32(kRcx, {.base = kRcx, .displacement = -1});
        } else {
            e_->lea32(plan_.scratch[0], {.base = kRcx, .displacement = -1});
            e_->mov16(kRcx, plan_.scratch[0]);
        }
    }
    if (!wide) {
        e_->mov32(plan_.scratch[1], kRcx);
        e_->movzx16(kRcx, kRcx);
    }
    const auto restore_counter = [&] {
        if (!wide)
            e_->mov32(kRcx, plan_.scratch[1]);
    };
    e_->byte(0xE3); // jrcxz zero
    const uint32_t zero = e_->offset();
    e_->byte(0);
    const auto taken = [&] {
        if (insn_->target > key_.cs_limit)
            (void)check_target(insn_->target);
        else
            exit_direct(insn_->target, condition);
    };
    restore_counter();
    uint32_t done = 0;
    if (!jcxz)
        taken();
    if (jcxz || condition || insn_->target > key_.cs_limit)
        done = e_->jump(e_->address());
    *e_->at(zero) = static_cast<uint8_t>(e_->offset() - (zero + 1));
    restore_counter();
    if (jcxz)
        taken();
    if (done != 0)
        e_->patch_rel32(done, e_->address());
    ended_ = false;
}

void BlockTranslator::lower_call_relative() {
    if (!check_target(insn_->target)) {
        ended_ = true;
        return;
    }
    push_next_eip();
    if (insn_->target == insn_->next_eip()) { // CALL $+n; POP: reads EIP, never returns
        exit_direct(insn_->target);
        return;
    }
    if (!options_.link) {
        exit_direct(insn_->target);
        return;
    }
    exit_direct(insn_->target, std::nullopt, Transfer::Call);
    return_landing();
}

void BlockTranslator::lower_call_indirect() {
    const bool kept = flat_stack() && !indirect_can_exceed(); // scratch[0] until the end
    load_branch_operand(kept ? plan_.scratch[0] : plan_.scratch[2]);
    check_indirect_target(plan_.scratch[2]);
    if (flat_stack()) {
        push_next_eip();
    } else { // the general push uses every scratch register
        e_->store32(rt(ENCORE_RT(exit_argument)), plan_.scratch[2]);
        push_next_eip();
        e_->load32(plan_.scratch[2], rt(ENCORE_RT(exit_argument)));
    }
    if (!kept)
        e_->mov32(plan_.scratch[0], plan_.scratch[2]);
    if (!options_.link) {
        exit_indirect();
        return;
    }
    load_table_entry(*e_, plan_, host_rotates_);
    e_->call_reg(plan_.scratch[1]);
    return_landing();
}

void BlockTranslator::lower_return() {
    const unsigned bytes = insn_->operand_bytes;
    const uint32_t release = insn_->immediate_bytes != 0 ? insn_->immediate & 0xFFFF : 0;
    if (indirect_can_exceed()) { // the target is checked before ESP moves
        pop_to(plan_.scratch[2], bytes, false);
        check_indirect_target(plan_.scratch[2]);
        release_stack(bytes + release);
        e_->mov32(plan_.scratch[0], plan_.scratch[2]);
    } else if (flat_stack()) {
        e_->load(plan_.scratch[0], stack_top(), bytes);
        settle_stack(static_cast<int32_t>(bytes + release));
    } else {
        pop_to(plan_.scratch[2], bytes);
        release_stack(release);
        e_->mov32(plan_.scratch[0], plan_.scratch[2]);
    }
    VERIFY(stack_pending_ == 0);
    if (!options_.link) {
        exit_indirect();
        return;
    }
    e_->ret();
    ended_ = true;
}

} // namespace vmm
