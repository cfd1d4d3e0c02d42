#include "guest_fixture.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint32_t kNext = kCode + 7;

std::string jump(Guest& g, uint16_t selector, uint32_t offset = 0x5000, Width width = Width::Dword) {
    const auto before = g.snapshot();
    const std::string result = outcome(g.cpu.far_jump(selector, offset, width, kNext));
    if (result != "ok")
        CHECK(g.unchanged(before));
    return result;
}
std::string call(Guest& g, uint16_t selector, uint32_t offset = 0x5000, Width width = Width::Dword) {
    const auto before = g.snapshot();
    const std::string result = outcome(g.cpu.far_call(selector, offset, width, kNext));
    if (result != "ok")
        CHECK(g.unchanged(before));
    return result;
}

} // namespace

TEST_CASE("far jump: code segment checks and their error codes", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    CHECK(jump(g, 3) == "13(0000)");
    CHECK(jump(g, 0x100) == "13(0100)");
    CHECK(jump(g, kKernelCs) == "13(0008)"); // DPL 0 != CPL 3
    CHECK(jump(g, kUserDs) == "13(0020)");
    CHECK(jump(g, kConformingCs) == "ok");
    CHECK(g.seg(SegReg::Cs).selector == (kConformingCs | 3)); // RPL becomes CPL
    CHECK(g.state.cpl == 3);
    CHECK(g.state.eip == 0x5000);
    CHECK(jump(g, 0x18) == "ok"); // RPL 0 of a DPL 3 segment
    CHECK(g.seg(SegReg::Cs).selector == kUserCs);

    g.gdt(kFree, not_present(flat(kCode3)));
    CHECK(jump(g, kFree) == "11(0048)");
    g.gdt(kFree, descriptor(0, 0xFFF, kCode3, 4));
    CHECK(jump(g, kFree, 0x1000) == "13(0000)");
    CHECK(jump(g, kFree, 0xF000FFF, Width::Word) == "ok"); // 16-bit operand: FFFh
    CHECK(g.state.eip == 0xFFF);

    g.protected_mode(0);
    CHECK(jump(g, kKernelCs | 1) == "13(0008)"); // RPL > CPL
    g.gdt(kFree, flat(0xFF));                    // conforming, DPL 3: not from level 0
    CHECK(jump(g, kFree) == "13(0048)");
    g.gdt(kFree, flat(0x9A));
    CHECK(jump(g, kFree) == "ok");
    CHECK(g.access_byte(kFree) == 0x9B);
}

TEST_CASE("far jump: real mode keeps the CS limit and attributes", "[cpu]") {
    Guest g;
    g.real_mode();
    CHECK(jump(g, 0x2000, 0x1234, Width::Word) == "ok");
    CHECK(g.seg(SegReg::Cs).base == 0x20000);
    CHECK(g.seg(SegReg::Cs).attributes() == 0x9B00);
    CHECK(g.state.eip == 0x1234);
    CHECK(jump(g, 0x2000, 0x10000) == "13(0000)");
}

TEST_CASE("far call: pushes CS and EIP in the operand size", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    REQUIRE(call(g, kKernelCs) == "ok");
    CHECK(g.stack32(0) == kNext);
    CHECK(g.stack32(1) == kKernelCs);
    CHECK(g.reg(Reg::Esp) == kKernelStack - 8);
    REQUIRE(call(g, kKernelCs, 0x5000, Width::Word) == "ok");
    CHECK(g.stack16(0) == (kNext & 0xFFFF));
    CHECK(g.stack16(1) == kKernelCs);
    g.real_mode();
    REQUIRE(call(g, 0x300, 0x10, Width::Word) == "ok");
    CHECK(g.stack16(0) == (kNext & 0xFFFF));
    CHECK(g.stack16(1) == 0x100);
    CHECK(g.seg(SegReg::Cs).base == 0x3000);
}

TEST_CASE("far call: lack of stack ranks before a bad target offset, and both change nothing", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    g.gdt(kFree, descriptor(0, 0xFFF, kCode0, 4));
    CHECK(call(g, kFree, 0x1000) == "13(0000)");
    g.seg(SegReg::Ss).limit = 0x100;
    CHECK(call(g, kFree, 0x1000) == "12(0000)");
    CHECK(call(g, kFree, 0x500) == "12(0000)");
}

TEST_CASE("call gate: inner level switches stacks and copies parameters", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    g.gdt(kFree, gate(kKernelCs, 0x123456, 12, 3, 2));
    REQUIRE(g.cpu.push(0xAAAA, Width::Dword));
    REQUIRE(g.cpu.push(0xBBBB, Width::Dword));
    REQUIRE(call(g, kFree | 3, 0xFFFFFFFF) == "ok"); // the offset operand is ignored
    CHECK(g.state.cpl == 0);
    CHECK(g.seg(SegReg::Cs).selector == kKernelCs);
    CHECK(g.seg(SegReg::Ss).selector == kKernelDs);
    CHECK(g.state.eip == 0x123456);
    CHECK(g.reg(Reg::Esp) == kKernelStack - 24);
    CHECK(g.stack32(0) == kNext);
    CHECK(g.stack32(1) == kUserCs);
    CHECK(g.stack32(2) == 0xBBBB);
    CHECK(g.stack32(3) == 0xAAAA);
    CHECK(g.stack32(4) == kUserStack - 8);
    CHECK(g.stack32(5) == kUserDs);
    // And back, releasing the parameters on both stacks.
    REQUIRE(g.cpu.far_return(Width::Dword, 8));
    CHECK(g.state.cpl == 3);
    CHECK(g.state.eip == kNext);
    CHECK(g.reg(Reg::Esp) == kUserStack);
    CHECK(g.seg(SegReg::Ss).selector == kUserDs);
}

