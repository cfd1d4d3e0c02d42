#include "guest_fixture.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint32_t kEverything = 0x3F7FD7; // every defined flag

void push_all(Guest& g, std::initializer_list<uint32_t> values, Width width = Width::Dword) {
    for (const uint32_t value : values)
        REQUIRE(g.cpu.push(value, width));
}
std::string iret(Guest& g, Width width = Width::Dword) {
    const auto before = g.snapshot();
    const std::string result = outcome(g.cpu.iret(width, kCode + 1));
    if (result != "ok")
        CHECK(g.unchanged(before));
    return result;
}

} // namespace

TEST_CASE("iret: same level at CPL 0 loads all flags but VM", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    push_all(g, {kEverything & ~(eflags::kVm | eflags::kNt), kKernelCs, 0x4000});
    REQUIRE(iret(g) == "ok");
    CHECK(g.state.eip == 0x4000);
    CHECK(g.reg(Reg::Esp) == kKernelStack);
    CHECK(g.state.eflags == (kEverything & ~(eflags::kVm | eflags::kNt)));
}

TEST_CASE("iret: at CPL 3 IF depends on IOPL, and IOPL, VIF, VIP stay", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    g.state.eflags = 2;
    push_all(g, {kEverything & ~(eflags::kVm | eflags::kNt), kUserCs, 0x4000});
    REQUIRE(iret(g) == "ok");
    CHECK((g.state.eflags & (eflags::kIf | eflags::kIopl | eflags::kVif | eflags::kVip)) == 0);
    CHECK((g.state.eflags & (eflags::kRf | eflags::kAc | eflags::kId)) ==
          (eflags::kRf | eflags::kAc | eflags::kId));
    g.protected_mode(3);
    g.state.eflags = 2 | eflags::kIopl;
    push_all(g, {eflags::kIf, kUserCs, 0x4000});
    REQUIRE(iret(g) == "ok");
    CHECK(g.state.eflags == (2 | eflags::kIopl | eflags::kIf));
}

TEST_CASE("iret: 16-bit operand leaves the upper flags alone", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    g.state.eflags = 2 | eflags::kAc | eflags::kId;
    push_all(g, {0x3246, kKernelCs, 0x4000}, Width::Word);
    REQUIRE(iret(g, Width::Word) == "ok");
    CHECK(g.state.eflags == (0x3246 | eflags::kAc | eflags::kId));
    CHECK(g.reg(Reg::Esp) == kKernelStack);
}

TEST_CASE("iret: to an outer level loads SS:ESP, drops segments, and uses the old CPL for flags", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    g.state.nmi_blocked = 1;
    push_all(g, {kUserDs, 0x8800, 0x3202, kUserCs, 0x4000});
    REQUIRE(iret(g) == "ok");
    CHECK(g.state.cpl == 3);
    CHECK(g.reg(Reg::Esp) == 0x8800);
    CHECK(g.state.eflags == 0x3202);
    CHECK(g.seg(SegReg::Ds).usable == 0);
    CHECK(g.state.nmi_blocked == 0);
}

TEST_CASE("iret: to a 16-bit stack keeps the upper half of ESP", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    g.gdt(kFree, descriptor(0, 0xFFFF, kData3, 0));
    g.reg(Reg::Esp) = 0x158000;
    push_all(g, {kFree | 3, 0xABCD1234, 0x202, kUserCs, 0x4000});
    REQUIRE(iret(g) == "ok");
    CHECK(g.reg(Reg::Esp) == 0x151234);
}

TEST_CASE("iret: error codes of a bad frame, nothing changed", "[cpu]") {
    Guest g;
    const auto attempt = [&](uint32_t cs, uint32_t ss, uint32_t eip = 0x4000) {
        g.protected_mode(0);
        push_all(g, {ss, kUserStack, 0x202, cs, eip});
        return iret(g);
    };
    CHECK(attempt(0, kUserDs) == "13(0000)");
    CHECK(attempt(kUserDs, kUserDs) == "13(0020)");
    CHECK(attempt(kUserCs, kKernelDs) == "13(0010)");
    CHECK(attempt(kUserCs, 0) == "13(0000)");
    g.gdt(kFree, not_present(flat(kCode3)));
    CHECK(attempt(kFree | 3, kUserDs) == "11(0048)");
    g.gdt(kFree, not_present(flat(kData3)));
    CHECK(attempt(kUserCs, kFree | 3) == "12(0048)");
    g.gdt(kFree, descriptor(0, 0xFFF, kCode3, 4));
    CHECK(attempt(kFree | 3, kUserDs, 0x1000) == "13(0000)");
    g.protected_mode(0);
    g.seg(SegReg::Ss).limit = kKernelStack + 7; // room for two of three slots
    CHECK(iret(g) == "12(0000)");
}

