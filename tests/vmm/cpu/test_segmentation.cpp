#include "guest_fixture.h"

using namespace vmm;
using namespace vmm::test;

TEST_CASE("segments: a real-mode load keeps limit and attributes (unreal mode)", "[cpu]") {
    Guest g;
    g.real_mode();
    g.seg(SegReg::Ds) = Segment{0x10, 1, 0, 0xFFFFFFFF, 0xC09300};
    REQUIRE(g.cpu.load_segment(SegReg::Ds, 0x1234));
    CHECK(g.seg(SegReg::Ds).base == 0x12340);
    CHECK(g.seg(SegReg::Ds).limit == 0xFFFFFFFF);
    CHECK(g.seg(SegReg::Ds).attributes() == 0xC09300);
    CHECK(g.cpu.linear_address(SegReg::Ds, 0x200000, 4, AccessKind::Write).value() == 0x212340);
}

TEST_CASE("segments: a register left null by protected mode is a 64 KiB one after a real-mode load",
          "[cpu]") {
    Guest g;
    g.real_mode();
    g.seg(SegReg::Fs) = Segment{0, 0, 0, 0, 0};
    REQUIRE(g.cpu.load_segment(SegReg::Fs, 0x40));
    CHECK(g.seg(SegReg::Fs).usable == 1);
    CHECK(g.seg(SegReg::Fs).limit == 0xFFFF);
    CHECK(outcome(g.cpu.linear_address(SegReg::Fs, 0xFFFF, 1, AccessKind::Write)) == "ok");
    CHECK(outcome(g.cpu.linear_address(SegReg::Fs, 0xFFFF, 2, AccessKind::Write)) == "13(0000)");
}

TEST_CASE("segments: a v86 load gives 64 KiB and DPL 3", "[cpu]") {
    Guest g;
    g.v86(3);
    g.seg(SegReg::Es).limit = 0xFFFFFFFF;
    REQUIRE(g.cpu.load_segment(SegReg::Es, 0xABCD));
    CHECK(g.seg(SegReg::Es).base == 0xABCD0);
    CHECK(g.seg(SegReg::Es).limit == 0xFFFF);
    CHECK(g.seg(SegReg::Es).dpl() == 3);
    CHECK(outcome(g.cpu.linear_address(SegReg::Cs, 0, 4, AccessKind::Write)) == "ok");
}

TEST_CASE("segments: a null data selector loads but any use is #GP(0)", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    REQUIRE(g.cpu.load_segment(SegReg::Gs, 3));
    CHECK(g.seg(SegReg::Gs).selector == 3);
    CHECK(g.seg(SegReg::Gs).usable == 0);
    CHECK(outcome(g.cpu.linear_address(SegReg::Gs, 0, 1, AccessKind::Read)) == "13(0000)");
}

TEST_CASE("segments: data segment checks and their error codes", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    const auto load = [&](uint16_t selector) {
        const auto before = g.snapshot();
        const std::string result = outcome(g.cpu.load_segment(SegReg::Ds, selector));
        if (result != "ok")
            CHECK(g.unchanged(before));
        return result;
    };
    CHECK(load(0x103) == "13(0100)");       // beyond the limit
    CHECK(load(0x0C) == "13(000c)");        // no LDT
    CHECK(load(kKernelDs) == "13(0010)");   // CPL 3 > DPL 0
    CHECK(load(kTssSel) == "13(0028)");     // a system descriptor
    CHECK(load(kConformingCs | 3) == "ok"); // readable conforming code ignores privilege
    CHECK(load(kUserCs) == "ok");           // readable code
    g.gdt(kFree, flat(0xF9));               // execute-only
    CHECK(load(kFree | 3) == "13(0048)");
    g.gdt(kFree, not_present(flat(kData3)));
    CHECK(load(kFree | 3) == "11(0048)");
    g.gdt(kFree, not_present(flat(kData0))); // privilege before presence
    CHECK(load(kFree | 3) == "13(0048)");
    CHECK(outcome(g.cpu.load_segment(SegReg::Cs, kUserCs)) == "6");

    g.protected_mode(0);
    g.gdt(kFree, flat(0xB3)); // DPL 1
    CHECK(load(kFree | 1) == "ok");
    CHECK(load(kFree | 2) == "13(0048)"); // RPL 2 > DPL 1
}

TEST_CASE("segments: the last byte of a descriptor must be inside the table", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    g.state.gdtr.limit = kKernelDs + 6;
    CHECK(outcome(g.cpu.load_segment(SegReg::Ds, kKernelDs)) == "13(0010)");
    g.state.gdtr.limit = kKernelDs + 7;
    CHECK(outcome(g.cpu.load_segment(SegReg::Ds, kKernelDs)) == "ok");
}

