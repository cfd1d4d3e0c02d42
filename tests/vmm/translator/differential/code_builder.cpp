#include "tests/vmm/translator/differential/code_builder.h"

#include <cstring>

namespace differential {

namespace {

constexpr uint8_t kSegmentPrefix[] = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65};
constexpr unsigned kEsp = 4, kEbp = 5;
constexpr size_t kMaxCodeBytes = kSlotBytes - 80; // the case may start up to 64 bytes into its slot

uint8_t modrm_byte(unsigned mod, unsigned reg, unsigned rm) {
    return static_cast<uint8_t>(mod << 6 | reg << 3 | rm);
}

void append(std::vector<uint8_t>& to, uint32_t value, unsigned count) {
    for (unsigned i = 0; i < count; ++i)
        to.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

} // namespace

CodeBuilder::CodeBuilder(Random& random, Case& test)
    : random_(random), test_(test), segments_(test.initial.selectors) {
    for (unsigned i = 0; i < 8; ++i)
        known_[i] = test.initial.gpr[i];
    ZydisDecoderInit(&decoder_, code16() ? ZYDIS_MACHINE_MODE_LEGACY_16 : ZYDIS_MACHINE_MODE_LEGACY_32,
                     code16() ? ZYDIS_STACK_WIDTH_16 : ZYDIS_STACK_WIDTH_32);
}

void CodeBuilder::begin_atom() {
    atom_ = Atom{};
    if (join_ != 0 && atom_index() >= join_) {
        forget_registers();
        join_ = 0;
    }
}

void CodeBuilder::end_atom() {
    if (used_bytes_ + atom_.bytes.size() > kMaxCodeBytes) {
        forget_registers();
        return;
    }
    used_bytes_ += atom_.bytes.size();
    test_.atoms.push_back(std::move(atom_));
}

void CodeBuilder::forget_registers() {
    for (unsigned i = 0; i < 8; ++i)
        if (i != kEsp)
            known_[i].reset();
}

void CodeBuilder::immediate(uint32_t value, unsigned count) { append(atom_.bytes, value, count); }

void CodeBuilder::end_instruction() {
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    const auto* start = atom_.bytes.data() + instruction_at_;
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_, start, atom_.bytes.size() - instruction_at_,
                                             &instruction, operands)))
        return; // #UD: nothing after it runs
    for (unsigned i = 0; i < instruction.operand_count; ++i) {
        const ZydisDecodedOperand& operand = operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER ||
            (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0)
            continue;
        const ZydisRegister whole =
            ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LEGACY_32, operand.reg.value);
        if (whole >= ZYDIS_REGISTER_EAX && whole <= ZYDIS_REGISTER_EDI)
            known_[static_cast<size_t>(whole - ZYDIS_REGISTER_EAX)].reset();
    }
}

void CodeBuilder::operand_size_prefix(unsigned bits) {
    if ((bits == 16) != code16())
        byte(0x66);
}

void CodeBuilder::move_immediate(unsigned reg, uint32_t value) {
    operand_size_prefix(32);
    byte(static_cast<uint8_t>(0xB8 + reg));
    immediate(value, 4);
    known_[reg] = value;
}

uint32_t CodeBuilder::known_or_set(unsigned reg, uint32_t wanted) {
    if (known_[reg] && (reg == kEsp || random_.chance(70)))
        return *known_[reg];
    if (reg == kEsp) // never aimed: the stack must stay one
        return known_[reg].value_or(wanted);
    move_immediate(reg, wanted);
    return wanted;
}

uint32_t CodeBuilder::pick_linear(uint32_t size, bool aligned) {
    const uint32_t roll = random_.below(100);
    if (roll < 3)
        return static_cast<uint32_t>(random_.next());
    if (roll < 6)
        return kHoleBase + random_.below(kPage);
    if (roll < 11)
        return kReadOnlyBase - (random_.chance(10) ? size / 2 : 0) +
               (random_.below(kPage - size) & (aligned ? ~15u : ~0u));
    if (roll < 18)
        return kStackBase + (random_.below(kStackBytes - size) & (aligned ? ~15u : ~0u));
    if (roll < 20)
        return (test_.code_address & ~(kSlotBytes - 1)) + random_.below(64);
    if (roll < 28 && !aligned)
        return kDataBase + kPage - (size > 1 ? 1 + random_.below(size - 1) : 0);
    if (roll < 33)
        return kHoleBase - random_.below(size + 1);
    const uint32_t offset = random_.below(kDataBytes - size);
    const bool round = aligned ? random_.chance(96) : random_.chance(40);
    return kDataBase + (round ? offset & ~15u : offset);
}

