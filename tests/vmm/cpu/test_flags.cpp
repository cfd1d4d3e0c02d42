#include "tests/vmm/cpu/call_out_fixture.h"

using namespace vmm;
using namespace vmm::testing;

TEST_CASE("flags: CLI and STI follow IOPL in protected mode", "[cpu]") {
    CallOuts t;
    t.user(3);
    REQUIRE(t.cpu.sti());
    CHECK((t.state.eflags & eflags::kIf) != 0);
    CHECK(t.state.interrupt_shadow == 1);
    t.state.interrupt_shadow = 0;
    REQUIRE(t.cpu.sti());
    CHECK(t.state.interrupt_shadow == 0); // IF was set already
    t.user(2);
    CHECK(faults_with(t.cpu.cli(), Vector::GeneralProtection));
    CHECK((t.state.eflags & eflags::kIf) != 0);
}

TEST_CASE("flags: protected-mode virtual interrupts move VIF, and STI with VIP is #GP(0)", "[cpu]") {
    CallOuts t;
    t.user(0);
    t.state.cr4 = cr4::kPvi;
    REQUIRE(t.cpu.sti());
    CHECK((t.state.eflags & (eflags::kIf | eflags::kVif)) == eflags::kVif);
    t.state.eflags |= eflags::kVip;
    REQUIRE(t.cpu.cli());
    CHECK((t.state.eflags & eflags::kVif) == 0);
    CHECK(faults_with(t.cpu.sti(), Vector::GeneralProtection));
}

TEST_CASE("flags: PUSHF and POPF in v86 mode below IOPL 3 need VME and 16 bits", "[cpu]") {
    CallOuts t;
    t.v86(0);
    CHECK(faults_with(t.cpu.pushf_image(Width::Word), Vector::GeneralProtection));
    CHECK(faults_with(t.cpu.popf(0, Width::Word), Vector::GeneralProtection));
    t.state.cr4 = cr4::kVme;
    CHECK(faults_with(t.cpu.pushf_image(Width::Dword), Vector::GeneralProtection));
    REQUIRE(t.cpu.popf(eflags::kIf | eflags::kCf, Width::Word));
    CHECK((t.state.eflags & (eflags::kVif | eflags::kIf | eflags::kCf)) == (eflags::kVif | eflags::kCf));
    const uint32_t image = t.cpu.pushf_image(Width::Word).value();
    CHECK((image & (eflags::kIf | eflags::kIopl)) == (eflags::kIf | eflags::kIopl));
    CHECK(faults_with(t.cpu.popf(eflags::kTf, Width::Word), Vector::GeneralProtection));
    t.state.eflags |= eflags::kVip;
    CHECK(faults_with(t.cpu.popf(eflags::kIf, Width::Word), Vector::GeneralProtection));
}

TEST_CASE("flags: POPF changes IOPL only in ring 0 and IF only up to IOPL", "[cpu]") {
    CallOuts t;
    REQUIRE(t.cpu.popf(eflags::kIopl | eflags::kIf, Width::Dword));
    CHECK((t.state.eflags & (eflags::kIopl | eflags::kIf)) == (eflags::kIopl | eflags::kIf));
    t.user(0);
    REQUIRE(t.cpu.popf(eflags::kIopl | eflags::kZf, Width::Dword));
    CHECK((t.state.eflags & (eflags::kIopl | eflags::kIf | eflags::kZf)) == (eflags::kIf | eflags::kZf));
    t.user(3);
    REQUIRE(t.cpu.popf(0, Width::Word));
    CHECK((t.state.eflags & (eflags::kIopl | eflags::kIf)) == eflags::kIopl);
}

TEST_CASE("flags: POPF leaves VM, VIF and VIP, clears RF, and its word form leaves AC and ID", "[cpu]") {
    CallOuts t;
    t.state.eflags = eflags::kFixed1 | eflags::kRf | eflags::kVif | eflags::kAc;
    REQUIRE(t.cpu.popf(eflags::kVm | eflags::kVip | eflags::kId | eflags::kNt, Width::Word));
    CHECK(t.state.eflags == (eflags::kFixed1 | eflags::kVif | eflags::kAc | eflags::kNt));
    REQUIRE(t.cpu.popf(eflags::kVm | eflags::kVip | eflags::kId, Width::Dword));
    CHECK(t.state.eflags == (eflags::kFixed1 | eflags::kVif | eflags::kId));
}