TEST_CASE("segments: stack segment checks, shadow and accessed bit", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    const auto load = [&](uint16_t selector) { return outcome(g.cpu.load_segment(SegReg::Ss, selector)); };
    const auto before = g.snapshot();
    CHECK(load(0) == "13(0000)");
    CHECK(load(kUserDs) == "13(0020)");
    CHECK(load(kKernelDs | 1) == "13(0010)"); // RPL != CPL
    CHECK(load(kKernelCs) == "13(0008)");
    g.gdt(kFree, flat(0x91)); // read-only
    CHECK(load(kFree) == "13(0048)");
    g.gdt(kFree, not_present(flat(kData0)));
    CHECK(load(kFree) == "12(0048)");
    CHECK(g.unchanged(before));

    g.gdt(kFree, flat(0x92)); // not accessed yet
    CHECK(load(kFree) == "ok");
    CHECK(g.access_byte(kFree) == 0x93);
    CHECK(g.seg(SegReg::Ss).attributes() == 0xC09300);
    CHECK(g.state.interrupt_shadow == kShadowMovSs);
}

TEST_CASE("segments: an LDT selector reads the LDT and keeps TI in error codes", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    REQUIRE(g.cpu.lldt(kLdtSel));
    g.ldt(0x0C, descriptor(0x12345678, 0xABCDE, kData0, 0x4));
    REQUIRE(g.cpu.load_segment(SegReg::Fs, 0x0C));
    CHECK(g.seg(SegReg::Fs).base == 0x12345678);
    CHECK(g.seg(SegReg::Fs).limit == 0xABCDE);
    CHECK(outcome(g.cpu.load_segment(SegReg::Fs, 0x44)) == "13(0044)");
}

TEST_CASE("segments: a page fault on the descriptor changes nothing", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    g.paging();
    g.unmap(kGdt);
    const auto before = g.snapshot();
    CHECK(outcome(g.cpu.load_segment(SegReg::Ds, kUserDs)) == "14(0000)@1020");
    CHECK(g.unchanged(before));
    // Present but read-only: reading works, setting the accessed bit does not, and that is a
    // supervisor write whatever the CPL.
    g.gdt(kFree, flat(0xF2));
    g.set_page(kGdt, kGdt | 5);
    CHECK(outcome(g.cpu.load_segment(SegReg::Ds, kFree | 3)) == "14(0003)@104d");
    CHECK(g.unchanged(before));
}

TEST_CASE("linear_address: limits, expand-down and access types", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    const auto at = [&](uint32_t offset, uint32_t size, AccessKind access = AccessKind::Read,
                        SegReg reg = SegReg::Ds) {
        return outcome(g.cpu.linear_address(reg, offset, size, access));
    };
    g.seg(SegReg::Ds) = Segment{kKernelDs, 1, 0x1000, 0x7FFF, 0x409300};
    CHECK(g.cpu.linear_address(SegReg::Ds, 0x10, 4, AccessKind::Read).value() == 0x1010);
    CHECK(at(0x7FFC, 4) == "ok");
    CHECK(at(0x7FFD, 4) == "13(0000)");
    CHECK(at(0xFFFFFFFE, 4) == "13(0000)"); // wraps
    g.seg(SegReg::Ss) = g.seg(SegReg::Ds);
    CHECK(at(0x8000, 1, AccessKind::Read, SegReg::Ss) == "12(0000)");
    CHECK(at(0x8000, 1, AccessKind::Execute, SegReg::Cs) == "ok");
    CHECK(at(0, 1, AccessKind::Write, SegReg::Cs) == "13(0000)");
    CHECK(at(0, 1, AccessKind::Execute, SegReg::Ds) == "13(0000)");
    g.seg(SegReg::Ds).set_attributes(0x409100); // read-only
    CHECK(at(0, 1, AccessKind::Write) == "13(0000)");
    g.seg(SegReg::Cs).set_attributes(0xC09900); // execute-only
    CHECK(at(0, 1, AccessKind::Read, SegReg::Cs) == "13(0000)");

    g.seg(SegReg::Ds).set_attributes(0x409700); // expand-down, 32-bit
    CHECK(at(0x7FFF, 1) == "13(0000)");
    CHECK(at(0x8000, 1) == "ok");
    CHECK(at(0xFFFFFFFC, 4) == "ok");
    CHECK(at(0xFFFFFFFD, 4) == "13(0000)");
    g.seg(SegReg::Ds).set_attributes(0x009700); // expand-down, 16-bit
    CHECK(at(0xFFFC, 4) == "ok");
    CHECK(at(0xFFFD, 4) == "13(0000)");
}

