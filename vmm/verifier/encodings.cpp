#include "vmm/verifier/encodings.h"

#include "vmm/verifier/reasons.h"

#include <array>
#include <cstring>

namespace vmm {

namespace {

using namespace row;

using Table = std::array<std::array<EncodingRow, 256>, 4>; // by opcode map: none, 0F, 0F38, 0F3A

constexpr uint8_t kWordToo = kNone | k66, kScalar = kF3 | kF2, kPacked = kNone | k66,
                  kAll = kNone | k66 | kF3 | kF2, kRepeated = kAll | k66Repeat;

constexpr uint8_t bits(std::initializer_list<unsigned> values) {
    uint8_t set = 0;
    for (const unsigned value : values)
        set = static_cast<uint8_t>(set | 1u << value);
    return set;
}

constexpr void add_general(std::array<EncodingRow, 256>& t) {
    constexpr uint32_t kEbGb = kModrm | kReg | kRm | kByte, kEvGv = kModrm | kReg | kRm;
    for (unsigned i = 0; i < 8; ++i) { // ADD OR ADC SBB AND SUB XOR CMP
        const uint32_t to_rm = i == 7 ? 0 : kWritesRm | kLock, to_reg = i == 7 ? 0 : kWritesReg;
        // 64-bit AND and OR with memory: flags in stubs.
        const uint32_t wide = i == 1 || i == 4 ? kWide : 0;
        t[8 * i] = {kEbGb | to_rm, Effect::Plain, kNone};
        t[8 * i + 1] = {kEvGv | to_rm, Effect::Plain, kWordToo};
        t[8 * i + 2] = {kEbGb | to_reg, Effect::Plain, kNone};
        t[8 * i + 3] = {kEvGv | to_reg | wide, Effect::Plain, kWordToo};
        t[8 * i + 4] = {kImmediate8, Effect::None, kNone};
        t[8 * i + 5] = {kImmediate, Effect::None, kWordToo};
    }
    for (unsigned i = 0; i < 8; ++i) {
        t[0x50 + i] = {kOpcodeReg | kStub, Effect::Push, kNone};
        t[0x58 + i] = {kOpcodeReg | kStub, Effect::Pop, kNone};
        t[0xB0 + i] = {kOpcodeReg | kByte | kImmediate8, Effect::MoveImmediate, kNone};
        t[0xB8 + i] = {kOpcodeReg | kImmediate, Effect::MoveImmediate, kWordToo};
    }
    for (unsigned i = 0; i < 16; ++i)
        t[0x70 + i] = {kImmediate8, Effect::JumpIf, kNone};
    t[0x69] = {kEvGv | kWritesReg | kImmediate, Effect::Plain, kWordToo};
    t[0x6B] = {kEvGv | kWritesReg | kImmediate8, Effect::Plain, kWordToo};
    constexpr uint32_t kGroup1 = kModrm | kGroup | kRm | kWritesRm | kLastReads | kLock;
    t[0x80] = {kGroup1 | kByte | kImmediate8, Effect::Plain, kNone};
    t[0x81] = {kGroup1 | kImmediate, Effect::Plain, kWordToo};
    t[0x83] = {kGroup1 | kImmediate8, Effect::Plain, kWordToo};
    t[0x84] = {kEbGb, Effect::Plain, kNone};
    t[0x85] = {kEvGv, Effect::Plain, kWordToo};
    t[0x86] = {kEbGb | kWritesReg | kWritesRm | kLock, Effect::Plain, kNone};
    t[0x87] = {kEvGv | kWritesReg | kWritesRm | kLock, Effect::Plain, kWordToo};
    t[0x88] = {kEbGb | kWritesRm, Effect::Plain, kNone};
    t[0x89] = {kEvGv | kWritesRm | kWide, Effect::Store, kWordToo};
    t[0x8A] = {kEbGb | kWritesReg, Effect::Plain, kNone};
    t[0x8B] = {kEvGv | kWritesReg | kWide, Effect::Load, kWordToo};
    t[0x8D] = {kModrm | kReg | kMemory | kWide, Effect::Lea, kNone};
    t[0x8F] = {kModrm | kGroup | kMemory | kStub, Effect::PopMemory, kNone, bits({0})};
    t[0x90] = {0, Effect::Nop, kWordToo};
    t[0x98] = {0, Effect::None, kWordToo};
    t[0x99] = {0, Effect::None, kWordToo};
    t[0x9B] = {0, Effect::None, kNone};
    t[0x9C] = {kStub, Effect::PushFlags, kNone};
    t[0x9D] = {kStub, Effect::PopFlags, kNone};
    t[0x9E] = {0, Effect::None, kWordToo};
    t[0x9F] = {0, Effect::None, kWordToo};
    for (const unsigned opcode : {0xA4, 0xA6, 0xAA, 0xAC, 0xAE}) {
        t[opcode] = {0, Effect::String, kRepeated};
        t[opcode + 1] = {0, Effect::String, kRepeated};
    }
    t[0xA8] = {kImmediate8, Effect::None, kNone};
    t[0xA9] = {kImmediate, Effect::None, kWordToo};
    constexpr uint32_t kShift = kModrm | kGroup | kRm | kWritesRm;
    t[0xC0] = {kShift | kByte | kImmediate8, Effect::Plain, kNone};
    t[0xC1] = {kShift | kImmediate8 | kKeeps, Effect::Plain, kWordToo};
    t[0xD0] = {kShift | kByte, Effect::Plain, kNone};
    t[0xD1] = {kShift, Effect::Plain, kWordToo};
    t[0xD2] = {kShift | kByte, Effect::Plain, kNone};
    t[0xD3] = {kShift | kKeeps, Effect::Plain, kWordToo};
    t[0xC3] = {0, Effect::Return, kNone};
    t[0xC6] = {kModrm | kGroup | kRm | kWritesRm | kByte | kImmediate8, Effect::Plain, kNone, bits({0})};
    t[0xC7] = {kModrm | kGroup | kRm | kWritesRm | kImmediate, Effect::StoreImmediate, kWordToo, bits({0})};
    // x87. Not in memory: FLDENV, FNSTENV (D9 /4 /6), FRSTOR, FNSAVE (DD /4 /6), whose images hold host
    // addresses.
    for (unsigned i = 0; i < 8; ++i)
        t[0xD8 + i] = {kModrm | kGroup, Effect::None, kNone};
    t[0xD9].memory_extensions = bits({0, 2, 3, 5, 7});
    t[0xDB].memory_extensions = bits({0, 1, 2, 3, 5, 7});
    t[0xDD].memory_extensions = bits({0, 1, 2, 3, 7});
    t[0xE3] = {kImmediate8, Effect::JumpIfZero, kNone};
    t[0xE8] = {kImmediate, Effect::Call, kNone};
    t[0xE9] = {kImmediate, Effect::Jump, kNone};
    t[0xEB] = {kImmediate8, Effect::Jump, kNone};
    for (const unsigned opcode : {0xF5, 0xF8, 0xF9, 0xFC, 0xFD}) // CMC CLC STC CLD STD
        t[opcode] = {0, Effect::None, kWordToo};
    t[0xF6] = {kModrm | kGroup | kRm | kByte | kLock | kTests, Effect::Group3, kNone};
    t[0xF7] = {kModrm | kGroup | kRm | kLock | kWide | kTests, Effect::Group3, kWordToo};
    t[0xFE] = {kModrm | kGroup | kRm | kWritesRm | kByte | kLock, Effect::Plain, kNone, bits({0, 1})};
    t[0xFF] = {kModrm | kGroup | kRm | kLock, Effect::Group5, kWordToo, bits({0, 1, 2, 4, 6}),
               bits({0, 1, 2, 6})};
}

constexpr void add_general_0f(std::array<EncodingRow, 256>& t) {
    constexpr uint32_t kEvGv = kModrm | kReg | kRm;
    t[0x1F] = {kModrm | kGroup | kMemory, Effect::Nop, kWordToo, bits({0})};
    for (unsigned i = 0; i < 16; ++i) {
        t[0x40 + i] = {kEvGv | kWritesReg, Effect::Plain, kWordToo};
        t[0x80 + i] = {kImmediate, Effect::JumpIf, kNone};
        t[0x90 + i] = {kModrm | kRm | kWritesRm | kByte, Effect::Plain, kNone};
    }
    t[0xA3] = {kEvGv | kBitString, Effect::Plain, kWordToo};
    for (const unsigned opcode : {0xAB, 0xB3, 0xBB})
        t[opcode] = {kEvGv | kBitString | kWritesRm | kLock, Effect::Plain, kWordToo};
    t[0xA4] = t[0xAC] = {kEvGv | kWritesRm | kKeeps | kImmediate8, Effect::Plain, kWordToo};
    t[0xA5] = t[0xAD] = {kEvGv | kWritesRm | kKeeps, Effect::Plain, kWordToo};
    t[0xAE] = {kModrm | kGroup, Effect::Mxcsr, kNone, bits({5, 6, 7}), bits({2, 3, 7})};
    t[0xAF] = {kEvGv | kWritesReg, Effect::Plain, kWordToo};
    t[0xB0] = {kEvGv | kByte | kWritesRm | kLock, Effect::Plain, kNone};
    t[0xB1] = {kEvGv | kWritesRm | kKeeps | kLock, Effect::Plain, kWordToo};
    t[0xB6] = {kEvGv | kWritesReg, Effect::Extend, kWordToo};
    t[0xB7] = {kEvGv | kWritesReg, Effect::Extend, kWordToo};
    t[0xBA] = {kModrm | kGroup | kRm | kWritesRm | kFourthReads | kImmediate8 | kLock, Effect::Plain,
               kWordToo, bits({4, 5, 6, 7})};
    t[0xBC] = t[0xBD] = {kEvGv | kWritesReg | kKeeps, Effect::Plain, kWordToo};
    t[0xBE] = {kEvGv | kWritesReg, Effect::Extend, kWordToo};
    t[0xBF] = {kEvGv | kWritesReg, Effect::Extend, kWordToo};
    t[0xC0] = {kEvGv | kByte | kWritesReg | kWritesRm | kLock, Effect::Plain, kNone};
    t[0xC1] = {kEvGv | kWritesReg | kWritesRm | kLock, Effect::Plain, kWordToo};
    t[0xC3] = {kModrm | kReg | kMemory, Effect::Plain, kNone}; // MOVNTI
    t[0xC7] = {kModrm | kGroup | kMemory | kLock, Effect::Plain, kWordToo, bits({1})};
    for (unsigned i = 0; i < 8; ++i)
        t[0xC8 + i] = {kOpcodeReg | kWide, Effect::Reverse, kWordToo};
}

// MMX, SSE, SSE2, SSE3 and, in the other maps, SSSE3.
constexpr void add_vectors(Table& maps) {
    auto& t = maps[1];
    const auto rows = [&](unsigned first, unsigned last, uint8_t prefixes, uint32_t flags = 0) {
        for (unsigned opcode = first; opcode <= last; ++opcode)
            t[opcode] = {kModrm | kVector | flags, Effect::Plain, prefixes};
    };
    rows(0x10, 0x11, kAll);
    rows(0x12, 0x12, kAll);
    rows(0x13, 0x15, kPacked);
    rows(0x16, 0x16, kPacked | kF3);
    rows(0x17, 0x17, kPacked);
    rows(0x28, 0x29, kPacked);
    rows(0x2A, 0x2A, kAll, kReadsRmIfScalar);
    rows(0x2B, 0x2B, kPacked, kMemory);
    rows(0x2C, 0x2D, kAll, kWritesRegIfScalar);
    rows(0x2E, 0x2F, kPacked);
    rows(0x50, 0x50, kPacked, kRegister | kReg | kWritesReg);
    rows(0x51, 0x51, kAll);
    rows(0x52, 0x53, kNone | kF3);
    rows(0x54, 0x57, kPacked);
    rows(0x58, 0x5A, kAll);
    rows(0x5B, 0x5B, kPacked | kF3);
    rows(0x5C, 0x5F, kAll);
    rows(0x60, 0x6B, kPacked);
    rows(0x6C, 0x6D, k66);
    rows(0x6E, 0x6E, kPacked, kRm);
    rows(0x6F, 0x6F, kPacked | kF3);
    rows(0x70, 0x70, kAll, kImmediate8);
    rows(0x71, 0x73, kPacked, kImmediate8 | kRegister | kGroup);
    t[0x71].extensions = t[0x72].extensions = bits({2, 4, 6});
    t[0x73].extensions = bits({2, 3, 6, 7});
    rows(0x74, 0x76, kPacked);
    t[0x77] = {0, Effect::None, kNone}; // EMMS
    rows(0x7C, 0x7D, k66 | kF2);
    rows(0x7E, 0x7E, kPacked | kF3, kWritesRmUnlessF3);
    rows(0x7F, 0x7F, kPacked | kF3);
    rows(0xC2, 0xC2, kAll, kImmediate8);
    rows(0xC4, 0xC4, kPacked, kImmediate8 | kRm);
    rows(0xC5, 0xC5, kPacked, kImmediate8 | kRegister | kReg | kWritesReg);
    rows(0xC6, 0xC6, kPacked, kImmediate8);
    rows(0xD0, 0xD0, k66 | kF2);
    rows(0xD1, 0xD5, kPacked);
    rows(0xD6, 0xD6, k66 | kScalar);
    rows(0xD7, 0xD7, kPacked, kRegister | kReg | kWritesReg);
    rows(0xD8, 0xE5, kPacked);
    rows(0xE6, 0xE6, k66 | kScalar);
    rows(0xE7, 0xE7, kPacked, kMemory);
    rows(0xE8, 0xEF, kPacked);
    rows(0xF0, 0xF0, kF2, kMemory);
    rows(0xF1, 0xF6, kPacked);
    rows(0xF7, 0xF7, kPacked, kRegister);
    t[0xF7].effect = Effect::MaskedMove;
    rows(0xF8, 0xFE, kPacked);
    for (unsigned opcode = 0; opcode <= 0x0B; ++opcode)
        maps[2][opcode] = {kModrm | kVector, Effect::Plain, kPacked};
    for (unsigned opcode = 0x1C; opcode <= 0x1E; ++opcode)
        maps[2][opcode] = {kModrm | kVector, Effect::Plain, kPacked};
    maps[3][0x0F] = {kModrm | kVector | kImmediate8, Effect::Plain, kPacked};
}

constexpr Table make_table() {
    Table table{};
    add_general(table[0]);
    add_general_0f(table[1]);
    add_vectors(table);
    return table;
}

constexpr Table kTable = make_table();

// And the first byte of VEX.
constexpr std::array<bool, 256> kLegacyPrefix = [] {
    std::array<bool, 256> set{};
    for (const unsigned prefix : {0xF0, 0x65, 0x66, 0xF2, 0xF3, 0xC4})
        set[prefix] = true;
    return set;
}();

// The one VEX instruction: RORX r32, r32, 16 (SDM Vol. 2A 2.3.5), between registers from r8 on.
constexpr uint8_t kRorx[] = {0xC4, 0x43, 0x7B, 0xF0, 0xC0, 0x10}, kRorxRegisters = 0x3F; // in the fifth byte
constexpr size_t kRorxModrm = 4;
constexpr EncodingRow kRorxRow{0, Effect::Rotate, kNone};
constexpr size_t kLongest = 15, kMostRead = 24; // one that turns out to be too long is read to its end

// What a ModRM byte says, so that nobody has to ask twice: these bytes come in no order that a processor
// could foresee.
struct Modrm {
    bool memory = false, sib = false, rip = false;
    uint8_t bytes = 0;  // of the displacement
    uint8_t unused = 0; // bits of a dword beyond it
    uint32_t mask = 0;  // ~0 where there is one
};
constexpr std::array<Modrm, 256> kModrms = [] {
    std::array<Modrm, 256> table{};
    for (unsigned modrm = 0; modrm < 0xC0; ++modrm) {
        Modrm& entry = table[modrm];
        const unsigned mod = modrm >> 6, rm = modrm & 7;
        entry.memory = true;
        entry.sib = rm == 4;
        entry.rip = mod == 0 && rm == 5;
        entry.bytes = mod == 1 ? 1 : mod == 2 ? 4 : 0;
        entry.unused = mod == 1 ? 24 : 0;
        entry.mask = mod == 0 ? 0 : ~0u;
    }
    return table;
}();

// ModRM, SIB and displacement; null: no such form.
inline const uint8_t* take_operand(const uint8_t* p, HostInstruction& out, const char*& why) {
    const uint8_t modrm = *p++;
    const Modrm& form = kModrms[modrm];
    const uint8_t rex = out.rex;
    out.extension = (modrm >> 3) & 7;
    out.reg = static_cast<uint8_t>(out.extension | ((rex & 4) << 1));
    out.rm = static_cast<uint8_t>((modrm & 7) | ((rex & 1) << 3));
    why = refusal::kPrefix;
    if (!form.memory)
        return (rex & 2) != 0 ? nullptr : p;
    out.memory = true;
    if (form.sib) {
        const uint8_t sib = *p++;
        const auto index = static_cast<uint8_t>(((sib >> 3) & 7) | ((rex & 2) << 2));
        out.index = index == 4 ? kNoHostRegister : index;
        out.scale = static_cast<uint8_t>(1u << (sib >> 6));
        out.base = static_cast<uint8_t>((sib & 7) | ((rex & 1) << 3));
        if ((sib & 7) == 5 && modrm < 0x40) {
            out.base = kNoHostRegister;
            out.displacement = static_cast<int32_t>(read32(p));
            return (rex & 1) != 0 ? nullptr : p + 4;
        }
    } else {
        if ((rex & 2) != 0 || form.rip) {
            if ((rex & 2) == 0)
                why = refusal::kRipRelative;
            return nullptr;
        }
        out.base = out.rm;
    }
    const auto raised = static_cast<int32_t>(read32(p) << form.unused);
    out.displacement = static_cast<int32_t>(static_cast<uint32_t>(raised >> form.unused) & form.mask);
    return p + form.bytes;
}

// The prefixes before the opcode, in the one order that they may have; null: another.
const uint8_t* take_prefixes(const uint8_t* p, HostInstruction& out) {
    if (*p == 0xF0) {
        out.lock = true;
        ++p;
    }
    if (*p == 0x65) {
        if (p[1] != 0x67)
            return nullptr;
        out.window = true;
        p += 2;
    }
    if (*p == 0x66) {
        out.word = true;
        ++p;
    }
    if (*p == 0xF2 || *p == 0xF3)
        out.repeat = *p++;
    return p;
}

const char* check_prefixes(const HostInstruction& i) {
    const EncodingRow& row = *i.row;
    uint8_t prefixes = kNone;
    if (i.repeat != 0)
        prefixes = i.word ? k66Repeat : i.repeat == 0xF3 ? kF3 : kF2;
    else if (i.word)
        prefixes = k66;
    const bool fits = (row.prefixes & prefixes) != 0 && !(i.wide() && (i.word || !i.has(kWide))) &&
                      !(i.lock && !(i.has(kLock) && i.memory)) &&
                      !(i.window && !i.memory && row.effect != Effect::MaskedMove);
    return fits ? nullptr : refusal::kPrefix;
}

// No x87, MMX or XMM register of ours has a number above 7.
bool rex_fits(const HostInstruction& i) {
    if (!i.has(kModrm)) {
        const uint8_t used = i.has(kOpcodeReg) ? 9 : 0;
        return (i.rex & 7 & ~used) == 0;
    }
    const bool scalar = i.repeat != 0;
    const bool rm_general =
        i.has(kRm) || (i.has(kReadsRmIfScalar) && scalar) || (i.has(kWritesRmUnlessF3) && !scalar);
    const bool reg_general = i.has(kReg) || (i.has(kWritesRegIfScalar) && scalar);
    return !((i.rex & 4) != 0 && !reg_general) && !((i.rex & 1) != 0 && !i.memory && !rm_general);
}

// What no row has: a prefix out of order, or nothing that there is.
const char* why_refused(const HostInstruction& i) {
    if (i.map != 0)
        return refusal::kNotAllowed;
    switch (i.opcode) {
    case 0x26:
    case 0x2E:
    case 0x36:
    case 0x3E:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xF0:
    case 0xF2:
    case 0xF3:
        return refusal::kPrefix;
    default:
        return (i.opcode & 0xF0) == 0x40 ? refusal::kPrefix : refusal::kNotAllowed;
    }
}

} // namespace

[[gnu::always_inline]] static inline const char* take_apart_here(const uint8_t* first, size_t room, bool stub,
                                                                 HostInstruction& out) {
    out = HostInstruction{};
    const uint8_t* p = first;
    constexpr uint8_t kVex3 = 0xC4;
    if (kLegacyPrefix[*p]) {
        if (*p == kVex3) {
            if (room < sizeof kRorx || std::memcmp(p, kRorx, kRorxModrm) != 0 ||
                (p[kRorxModrm] & ~kRorxRegisters) != kRorx[kRorxModrm] ||
                p[kRorxModrm + 1] != kRorx[kRorxModrm + 1])
                return refusal::kNotAllowed;
            out.reg = static_cast<uint8_t>(8 | (p[kRorxModrm] >> 3 & 7));
            out.rm = static_cast<uint8_t>(8 | (p[kRorxModrm] & 7));
            out.row = &kRorxRow;
            out.length = sizeof kRorx;
            return nullptr;
        }
        p = take_prefixes(p, out);
        if (p == nullptr)
            return refusal::kPrefix;
    }
    const bool has_rex = (*p & 0xF0) == 0x40;
    out.rex = has_rex ? *p : uint8_t{0};
    p += has_rex ? 1 : 0;
    if (*p == 0x0F) {
        ++p;
        out.map = 1;
        if (*p == 0x38 || *p == 0x3A) {
            out.map = *p == 0x38 ? 2 : 3;
            ++p;
        }
    }
    out.opcode = *p++;
    const EncodingRow& row = kTable[out.map][out.opcode];
    out.row = &row;
    const uint32_t flags = row.flags;
    if (row.effect == Effect::Refused)
        return why_refused(out);
    if ((flags & kModrm) != 0) {
        const char* why = nullptr;
        p = take_operand(p, out, why);
        if (p == nullptr)
            return why;
    } else {
        out.rm = static_cast<uint8_t>((out.opcode & 7) | ((out.rex & 1) << 3));
    }
    const bool test = (flags & kTests) != 0 && out.extension <= 1;
    if ((flags & kImmediate8) != 0 || (test && (flags & kByte) != 0)) {
        out.immediate = *p++;
    } else if ((flags & kImmediate) != 0 || test) {
        out.immediate = read32(p);
        p += out.word ? 2 : 4;
        if (out.word)
            out.immediate &= 0xFFFF;
    }
    const auto length = static_cast<size_t>(p - first);
    if (length > kLongest)
        return refusal::kNotAllowed;
    if (length > room)
        return refusal::kRunsOut;
    out.length = static_cast<uint8_t>(length);
    if ((flags & kStub) != 0 && !stub)
        return refusal::kNotAllowed;
    if (first[0] != out.opcode ||
        row.prefixes % 2 == 0) { // there is something before the opcode, or has to be
        if (const char* why = check_prefixes(out); why != nullptr)
            return why;
        if ((out.rex & 7) != 0 && !rex_fits(out))
            return refusal::kPrefix;
    }
    if ((flags & (kMemory | kRegister)) != 0 && (flags & (out.memory ? kRegister : kMemory)) != 0)
        return refusal::kForm;
    if ((flags & kGroup) != 0) {
        const uint8_t allowed =
            out.memory && row.memory_extensions != 0xFF ? row.memory_extensions : row.extensions;
        if ((allowed >> out.extension & 1) == 0)
            return refusal::kForm;
    }
    return nullptr;
}

// The last ones, from where nothing beyond the end is looked at.
[[gnu::noinline]] static const char* take_apart_copy(const uint8_t* at, size_t room, bool stub,
                                                     HostInstruction& out) {
    uint8_t last[kMostRead]{};
    std::memcpy(last, at, room);
    return take_apart_here(last, room, stub, out);
}

const char* take_apart(const uint8_t* at, const uint8_t* end, bool stub, HostInstruction& out) {
    const auto room = static_cast<size_t>(end - at);
    return room < kMostRead ? take_apart_copy(at, room, stub, out) : take_apart_here(at, room, stub, out);
}

} // namespace vmm
