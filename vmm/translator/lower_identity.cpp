// Instructions the host executes as they are, with operands rewritten: ESP is elsewhere, memory operands are
// those of Addressing, and high-byte registers stay clear of REX.
#include "vmm/translator/block_translator.h"

#include "vmm/translator/intel_flags.h"

namespace vmm {

namespace {

constexpr uint8_t kEspNumber = 4;

} // namespace

bool BlockTranslator::is_bit_string(const GuestInstruction& i) {
    return i.map == 1 && i.has_memory &&
           (i.opcode == 0xA3 || i.opcode == 0xAB || i.opcode == 0xB3 || i.opcode == 0xBB);
}

int32_t BlockTranslator::stack_adjustment(const GuestInstruction& i) {
    const uint32_t value = i.immediate_bytes == 1
                               ? static_cast<uint32_t>(static_cast<int32_t>(static_cast<int8_t>(i.immediate)))
                               : i.immediate;
    return static_cast<int32_t>(i.reg == 0 ? value : 0u - value);
}

bool BlockTranslator::is_stack_adjustment(const GuestInstruction& i) {
    return i.map == 0 && (i.opcode == 0x81 || i.opcode == 0x83) && i.mod == 3 && i.rm == kEspNumber &&
           i.operand_bytes == 4 && (i.reg == 0 || i.reg == 5);
}

HostOpcode BlockTranslator::opcode_of(bool general) const {
    // 82h is an alias of 80h that 64-bit mode dropped.
    const bool alias = insn_->map == 0 && insn_->opcode == 0x82;
    return {.opcode = alias ? uint8_t{0x80} : insn_->opcode,
            .map = insn_->map,
            .mandatory = insn_->mandatory,
            .operand16 = general && insn_->operand_bytes == 2,
            .lock = insn_->lock};
}

void BlockTranslator::lower_identity() {
    if (is_stack_adjustment(*insn_))
        lower_stack_adjustment();
    else
        emit_identity(opcode_of(true));
}

// Does something soon after this instruction, on every way on, access memory near where ESP points? Then the
// biased ESP may leave its window: the access faults in the guard, whose handler brings it back.
bool BlockTranslator::stack_used_soon() const {
    if (!flat_stack())
        return false;
    for (unsigned i = index_ + 1; i < count_; ++i) {
        const GuestInstruction& next = instructions_[i];
        if (calls_out(i))
            return false;
        switch (next.lowering) {
        case Lowering::Push:
        case Lowering::CallRelative:
            return true;
        case Lowering::Return:
            return !indirect_can_exceed();
        case Lowering::Pop:
            return !next.has_modrm;
        case Lowering::Identity:
        case Lowering::SimdIdentity:
        case Lowering::X87Identity:
        case Lowering::IncDec:
        case Lowering::Lea:
            break;
        default:
            return false;
        }
        const MemoryOperand& m = next.memory;
        if (next.lowering != Lowering::Lea && next.has_memory && m.base == kEspNumber &&
            m.index == kNoRegister && m.address_bits == 32 && key_.segment(m.segment) == SegmentClass::Flat &&

            m.displacement >= -kFarthestStackStep && m.displacement <= kFarthestStackStep)
            return true;
    }
    return false;
}

// ADD ESP, imm and SUB ESP, imm: every function's frame. The flags are computed beside the chain that carries
// ESP.
void BlockTranslator::lower_stack_adjustment() {
    const int32_t delta = stack_adjustment(*insn_);
    const bool add = insn_->reg == 0;
    constexpr uint8_t kAdd = 0, kCmp = 7;
    const uint32_t value = add ? static_cast<uint32_t>(delta) : 0u - static_cast<uint32_t>(delta);
    if (delta >= -kFarthestStackStep && delta <= kFarthestStackStep && stack_used_soon()) {
        const uint8_t flags_from = add || stack_pending_ != 0 ? plan_.scratch[1] : plan_.stack();
        if (stack_pending_ != 0)
            e_->lea32(plan_.scratch[1], stack_top());
        else if (add)
            e_->mov32(plan_.scratch[1], plan_.stack());
        e_->op_reg({.opcode = 0x81}, add ? kAdd : kCmp, flags_from);
        e_->dword(value);
        move_stack(delta);
        return;
    }
    settle_stack();
    e_->lea32(plan_.scratch[1], {.base = plan_.stack(), .displacement = delta});
    e_->op_reg({.opcode = 0x81}, add ? kAdd : kCmp, plan_.stack());
    e_->dword(value);
    addressing_.set_stack(*e_, plan_.scratch[1]);
}

// These may leave their destination alone, and with it the window in ESP's upper half: CMPXCHG, BSF, BSR, and
// shifts by nothing.
static bool may_keep_destination(const GuestInstruction& i) {
    const uint8_t o = i.opcode;
    if (i.map == 0)
        return o == 0xC1 || o == 0xD3;
    return i.map == 1 &&
           (o == 0xA4 || o == 0xA5 || o == 0xAC || o == 0xAD || o == 0xB1 || o == 0xBC || o == 0xBD);
}

void BlockTranslator::emit_identity(HostOpcode op) {
    const GuestInstruction& i = *insn_;
    if (!i.has_modrm) {
        if (i.opcode_gpr != 0) { // register in the opcode byte
            const uint8_t number = i.opcode & 7;
            op.opcode = static_cast<uint8_t>(i.opcode & ~7);
            e_->op_plus(op, i.opcode_gpr == 1 ? number : host_reg(number));
            e_->immediate(i.immediate, i.immediate_bytes);
            if (i.opcode_gpr == 4 && number == kEspNumber && i.opcode_written)
                rebias_esp();
            return;
        }
        e_->op_plus(op, 0);
        e_->immediate(i.immediate, i.immediate_bytes);
        return;
    }
    const bool esp_in_reg = i.reg_gpr >= 2 && i.reg == kEspNumber;
    uint8_t reg = i.reg_gpr >= 2 ? host_reg(i.reg) : i.reg;
    const bool high_reg = i.reg_gpr == 1 && i.reg >= 4;
    bool esp_written = esp_in_reg && i.reg_gpr == 4 && i.reg_written;
    if (i.mod == 3) {
        pin_flags();
        const uint8_t rm = i.rm_gpr >= 2 ? host_reg(i.rm) : i.rm;
        const bool esp_in_rm = i.rm_gpr >= 2 && i.rm == kEspNumber;
        const bool high_rm = i.rm_gpr == 1 && i.rm >= 4;
        if (high_rm && esp_in_reg) { // MOVZX ESP, AH: no encoding has both
            e_->op_mem({.opcode = 0x88}, i.rm, slot());
            e_->op_mem(op, reg, slot());
        } else {
            e_->op_reg(op, reg, rm);
        }
        e_->immediate(i.immediate, i.immediate_bytes);
        esp_written = esp_written || (esp_in_rm && i.rm_gpr == 4 && i.rm_written);
        if (esp_written) {
            if (may_keep_destination(i))
                e_->mov32(plan_.stack(), plan_.stack());
            rebias_esp();
        }
        settle_flags();
        return;
    }
    const MemoryOperand& m = i.memory;
    const bool bit_string = is_bit_string(i);
    const bool plain = m.address_bits == 32 && key_.segment(m.segment) == SegmentClass::Flat;
    const bool operand_needs_rex = !plain || m.base == kEspNumber;
    if ((bit_string && !plain) || (high_reg && operand_needs_rex && m.access == (kAccessRead | kAccessWrite)))
        force_callouts_ = true;
    const HostMemory memory = memory_operand(bit_string);
    if (!use_callout(m.segment, (m.access & kAccessWrite) != 0))
        check_split(memory);
    pin_flags();
    if (bit_string && use_callout(m.segment, (m.access & kAccessWrite) != 0)) {
        e_->load32(plan_.scratch[2], rt(ENCORE_RT(slot_bit)));
        reg = plan_.scratch[2];
    }
    if (high_reg && memory.needs_rex()) { // through the slot, which needs no REX
        if (m.access & kAccessRead) {
            e_->load8(plan_.scratch[2], memory);
            e_->store8(slot(), plan_.scratch[2]);
            e_->op_mem(op, reg, slot());
        } else {
            e_->op_mem(op, reg, slot());
            e_->load8(plan_.scratch[2], slot());
            e_->store8(memory, plan_.scratch[2]);
        }
        return;
    }
    e_->op_mem(op, reg, memory);
    e_->immediate(i.immediate, i.immediate_bytes);
    if (esp_written) {
        if (may_keep_destination(i))
            e_->mov32(plan_.stack(), plan_.stack());
        rebias_esp();
    }
    settle_flags();
    finish_memory();
}

void BlockTranslator::pin_flags() {
    if (!pins_flags(index_))
        return;
    const PinnedInstruction instruction = PinnedInstruction::of(*insn_);
    callout(Callout::PinFlags, instruction.packed, instruction.immediate);
}

// Before a memory operand is written back, which may end the block.
void BlockTranslator::settle_flags() {
    if (pins_flags(index_))
        e_->call(stubs_.pin_flags);
}

std::optional<Vector> BlockTranslator::fpu_fault() const {
    const GuestInstruction& i = *insn_;
    const bool x87 = i.map == 0;
    if (i.lowering == Lowering::SimdIdentity) {
        const bool fence = i.map == 1 && i.opcode == 0xAE && i.mod == 3;
        const bool movnti = i.map == 1 && i.opcode == 0xC3;
        const bool clflush = i.map == 1 && i.opcode == 0xAE && i.reg == 7;
        if (fence || movnti || clflush)
            return std::nullopt;
    }
    const bool wait = x87 && i.opcode == 0x9B;
    if (wait) {
        if (!(key_.has(ModeKey::kMonitorFpu) && key_.has(ModeKey::kTaskSwitched)))
            return std::nullopt;
    } else {
        const bool sse = i.lowering == Lowering::SimdIdentity || i.lowering == Lowering::LoadMxcsr;
        const bool mmx = i.lowering == Lowering::X87Identity && !x87;
        if ((sse && !key_.has(ModeKey::kSse)) || ((sse || mmx) && key_.has(ModeKey::kEmulateFpu)))
            return Vector::InvalidOpcode;
        if (!key_.has(ModeKey::kTaskSwitched | ModeKey::kEmulateFpu))
            return std::nullopt;
    }
    return Vector::DeviceNotAvailable;
}

bool BlockTranslator::fpu_check() {
    const std::optional<Vector> fault = fpu_fault();
    if (!fault)
        return true;
    raise(*fault);
    ended_ = true;
    return false;
}

// SSE instructions with an MMX operand take a pending x87 exception first, like MMX ones.
static bool touches_mmx(const GuestInstruction& i) {
    if (i.map != 1 || (i.mandatory != 0 && i.mandatory != 0x66))
        return false;
    if (i.opcode == 0x2C || i.opcode == 0x2D)
        return true;
    return i.mandatory == 0 &&
           ((i.opcode >= 0x60 && i.opcode <= 0x7F) || i.opcode == 0xC4 || i.opcode >= 0xD0);
}

void BlockTranslator::lower_simd() {
    if (!fpu_check())
        return;
    if (insn_->map == 1 && insn_->opcode == 0xF7)
        lower_masked_move();
    else
        emit_simd();
}

void BlockTranslator::emit_simd() {
    if (insn_->has_memory && touches_mmx(*insn_) && checked_before_host())
        e_->byte(0x9B); // fwait
    emit_identity(opcode_of(false));
}

// Do our own checks of the memory operand come before the host executes the instruction?
bool BlockTranslator::checked_before_host() const {
    const MemoryOperand& m = insn_->memory;
    return use_callout(m.segment, (m.access & kAccessWrite) != 0) ||
           key_.segment(m.segment) != SegmentClass::Flat;
}

// FNSTCW, FNSTSW, FNSTENV and FNSAVE do not look at pending exceptions.
static bool waits(const GuestInstruction& i) {
    if (i.map != 0)
        return true;
    const bool control = (i.opcode == 0xD9 || i.opcode == 0xDD) && i.has_memory && i.reg >= 6;
    return !control;
}

void BlockTranslator::lower_x87() {
    if (!fpu_check())
        return;
    // A pending exception comes before any fault of the operand; the host sees to that unless our own
    // checks run first.
    if (insn_->has_memory && waits(*insn_) && checked_before_host())
        e_->byte(0x9B); // fwait
    if (insn_->map == 1 && insn_->opcode == 0xF7)
        lower_masked_move();
    else
        emit_identity(opcode_of(false));
}

// MASKMOVQ / MASKMOVDQU store at DS:[EDI] without a ModRM memory operand.
void BlockTranslator::lower_masked_move() {
    const unsigned segment =
        insn_->segment_override == kNoRegister ? static_cast<unsigned>(SegReg::Ds) : insn_->segment_override;
    if (!force_callouts_ && insn_->address_bits == 32 && key_.segment(segment) == SegmentClass::Flat) {
        addressing_.prefix_implied(*e_);
        e_->op_reg(opcode_of(false), insn_->reg, insn_->rm);
        return;
    }
    callout(Callout::MaskedMove, insn_->reg | insn_->rm << 8 | (insn_->mandatory == 0x66 ? 1u : 0u) << 16,
            segment | insn_->address_bits << 8);
}

void BlockTranslator::lower_lea() {
    if (insn_->mod == 3) {
        raise(Vector::InvalidOpcode);
        ended_ = true;
        return;
    }
    const uint8_t to = host_reg(insn_->reg);
    if (insn_->operand_bytes == 4 && insn_->address_bits == 32) {
        effective_address(insn_->memory, to);
    } else {
        effective_address(insn_->memory);
        insn_->operand_bytes == 4 ? e_->mov32(to, plan_.scratch[0]) : e_->mov16(to, plan_.scratch[0]);
    }
    if (to == plan_.stack() && insn_->operand_bytes == 4)
        rebias_esp();
}

void BlockTranslator::lower_inc_dec() {
    const uint8_t number = insn_->opcode & 7;
    const uint8_t extension = insn_->opcode >= 0x48 ? 1 : 0;
    e_->op_reg({.opcode = 0xFF, .operand16 = insn_->operand_bytes == 2}, extension, host_reg(number));
    if (number == kEspNumber && insn_->operand_bytes == 4)
        rebias_esp();
}

void BlockTranslator::lower_exchange() {
    const uint8_t number = insn_->opcode & 7;
    e_->op_reg({.opcode = 0x87, .operand16 = insn_->operand_bytes == 2}, host_reg(Reg::Eax),
               host_reg(number));
    if (number == kEspNumber && insn_->operand_bytes == 4)
        rebias_esp();
}

void BlockTranslator::lower_move_offset() {
    static constexpr uint8_t kOpcodes[] = {0x8A, 0x8B, 0x88, 0x89};
    const uint8_t opcode = kOpcodes[insn_->opcode & 3];
    const HostMemory memory = memory_operand();
    e_->op_mem({.opcode = opcode, .operand16 = insn_->operand_bytes == 2}, host_reg(Reg::Eax), memory);
    finish_memory();
}

void BlockTranslator::lower_xlat() {
    const unsigned segment =
        insn_->segment_override == kNoRegister ? static_cast<unsigned>(SegReg::Ds) : insn_->segment_override;
    e_->op_reg({.opcode = 0xB6, .map = 1}, plan_.scratch[1], host_reg(Reg::Eax)); // movzx
    e_->lea32(plan_.scratch[0], {.base = host_reg(Reg::Ebx), .index = plan_.scratch[1]});
    if (insn_->address_bits == 16)
        e_->movzx16(plan_.scratch[0], plan_.scratch[0]);
    HostMemory memory = slot();
    if (use_callout(segment, false))
        callout_b(Callout::SlotPrepare, SlotAccess::pack(SlotAccess::kRead, segment, 1));
    else
        memory = at_offset(segment, plan_.scratch[0], 1, true);
    e_->op_mem({.opcode = 0x8A}, host_reg(Reg::Eax), memory);
}

} // namespace vmm