TEST_CASE("call gate: a 16-bit gate pushes words, a 16-bit TSS gives SS:SP", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    g.state.tr.set_attributes(0x8300); // busy 16-bit TSS
    g.put16(kTss + 2, 0x7000);
    g.put16(kTss + 4, kKernelDs);
    g.gdt(kFree, gate(kKernelCs, 0x99995678, 4, 3, 1));
    REQUIRE(g.cpu.push(0xCCCC, Width::Word));
    REQUIRE(call(g, kFree) == "ok");
    CHECK(g.state.eip == 0x5678);
    CHECK(g.reg(Reg::Esp) == 0x7000 - 10);
    CHECK(g.stack16(0) == (kNext & 0xFFFF));
    CHECK(g.stack16(1) == kUserCs);
    CHECK(g.stack16(2) == 0xCCCC);
    CHECK(g.stack16(3) == kUserStack - 2);
    CHECK(g.stack16(4) == kUserDs);
}

TEST_CASE("call gate: checks, in order, with their error codes", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    g.gdt(kFree, gate(kKernelCs, 0x100, 12, 0));
    CHECK(call(g, kFree) == "13(0048)"); // gate DPL < CPL
    g.gdt(kFree, not_present(gate(kKernelCs, 0x100, 12, 3)));
    CHECK(call(g, kFree) == "11(0048)");
    g.gdt(kFree, gate(0, 0x100, 12, 3));
    CHECK(call(g, kFree) == "13(0000)");
    g.gdt(kFree, gate(0xF00, 0x100, 12, 3));
    CHECK(call(g, kFree) == "13(0f00)");
    g.gdt(kFree, gate(kKernelDs, 0x100, 12, 3));
    CHECK(call(g, kFree) == "13(0010)");
    g.gdt(kFree2, not_present(flat(kCode0)));
    g.gdt(kFree, gate(kFree2, 0x100, 12, 3));
    CHECK(call(g, kFree) == "11(0050)");
    CHECK(jump(g, kFree) == "13(0050)"); // JMP never goes inwards, present or not

    g.gdt(kFree, gate(kKernelCs, 0x100, 12, 3));
    CHECK(jump(g, kFree) == "13(0008)");
    g.state.tr.limit = 8;
    CHECK(call(g, kFree) == "10(0028)");
    g.state.tr.limit = 0x67;
    g.put16(kTss + 8, 0);
    CHECK(call(g, kFree) == "10(0000)");
    g.put16(kTss + 8, 0xF00);
    CHECK(call(g, kFree) == "10(0f00)");
    g.put16(kTss + 8, kUserDs);
    CHECK(call(g, kFree) == "10(0020)");
    g.gdt(kFree2, not_present(flat(kData0)));
    g.put16(kTss + 8, kFree2);
    CHECK(call(g, kFree) == "12(0050)");
    g.gdt(kFree2, descriptor(0, 0x7FFF, kData0, 4)); // no room: ESP0 is beyond
    g.put32(kTss + 4, 0x9000);
    CHECK(call(g, kFree) == "12(0050)");
    g.gdt(kFree3, descriptor(0, 0xFF, kCode0, 4));
    g.gdt(kFree, gate(kFree3, 0x100, 12, 3));
    CHECK(call(g, kFree) == "12(0050)"); // stack before EIP
    g.put32(kTss + 4, 0x7000);
    CHECK(call(g, kFree) == "13(0000)");
}

TEST_CASE("call gate: to conforming code and to the same level there is no stack switch", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    g.gdt(kFree, gate(kConformingCs, 0x777, 12, 3, 5));
    REQUIRE(call(g, kFree) == "ok");
    CHECK(g.state.cpl == 3);
    CHECK(g.seg(SegReg::Cs).selector == (kConformingCs | 3));
    CHECK(g.reg(Reg::Esp) == kUserStack - 8);
    g.protected_mode(0);
    g.gdt(kFree, gate(kKernelCs | 3, 0x777, 12, 0));
    CHECK(jump(g, kFree) == "ok"); // RPL inside a gate does not matter
    CHECK(g.seg(SegReg::Cs).selector == kKernelCs);
}

TEST_CASE("call gate: an unmapped inner stack is a supervisor write fault", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    g.paging();
    g.gdt(kFree, gate(kKernelCs, 0x100, 12, 3));
    g.unmap(kKernelStack - 4);
    CHECK(call(g, kFree) == "14(0002)@7ff0");
}

