// Instructions that need the system half of the processor: mostly a call-out with its operands gathered
// first.
#include "vmm/translator/block_translator.h"

#include "vmm/cpu/cpu.h"

#include <Zydis/Zydis.h>

namespace vmm {

void BlockTranslator::lower_move_segment() {
    const GuestInstruction& i = *insn_;
    const bool load = i.opcode == 0x8E;
    if (i.reg > 5 || (load && i.reg == static_cast<uint8_t>(SegReg::Cs))) {
        raise(Vector::InvalidOpcode);
        ended_ = true;
        return;
    }
    if (load) {
        if (i.mod == 3)
            e_->movzx16(plan_.scratch[0], host_reg(i.rm));
        else
            e_->load16(plan_.scratch[0], memory_operand());
        if (ring0_stub(i.reg))
            call_stub(stubs_.load_segment[i.reg], segments_.table(i.reg, key_.segment(i.reg)));
        else
            callout_b(Callout::LoadSegment, i.reg);
        return;
    }
    if (i.mod == 3) {
        e_->load16(plan_.scratch[2], rt(rt_segment_selector(i.reg)));
        const uint8_t to = host_reg(i.rm);
        i.operand_bytes == 4 ? e_->mov32(to, plan_.scratch[2]) : e_->mov16(to, plan_.scratch[2]);
        if (to == plan_.stack() && i.operand_bytes == 4)
            rebias_esp();
        return;
    }
    const HostMemory memory = memory_operand();
    e_->load16(plan_.scratch[2], rt(rt_segment_selector(i.reg)));
    e_->store16(memory, plan_.scratch[2]);
    finish_memory();
}

bool BlockTranslator::ring0_stub(unsigned reg) const {
    return reg != static_cast<unsigned>(SegReg::Ss) && !force_callouts_ && key_.has(ModeKey::kRing0) &&
           key_.has(ModeKey::kProtected) && !key_.has(ModeKey::kV86);
}

// A stub that may turn into a call-out. s0 and s2 are the caller's.
void BlockTranslator::call_stub(uint32_t stub, uint32_t argument) {
    VERIFY(stack_pending_ == 0);
    store_eips();
    e_->mov32_imm(plan_.scratch[1], argument);
    e_->call(stub);
}

void BlockTranslator::lower_pop_segment() {
    const unsigned reg = (insn_->opcode >> 3) & 7, bytes = insn_->operand_bytes;
    if (bytes != 4 || !flat_stack() || !ring0_stub(reg)) {
        callout(Callout::PopSegment, reg, bytes);
        return;
    }
    e_->load32(plan_.scratch[0], stack_top());
    e_->movzx16(plan_.scratch[0], plan_.scratch[0]);
    call_stub(stubs_.pop_segment[reg], segments_.table(reg, key_.segment(reg)));
}

void BlockTranslator::lower_push_flags() {
    if (insn_->operand_bytes != 4 || !flat_stack() || key_.has(ModeKey::kV86)) {
        callout(Callout::PushFlags, 0, insn_->operand_bytes);
        return;
    }
    e_->call(stubs_.flags_image);
    push_reg(plan_.scratch[2], 4);
}

void BlockTranslator::lower_pop_flags() {
    if (insn_->operand_bytes != 4 || !flat_stack() || !key_.has(ModeKey::kRing0) ||
        !key_.has(ModeKey::kProtected) || key_.has(ModeKey::kTrapFlag)) {
        callout(Callout::PopFlags, 0, insn_->operand_bytes);
        return;
    }
    e_->load32(plan_.scratch[2], stack_top());
    call_stub(stubs_.pop_flags, 0);
}

void BlockTranslator::lower_load_far_pointer() {
    const GuestInstruction& i = *insn_;
    if (i.mod == 3) {
        raise(Vector::InvalidOpcode);
        ended_ = true;
        return;
    }
    SegReg segment = SegReg::Ds;
    switch (i.mnemonic) {
    case ZYDIS_MNEMONIC_LES:
        segment = SegReg::Es;
        break;
    case ZYDIS_MNEMONIC_LSS:
        segment = SegReg::Ss;
        break;
    case ZYDIS_MNEMONIC_LFS:
        segment = SegReg::Fs;
        break;
    case ZYDIS_MNEMONIC_LGS:
        segment = SegReg::Gs;
        break;
    default:
        break;
    }
    slot_operand(i.operand_bytes + 2u, SlotAccess::kRead);
    callout(Callout::LoadFarPointer, static_cast<uint32_t>(segment), i.operand_bytes | i.reg << 8);
}

void BlockTranslator::lower_far(bool call) {
    const GuestInstruction& i = *insn_;
    const Callout which = call ? Callout::FarCall : Callout::FarJump;
    const uint32_t width = uint32_t{i.operand_bytes} << 16;
    ended_ = true;
    if (!i.has_modrm) {
        callout(which, i.immediate, (i.immediate2 & 0xFFFF) | width);
        return;
    }
    if (i.mod == 3) {
        raise(Vector::InvalidOpcode);
        return;
    }
    slot_operand(i.operand_bytes + 2u, SlotAccess::kRead);
    HostMemory pointer = slot();
    e_->load(plan_.scratch[0], pointer, i.operand_bytes);
    pointer.displacement += i.operand_bytes;
    e_->load16(plan_.scratch[1], pointer);
    e_->lea32(plan_.scratch[1], {.base = plan_.scratch[1], .displacement = static_cast<int32_t>(width)});
    callout(which);
}

namespace {

struct StringForm {
    StringOp op;
    bool source, destination;
};

StringForm string_form(uint8_t opcode) {
    switch (opcode & 0xFE) {
    case 0x6C:
        return {StringOp::Ins, false, true};
    case 0x6E:
        return {StringOp::Outs, true, false};
    case 0xA4:
        return {StringOp::Movs, true, true};
    case 0xA6:
        return {StringOp::Cmps, true, true};
    case 0xAA:
        return {StringOp::Stos, false, true};
    case 0xAC:
        return {StringOp::Lods, true, false};
    default:
        return {StringOp::Scas, false, true};
    }
}

} // namespace

// Flat: the host's own instruction.
void BlockTranslator::lower_string() {
    const GuestInstruction& i = *insn_;
    const StringForm form = string_form(i.opcode);
    const unsigned source =
        i.segment_override == kNoRegister ? static_cast<unsigned>(SegReg::Ds) : i.segment_override;
    const bool flat =
        i.address_bits == 32 && !force_callouts_ &&
        (!form.source || key_.segment(source) == SegmentClass::Flat) &&
        (!form.destination || key_.segment(static_cast<unsigned>(SegReg::Es)) == SegmentClass::Flat);
    if (!flat || (key_.has(ModeKey::kTrapFlag) && i.repeat != 0)) {
        string_callout();
        return;
    }
    if (i.repeat != 0)
        poll();
    const bool compares = form.op == StringOp::Cmps || form.op == StringOp::Scas;
    if (i.repeat != 0 && compares && host_maker_ != HostMaker::Intel)
        e_->call(stubs_.keep_flags); // see Vcpu::leave_from_handler
    if (form.source)
        addressing_.enter_string(*e_, host_reg(Reg::Esi));
    if (form.destination)
        addressing_.enter_string(*e_, host_reg(Reg::Edi));
    if (i.operand_bytes == 2)
        e_->byte(0x66);
    if (i.repeat != 0)
        e_->byte(i.repeat);
    e_->byte(i.opcode);
    if (form.source)
        addressing_.leave_string(*e_, host_reg(Reg::Esi));
    if (form.destination)
        addressing_.leave_string(*e_, host_reg(Reg::Edi));
}

void BlockTranslator::lower_string_io() { string_callout(); }

void BlockTranslator::string_callout() {
    const GuestInstruction& i = *insn_;
    const StringForm form = string_form(i.opcode);
    const unsigned source =
        i.segment_override == kNoRegister ? static_cast<unsigned>(SegReg::Ds) : i.segment_override;
    uint32_t repeat = 0;
    if (i.repeat != 0)
        repeat = i.repeat == 0xF2 ? 2 : 1;
    const uint32_t bytes = (i.opcode & 1) == 0 ? 1 : i.operand_bytes;
    poll();
    callout(Callout::String,
            static_cast<uint32_t>(form.op) | repeat << 4 | bytes << 8 | uint32_t{i.address_bits} << 12 |
                source << 20,
            0);
}

void BlockTranslator::lower_port(bool in) {
    const GuestInstruction& i = *insn_;
    const unsigned bytes = (i.opcode & 1) == 0 ? 1 : i.operand_bytes;
    if ((i.opcode & 8) != 0)
        e_->movzx16(plan_.scratch[0], host_reg(Reg::Edx));
    else
        e_->mov32_imm(plan_.scratch[0], i.immediate & 0xFF);
    callout_b(in ? Callout::PortIn : Callout::PortOut, bytes);
}

void BlockTranslator::lower_cli() {
    if (key_.has(ModeKey::kIoplOk))
        e_->store32_imm(rt(ENCORE_RT(interrupt_flag)), 0);
    else
        callout(Callout::Cli, 0, 0);
}

// STI holds interrupts off for one more instruction, so the poll for a waiting one comes after it.
void BlockTranslator::lower_sti() {
    const unsigned next = index_ + 1;
    bool inline_form =
        key_.has(ModeKey::kIoplOk) && options_.link && next < count_ && !instructions_[next].ends_block();
    if (inline_form) {
        switch (instructions_[next].lowering) {
        case Lowering::JumpConditional:
        case Lowering::LoopOrJcxz:
        case Lowering::CallRelative:
        case Lowering::CallIndirect:
        case Lowering::ClearInterrupt:
        case Lowering::SetInterrupt:
        case Lowering::StringMove:
        case Lowering::StringIo:
            inline_form = false;
            break;
        default:
            break;
        }
    }
    if (!inline_form) {
        // Before a transfer that C++ or the return stub completes, with no poll in between.
        bool completed_elsewhere = false;
        if (options_.link && next < count_) {
            switch (instructions_[next].lowering) {
            case Lowering::Return:
            case Lowering::InterruptReturn:
            case Lowering::ReturnFar:
            case Lowering::SystemCall:
                completed_elsewhere = true;
                break;
            default:
                break;
            }
        }
        callout(Callout::Sti, completed_elsewhere ? 1 : 0, 0);
        return;
    }
    e_->store32_imm(rt(ENCORE_RT(interrupt_flag)), eflags::kIf);
    sti_poll_at_ = static_cast<int>(next);
}

void BlockTranslator::lower_system_call() {
    const GuestInstruction& i = *insn_;
    const auto simple = [&](SimpleOperation operation) {
        callout(Callout::Simple, static_cast<uint32_t>(operation), 0);
        ended_ = i.ends_block();
    };
    switch (i.mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        switch (i.opcode) {
        case 0x20:
            callout(Callout::MoveFromControl, i.reg, i.rm);
            break;
        case 0x21:
            callout(Callout::MoveFromDebug, i.reg, i.rm);
            break;
        case 0x22:
            callout(Callout::MoveToControl, i.reg, i.rm);
            break;
        case 0x23:
            callout(Callout::MoveToDebug, i.reg, i.rm);
            break;
        default:
            raise(Vector::InvalidOpcode);
            ended_ = true;
            break;
        }
        break;
    case ZYDIS_MNEMONIC_HLT:
        simple(SimpleOperation::Hlt);
        break;
    case ZYDIS_MNEMONIC_CLTS:
        simple(SimpleOperation::Clts);
        break;
    case ZYDIS_MNEMONIC_CPUID:
        simple(SimpleOperation::Cpuid);
        break;
    case ZYDIS_MNEMONIC_RDTSC:
        simple(SimpleOperation::Rdtsc);
        break;
    case ZYDIS_MNEMONIC_RDPMC:
        simple(SimpleOperation::Rdpmc);
        break;
    case ZYDIS_MNEMONIC_RDMSR:
        simple(SimpleOperation::Rdmsr);
        break;
    case ZYDIS_MNEMONIC_WRMSR:
        simple(SimpleOperation::Wrmsr);
        break;
    case ZYDIS_MNEMONIC_SYSENTER:
        simple(SimpleOperation::Sysenter);
        break;
    case ZYDIS_MNEMONIC_SYSEXIT:
        simple(SimpleOperation::Sysexit);
        break;
    default:
        simple(SimpleOperation::Wbinvd);
        break; // INVD, WBINVD
    }
}

void BlockTranslator::lower_system_memory() {
    const GuestInstruction& i = *insn_;
    const bool real_or_v86 = !key_.has(ModeKey::kProtected) || key_.has(ModeKey::kV86);
    const auto selector_operation = [&](SelectorOperation operation, unsigned gpr, unsigned width) {
        callout_b(Callout::SelectorOperation, static_cast<uint32_t>(operation) | gpr << 8 | width << 16);
    };
    const auto load_word = [&] { // r/m16 into s0
        if (i.mod == 3) {
            e_->movzx16(plan_.scratch[0], host_reg(i.rm));
        } else {
            slot_operand(2, SlotAccess::kRead);
            e_->load16(plan_.scratch[0], slot());
        }
    };
    const auto store_word = [&](SelectorOperation operation) {
        if (i.mod == 3) {
            e_->mov32_imm(plan_.scratch[0], 0);
            selector_operation(operation, i.rm, i.operand_bytes);
            return;
        }
        slot_operand(2, SlotAccess::kWrite);
        e_->mov32_imm(plan_.scratch[0], 0);
        selector_operation(operation, 0, 0); // width 0: into the slot
        finish_memory();
    };
    const auto undefined = [&] {
        raise(Vector::InvalidOpcode);
        ended_ = true;
    };
    const auto table = [&](uint32_t which, bool load) {
        if (i.mod == 3) {
            undefined();
            return;
        }
        slot_operand(6, load ? SlotAccess::kRead : SlotAccess::kWrite);
        callout(load ? Callout::TableLoad : Callout::TableStore, which, i.operand_bytes);
        finish_memory();
    };
    switch (i.mnemonic) {
    case ZYDIS_MNEMONIC_SGDT:
        table(0, false);
        break;
    case ZYDIS_MNEMONIC_SIDT:
        table(1, false);
        break;
    case ZYDIS_MNEMONIC_LGDT:
        table(0, true);
        break;
    case ZYDIS_MNEMONIC_LIDT:
        table(1, true);
        break;
    case ZYDIS_MNEMONIC_SMSW:
        store_word(SelectorOperation::Smsw);
        break;
    case ZYDIS_MNEMONIC_LMSW:
        load_word();
        selector_operation(SelectorOperation::Lmsw, 0, 2);
        break;
    case ZYDIS_MNEMONIC_INVLPG:
        effective_address(i.memory);
        callout_b(Callout::Invlpg, i.memory.segment);
        break;
    default:
        if (real_or_v86) {
            undefined();
            return;
        }
        switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_SLDT:
            store_word(SelectorOperation::Sldt);
            return;
        case ZYDIS_MNEMONIC_STR:
            store_word(SelectorOperation::Str);
            return;
        default:
            break;
        }
        load_word();
        switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_LLDT:
            selector_operation(SelectorOperation::Lldt, 0, 2);
            break;
        case ZYDIS_MNEMONIC_LTR:
            selector_operation(SelectorOperation::Ltr, 0, 2);
            break;
        case ZYDIS_MNEMONIC_VERR:
            selector_operation(SelectorOperation::Verr, 0, 2);
            break;
        case ZYDIS_MNEMONIC_VERW:
            selector_operation(SelectorOperation::Verw, 0, 2);
            break;
        case ZYDIS_MNEMONIC_LAR:
            selector_operation(SelectorOperation::Lar, i.reg, i.operand_bytes);
            break;
        default:
            selector_operation(SelectorOperation::Lsl, i.reg, i.operand_bytes);
            break;
        }
    }
}

