// 64-bit code: what the SDM says of it, written out, and properties over many bytes.
#include "vmm/decoder/long_decoder.h"

#include <Zydis/Zydis.h>
#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <random>
#include <vector>

using namespace vmm;

namespace {

using Bytes = std::vector<uint8_t>;

std::string hex(std::span<const uint8_t> bytes) {
    std::string text;
    for (const uint8_t byte : bytes)
        text += "0123456789abcdef"[byte >> 4], text += "0123456789abcdef"[byte & 15];
    return text;
}

LongInstruction decoded(Bytes bytes, uint32_t features = feature::kAll, uint64_t rip = 0x7FFF'0000'1000) {
    INFO(hex(bytes));
    bytes.resize(std::max<size_t>(bytes.size(), 15));
    LongInstruction out;
    REQUIRE(decode_long(bytes, rip, features, out));
    return out;
}

bool valid(const Bytes& bytes, uint32_t features = feature::kAll) {
    return decoded(bytes, features).lowering == LongLowering::NotLowered;
}

} // namespace

TEST_CASE("What 64-bit mode took away is #UD") {
    // SDM Vol. 2, the "64-Bit Mode" column: Invalid.
    const std::vector<Bytes> invalid = {
        {0x06},
        {0x07},
        {0x0E},
        {0x16},
        {0x17}, // PUSH and POP of ES, CS, SS
        {0x1E},
        {0x1F}, // and DS
        {0x27},
        {0x2F},
        {0x37},
        {0x3F}, // DAA DAS AAA AAS
        {0xD4, 0x0A},
        {0xD5, 0x0A},
        {0xD6}, // AAM AAD SALC
        {0x60},
        {0x61},                         // PUSHA POPA
        {0x62, 0x00},                   // BOUND
        {0x82, 0xC0, 0x01},             // the copy of 80h
        {0x9A, 1, 2, 3, 4, 5, 6},       // CALL far
        {0xEA, 1, 2, 3, 4, 5, 6},       // JMP far
        {0xC4, 0x00},                   // LES
        {0xC5, 0x00},                   // LDS
        {0xCE},                         // INTO
        {0x8E, 0xC8},                   // MOV CS
        {0x0F, 0x20, 0xC8},             // MOV from CR1
        {0x44, 0x0F, 0x21, 0xC0},       // MOV from DR8
        {0xF0, 0x90},                   // LOCK NOP
        {0xF0, 0x01, 0xC0},             // LOCK with a register destination
        {0xF0, 0x8B, 0x00},             // LOCK MOV
        {0x66, 0xC5, 0xF8, 0x58, 0xC0}, // prefixes before VEX:
        {0xF2, 0xC5, 0xF8, 0x58, 0xC0},
        {0xF3, 0xC5, 0xF8, 0x58, 0xC0},
        {0xF0, 0xC5, 0xF8, 0x58, 0xC0},
        {0x48, 0xC5, 0xF8, 0x58, 0xC0},
        {0xC4, 0xE2, 0x74, 0xF2, 0xC2},       // ANDN with VEX.L
        {0xC4, 0xE2, 0xFD, 0x13, 0xC0},       // VCVTPH2PS with VEX.W
        {0xC5, 0xF0, 0x10, 0x00},             // VMOVUPS with vvvv
        {0x62, 0xF1, 0x7C, 0x48, 0x58, 0xC0}, // EVEX
        {0x8F, 0xE9, 0x78, 0x01, 0xC8},       // XOP
        {0x0F, 0x0F, 0xC0, 0x9E},             // 3DNow!
        {0x0F, 0x0B},                         // UD2
        {0x0F, 0x01, 0xC8},                   // MONITOR
        {0x0F, 0xAA},                         // RSM
    };
    for (const Bytes& bytes : invalid) {
        INFO(hex(bytes));
        CHECK_FALSE(valid(bytes));
    }
}