TEST_CASE("retf: checks and their error codes", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    const auto retf = [&](uint16_t cs, uint32_t eip = 0x4000, uint16_t ss = kUserDs) {
        g.protected_mode(0);
        for (const uint32_t value : {uint32_t{ss}, uint32_t{kUserStack}, uint32_t{cs}, eip})
            REQUIRE(g.cpu.push(value, Width::Dword));
        const auto before = g.snapshot();
        const std::string result = outcome(g.cpu.far_return(Width::Dword, 0));
        if (result != "ok")
            CHECK(g.unchanged(before));
        return result;
    };
    CHECK(retf(0) == "13(0000)");
    CHECK(retf(0x100) == "13(0100)");
    CHECK(retf(kKernelDs) == "13(0010)");
    CHECK(retf(kKernelCs | 3) == "13(0008)"); // nonconforming: DPL != RPL
    CHECK(retf(kConformingCs | 3) == "ok");
    CHECK(g.state.cpl == 3);
    g.gdt(kFree, not_present(flat(kCode3)));
    CHECK(retf(kFree | 3) == "11(0048)");
    CHECK(retf(kUserCs, 0x4000, 0) == "13(0000)");
    CHECK(retf(kUserCs, 0x4000, kKernelDs) == "13(0010)");
    CHECK(retf(kUserCs, 0x4000, kUserCs) == "13(0018)");
    g.gdt(kFree, not_present(flat(kData3)));
    CHECK(retf(kUserCs, 0x4000, kFree | 3) == "12(0048)");
    g.gdt(kFree, descriptor(0, 0xFFF, kCode3, 4));
    CHECK(retf(kFree | 3, 0x1000) == "13(0000)");

    g.protected_mode(3);
    REQUIRE(g.cpu.push(kKernelCs, Width::Dword));
    REQUIRE(g.cpu.push(0x4000, Width::Dword));
    CHECK(outcome(g.cpu.far_return(Width::Dword, 0)) == "13(0008)"); // RPL < CPL
}

TEST_CASE("retf: to an outer level drops segments it may not keep", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    REQUIRE(g.cpu.load_segment(SegReg::Fs, kUserDs));
    REQUIRE(g.cpu.load_segment(SegReg::Gs, kConformingCs));
    for (const uint32_t value : {uint32_t{kUserDs}, uint32_t{kUserStack}, uint32_t{kUserCs}, 0x4000u})
        REQUIRE(g.cpu.push(value, Width::Dword));
    REQUIRE(g.cpu.far_return(Width::Dword, 0));
    CHECK(g.seg(SegReg::Ds).usable == 0);
    CHECK(g.seg(SegReg::Ds).selector == 0);
    CHECK(g.seg(SegReg::Es).usable == 0);
    CHECK(g.seg(SegReg::Fs).usable == 1);
    CHECK(g.seg(SegReg::Gs).usable == 1);
}

TEST_CASE("retf: in real mode pops a frame that wraps at 64 KiB", "[cpu]") {
    Guest g;
    g.real_mode();
    g.reg(Reg::Esp) = 0xFFFE;
    g.put16(0x2000 + 0xFFFE, 0x1111);
    g.put16(0x2000, 0x2222);
    REQUIRE(g.cpu.far_return(Width::Word, 4));
    CHECK(g.state.eip == 0x1111);
    CHECK(g.seg(SegReg::Cs).base == 0x22220);
    CHECK(g.reg(Reg::Esp) == 6);
}

TEST_CASE("sysenter and sysexit: fixed flat segments", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    CHECK(outcome(g.cpu.sysenter()) == "13(0000)"); // MSR not set up
    g.state.sysenter_cs = 0x0B;                     // RPL bits are ignored
    g.state.sysenter_esp = 0x7777;
    g.state.sysenter_eip = 0x8888;
    CHECK(outcome(g.cpu.sysexit()) == "13(0000)"); // CPL 3
    g.state.eflags |= eflags::kRf;
    REQUIRE(g.cpu.sysenter());
    CHECK(g.state.cpl == 0);
    CHECK(g.seg(SegReg::Cs).selector == 0x08);
    CHECK(g.seg(SegReg::Cs).attributes() == 0xC09B00);
    CHECK(g.seg(SegReg::Ss).selector == 0x10);
    CHECK(g.reg(Reg::Esp) == 0x7777);
    CHECK(g.state.eip == 0x8888);
    CHECK((g.state.eflags & (eflags::kIf | eflags::kRf)) == 0);
    g.reg(Reg::Ecx) = 0x9999;
    g.reg(Reg::Edx) = 0x1234;
    REQUIRE(g.cpu.sysexit());
    CHECK(g.state.cpl == 3);
    CHECK(g.seg(SegReg::Cs).selector == 0x1B);
    CHECK(g.seg(SegReg::Ss).selector == 0x23);
    CHECK(g.seg(SegReg::Ss).attributes() == 0xC0F300);
    CHECK(g.reg(Reg::Esp) == 0x9999);
    CHECK(g.state.eip == 0x1234);
    g.real_mode();
    g.state.sysenter_cs = 8;
    CHECK(outcome(g.cpu.sysenter()) == "13(0000)");
}