TEST_CASE("lldt, ltr, lgdt: privilege, type and busy bit", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    CHECK(outcome(g.cpu.lldt(kLdtSel)) == "13(0000)");
    CHECK(outcome(g.cpu.ltr(kTss2Sel)) == "13(0000)");
    CHECK(outcome(g.cpu.lgdt(0xFF, 0, Width::Dword)) == "13(0000)");
    g.protected_mode(0);
    CHECK(outcome(g.cpu.lldt(kTssSel)) == "13(0028)");
    CHECK(outcome(g.cpu.lldt(0x0C)) == "13(000c)");
    g.gdt(kFree, not_present(descriptor(kLdt, 0x3F, 0x82, 0)));
    CHECK(outcome(g.cpu.lldt(kFree)) == "11(0048)");
    CHECK(outcome(g.cpu.lldt(0)) == "ok");
    CHECK(g.state.ldtr.usable == 0);
    CHECK(outcome(g.cpu.ltr(0)) == "13(0000)");
    CHECK(outcome(g.cpu.ltr(kTssSel)) == "13(0028)"); // busy already
    CHECK(outcome(g.cpu.ltr(kTss2Sel)) == "ok");
    CHECK(g.access_byte(kTss2Sel) == 0x8B);
    CHECK(g.state.tr.type() == 11);
    CHECK(g.state.tr.base == kTss2);
    CHECK(outcome(g.cpu.lidt(0x123, 0xFF345678, Width::Word)) == "ok");
    CHECK(g.state.idtr.base == 0x345678);
    CHECK(g.state.idtr.limit == 0x123);
    g.real_mode();
    CHECK(outcome(g.cpu.lldt(0)) == "6");
    CHECK(outcome(g.cpu.ltr(0)) == "6");
    CHECK(outcome(g.cpu.lgdt(0xFF, 0xFF000000, Width::Dword)) == "ok");
    CHECK(g.state.gdtr.base == 0xFF000000);
}

TEST_CASE("lar, lsl, verr, verw answer with ZF and never fault on a bad selector", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    const auto zf = [&] { return (g.state.eflags & eflags::kZf) != 0; };
    CHECK(g.cpu.lar(kUserCs, 7).value() == 0x00CFFB00);
    CHECK(zf());
    CHECK(g.cpu.lar(kKernelCs, 7).value() == 7); // CPL 3 > DPL 0
    CHECK_FALSE(zf());
    CHECK(g.cpu.lar(kConformingCs, 7).value() == 0x00CF9F00);
    CHECK(g.cpu.lar(0, 7).value() == 7);
    CHECK_FALSE(zf());
    CHECK(g.cpu.lar(0xFFF8, 7).value() == 7);
    g.gdt(kFree, gate(kKernelCs, 0, 14, 3)); // interrupt gate: not for LAR
    CHECK(g.cpu.lar(kFree, 7).value() == 7);
    g.gdt(kFree, gate(kKernelCs, 0, 12, 3)); // call gate: LAR yes, LSL no
    CHECK(g.cpu.lar(kFree, 7).value() == 0xEC00);
    CHECK(g.cpu.lsl(kFree, 7).value() == 7);
    CHECK_FALSE(zf());
    CHECK(g.cpu.lsl(kUserDs, 7).value() == 0xFFFFFFFF);
    CHECK(zf());
    g.protected_mode(0);
    CHECK(g.cpu.lsl(kTssSel, 7).value() == 0x67);
    CHECK(g.cpu.lsl(kTssSel | 3, 7).value() == 7); // RPL 3 > DPL 0

    g.protected_mode(3);
    const auto verify = [&](uint16_t selector, bool write) {
        REQUIRE(g.cpu.verify_segment(selector, write));
        return zf();
    };
    CHECK(verify(kUserDs, true));
    CHECK(verify(kUserCs, false));
    CHECK_FALSE(verify(kUserCs, true));
    CHECK_FALSE(verify(kKernelDs, false));
    CHECK(verify(kConformingCs, false));
    CHECK_FALSE(verify(kTssSel, false));
    g.gdt(kFree, flat(0xF9)); // execute-only
    CHECK_FALSE(verify(kFree, false));
    g.v86(3);
    CHECK(outcome(g.cpu.lar(0, 0)) == "6");
    CHECK(outcome(g.cpu.verify_segment(0, false)) == "6");
}

TEST_CASE("reset: power-on state", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    g.cpu.reset();
    CHECK(g.state.eip == 0xFFF0);
    CHECK(g.seg(SegReg::Cs).selector == 0xF000);
    CHECK(g.seg(SegReg::Cs).base == 0xFFFF0000);
    CHECK(g.state.cr0 == 0x60000010);
    CHECK(g.state.eflags == 2);
    CHECK(g.state.cpl == 0);
    CHECK(g.state.dr[7] == 0x400);
    CHECK(g.reg(Reg::Edx) != 0);
}