TEST_CASE("What is not promised is #UD") {
    struct Promised {
        Bytes bytes;
        uint32_t needs;
    };
    const std::vector<Promised> cases = {
        {{0x48, 0x0F, 0xC7, 0x08}, feature::kCmpxchg16b},
        {{0x9F}, feature::kLahf},
        {{0x66, 0x0F, 0x38, 0x17, 0xC0}, feature::kSse41},
        {{0xF2, 0x0F, 0x38, 0xF1, 0xC0}, feature::kSse42},
        {{0x66, 0x0F, 0x38, 0x37, 0xC0}, feature::kSse42},
        {{0xF3, 0x0F, 0xB8, 0xC0}, feature::kPopcnt},
        {{0x0F, 0x38, 0xF0, 0x00}, feature::kMovbe},
        {{0xC4, 0xE2, 0x70, 0xF2, 0xC2}, feature::kBmi1},
        {{0xC4, 0xE2, 0x73, 0xF5, 0xC2}, feature::kBmi2},
        {{0xC5, 0xFC, 0x58, 0xC0}, feature::kAvx},
        {{0xC5, 0xFD, 0xFE, 0xC0}, feature::kAvx2},
        {{0xC4, 0xE2, 0x75, 0x92, 0x04, 0x10}, feature::kAvx2}, // VGATHERDPS
        {{0xC4, 0xE2, 0x79, 0x13, 0xC0}, feature::kF16c},
        {{0xC4, 0xE2, 0x71, 0x98, 0xC2}, feature::kFma},
        {{0x66, 0x0F, 0x38, 0xDC, 0xC1}, feature::kAes},
        {{0xC4, 0xE2, 0x71, 0xDC, 0xC1}, feature::kAes | feature::kAvx},
        {{0x66, 0x0F, 0x3A, 0x44, 0xC1, 0}, feature::kPclmul},
        {{0xC4, 0xE3, 0x71, 0x44, 0xC1, 0}, feature::kPclmul | feature::kAvx},
        {{0x66, 0x0F, 0x38, 0xF6, 0xC0}, feature::kAdx},
        {{0x0F, 0xC7, 0xF0}, feature::kRdrand},
        {{0x0F, 0x01, 0xD0}, feature::kXsave}, // XGETBV
        {{0x0F, 0xAE, 0x20}, feature::kXsave},
        {{0x0F, 0xAE, 0x30}, feature::kXsaveopt},
        {{0x0F, 0xC7, 0x20}, feature::kXsavec},
        {{0x0F, 0xC7, 0x28}, feature::kXsaves},
        {{0x0F, 0x01, 0xF9}, feature::kRdtscp},
        {{0x66, 0x0F, 0x38, 0x82, 0x00}, feature::kInvpcid},
        {{0xF3, 0x48, 0x0F, 0xAE, 0xD0}, feature::kFsGsBase},
        {{0x0F, 0x01, 0xCB}, feature::kSmap}, // STAC
        {{0x0F, 0x01, 0xCA}, feature::kSmap},
    };
    for (const Promised& one : cases) {
        INFO(hex(one.bytes));
        CHECK(valid(one.bytes));
        CHECK(valid(one.bytes, one.needs));
        for (uint32_t bit = 1; bit <= feature::kAll; bit <<= 1)
            if ((one.needs & bit) != 0)
                CHECK_FALSE(valid(one.bytes, feature::kAll & ~bit));
    }
    // A prefix that means nothing to a processor without them.
    CHECK(decoded({0xF3, 0x0F, 0xBD, 0xC0}, feature::kAll).mnemonic == ZYDIS_MNEMONIC_LZCNT);
    CHECK(decoded({0xF3, 0x0F, 0xBD, 0xC0}, feature::kV2).mnemonic == ZYDIS_MNEMONIC_BSR);
    CHECK(decoded({0xF3, 0x0F, 0xBC, 0xC0}, feature::kAll).mnemonic == ZYDIS_MNEMONIC_TZCNT);
    CHECK(decoded({0xF3, 0x0F, 0xBC, 0xC0}, feature::kV2).mnemonic == ZYDIS_MNEMONIC_BSF);
    CHECK(valid({0xF3, 0x0F, 0x1E, 0xFA}, 0)); // ENDBR64
    CHECK(valid({0x0F, 0x38, 0x00, 0xC1}, 0)); // PSHUFB mm
}