void BlockTranslator::lower_bcd() {
    BcdOperation operation = BcdOperation::Salc;
    switch (insn_->mnemonic) {
    case ZYDIS_MNEMONIC_DAA:
        operation = BcdOperation::Daa;
        break;
    case ZYDIS_MNEMONIC_DAS:
        operation = BcdOperation::Das;
        break;
    case ZYDIS_MNEMONIC_AAA:
        operation = BcdOperation::Aaa;
        break;
    case ZYDIS_MNEMONIC_AAS:
        operation = BcdOperation::Aas;
        break;
    case ZYDIS_MNEMONIC_AAM:
        operation = BcdOperation::Aam;
        break;
    case ZYDIS_MNEMONIC_AAD:
        operation = BcdOperation::Aad;
        break;
    default:
        break;
    }
    callout(Callout::Bcd, static_cast<uint32_t>(operation), insn_->immediate & 0xFF);
}

void BlockTranslator::lower_bound() {
    if (insn_->mod == 3) {
        raise(Vector::InvalidOpcode);
        ended_ = true;
        return;
    }
    effective_address(insn_->memory);
    callout_b(Callout::Bound,
              insn_->memory.segment | uint32_t{insn_->operand_bytes} << 8 | uint32_t{insn_->reg} << 16);
}

