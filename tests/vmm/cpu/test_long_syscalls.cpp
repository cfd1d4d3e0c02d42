#include "long_fixture.h"

using namespace vmm;
using namespace vmm::test;

namespace {

// SYSRET: 64-bit code is at +16, the stack at +8.
constexpr uint64_t kStar = uint64_t{0x18} << 48 | uint64_t{kCode64} << 32;

LongGuest& with_star(LongGuest& g) {
    g.state.star = kStar;
    g.state.lstar = kHigh + 0x6000;
    g.state.fmask = eflags::kIf | eflags::kDf | eflags::kAc | eflags::kTf;
    return g;
}

} // namespace

TEST_CASE("syscall: RCX and R11 keep RIP and RFLAGS, which FMASK clears, and the stack stays", "[cpu]") {
    LongGuest g;
    g.long_mode(3);
    with_star(g);
    g.state.eflags = 0x202 | eflags::kDf | eflags::kCf | eflags::kAc;
    CHECK(outcome(g.cpu.syscall(0x4002)) == "ok");
    CHECK(g.state.rip() == kHigh + 0x6000);
    CHECK(g.wide(Reg::Ecx) == 0x4002);
    CHECK(g.wide(Reg::R11) == (0x202 | eflags::kDf | eflags::kCf | eflags::kAc));
    CHECK(g.state.eflags == (eflags::kFixed1 | eflags::kCf));
    CHECK(g.state.cpl == 0);
    CHECK(g.seg(SegReg::Cs) == Segment{kCode64, 1, 0, 0xFFFFFFFF, 0xA09B00});
    CHECK(g.seg(SegReg::Ss) == Segment{kCode64 + 8, 1, 0, 0xFFFFFFFF, 0xC09300});
    CHECK(g.rsp() == kUserStack);

    g.wide(Reg::Ecx) = 0x7FFFFFFFF000;
    g.wide(Reg::R11) = 0xFFFFFFFFFFFFFFFF;
    CHECK(outcome(g.cpu.sysret(Width::Qword)) == "ok");
    CHECK(g.state.rip() == 0x7FFFFFFFF000);
    CHECK(g.state.cpl == 3);
    CHECK(g.state.eflags == 0x3C7FD7); // neither RF nor VM
    CHECK(g.seg(SegReg::Cs) == Segment{0x2B, 1, 0, 0xFFFFFFFF, 0xA0FB00});
    CHECK(g.seg(SegReg::Ss) == Segment{0x23, 1, 0, 0xFFFFFFFF, 0xC0F300});
}

TEST_CASE("syscall: SYSRET with a 32-bit operand goes to compatibility code", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    with_star(g);
    g.wide(Reg::Ecx) = 0xABCD00004000;
    g.wide(Reg::R11) = 0x202;
    CHECK(outcome(g.cpu.sysret(Width::Dword)) == "ok");
    CHECK_FALSE(g.state.mode64());
    CHECK(g.state.rip() == 0x4000);
    CHECK(g.seg(SegReg::Cs) == Segment{0x1B, 1, 0, 0xFFFFFFFF, 0xC0FB00});
    CHECK(g.seg(SegReg::Ss).selector == 0x23);
}

TEST_CASE("syscall: in 64-bit mode with EFER.SCE only", "[cpu]") {
    LongGuest g;
    g.long_mode(3);
    with_star(g);
    g.state.efer &= ~efer::kSce;
    CHECK(g.tried([&] { return g.cpu.syscall(0); }) == "6");
    CHECK(g.tried([&] { return g.cpu.sysret(Width::Qword); }) == "6");
    g.long_mode(3, true);
    CHECK(g.tried([&] { return g.cpu.syscall(0); }) == "6");
    CHECK(g.tried([&] { return g.cpu.sysret(Width::Dword); }) == "6");
    g.long_mode(3);
    CHECK(g.tried([&] { return g.cpu.sysret(Width::Qword); }) == "13(0000)");
    g.long_mode(0);
    g.wide(Reg::Ecx) = kNoncanonical; // the famous one: #GP in ring 0
    CHECK(g.tried([&] { return g.cpu.sysret(Width::Qword); }) == "13(0000)");
    CHECK(g.state.cpl == 0);
}