TEST_CASE("Length, operand size and mnemonic as 64-bit mode has them") {
    struct Fact {
        Bytes bytes;
        unsigned length, operand_bytes;
        ZydisMnemonic mnemonic;
    };
    const std::vector<Fact> facts = {
        {{0x50}, 1, 8, ZYDIS_MNEMONIC_PUSH},
        {{0x66, 0x50}, 2, 2, ZYDIS_MNEMONIC_PUSH},
        {{0x41, 0x5F}, 2, 8, ZYDIS_MNEMONIC_POP},
        {{0x68, 1, 2, 3, 0xFF}, 5, 8, ZYDIS_MNEMONIC_PUSH},
        {{0x0F, 0xA0}, 2, 8, ZYDIS_MNEMONIC_PUSH}, // PUSH FS
        {{0xC8, 1, 0, 0}, 4, 8, ZYDIS_MNEMONIC_ENTER},
        {{0xC9}, 1, 8, ZYDIS_MNEMONIC_LEAVE},
        {{0xE8, 1, 2, 3, 4}, 5, 8, ZYDIS_MNEMONIC_CALL},
        {{0x66, 0xE8, 1, 2, 3, 4}, 6, 8, ZYDIS_MNEMONIC_CALL}, // 66h is ignored
        {{0x66, 0x0F, 0x84, 1, 2, 3, 4}, 7, 8, ZYDIS_MNEMONIC_JZ},
        {{0xFF, 0xE0}, 2, 8, ZYDIS_MNEMONIC_JMP},
        {{0xC3}, 1, 8, ZYDIS_MNEMONIC_RET},
        {{0x48, 0x63, 0xC1}, 3, 8, ZYDIS_MNEMONIC_MOVSXD},
        {{0x63, 0xC1}, 2, 4, ZYDIS_MNEMONIC_MOVSXD},
        {{0x90}, 1, 4, ZYDIS_MNEMONIC_NOP},
        {{0xF3, 0x90}, 2, 4, ZYDIS_MNEMONIC_PAUSE},
        {{0x41, 0x90}, 2, 4, ZYDIS_MNEMONIC_XCHG},
        {{0x48, 0xB8, 1, 2, 3, 4, 5, 6, 7, 8}, 10, 8, ZYDIS_MNEMONIC_MOV},
        {{0x48, 0xC7, 0xC0, 1, 2, 3, 4}, 7, 8, ZYDIS_MNEMONIC_MOV},
        {{0x66, 0x48, 0xB8, 1, 2, 3, 4, 5, 6, 7, 8}, 11, 8, ZYDIS_MNEMONIC_MOV}, // REX.W over 66h
        {{0x48, 0x66, 0xB8, 1, 2}, 5, 2, ZYDIS_MNEMONIC_MOV}, // a REX before a prefix is nothing
        {{0x48, 0x0F, 0xC7, 0x08}, 4, 8, ZYDIS_MNEMONIC_CMPXCHG16B},
        {{0x0F, 0xC7, 0x08}, 3, 4, ZYDIS_MNEMONIC_CMPXCHG8B},
        {{0x0F, 0x01, 0xF8}, 3, 4, ZYDIS_MNEMONIC_SWAPGS},
        {{0x0F, 0x05}, 2, 8, ZYDIS_MNEMONIC_SYSCALL},
        {{0x48, 0x0F, 0x07}, 3, 8, ZYDIS_MNEMONIC_SYSRET},
        {{0x48, 0xCF}, 2, 8, ZYDIS_MNEMONIC_IRETQ},
        {{0xCF}, 1, 4, ZYDIS_MNEMONIC_IRETD},
        {{0x44, 0x0F, 0x22, 0xC0}, 4, 8, ZYDIS_MNEMONIC_MOV}, // MOV CR8
        {{0x0F, 0x22, 0xD8}, 3, 8, ZYDIS_MNEMONIC_MOV},
        {{0x9C}, 1, 8, ZYDIS_MNEMONIC_PUSHFQ},
        {{0x48, 0x99}, 2, 8, ZYDIS_MNEMONIC_CQO},
        {{0x48, 0xA5}, 2, 8, ZYDIS_MNEMONIC_MOVSQ},
        {{0xE3, 0x10}, 2, 8, ZYDIS_MNEMONIC_JRCXZ},
        {{0x67, 0xE3, 0x10}, 3, 8, ZYDIS_MNEMONIC_JECXZ},
        {{0x0F, 0x0D, 0x08}, 3, 4, ZYDIS_MNEMONIC_PREFETCHW},
    };
    for (const Fact& fact : facts) {
        INFO(hex(fact.bytes));
        const LongInstruction out = decoded(fact.bytes);
        CHECK(out.lowering == LongLowering::NotLowered);
        CHECK(unsigned{out.length} == fact.length);
        CHECK(unsigned{out.operand_bytes} == fact.operand_bytes);
        CHECK(out.mnemonic == fact.mnemonic);
    }
}