void BlockTranslator::lower_arpl() {
    if (!key_.has(ModeKey::kProtected) || key_.has(ModeKey::kV86)) {
        raise(Vector::InvalidOpcode);
        ended_ = true;
        return;
    }
    const uint32_t operation = static_cast<uint32_t>(SelectorOperation::Arpl) | uint32_t{insn_->reg} << 8;
    if (insn_->mod == 3) {
        e_->movzx16(plan_.scratch[0], host_reg(insn_->rm));
        callout_b(Callout::SelectorOperation, operation | 2u << 16 | uint32_t{insn_->rm} << 24);
        return;
    }
    slot_operand(2, SlotAccess::kRead);
    e_->load16(plan_.scratch[0], slot());
    callout_b(Callout::SelectorOperation, operation | uint32_t{insn_->memory.segment} << 24);
}

void BlockTranslator::lower_fpu_environment() {
    if (!fpu_check())
        return;
    const GuestInstruction& i = *insn_;
    enum : uint32_t { kEnvironment, kWhole, kFx };
    uint32_t kind = kEnvironment;
    bool load = false;
    switch (i.mnemonic) {
    case ZYDIS_MNEMONIC_FNSAVE:
        kind = kWhole;
        break;
    case ZYDIS_MNEMONIC_FXSAVE:
        kind = kFx;
        break;
    case ZYDIS_MNEMONIC_FLDENV:
        load = true;
        break;
    case ZYDIS_MNEMONIC_FRSTOR:
        kind = kWhole, load = true;
        break;
    case ZYDIS_MNEMONIC_FXRSTOR:
        kind = kFx, load = true;
        break;
    default:
        break;
    }
    if (load && kind != kFx)
        e_->byte(0x9B); // these wait: an unmasked exception pending in the unit is taken here
    effective_address(i.memory);
    callout_b(load ? Callout::FpuLoad : Callout::FpuStore,
              kind | uint32_t{i.memory.segment} << 4 | uint32_t{i.operand_bytes} << 8);
}

void BlockTranslator::lower_load_mxcsr() {
    if (!fpu_check())
        return;
    slot_operand(4, SlotAccess::kRead);
    callout(Callout::LoadMxcsr, 0, 0);
}

void BlockTranslator::lower_software_interrupt() {
    const auto trap = [&](uint32_t vector, EventKind kind) {
        callout(Callout::SoftwareInterrupt, vector, static_cast<uint32_t>(kind));
    };
    switch (insn_->mnemonic) {
    case ZYDIS_MNEMONIC_INT3:
        trap(3, EventKind::Int3OrInto);
        break;
    case ZYDIS_MNEMONIC_INT1:
        trap(1, EventKind::Exception); // SDM Vol. 2A "INT n": INT1 checks no gate DPL
        break;
    case ZYDIS_MNEMONIC_INTO: {
        const uint32_t skip = e_->jump_if(1, e_->address()); // JNO
        trap(4, EventKind::Int3OrInto);
        e_->patch_rel32(skip, e_->address());
        return;
    }
    default:
        trap(insn_->immediate & 0xFF, EventKind::SoftwareInt);
        break;
    }
    ended_ = true;
}

} // namespace vmm