unsigned CodeBuilder::pick_register() {
    const unsigned reg = random_.below(8);
    return reg == kEsp && random_.chance(70) ? random_.below(4) : reg;
}

uint32_t CodeBuilder::pick_immediate() {
    switch (random_.below(4)) {
    case 0:
        return random_.below(34);
    case 1:
        return uint32_t{0} - random_.below(130);
    case 2:
        return 1u << random_.below(32);
    default:
        return static_cast<uint32_t>(random_.next());
    }
}

CodeBuilder::Operand CodeBuilder::memory_operand(unsigned reg_field, uint32_t size, bool aligned,
                                                 bool within_line) {
    constexpr uint32_t kWidestLocked = 8;
    const uint32_t linear = pick_linear(size, aligned) & ~(within_line ? kWidestLocked - 1 : 0u);
    std::optional<Seg> segment;
    if (random_.chance(20))
        segment = static_cast<Seg>(random_.below(6));
    const bool use16 = random_.chance(code16() ? 60 : 12);
    if (use16 && !code16() && random_.chance(85))
        segment = random_.chance(50) ? kFs : kGs; // a flat segment's first 64 KiB are not mapped
    Operand operand = use16 ? memory16(reg_field, linear, segment) : memory32(reg_field, linear, segment);
    if (use16 != code16())
        operand.prefixes.push_back(0x67);
    if (segment)
        operand.prefixes.push_back(kSegmentPrefix[*segment]);
    return operand;
}

CodeBuilder::Operand CodeBuilder::memory32(unsigned reg_field, uint32_t linear, std::optional<Seg> segment) {
    Operand operand;
    const uint32_t shape = random_.below(10);
    const bool has_base = shape < 8 && shape != 0, has_index = shape >= 5;
    const unsigned base = has_base ? random_.below(8) : kEbp;
    unsigned index = kEsp;
    while (has_index && (index == kEsp || index == base))
        index = random_.below(8);
    const unsigned scale = has_index ? random_.below(4) : 0;
    const Seg used = segment.value_or(has_base && (base == kEsp || base == kEbp) ? kSs : kDs);
    const uint32_t address = linear - segment_base(used);

    uint32_t displacement = address;
    if (has_index) {
        const uint32_t wanted =
            random_.chance(80) ? random_.below(64) - 32 : static_cast<uint32_t>(random_.next());
        displacement -= known_or_set(index, wanted) << scale;
    }
    if (has_base) {
        const uint32_t room = random_.chance(60)      ? random_.below(256) - 128
                              : random_.below(3) == 0 ? 0
                                                      : 0x1000;
        displacement -= known_or_set(base, displacement - room);
    }
    const bool sib = has_index || base == kEsp || (!has_base && random_.chance(20));
    const auto as_signed = static_cast<int32_t>(displacement);
    unsigned mod = 2, displacement_bytes = 4;
    if (!has_base) {
        mod = 0;
    } else if (displacement == 0 && base != kEbp) {
        mod = 0;
        displacement_bytes = 0;
    } else if (as_signed >= -128 && as_signed <= 127 && random_.chance(90)) {
        mod = 1;
        displacement_bytes = 1;
    }
    operand.modrm.push_back(modrm_byte(mod, reg_field, sib ? 4 : base));
    if (sib)
        operand.modrm.push_back(modrm_byte(scale, index, base));
    append(operand.modrm, displacement, displacement_bytes);
    return operand;
}

CodeBuilder::Operand CodeBuilder::memory16(unsigned reg_field, uint32_t linear, std::optional<Seg> segment) {
    constexpr int kNone = -1;
    constexpr int kFirst[] = {3, 3, 5, 5, 6, 7, 5, 3};
    constexpr int kSecond[] = {6, 7, 6, 7, kNone, kNone, kNone, kNone};
    Operand operand;
    const unsigned rm = random_.below(8);
    const bool plain = rm == 6 && random_.chance(50); // [disp16]
    const bool through_bp = rm == 2 || rm == 3 || (rm == 6 && !plain);
    const Seg used = segment.value_or(through_bp ? kSs : kDs);
    uint32_t displacement = linear - segment_base(used);
    if (!plain) {
        displacement -=
            known_or_set(static_cast<unsigned>(kFirst[rm]), static_cast<uint32_t>(random_.next()));
        if (kSecond[rm] != kNone)
            displacement -=
                known_or_set(static_cast<unsigned>(kSecond[rm]), static_cast<uint32_t>(random_.next()));
    }
    const auto as_signed = static_cast<int16_t>(displacement);
    unsigned mod = 2, displacement_bytes = 2;
    if (plain) {
        mod = 0;
    } else if (as_signed == 0 && rm != 6) {
        mod = 0;
        displacement_bytes = 0;
    } else if (as_signed >= -128 && as_signed <= 127) {
        mod = 1;
        displacement_bytes = 1;
    }
    operand.modrm.push_back(modrm_byte(mod, reg_field, rm));
    append(operand.modrm, displacement, displacement_bytes);
    return operand;
}