TEST_CASE("Operands of 64-bit code") {
    constexpr uint64_t kRip = 0xFFFF'8000'0000'1000;
    SECTION("relative to RIP, behind which the immediate counts") {
        const LongInstruction out =
            decoded({0x48, 0xC7, 0x05, 0xF0, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0x80}, 0, kRip);
        CHECK(out.memory.rip_relative);
        CHECK(out.memory.base == kNoRegister);
        CHECK(static_cast<uint64_t>(out.memory.displacement) == kRip + 11 - 16);
        CHECK(out.immediate == 0xFFFF'FFFF'8000'0001);
        const LongInstruction narrow = decoded({0x67, 0x8B, 0x05, 0, 0, 0, 0}, 0, kRip);
        CHECK(narrow.memory.rip_relative);
        CHECK(narrow.memory.displacement == 0x1007);
    }
    SECTION("an absolute address goes through SIB") {
        const LongInstruction out = decoded({0x8B, 0x04, 0x25, 0, 0, 0, 0x80});
        CHECK_FALSE(out.memory.rip_relative);
        CHECK(out.memory.base == kNoRegister);
        CHECK(out.memory.displacement == -0x8000'0000LL);
    }
    SECTION("moffs64") {
        const LongInstruction out = decoded({0x48, 0xA1, 1, 2, 3, 4, 5, 6, 7, 8});
        CHECK(out.length == 10);
        CHECK(out.memory.displacement == 0x0807'0605'0403'0201);
        CHECK(out.memory.access == kAccessRead);
        CHECK(decoded({0x67, 0xA1, 1, 2, 3, 4}).length == 6);
    }
    SECTION("imm64") {
        const LongInstruction out = decoded({0x49, 0xBF, 1, 2, 3, 4, 5, 6, 7, 8});
        CHECK(out.immediate == 0x0807'0605'0403'0201);
        CHECK(out.immediate_bytes == 8);
        CHECK(out.opcode_register == 15);
        CHECK(out.opcode_gpr == 8);
        CHECK(out.opcode_written);
    }
    SECTION("REX") {
        const LongInstruction out = decoded({0x4F, 0x8B, 0x7C, 0xE5, 0x10}); // mov r15,[r13+r12*8+16]
        CHECK(out.rex);
        CHECK(out.rex_w);
        CHECK(out.reg == 15);
        CHECK(out.memory.base == 13);
        CHECK(out.memory.index == 12);
        CHECK(out.memory.scale == 8);
        CHECK(out.memory.displacement == 16);
        CHECK_FALSE(decoded({0x88, 0xE0}).rex); // AH
        CHECK(decoded({0x40, 0x88, 0xE0}).rex); // SPL
        CHECK(decoded({0x44, 0x89, 0xC0}).reg == 8);
        CHECK_FALSE(decoded({0x44, 0x66, 0x89, 0xC0}).rex);
        CHECK(decoded({0x44, 0x66, 0x89, 0xC0}).reg == 0);
    }
    SECTION("67h") {
        const LongInstruction out = decoded({0x67, 0x8B, 0x00});
        CHECK(out.memory.address_bits == 32);
        CHECK(out.address_bits == 32);
    }
    SECTION("segments without a base are nothing, and say only which exception it is") {
        for (const uint8_t prefix : {0x26, 0x2E, 0x36, 0x3E})
            CHECK(decoded({prefix, 0x8B, 0x00}).memory.segment == kNoRegister);
        CHECK(decoded({0x64, 0x8B, 0x00}).memory.segment == 4);
        CHECK(decoded({0x65, 0x8B, 0x00}).memory.segment == 5);
        CHECK(decoded({0x65, 0x2E, 0x8B, 0x00}).memory.segment == 5);
        CHECK(decoded({0x8B, 0x04, 0x24}).memory.on_stack_segment);
        CHECK_FALSE(decoded({0x8B, 0x00}).memory.on_stack_segment);
    }
    SECTION("VEX") {
        const LongInstruction andn = decoded({0xC4, 0xE2, 0x70, 0xF2, 0xC2}); // andn eax,ecx,edx
        CHECK(andn.vex.present);
        CHECK(andn.map == 2);
        CHECK(andn.vex.vvvv == 1);
        CHECK(andn.reg == 0);
        CHECK(andn.rm == 2);
        CHECK(andn.vvvv_gpr == 4);
        CHECK_FALSE(andn.vex.l);
        const LongInstruction add = decoded({0xC5, 0x34, 0x58, 0xC2}); // vaddps ymm8,ymm9,ymm2
        CHECK(add.map == 1);
        CHECK(add.vex.l);
        CHECK(add.vex.vvvv == 9);
        CHECK(add.reg == 8);
        CHECK(add.rm == 2);
        const LongInstruction wide = decoded({0xC4, 0x42, 0xF1, 0x98, 0xC2}); // vfmadd132pd xmm8,xmm1,xmm10
        CHECK(wide.vex.w);
        CHECK(wide.vex.pp == 1);
        CHECK(wide.reg == 8);
        CHECK(wide.rm == 10);
        const LongInstruction gather = decoded({0xC4, 0xE2, 0x75, 0x92, 0x04, 0x10});
        CHECK(gather.memory.vector_index);
        CHECK(gather.memory.index == 2);
        CHECK(gather.memory.access == kAccessRead);
    }
    SECTION("alignment") {
        CHECK(decoded({0x0F, 0x58, 0x00}).memory.alignment == 16);
        CHECK(decoded({0x0F, 0x10, 0x00}).memory.alignment == 0);
        CHECK(decoded({0xC5, 0xFC, 0x28, 0x00}).memory.alignment == 32);
        CHECK(decoded({0xC5, 0xF8, 0x58, 0x00}).memory.alignment == 0);
        CHECK(decoded({0x48, 0x0F, 0xC7, 0x08}).memory.alignment == 16);
        CHECK(decoded({0x66, 0x0F, 0x3A, 0x63, 0x00, 0}).memory.alignment == 0); // PCMPISTRI
        CHECK(decoded({0x0F, 0xAE, 0x20}).memory.alignment == 64);
    }
    SECTION("branches") {
        CHECK(decoded({0xEB, 0xFE}, 0, kRip).target == kRip);
        CHECK(decoded({0x66, 0xE9, 0, 0, 0, 0x80}, 0, kRip).target == kRip + 6 - 0x8000'0000);
    }
    SECTION("a shift count has six bits with REX.W") {
        CHECK(decoded({0xC1, 0xE0, 0x20}).flags_written == 0);
        CHECK(decoded({0x48, 0xC1, 0xE0, 0x20}).flags_written != 0);
        CHECK(decoded({0x48, 0xC1, 0xE0, 0x40}).flags_written == 0);
    }
}

// SDM Vol. 2A "LOCK": these, with a destination in memory.
TEST_CASE("LOCK is #UD but for the instructions it is made for") {
    const auto lockable = [](unsigned map, unsigned opcode, unsigned reg) {
        if (map == 0) {
            if (opcode < 0x38)
                return (opcode & 7) < 2; // ADD OR ADC SBB AND SUB XOR
            switch (opcode) {
            case 0x80:
            case 0x81:
            case 0x83:
                return reg != 7; // CMP
            case 0x86:
            case 0x87:
                return true;
            case 0xF6:
            case 0xF7:
                return reg == 2 || reg == 3; // NOT NEG
            case 0xFE:
            case 0xFF:
                return reg < 2;
            default:
                return false;
            }
        }
        return opcode == 0xAB || opcode == 0xB3 || opcode == 0xBB || (opcode == 0xBA && reg > 4) ||
               opcode == 0xB0 || opcode == 0xB1 || opcode == 0xC0 || opcode == 0xC1 ||
               (opcode == 0xC7 && reg == 1);
    };
    const auto prefix_or_escape = [](unsigned map, unsigned opcode) {
        return map == 0
                   ? opcode == 0x0F || opcode == 0x26 || opcode == 0x2E || opcode == 0x36 || opcode == 0x3E ||
                         (opcode & 0xF0) == 0x40 || (opcode >= 0x64 && opcode <= 0x67) || opcode == 0xF0 ||
                         opcode == 0xF2 || opcode == 0xF3
                   : opcode == 0x38 || opcode == 0x3A;
    };
    for (unsigned map = 0; map < 2; ++map)
        for (unsigned opcode = 0; opcode < 256; ++opcode)
            for (unsigned modrm = 0; modrm < 256 && !prefix_or_escape(map, opcode); ++modrm) {
                Bytes bytes = {0xF0};
                if (map == 1)
                    bytes.push_back(0x0F);
                bytes.push_back(static_cast<uint8_t>(opcode));
                bytes.push_back(static_cast<uint8_t>(modrm));
                INFO(hex(bytes));
                CHECK(valid(bytes) == (modrm < 0xC0 && lockable(map, opcode, modrm >> 3 & 7)));
            }
}

TEST_CASE("Fifteen bytes are the limit") {
    Bytes most(14, 0x66);
    most.push_back(0x90);
    CHECK(decoded(most).length == 15);
    Bytes over(15, 0x66);
    over.push_back(0x90);
    CHECK(decoded(over).lowering == LongLowering::Undefined);
    CHECK(decoded(over).too_long);
}

// Every map, prefix and ModRM in turn, then bytes at random.
TEST_CASE("Length, bytes and shortened input agree") {
    uint64_t defined = 0, undefined = 0;
    const auto check = [&](std::span<const uint8_t> bytes, uint32_t features) {
        LongInstruction out, again;
        const bool complete = decode_long(bytes, 0x1000, features, out);
        bool good = complete && out.length >= 1 && out.length <= 15;
        if (good && out.lowering != LongLowering::Undefined) {
            ++defined;
            good = std::equal(out.bytes, out.bytes + out.length, bytes.begin()) &&
                   decode_long(bytes.first(out.length), 0x1000, features, again) &&
                   again.length == out.length && again.mnemonic == out.mnemonic &&
                   again.lowering == out.lowering &&
                   !decode_long(bytes.first(out.length - 1u), 0x1000, features, again);
            // More is promised, never less; what a lesser promise has stays valid.
            good = good && decode_long(bytes, 0x1000, feature::kAll, again) &&
                   again.lowering == LongLowering::NotLowered && again.length == out.length;
        } else
            ++undefined;
        if (!good)
            FAIL(hex(bytes));
    };
    const std::array<Bytes, 6> prefixes = {Bytes{}, {0x66}, {0xF2}, {0xF3}, {0x4D}, {0x66, 0x48}};
    const std::array<Bytes, 4> maps = {Bytes{}, {0x0F}, {0x0F, 0x38}, {0x0F, 0x3A}};
    for (const Bytes& prefix : prefixes)
        for (const Bytes& map : maps)
            for (unsigned opcode = 0; opcode < 256; ++opcode)
                for (unsigned modrm = 0; modrm < 256; ++modrm) {
                    Bytes bytes = prefix;
                    bytes.insert(bytes.end(), map.begin(), map.end());
                    bytes.push_back(static_cast<uint8_t>(opcode));
                    bytes.push_back(static_cast<uint8_t>(modrm));
                    bytes.resize(24, 0x24);
                    check(bytes, modrm % 2 != 0 ? feature::kV2 : feature::kV3);
                }
    std::mt19937 random(20240611);
    for (unsigned i = 0; i < 500'000; ++i) {
        std::array<uint8_t, 24> bytes;
        for (uint8_t& byte : bytes)
            byte = static_cast<uint8_t>(random());
        if (i % 4 == 0)
            bytes[0] = random() % 2 != 0 ? 0xC4 : 0xC5;
        check(bytes, random() & feature::kAll);
    }
    CHECK(defined > 500'000);
    CHECK(undefined > 200'000);
}
