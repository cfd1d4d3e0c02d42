// Memory operands: from segment:[base + index*scale + displacement] to a host operand (see Addressing), or to
// the slot when a call-out has to do the access. Everything emitted here leaves the flags alone.
#include "vmm/translator/block_translator.h"

#include <cstring>

namespace vmm {

using namespace host;

void BlockTranslator::effective_address(const MemoryOperand& m, uint8_t to) {
    const uint8_t base = host_or_none(m.base);
    const uint8_t index = host_or_none(m.index);
    if (base == kNone && index == kNone)
        e_->mov32_imm(to, static_cast<uint32_t>(m.displacement));
    else
        e_->lea32(to, {.base = base, .index = index, .scale = m.scale, .displacement = m.displacement});
    if (m.address_bits == 16)
        e_->movzx16(to, to);
}

bool BlockTranslator::use_callout(unsigned segment, bool write) const {
    if (force_callouts_ || key_.segment(segment) == SegmentClass::Checked)
        return true;
    const bool protected_segments = key_.has(ModeKey::kProtected) && !key_.has(ModeKey::kV86);
    return write && protected_segments && segment == static_cast<unsigned>(SegReg::Cs);
}

void BlockTranslator::load_segment_base(unsigned segment, uint8_t to) {
    if (segment == static_cast<unsigned>(SegReg::Fs) || segment == static_cast<unsigned>(SegReg::Gs)) {
        // Through a pointer that faults while the register is null.
        e_->load64(to, rt(segment == static_cast<unsigned>(SegReg::Fs) ? ENCORE_RT(fs_base_pointer)
                                                                       : ENCORE_RT(gs_base_pointer)));
        e_->load32(to, {.base = to});
    } else {
        e_->load32(to, rt(rt_segment_base(segment)));
    }
}

// limit - offset - (bytes - 1) goes negative exactly when the access crosses the limit; its sign, moved to
// the low half by BSWAP, then indexes a load that reaches a PROT_NONE reservation (violations) or Runtime
// itself.
void BlockTranslator::check_limit(unsigned segment, uint8_t offset_reg, unsigned bytes) {
    const int32_t slack = 1 - (static_cast<int32_t>(bytes == 0 ? 1 : bytes) - 1);
    e_->mov64(plan_.scratch[3], offset_reg);
    e_->not64(plan_.scratch[3]);
    e_->load32(plan_.scratch[1], rt(rt_segment_limit(segment)));
    e_->lea64(plan_.scratch[3], {.base = plan_.scratch[3], .index = plan_.scratch[1], .displacement = slack});
    e_->bswap64(plan_.scratch[3]);
    e_->mov32(plan_.scratch[3], plan_.scratch[3]);
    e_->load32(plan_.scratch[1],
               {.base = plan_.runtime,
                .index = plan_.scratch[3],
                .scale = 8,
                .displacement = static_cast<int32_t>(segment * kLimitTrapStride) - kAnchor});
}

// The host operand for an offset already in a register. Uses s1 and s3.
HostMemory BlockTranslator::at_offset(unsigned segment, uint8_t offset_reg, unsigned bytes, bool check) {
    switch (key_.segment(segment)) {
    case SegmentClass::Flat:
        return addressing_.at(offset_reg);
    case SegmentClass::Limited:
        if (check)
            check_limit(segment, offset_reg, bytes);
        [[fallthrough]];
    default:
        load_segment_base(segment, plan_.scratch[1]);
        return addressing_.based(plan_.scratch[1], offset_reg, 0);
    }
}

// One with a 32-bit address.
HostMemory BlockTranslator::flat_operand() {
    const MemoryOperand& m = insn_->memory;
    return addressing_.flat(
        *e_,
        {.base = host_or_none(m.base),
         .index = host_or_none(m.index),
         .scale = m.scale,
         .displacement = m.displacement,
         .wraps = wraps_,
         .no_rex = insn_->has_modrm && insn_->reg_gpr == 1 && insn_->reg >= 4, // AH..BH
         // EBP is a frame pointer in much code.
         .read_again = m.access == (kAccessRead | kAccessWrite) || m.base == static_cast<uint8_t>(Reg::Ebp)},
        plan_.scratch[0]);
}

HostMemory BlockTranslator::memory_operand(bool bit_string) {
    const MemoryOperand& m = insn_->memory;
    if (use_callout(m.segment, (m.access & kAccessWrite) != 0)) {
        effective_address(m);
        uint32_t flags = 0;
        // An x87 store may not happen (unmasked exception); then the slot must hold what memory does.
        if ((m.access & kAccessRead) || insn_->lowering == Lowering::X87Identity)
            flags |= SlotAccess::kRead;
        if (m.access & kAccessWrite)
            flags |= SlotAccess::kWrite;
        if (insn_->aligned_memory)
            flags |= SlotAccess::kAligned16;
        if (bit_string)
            flags |= SlotAccess::kBitString;
        const unsigned bytes = m.bytes == 0 ? insn_->operand_bytes : m.bytes;
        VERIFY(bytes <= kSlotBytes);
        slot_packed_ = SlotAccess::pack(flags, m.segment, bytes, insn_->reg, m.address_bits == 16);
        slot_write_pending_ = (m.access & kAccessWrite) != 0;
        callout_b(Callout::SlotPrepare, slot_packed_);
        return slot();
    }
    const SegmentClass segment_class = key_.segment(m.segment);
    if (m.address_bits == 32 && segment_class == SegmentClass::Flat)
        return flat_operand();
    if (m.address_bits == 32 && segment_class == SegmentClass::Based && m.index == kNoRegister) {
        load_segment_base(m.segment, plan_.scratch[1]);
        return addressing_.based(plan_.scratch[1], host_or_none(m.base), m.displacement);
    }
    effective_address(m);
    return at_offset(m.segment, plan_.scratch[0], m.bytes, true);
}

// A locked operation that runs over a cache line takes the host's whole memory bus: where the kernel looks
// for that it takes milliseconds, seconds beside load, or the process's life. So such an operation is a
// call-out's, where its operand is the slot. XCHG with memory is locked without a prefix; bytes run over
// nothing.
static bool locks(const GuestInstruction& i) {
    const bool exchange = i.map == 0 && i.opcode == 0x87;
    return i.has_memory && (i.lock || exchange) &&
           (i.memory.bytes == 0 ? i.operand_bytes : i.memory.bytes) > 1;
}

static constexpr unsigned kCacheLine = 64;

bool BlockTranslator::splits(const GuestInstruction& i) const {
    if (!locks(i))
        return false;
    const MemoryOperand& m = i.memory;
    if (m.base != kNoRegister || m.index != kNoRegister || key_.segment(m.segment) != SegmentClass::Flat)
        return !arrival_guard_;
    const auto first = static_cast<uint32_t>(m.displacement);
    const unsigned bytes = m.bytes == 0 ? i.operand_bytes : m.bytes;
    return is_bit_string(i) ? first % 4 != 0 : first % kCacheLine + bytes > kCacheLine;
}

// Of an address the part within a cache line, as an index from the poll page: those from which on an operand
// of `bytes` runs over the line lead into the guard behind. A bit's number moves its operand by whole dwords,
// so there the part within a dword has to be 0. Leaves the flags alone; the fault handler knows the load.
void BlockTranslator::check_split(const HostMemory& memory) {
    // What splits() decided by the address alone also comes here where 16-bit code has it in a scratch
    // register.
    if (!locks(*insn_) || !arrival_guard_)
        return;
    const unsigned bytes = insn_->memory.bytes == 0 ? insn_->operand_bytes : insn_->memory.bytes;
    const bool bit_string = is_bit_string(*insn_);
    const uint8_t base = addressing_.guest_part(memory).base;
    if (base == kNone && memory.index == kNone)
        return; // splits() has seen to it
    if (base == kNone ? memory.scale == 1 : memory.index == kNone) {
        e_->lea32(plan_.scratch[3],
                  {.index = base == kNone ? memory.index : base,
                   .scale = 4,
                   .displacement = static_cast<int32_t>(static_cast<uint32_t>(memory.displacement) * 4)});
    } else {
        e_->lea32(plan_.scratch[3], {.base = base,
                                     .index = memory.index,
                                     .scale = memory.scale,
                                     .displacement = memory.displacement});
        e_->lea32(plan_.scratch[3], {.index = plan_.scratch[3], .scale = 4});
    }
    constexpr unsigned kStep = 4 * 8; // an address's step in the loads
    int32_t first = static_cast<int32_t>(kStep * (kCacheLine + 1 - bytes));
    if (bit_string) {
        constexpr unsigned kMore = 16; // 256 / kMore is a dword's part
        e_->lea32(plan_.scratch[3], {.index = plan_.scratch[3], .scale = 4});
        e_->lea32(plan_.scratch[3], {.index = plan_.scratch[3], .scale = 4});
        first = static_cast<int32_t>(kStep * kMore);
    }
    e_->op_reg({.opcode = 0xB6, .map = 1}, plan_.scratch[3], plan_.scratch[3]);
    e_->load8(plan_.scratch[3],
              {.base = plan_.runtime, .index = plan_.scratch[3], .scale = 8, .displacement = -first});
}

bool BlockTranslator::is_split_check(const uint8_t* at) const {
    std::array<uint8_t, 16> load{};
    Emitter emitter(load.data(), load.size(), 0);
    emitter.load8(plan_.scratch[3],
                  {.base = plan_.runtime, .index = plan_.scratch[3], .scale = 8, .displacement = INT32_MIN});
    return std::memcmp(at, load.data(), emitter.offset() - sizeof(int32_t)) == 0;
}

void BlockTranslator::finish_memory() {
    if (!slot_write_pending_)
        return;
    slot_write_pending_ = false;
    callout_b(Callout::SlotCommit, slot_packed_);
}

// The memory operand through the slot whatever the segment: for operands only C++ looks at.
void BlockTranslator::slot_operand(unsigned bytes, uint32_t access) {
    effective_address(insn_->memory);
    slot_packed_ = SlotAccess::pack(access, insn_->memory.segment, bytes);
    slot_write_pending_ = (access & SlotAccess::kWrite) != 0;
    callout_b(Callout::SlotPrepare, slot_packed_);
}

} // namespace vmm
