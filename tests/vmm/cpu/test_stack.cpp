#include "guest_fixture.h"

using namespace vmm;
using namespace vmm::test;

TEST_CASE("stack: a 16-bit stack wraps at 64 KiB and keeps the upper half of ESP", "[cpu]") {
    Guest g;
    g.real_mode();
    g.reg(Reg::Esp) = 0xABCD0000;
    REQUIRE(g.cpu.push(0x11223344, Width::Dword));
    CHECK(g.reg(Reg::Esp) == 0xABCDFFFC);
    CHECK(g.get32(0x2000 + 0xFFFC) == 0x11223344);
    CHECK(g.cpu.pop(Width::Word).value() == 0x3344);
    CHECK(g.cpu.pop(Width::Word).value() == 0x1122);
    CHECK(g.reg(Reg::Esp) == 0xABCD0000);
}

TEST_CASE("stack: a 16-bit stack wraps at 64 KiB even with a 4 GiB limit", "[cpu]") {
    Guest g;
    g.real_mode();
    g.seg(SegReg::Ss).limit = 0xFFFFFFFF;
    g.reg(Reg::Esp) = 2;
    g.reg(Reg::Edi) = 0x7777;
    REQUIRE(g.cpu.pusha(Width::Word));
    CHECK(g.reg(Reg::Esp) == 0xFFF2);
    CHECK(g.get16(0x2000 + 0xFFF2) == 0x7777);
    g.reg(Reg::Esp) = 0xFFFE;
    g.put32(0x2000 + 0xFFFE, 0x22221111);
    g.put16(0x2000, 0x3333);
    REQUIRE(g.cpu.popa(Width::Word));
    CHECK(g.reg(Reg::Edi) == 0x1111);
    CHECK(g.reg(Reg::Esi) == 0x3333);
}

TEST_CASE("stack: a push that straddles the limit is #SS(0) and changes nothing", "[cpu]") {
    Guest g;
    g.real_mode();
    g.reg(Reg::Esp) = 1;
    auto before = g.snapshot();
    CHECK(outcome(g.cpu.push(1, Width::Word)) == "12(0000)");
    CHECK(g.unchanged(before));
    g.protected_mode(0);
    g.seg(SegReg::Ss) = Segment{kKernelDs, 1, 0, 0x7FFF, 0x409700}; // expand-down
    g.reg(Reg::Esp) = 0x8003;
    before = g.snapshot();
    CHECK(outcome(g.cpu.push(1, Width::Dword)) == "12(0000)");
    CHECK(g.unchanged(before));
    g.reg(Reg::Esp) = 0x8004;
    CHECK(outcome(g.cpu.push(1, Width::Dword)) == "ok");
}

TEST_CASE("stack: a push into an unmapped page is #PF with the user bit and changes nothing", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    g.paging();
    g.unmap(kUserStack - 4);
    const auto before = g.snapshot();
    CHECK(outcome(g.cpu.push(1, Width::Dword)) == "14(0006)@8ffc");
    CHECK(g.unchanged(before));
}

TEST_CASE("stack: pusha and popa round trip and skip ESP", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    for (unsigned i = 0; i < 8; ++i)
        if (i != 4)
            g.state.gpr[i].low = 0x10101010 * (i + 1);
    const auto saved = g.state.gpr;
    REQUIRE(g.cpu.pusha(Width::Dword));
    CHECK(g.reg(Reg::Esp) == kKernelStack - 32);
    CHECK(g.stack32(0) == saved[7].low);
    CHECK(g.stack32(3) == kKernelStack); // ESP before the instruction
    CHECK(g.stack32(7) == saved[0].low);
    for (unsigned i = 0; i < 8; ++i)
        if (i != 4)
            g.state.gpr[i].low = 0;
    g.put32(kKernelStack - 32 + 12, 0xDEAD);
    REQUIRE(g.cpu.popa(Width::Dword));
    CHECK(g.state.gpr == saved);

    g.reg(Reg::Eax) = 0xAAAA1111;
    REQUIRE(g.cpu.pusha(Width::Word));
    g.reg(Reg::Eax) = 0xBBBB2222;
    REQUIRE(g.cpu.popa(Width::Word));
    CHECK(g.reg(Reg::Eax) == 0xBBBB1111);
}

TEST_CASE("stack: pusha in real mode with SP 7 is #GP, with SP 16 wraps nothing", "[cpu]") {
    Guest g;
    g.real_mode();
    g.reg(Reg::Esp) = 7;
    CHECK(outcome(g.cpu.pusha(Width::Word)) == "13(0000)");
    g.reg(Reg::Esp) = 16;
    CHECK(outcome(g.cpu.pusha(Width::Word)) == "ok");
    CHECK(g.reg(Reg::Esp) == 0);
    g.reg(Reg::Esp) = 4; // even: wraps to the top of the segment
    CHECK(outcome(g.cpu.pusha(Width::Word)) == "ok");
    CHECK(g.reg(Reg::Esp) == 0xFFF4);
}

TEST_CASE("stack: enter copies frame pointers of outer levels", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    g.reg(Reg::Ebp) = 0x7800;
    g.put32(0x77FC, 0x1111);
    g.put32(0x77F8, 0x2222);
    REQUIRE(g.cpu.enter(0x20, 3, Width::Dword));
    CHECK(g.reg(Reg::Ebp) == kKernelStack - 4);
    CHECK(g.get32(kKernelStack - 4) == 0x7800);
    CHECK(g.get32(kKernelStack - 8) == 0x1111);
    CHECK(g.get32(kKernelStack - 12) == 0x2222);
    CHECK(g.get32(kKernelStack - 16) == kKernelStack - 4);
    CHECK(g.reg(Reg::Esp) == kKernelStack - 16 - 0x20);
}

TEST_CASE("stack: enter faults when its final ESP cannot be written, registers unchanged", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    g.paging();
    g.unmap(kUserStack - 0x1800);
    const auto before = g.snapshot();
    CHECK(outcome(g.cpu.enter(0x17FC, 0, Width::Dword)) == "14(0006)@7800");
    CHECK(g.unchanged(before));
}