TEST_CASE("iret: into v86 mode loads all six segments", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    push_all(g, {0x6000, 0x5000, 0x4000, 0x3000, 0x2000, 0x7654, 0x23202 | eflags::kVip, 0x1000, 0x1234});
    REQUIRE(iret(g) == "ok");
    CHECK(g.state.v86());
    CHECK(g.state.cpl == 3);
    CHECK(g.state.eflags == (0x23202 | eflags::kVip));
    CHECK(g.state.eip == 0x1234);
    CHECK(g.reg(Reg::Esp) == 0x7654);
    const SegReg order[] = {SegReg::Cs, SegReg::Ss, SegReg::Es, SegReg::Ds, SegReg::Fs, SegReg::Gs};
    for (unsigned i = 0; i < 6; ++i) {
        CHECK(g.seg(order[i]).base == 0x10000 * (i + 1));
        CHECK(g.seg(order[i]).limit == 0xFFFF);
        CHECK(g.seg(order[i]).attributes() == 0xF300);
    }
    g.protected_mode(0);
    push_all(g, {0x6000, 0x5000, 0x4000, 0x3000, 0x2000, 0x7654, 0x23202, 0x1000, 0x10000});
    CHECK(iret(g) == "13(0000)"); // EIP beyond 64 KiB
    g.protected_mode(3);
    push_all(g, {0x23202, kUserCs, 0x4000});
    REQUIRE(iret(g) == "ok"); // CPL 3 cannot set VM
    CHECK_FALSE(g.state.v86());
}

TEST_CASE("iret: in v86 mode needs IOPL 3 and never changes IOPL", "[cpu]") {
    Guest g;
    g.v86(0);
    CHECK(iret(g, Width::Word) == "13(0000)");
    g.v86(3);
    push_all(g, {0x0002 | eflags::kTf, 0x4000, 0x777}, Width::Word);
    REQUIRE(iret(g, Width::Word) == "ok");
    CHECK(g.state.eflags == (2 | eflags::kTf | eflags::kVm | eflags::kIopl));
    CHECK(g.seg(SegReg::Cs).base == 0x40000);
    CHECK(g.state.eip == 0x777);
}

TEST_CASE("iret: with VME and IOPL below 3 IF goes to VIF", "[cpu]") {
    Guest g;
    g.v86(0);
    g.state.cr4 |= cr4::kVme;
    push_all(g, {0x0203, 0x4000, 0x777}, Width::Word);
    REQUIRE(iret(g, Width::Word) == "ok");
    CHECK(g.state.eflags == (0x203 | eflags::kVm | eflags::kVif));
    push_all(g, {0x0003, 0x4000, 0x777}, Width::Word);
    REQUIRE(iret(g, Width::Word) == "ok");
    CHECK(g.state.eflags == (0x203 | eflags::kVm));

    g.state.eflags |= eflags::kVip;
    push_all(g, {0x0203, 0x4000, 0x777}, Width::Word);
    CHECK(iret(g, Width::Word) == "13(0000)"); // VIF with VIP pending
    push_all(g, {0x0103, 0x4000, 0x777}, Width::Word);
    CHECK(iret(g, Width::Word) == "13(0000)"); // TF
    CHECK(iret(g, Width::Dword) == "13(0000)");
}

TEST_CASE("iret: real mode", "[cpu]") {
    Guest g;
    g.real_mode();
    push_all(g, {0x3246, 0x4000, 0x777}, Width::Word);
    REQUIRE(iret(g, Width::Word) == "ok");
    CHECK(g.state.eflags == 0x3246);
    CHECK(g.seg(SegReg::Cs).base == 0x40000);
    push_all(g, {kEverything, 0x4000, 0x10000});
    CHECK(iret(g) == "13(0000)");
    g.real_mode();
    push_all(g, {kEverything, 0x4000, 0xFFFF});
    REQUIRE(iret(g) == "ok");
    CHECK(g.state.eflags == (kEverything & ~(eflags::kVm | eflags::kVif | eflags::kVip)));
}

TEST_CASE("iret: a page fault at the frame changes nothing but unblocks NMI", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    g.paging();
    g.unmap(kKernelStack);
    CHECK(iret(g) == "14(0000)@8000");
    g.state.nmi_blocked = 1;
    CHECK(outcome(g.cpu.iret(Width::Dword, 0)) == "14(0000)@8000");
    CHECK(g.state.nmi_blocked == 0);
}