TEST_CASE("sysenter: in IA-32e mode it leads to 64-bit code, from both sub-modes", "[cpu]") {
    for (const bool compatibility : {false, true}) {
        LongGuest g;
        g.long_mode(3, compatibility);
        g.state.sysenter_cs = kCode64;
        g.state.sysenter_esp = kHigh + kKernelStack;
        g.state.sysenter_eip = kHigh + 0x6100;
        CHECK(outcome(g.cpu.sysenter()) == "ok");
        CHECK(g.state.mode64());
        CHECK(g.state.rip() == kHigh + 0x6100);
        CHECK(g.rsp() == kHigh + kKernelStack);
        CHECK(g.state.cpl == 0);
        CHECK((g.state.eflags & eflags::kIf) == 0);
        CHECK(g.seg(SegReg::Cs) == Segment{kCode64, 1, 0, 0xFFFFFFFF, 0xA09B00});

        g.wide(Reg::Ecx) = 0x7FFFFFFFE000;
        g.wide(Reg::Edx) = 0x7FFFFFFFF000;
        CHECK(outcome(g.cpu.sysexit(Width::Qword)) == "ok");
        CHECK(g.state.rip() == 0x7FFFFFFFF000);
        CHECK(g.rsp() == 0x7FFFFFFFE000);
        CHECK(g.seg(SegReg::Cs) == Segment{kCode64 + 32 + 3, 1, 0, 0xFFFFFFFF, 0xA0FB00});
        CHECK(g.seg(SegReg::Ss).selector == kCode64 + 40 + 3);
    }
    LongGuest g;
    g.long_mode(0);
    g.state.sysenter_cs = kCode64;
    g.wide(Reg::Ecx) = 0xFFFF00001234;
    g.wide(Reg::Edx) = 0x5678;
    CHECK(g.tried([&] { return g.cpu.sysexit(Width::Qword); }) == "13(0000)");
    CHECK(outcome(g.cpu.sysexit(Width::Dword)) == "ok");
    CHECK_FALSE(g.state.mode64());
    CHECK(g.rsp() == 0x1234);
    CHECK(g.seg(SegReg::Cs).selector == kCode64 + 16 + 3);
    g.long_mode(0);
    g.state.sysenter_cs = 3;
    CHECK(g.tried([&] { return g.cpu.sysenter(); }) == "13(0000)");
}

TEST_CASE("swapgs: exchanges the base of GS, in 64-bit code of ring 0", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    g.seg(SegReg::Gs).set_linear_base(0x7F0012345678);
    g.state.kernel_gs_base = kHigh + 0x1234;
    CHECK(outcome(g.cpu.swapgs()) == "ok");
    CHECK(g.seg(SegReg::Gs).linear_base() == kHigh + 0x1234);
    CHECK(g.state.kernel_gs_base == 0x7F0012345678);
    g.long_mode(3);
    CHECK(g.tried([&] { return g.cpu.swapgs(); }) == "13(0000)");
    g.long_mode(0, true);
    CHECK(g.tried([&] { return g.cpu.swapgs(); }) == "6");
}

TEST_CASE("fsgsbase: in 64-bit mode with CR4.FSGSBASE, at every level", "[cpu]") {
    LongGuest g;
    g.long_mode(3);
    const auto write = [&](uint64_t value, Width width) {
        return g.tried([&] { return g.cpu.write_segment_base(SegReg::Fs, value, width); });
    };
    CHECK(write(0x1000, Width::Qword) == "6");
    CHECK(outcome(g.cpu.read_segment_base(SegReg::Fs, Width::Qword)) == "6");
    g.state.cr4 |= cr4::kFsGsBase;
    CHECK(write(kNoncanonical, Width::Qword) == "13(0000)");
    CHECK(write(0x7F1234567890, Width::Qword) == "ok");
    CHECK(g.cpu.read_segment_base(SegReg::Fs, Width::Qword).value() == 0x7F1234567890);
    CHECK(g.cpu.read_segment_base(SegReg::Fs, Width::Dword).value() == 0x34567890);
    CHECK(write(0xFFFF800012345678, Width::Dword) == "ok");
    CHECK(g.cpu.read_segment_base(SegReg::Fs, Width::Qword).value() == 0x12345678);
    g.long_mode(3, true);
    g.state.cr4 |= cr4::kFsGsBase;
    CHECK(write(0x1000, Width::Dword) == "6");
}