TEST_CASE("flags: PUSHF shows neither VM nor RF", "[cpu]") {
    CallOuts t;
    t.v86(3);
    t.state.eflags |= eflags::kRf | eflags::kAc;
    CHECK(t.cpu.pushf_image(Width::Dword).value() == (eflags::kFixed1 | eflags::kIopl | eflags::kAc));
}

TEST_CASE("bcd: the SDM's examples and edges", "[cpu]") {
    CallOuts t;
    uint32_t& eax = t.state.reg(Reg::Eax);
    const auto cf_af = [&] { return t.state.eflags & (eflags::kCf | eflags::kAf); };
    eax = 0xAE; // ADD AL,BL of 79h and 35h (SDM "DAA")
    t.state.eflags = eflags::kFixed1 | eflags::kSf | eflags::kOf;
    t.cpu.daa();
    CHECK(eax == 0x14);
    CHECK(cf_af() == (eflags::kCf | eflags::kAf));
    eax = 0xEE; // 35h - 47h (SDM "DAS")
    t.state.eflags = eflags::kFixed1 | eflags::kCf | eflags::kAf;
    t.cpu.das();
    CHECK(eax == 0x88);
    CHECK(cf_af() == (eflags::kCf | eflags::kAf));
    eax = 0x123400FA; // the carry of AL goes into AH once, through the addition of 106h
    t.state.eflags = eflags::kFixed1;
    t.cpu.aaa();
    CHECK(eax == 0x12340200);
    eax = 0x0205;
    t.state.eflags = eflags::kFixed1 | eflags::kAf;
    t.cpu.aas();
    CHECK(eax == 0x000F);
    eax = 0x0307;
    t.cpu.aad(10);
    CHECK(eax == 37);
    REQUIRE(t.cpu.aam(10));
    CHECK(eax == 0x0307);
    CHECK(faults_with(t.cpu.aam(0), Vector::DivideError));
    CHECK(eax == 0x0307);
}

// All of AX, AF and CF: the hash of AX and the flags that an Intel processor (family 6, model CFh) left.
TEST_CASE("bcd: results and flags are those of Intel's processors, exhaustively", "[cpu]") {
    struct Row {
        const char* name;
        void (*run)(Cpu&);
        uint64_t hash;
    };
    static constexpr Row kRows[] = {
        {"daa", [](Cpu& cpu) { cpu.daa(); }, 0xf8a454b9364d6125},
        {"das", [](Cpu& cpu) { cpu.das(); }, 0x8a657678e1e2fd25},
        {"aaa", [](Cpu& cpu) { cpu.aaa(); }, 0xff871ff615639925},
        {"aas", [](Cpu& cpu) { cpu.aas(); }, 0x872a69964a69ff25},
        {"aam", [](Cpu& cpu) { (void)cpu.aam(10); }, 0xca9c0ce76f253b25},
        {"aad", [](Cpu& cpu) { cpu.aad(10); }, 0x4dab17b7e9b2c325},
    };
    CallOuts t;
    for (const Row& row : kRows) {
        uint64_t hash = 0xcbf29ce484222325; // FNV-1a
        const auto add = [&](uint32_t byte) { hash = (hash ^ (byte & 0xFF)) * 0x100000001b3; };
        for (uint32_t ax = 0; ax < 0x10000; ++ax)
            for (const uint32_t flags : {0u, eflags::kCf, eflags::kAf, eflags::kCf | eflags::kAf}) {
                t.state.reg(Reg::Eax) = ax;
                t.state.eflags = eflags::kFixed1 | flags;
                row.run(t.cpu);
                const uint32_t after = t.state.eflags & eflags::kArithmetic;
                add(t.state.reg(Reg::Eax));
                add(t.state.reg(Reg::Eax) >> 8);
                add(after);
                add(after >> 8);
            }
        INFO(row.name);
        CHECK(hash == row.hash);
    }
}