void CodeBuilder::moffs(const Form& form) {
    const uint32_t linear = pick_linear(form.memory_bytes, false);
    const bool use16 = random_.chance(code16() ? 60 : 10);
    std::optional<Seg> segment;
    if (random_.chance(20) || (use16 && !code16()))
        segment = random_.chance(50) ? kFs : kGs;
    const uint32_t address = linear - segment_base(segment.value_or(kDs));
    if (use16 != code16())
        byte(0x67);
    if (segment)
        byte(kSegmentPrefix[*segment]);
    bytes({form.opcode[0]});
    immediate(address, use16 ? 2 : 4);
}

void CodeBuilder::form(const Form& form) {
    const bool toggle = form.operand_size && random_.chance(30);
    const unsigned operand_bits = toggle != code16() ? 16 : 32;
    const unsigned reg_field = form.modrm == Form::ModRm::Digit ? form.digit : pick_register();
    const bool memory = form.modrm != Form::ModRm::None && form.rm != Form::Rm::RegisterOnly &&
                        (form.rm == Form::Rm::MemoryOnly || random_.chance(55));
    // A locked access across two cache lines stops the whole machine and traps into the host's kernel, which
    // may take seconds to log it.
    const bool exchange = form.opcode[0] == 0x86 || form.opcode[0] == 0x87;
    const bool locked = memory && (exchange || (form.lock && random_.chance(15)));
    Operand operand;
    if (memory)
        operand = memory_operand(reg_field, form.memory_bytes, form.aligned, locked);
    else if (form.modrm != Form::ModRm::None)
        operand.modrm.push_back(modrm_byte(3, reg_field, pick_register()));
    if (locked && !exchange)
        operand.prefixes.push_back(0xF0);
    if (toggle)
        operand.prefixes.push_back(0x66);

    begin_instruction();
    // FSTCW and its like are two instructions, WAIT and the store: the prefixes belong to the second.
    constexpr uint8_t kWait = 0x9B;
    const size_t first = form.opcode.size() > 1 && form.opcode[0] == kWait ? 1 : 0;
    if (first != 0)
        byte(kWait);
    for (const uint8_t prefix : operand.prefixes)
        byte(prefix);
    for (const uint8_t prefix : form.prefixes)
        byte(prefix);
    if (form.moffs) {
        moffs(form);
    } else {
        for (size_t i = first; i < form.opcode.size(); ++i) {
            const bool last = i + 1 == form.opcode.size();
            byte(static_cast<uint8_t>(form.opcode[i] + (last && form.plus_register ? pick_register() : 0)));
        }
        for (const uint8_t part : operand.modrm)
            byte(part);
        immediate(pick_immediate(), form.immediate_bytes);
        if (form.immediate_z)
            immediate(pick_immediate(), operand_bits / 8);
    }
    end_instruction();
}

bool CodeBuilder::direct_reachable() const {
    return segments_[kDs] == kFlatData || segments_[kDs] == ldt_selector(kLdtData16);
}

void CodeBuilder::direct_prefix_free(unsigned reg_field, uint32_t linear) {
    const uint32_t address = linear - segment_base(kDs);
    byte(modrm_byte(0, reg_field, code16() ? 6 : 5));
    immediate(address, code16() ? 2 : 4);
}

void CodeBuilder::store_direct(uint32_t linear, uint32_t value, unsigned bits) {
    operand_size_prefix(bits);
    byte(0xC7);
    direct_prefix_free(0, linear);
    immediate(value, bits / 8);
}

void CodeBuilder::fixup(Atom::Fixup kind, unsigned field_bytes, size_t target) {
    atom_.fixup = kind;
    atom_.fixup_at = static_cast<uint32_t>(atom_.bytes.size());
    immediate(0, field_bytes);
    atom_.fixup_from = static_cast<uint32_t>(atom_.bytes.size());
    atom_.target = static_cast<uint32_t>(target);
    join_after(target);
}

} // namespace differential
