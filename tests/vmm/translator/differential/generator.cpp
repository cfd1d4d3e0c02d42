#include "tests/vmm/translator/differential/generator.h"

#include "tests/vmm/translator/differential/code_builder.h"
#include "vmm/translator/host_maker.h"

#include <cstring>

namespace differential {

namespace {

constexpr unsigned kEcx = 1, kEsp = 4, kEbp = 5, kEsi = 6, kEdi = 7;
constexpr uint8_t kSegmentPrefix[] = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65};

// -- initial state ----------------------------------------------------------------------------------

void pick_segments(Random& random, Registers& registers) {
    registers.selectors = {kFlatData,           kCode32, kFlatData, kFlatData, ldt_selector(kLdtFs),
                           ldt_selector(kLdtGs)};
    const uint32_t roll = random.below(100);
    if (roll < 65)
        return;
    if (roll < 78) { // 16-bit code over flat data
        registers.selectors[kCs] = ldt_selector(kLdtCode16);
    } else if (roll < 92) { // a 16-bit protected-mode program
        registers.selectors[kCs] = ldt_selector(kLdtCode16);
        registers.selectors[kDs] = ldt_selector(kLdtData16);
        registers.selectors[kEs] = ldt_selector(random.chance(80) ? kLdtData16 : kLdtExpandDown);
        registers.selectors[kSs] = ldt_selector(kLdtStack16);
    } else { // 32-bit code with segments that are not flat
        registers.selectors[kSs] = random.chance(50) ? ldt_selector(kLdtStack16) : kFlatData;
        registers.selectors[kEs] = ldt_selector(random.chance(50) ? kLdtExpandDown : kLdtData16);
        registers.selectors[kDs] = random.chance(50) ? kFlatData : ldt_selector(kLdtData16);
    }
}

void pick_fx(Random& random, Registers& registers) {
    Memory source;
    fill_memory(random.next(), source);
    auto& fx = registers.fx;
    const auto put16 = [&](size_t at, uint32_t value) {
        fx[at] = static_cast<uint8_t>(value);
        fx[at + 1] = static_cast<uint8_t>(value >> 8);
    };
    uint32_t control = 0x037F;
    if (random.chance(40))
        control = (control & 0xF0FF) | random.below(16) << 8; // precision and rounding
    if (random.chance(8))
        control &= ~(1u << random.below(6)); // an exception unmasked
    put16(0, control);
    put16(2, random.below(8) << 11 | (random.chance(30) ? random.below(8) << 8 | random.below(2) << 14 : 0));
    const uint32_t tags = random.below(3);
    fx[4] = static_cast<uint8_t>(tags == 0 ? 0 : tags == 1 ? 0xFF : random.next());
    uint32_t mxcsr = 0x1F80;
    if (random.chance(40))
        mxcsr |= random.below(4) << 13 | (random.chance(20) ? 0x8000u : 0) | (random.chance(20) ? 0x40u : 0);
    if (random.chance(8))
        mxcsr &= ~(0x80u << random.below(6));
    if (random.chance(10))
        mxcsr |= random.below(64) & (mxcsr >> 7);
    std::memcpy(&fx[24], &mxcsr, 4);
    for (size_t i = 0; i < 8; ++i) {
        std::memcpy(&fx[32 + 16 * i], &source.data[16 * i], 10);
        std::memcpy(&fx[160 + 16 * i], &source.data[1024 + 16 * i], 16);
    }
}

void pick_initial(Random& random, Registers& registers) {
    pick_segments(random, registers);
    for (uint32_t& value : registers.gpr) {
        switch (random.below(5)) {
        case 0:
            value = random.below(40);
            break;
        case 1:
            value = static_cast<uint32_t>(random.next());
            break;
        case 2:
            value = uint32_t{0} - random.below(300);
            break;
        default:
            value = kDataBase + random.below(kDataBytes);
            break;
        }
    }
    const uint32_t base = descriptor(registers.selectors[kSs]).base;
    const uint32_t noise = base != 0 && random.chance(30) ? static_cast<uint32_t>(random.next()) << 16 : 0;
    const auto stack_pointer = [&] {
        const uint32_t at = kStackBase + (random.chance(90) ? 512 + random.below(kStackBytes - 1024)
                                                            : random.below(kStackBytes + 8));
        return (at & (random.chance(85) ? ~3u : ~0u)) - base;
    };
    registers.gpr[kEsp] = stack_pointer() + noise;
    registers.gpr[kEbp] = stack_pointer() + noise;
    constexpr uint32_t kArithmetic = 0x8D5, kId = 1u << 21, kDf = 1u << 10;
    registers.eflags = 0x202 | (static_cast<uint32_t>(random.next()) & (kArithmetic | kId));
    if (random.chance(15))
        registers.eflags |= kDf;
    pick_fx(random, registers);
}

// -- forms that need care -----------------------------------------------------------------------------

void string_instruction(CodeBuilder& b) {
    Random& random = b.random();
    constexpr uint8_t kOps[] = {0xA4, 0xA6, 0xAA, 0xAC, 0xAE};
    const uint8_t op = static_cast<uint8_t>(kOps[random.below(5)] + random.below(2));
    const bool use16 = random.chance(b.code16() ? 60 : 5);
    const bool override_source = random.chance(15);
    const Seg source = override_source ? static_cast<Seg>(random.below(6)) : kDs;
    if (random.chance(40))
        b.byte(random.chance(50) ? 0xFC : 0xFD);
    const uint32_t from = b.pick_linear(4, false);
    const uint32_t to = random.chance(20) ? from + random.below(5) : b.pick_linear(4, false);
    const uint32_t junk = use16 ? static_cast<uint32_t>(random.next()) << 16 : 0;
    b.move_immediate(kEsi, (from - b.segment_base(source)) + junk);
    b.move_immediate(kEdi, (to - b.segment_base(kEs)) + junk);
    const uint32_t repeat = random.below(3);
    const bool scan = op >= 0xAE || op == 0xA6 || op == 0xA7;
    if (repeat != 0)
        b.move_immediate(kEcx, random.below(scan ? 300 : 40) + junk);
    b.begin_instruction();
    if (random.chance(30))
        b.byte(0x66);
    if (use16 != b.code16())
        b.byte(0x67);
    if (override_source)
        b.byte(kSegmentPrefix[source]);
    if (repeat != 0)
        b.byte(repeat == 1 ? 0xF3 : 0xF2);
    b.byte(op);
    b.end_instruction();
}

void stack_special(CodeBuilder& b) {
    // All that ring 3 may try, without TF, AC, NT and VM: arithmetic flags, IF, DF, IOPL, VIF, VIP, ID.
    constexpr uint32_t kPopfBits = 0x00383ED5;
    Random& random = b.random();
    switch (random.below(4)) {
    case 0: { // PUSH imm, POPF: flags without TF, IOPL, AC, VM
        // NT only where no IRET can follow: in a 64-bit kernel's compatibility mode that is #GP.
        const bool nt = b.code16() && random.chance(10);
        b.operand_size_prefix(32);
        b.byte(0x68);
        b.immediate((static_cast<uint32_t>(random.next()) & kPopfBits) | (nt ? 0x4000 : 0), 4);
        b.operand_size_prefix(32);
        b.byte(0x9D);
        break;
    }
    case 1: // ENTER
        b.begin_instruction();
        if (random.chance(20))
            b.byte(0x66);
        b.byte(0xC8);
        b.immediate(random.below(80), 2);
        b.byte(static_cast<uint8_t>(random.chance(60) ? 0 : random.below(40)));
        b.end_instruction();
        break;
    case 2: { // POP [ESP+x]: the address is formed after ESP moves
        b.begin_instruction();
        b.operand_size_prefix(random.chance(80) ? 32 : 16);
        if (b.code16())
            b.byte(0x67);
        b.bytes({0x8F, 0x44, 0x24});
        b.byte(static_cast<uint8_t>(random.below(128)));
        b.end_instruction();
        break;
    }
    default: // PUSH [ESP+x]
        b.begin_instruction();
        b.operand_size_prefix(random.chance(80) ? 32 : 16);
        if (b.code16())
            b.byte(0x67);
        b.bytes({0xFF, 0x74, 0x24});
        b.byte(static_cast<uint8_t>(random.below(128)));
        b.end_instruction();
        break;
    }
}

// Selectors safe to try: valid ones and ones that fault the same on both sides.
uint16_t pick_selector(Random& random) {
    const uint16_t choices[] = {0,
                                3,
                                kFlatData,
                                0x28,
                                kCode32,
                                ldt_selector(kLdtData16),
                                ldt_selector(kLdtFs),
                                ldt_selector(kLdtGs),
                                ldt_selector(kLdtExpandDown),
                                ldt_selector(kLdtCode16),
                                ldt_selector(kLdtCount)};
    return choices[random.below(std::size(choices))];
}

void segment_instruction(CodeBuilder& b) {
    Random& random = b.random();
    const uint16_t selector = pick_selector(random);
    constexpr Seg kTargets[] = {kEs, kDs, kFs, kGs};
    const Seg target = kTargets[random.below(4)];
    const unsigned reg = random.below(4);
    const uint32_t kind = random.below(4);
    if (kind == 0) { // LAR LSL VERR VERW
        b.move_immediate(reg, selector | static_cast<uint32_t>(random.next()) << 16);
        b.begin_instruction();
        const uint32_t which = random.below(4);
        if (random.chance(30))
            b.byte(0x66);
        b.byte(0x0F);
        if (which < 2)
            b.bytes({static_cast<uint8_t>(0x02 + which),
                     static_cast<uint8_t>(0xC0 | random.below(4) << 3 | reg)});
        else
            b.bytes({0x00, static_cast<uint8_t>(0xC0 | (which + 2) << 3 | reg)});
        b.end_instruction();
        return;
    }
    if (kind == 1) { // PUSH imm, POP Sreg
        b.operand_size_prefix(32);
        b.byte(0x68);
        b.immediate(selector | static_cast<uint32_t>(random.next()) << 16, 4);
        b.operand_size_prefix(32);
        if (target == kEs || target == kDs)
            b.byte(target == kEs ? 0x07 : 0x1F);
        else
            b.bytes({0x0F, static_cast<uint8_t>(target == kFs ? 0xA1 : 0xA9)});
    } else if (kind == 2 && b.direct_reachable()) { // LES LDS LFS LGS
        const uint32_t place = kDataBase + random.below(kDataBytes - 16);
        b.store_direct(place, static_cast<uint32_t>(random.next()));
        b.store_direct(place + 4, selector);
        b.begin_instruction();
        b.operand_size_prefix(32);
        if (target == kEs || target == kDs)
            b.byte(target == kEs ? 0xC4 : 0xC5);
        else
            b.bytes({0x0F, static_cast<uint8_t>(target == kFs ? 0xB4 : 0xB5)});
        b.direct_prefix_free(random.below(4), place);
        b.end_instruction();
    } else {
        b.move_immediate(reg, selector | static_cast<uint32_t>(random.next()) << 16);
        b.bytes({0x8E, static_cast<uint8_t>(0xC0 | target << 3 | reg)});
    }
    const bool loads = selector != ldt_selector(kLdtCount);
    b.set_segment(target, loads && selector > 3 ? selector : kFlatData);
}

// x87 environment and FXSAVE images, with the parts wiped that tell where an instruction was.
void image_instruction(CodeBuilder& b) {
    if (!b.direct_reachable())
        return;
    Random& random = b.random();
    const uint32_t place = kDataBase + (random.below(kDataBytes - 1024) & ~15u);
    const auto wipe = [&](std::initializer_list<uint32_t> offsets) {
        for (const uint32_t offset : offsets)
            b.store_direct(place + offset, 0);
    };
    const bool word = random.chance(30);
    const auto sized = [&](uint8_t opcode, unsigned digit) {
        b.operand_size_prefix(word ? 16 : 32);
        b.byte(opcode);
        b.direct_prefix_free(digit, place);
    };
    const auto wipe_environment = [&] {
        if (word)
            wipe({6, 10});
        else
            wipe({12, 16, 20, 24});
    };
    const auto fx = [&](unsigned digit) {
        b.bytes({0x0F, 0xAE});
        b.direct_prefix_free(digit, place);
    };
    const auto wipe_image = [&] { // FIP, FDP and MXCSR_MASK; FOP
        wipe({8, 12, 16, 20, 28});
        b.store_direct(place + 6, 0, 16);
    };
    switch (random.below(7)) {
    case 0: // FNSTENV, perhaps FLDENV
        sized(0xD9, 6);
        wipe_environment();
        if (random.chance(40))
            sized(0xD9, 4);
        break;
    case 1: // FNSAVE, perhaps FRSTOR
        sized(0xDD, 6);
        wipe_environment();
        if (random.chance(50))
            sized(0xDD, 4);
        break;
    case 2: // FLDENV of whatever lies there
        sized(0xD9, 4);
        break;
    case 3: // FRSTOR of whatever lies there
        sized(0xDD, 4);
        break;
    case 4: // LDMXCSR; a bit that no guest processor defines now and then
        b.store_direct(place, (static_cast<uint32_t>(random.next()) & 0xFFBF) | 0x1F80 |
                                  (random.chance(5) ? 1u << 20 : 0));
        fx(2);
        break;
    case 5:
        fx(0);
        wipe_image();
        break;
    default: // FXSAVE, change something, FXRSTOR
        fx(0);
        wipe_image();
        b.bytes({0xD9, 0xE8, 0x0F, 0x57, 0xC0, 0x0F, 0x58, 0xD1}); // FLD1; XORPS; ADDPS
        fx(1);
        break;
    }
}

void flow_instruction(CodeBuilder& b, size_t planned) {
    Random& random = b.random();
    const size_t target = std::min(planned, b.atom_index() + 1 + random.below(3));
    const bool flat = !b.code16();
    switch (random.below(flat ? 11 : 5)) {
    case 0: // JMP/Jcc short
        b.byte(static_cast<uint8_t>(random.chance(20) ? 0xEB : 0x70 + random.below(16)));
        b.fixup(Atom::Fixup::Rel8, 1, target);
        break;
    case 1: // Jcc near
        b.bytes({0x0F, static_cast<uint8_t>(0x80 + random.below(16))});
        b.fixup(flat ? Atom::Fixup::Rel32 : Atom::Fixup::Rel16, flat ? 4 : 2, target);
        break;
    case 2: // LOOPNE LOOPE LOOP JCXZ
        if (random.chance(50))
            b.move_immediate(kEcx, random.below(3) | (random.chance(30) ? 0x10000 : 0));
        b.begin_instruction();
        if (random.chance(20))
            b.byte(0x67);
        b.byte(static_cast<uint8_t>(0xE0 + random.below(4)));
        b.end_instruction();
        b.fixup(Atom::Fixup::Rel8, 1, target);
        break;
    case 3: // CALL near
        b.byte(static_cast<uint8_t>(random.chance(70) ? 0xE8 : 0xE9));
        b.fixup(flat ? Atom::Fixup::Rel32 : Atom::Fixup::Rel16, flat ? 4 : 2, target);
        break;
    case 4: { // a bounded backward loop: arithmetic on EAX, EDX, EBX around LOOP
        b.move_immediate(kEcx, 1 + random.below(12));
        const uint8_t body[][2] = {{0x01, 0xD0}, {0x11, 0xDA}, {0xD1, 0xC3},
                                   {0x29, 0xC3}, {0x31, 0xD8}, {0x0F, 0xC8}};
        const uint32_t count = 1 + random.below(3);
        for (uint32_t i = 0; i < count; ++i) {
            const auto& pick = body[random.below(6)];
            b.bytes({pick[0], pick[1]});
        }
        b.bytes({0xE2, static_cast<uint8_t>(-2 - 2 * static_cast<int>(count))});
        b.forget_registers();
        break;
    }
    case 5: // PUSH target, RET (n)
        b.byte(0x68);
        b.fixup(Atom::Fixup::Abs32, 4, target);
        if (random.chance(70)) {
            b.byte(0xC3);
        } else {
            b.byte(0xC2);
            b.immediate(random.below(40), 2);
        }
        break;
    case 6: { // JMP/CALL through a register
        const unsigned reg = random.below(4);
        b.byte(static_cast<uint8_t>(0xB8 + reg));
        b.fixup(Atom::Fixup::Abs32, 4, target);
        b.bytes({0xFF, static_cast<uint8_t>((random.chance(50) ? 0xE0 : 0xD0) | reg)});
        b.forget_registers();
        break;
    }
    case 7: { // JMP/CALL through memory
        if (!b.direct_reachable())
            break;
        const uint32_t place = kDataBase + random.below(kDataBytes - 16);
        b.byte(0xC7);
        b.direct_prefix_free(0, place);
        b.fixup(Atom::Fixup::Abs32, 4, target);
        b.byte(0xFF);
        b.direct_prefix_free(random.chance(50) ? 2 : 4, place);
        break;
    }
    case 8: // far JMP/CALL to the same segment
        b.byte(random.chance(50) ? 0xEA : 0x9A);
        b.fixup(Atom::Fixup::Abs32, 4, target);
        b.immediate(kCode32, 2);
        break;
    case 9: // far return
        b.bytes({0x6A, kCode32, 0x68});
        b.fixup(Atom::Fixup::Abs32, 4, target);
        b.byte(0xCB);
        break;
    default: // IRET to the same level
        b.byte(0x68);
        b.immediate(0x202 | (static_cast<uint32_t>(random.next()) & 0x2008D5), 4);
        b.bytes({0x6A, kCode32, 0x68});
        b.fixup(Atom::Fixup::Abs32, 4, target);
        b.byte(0xCF);
        break;
    }
}

void port_instruction(CodeBuilder& b) { // always #GP(0) at CPL 3 without a bitmap
    constexpr uint8_t kOps[] = {0x6C, 0x6D, 0x6E, 0x6F, 0xEC, 0xED, 0xEE, 0xEF};
    b.byte(kOps[b.random().below(std::size(kOps))]);
}

// -- the mix --------------------------------------------------------------------------------------------

struct Weighted {
    unsigned weight;
    Group group;
};
constexpr Weighted kMix[] = {
    {20, Group::Alu},  {8, Group::Shift}, {5, Group::MulDiv}, {9, Group::Bits},
    {12, Group::Move}, {9, Group::Stack}, {3, Group::Misc},   {14, Group::X87},
    {7, Group::Mmx},   {7, Group::Sse},   {9, Group::Sse2},   {5, Group::Ssse3},
};

Group pick_group(Random& random) {
    unsigned total = 0;
    for (const Weighted& entry : kMix)
        total += entry.weight;
    uint32_t roll = random.below(total);
    for (const Weighted& entry : kMix) {
        if (roll < entry.weight)
            return entry.group;
        roll -= entry.weight;
    }
    return Group::Alu;
}

// What makers leave differently (README of vmm, "One processor") can be compared with an Intel processor
// only. On another host's the flags are defined anew at once, and PUSH Sreg, which writes its slot in two
// ways, is left out; tests/guest/maker_test.cpp has the values that all hosts must give.
bool leaves_flags_open(const Form& form) {
    switch (form.group) {
    case Group::Shift:
    case Group::MulDiv:
        return true;
    case Group::Bits:
        return form.opcode.size() > 1 && (form.opcode[1] >= 0xA3 && form.opcode[1] <= 0xBD);
    case Group::Misc:
        return form.opcode[0] == 0x27 || form.opcode[0] == 0x2F || form.opcode[0] == 0x37 ||
               form.opcode[0] == 0x3F;
    default:
        return false;
    }
}

bool pushes_segment(const Form& form) {
    if (form.group != Group::Stack)
        return false;
    const uint8_t first = form.opcode[0];
    return (first & 0xE7) == 0x06 || first == 0x0F;
}

void form_instruction(CodeBuilder& builder, Group group) {
    static const bool intel = vmm::host_maker() == vmm::HostMaker::Intel;
    const auto forms = all_forms(group);
    const Form& form = forms[builder.random().below(static_cast<uint32_t>(forms.size()))];
    if (!intel && pushes_segment(form))
        return;
    builder.form(form);
    if (!intel && leaves_flags_open(form))
        builder.bytes({0x39, 0xE0}); // CMP (E)AX, (E)SP
}

} // namespace

Case generate(uint64_t seed, uint64_t index, Group only) {
    Random random(seed * 0xD1342543DE82EF95 + index);
    random.next();
    Case test;
    test.index = index;
    pick_initial(random, test.initial);
    test.memory_seed = random.next();
    const uint32_t slot = static_cast<uint32_t>(index % kSlots);
    test.code_address = kCodeBase + slot * kSlotBytes + random.below(64);
    test.initial.eip = test.code_address - (test.code16() ? kCodeBase : 0);

    CodeBuilder builder(random, test);
    const size_t planned = 1 + random.below(8);
    for (size_t i = 0; i < planned; ++i) {
        builder.begin_atom();
        const uint32_t roll = random.below(100);
        if (only != Group::Count || roll < 72) {
            form_instruction(builder, only != Group::Count ? only : pick_group(random));
        } else if (roll < 79) {
            string_instruction(builder);
        } else if (roll < 84) {
            stack_special(builder);
        } else if (roll < 87) {
            segment_instruction(builder);
        } else if (roll < 91) {
            image_instruction(builder);
        } else if (roll < 99) {
            flow_instruction(builder, planned);
        } else {
            port_instruction(builder);
        }
        builder.end_atom();
    }
    return test;
}

} // namespace differential
