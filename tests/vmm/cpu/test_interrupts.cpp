#include "guest_fixture.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint32_t kHandler = 0x6000, kNext = kCode + 2;
constexpr unsigned kInt16 = 6, kTrap16 = 7, kInt32 = 14, kTrap32 = 15;
constexpr unsigned kDf = 8, kTs = 10, kNp = 11, kSs = 12, kGp = 13, kPf = 14;

// Handlers for every exception, told apart by EIP.
void install_handlers(Guest& g) {
    for (unsigned vector = 0; vector < 32; ++vector)
        g.idt(vector, gate(kKernelCs, kHandler + vector, kInt32));
}
std::string soft(Guest& g, uint8_t vector, EventKind kind = EventKind::SoftwareInt) {
    const auto before = g.snapshot();
    const std::string result = outcome(g.cpu.software_interrupt(vector, kind, kNext));
    if (result != "ok")
        CHECK(g.unchanged(before));
    return result;
}
Fault fault(Vector vector, uint32_t code) { return {vector, true, code, 0}; }

} // namespace

TEST_CASE("interrupts: int 80h from ring 3 switches stacks and clears IF", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    g.idt(0x80, gate(kKernelCs, 0x12345678, kInt32, 3));
    g.state.eflags |= eflags::kTf | eflags::kNt | eflags::kRf;
    const uint32_t flags = g.state.eflags;
    REQUIRE(soft(g, 0x80) == "ok");
    CHECK(g.state.cpl == 0);
    CHECK(g.state.eip == 0x12345678);
    CHECK(g.reg(Reg::Esp) == kKernelStack - 20);
    CHECK(g.stack32(0) == kNext);
    CHECK(g.stack32(1) == kUserCs);
    CHECK(g.stack32(2) == (flags & ~eflags::kRf));
    CHECK(g.stack32(3) == kUserStack);
    CHECK(g.stack32(4) == kUserDs);
    CHECK(g.state.eflags == 2);
    CHECK(g.seg(SegReg::Ds).usable == 1); // not dropped going inwards
}

TEST_CASE("interrupts: a trap gate keeps IF, a 16-bit gate pushes words", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    g.idt(0x40, gate(kKernelCs, 0x99991111, kTrap16));
    REQUIRE(soft(g, 0x40) == "ok");
    CHECK(g.state.eip == 0x1111);
    CHECK((g.state.eflags & eflags::kIf) != 0);
    CHECK(g.reg(Reg::Esp) == kKernelStack - 6);
    CHECK(g.stack16(0) == (kNext & 0xFFFF));
    CHECK(g.stack16(1) == kKernelCs);
    CHECK(g.stack16(2) == 0x202);
}

TEST_CASE("interrupts: software interrupts check the gate's DPL, INT1 does not", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    install_handlers(g);
    CHECK(soft(g, 0x20) == "13(0102)");
    CHECK(soft(g, 3, EventKind::Int3OrInto) == "13(001a)");
    g.state.dr[7] |= 1u << 13;
    REQUIRE(soft(g, 1, EventKind::Exception) == "ok");
    CHECK(g.state.eip == kHandler + 1);
    CHECK((g.state.dr[7] & (1u << 13)) == 0);
    CHECK(g.tlb.debug_changes > 0);
}

TEST_CASE("interrupts: gate and code segment checks with IDT, EXT and selector bits", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    const auto attempt = [&](uint64_t entry) {
        g.idt(0x80, entry);
        return soft(g, 0x80);
    };
    CHECK(attempt(flat(kCode3)) == "13(0402)");
    CHECK(attempt(gate(kKernelCs, 0, 12, 3)) == "13(0402)"); // a call gate
    CHECK(attempt(not_present(gate(kKernelCs, 0, kInt32, 3))) == "11(0402)");
    CHECK(attempt(not_present(gate(kKernelCs, 0, kInt32, 0))) == "13(0402)"); // DPL first
    CHECK(attempt(gate(0, 0, kInt32, 3)) == "13(0000)");
    CHECK(attempt(gate(0xF00, 0, kInt32, 3)) == "13(0f00)");
    CHECK(attempt(gate(kKernelDs, 0, kInt32, 3)) == "13(0010)");
    g.gdt(kFree, not_present(flat(kCode0)));
    CHECK(attempt(gate(kFree, 0, kInt32, 3)) == "11(0048)");
    g.gdt(kFree, descriptor(0, 0xFF, kCode0, 4));
    CHECK(attempt(gate(kFree, 0x100, kInt32, 3)) == "13(0000)");
    g.put16(kTss + 8, kUserDs);
    CHECK(attempt(gate(kKernelCs, 0, kInt32, 3)) == "10(0020)");
    g.state.idtr.limit = 0x406;
    CHECK(attempt(gate(kKernelCs, 0, kInt32, 3)) == "13(0402)");
    g.protected_mode(0);
    CHECK(attempt(gate(kUserCs, 0, kInt32, 3)) == "13(0018)"); // outwards
    g.seg(SegReg::Ss).limit = 0x10;
    CHECK(attempt(gate(kKernelCs, 0, kInt32, 3)) == "12(0000)");
    // INT1 is external to the program: EXT.
    g.idt(1, not_present(gate(kKernelCs, 0, kInt32)));
    CHECK(soft(g, 1, EventKind::Exception) == "11(000b)");
}

TEST_CASE("interrupts: to conforming code at CPL 3 there is no stack switch", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    g.idt(0x80, gate(kConformingCs, kHandler, kInt32, 3));
    REQUIRE(soft(g, 0x80) == "ok");
    CHECK(g.state.cpl == 3);
    CHECK(g.seg(SegReg::Cs).selector == (kConformingCs | 3));
    CHECK(g.reg(Reg::Esp) == kUserStack - 12);
}

TEST_CASE("interrupts: real mode uses the IVT and its limit", "[cpu]") {
    Guest g;
    g.real_mode();
    g.put32(0x40, 0xF0001234);
    g.state.eflags |= eflags::kTf | eflags::kAc;
    REQUIRE(soft(g, 0x10) == "ok");
    CHECK(g.seg(SegReg::Cs).base == 0xF0000);
    CHECK(g.state.eip == 0x1234);
    CHECK(g.state.eflags == 2);
    CHECK(g.stack16(0) == (kNext & 0xFFFF));
    CHECK(g.stack16(1) == 0x100);
    CHECK(g.stack16(2) == (0x202 | eflags::kTf));
    g.real_mode();
    g.state.idtr.limit = 0x42;
    CHECK(soft(g, 0x10) == "13(0082)");
    // An exception in real mode pushes no error code.
    g.real_mode();
    g.put32(kGp * 4, 0xF0005678);
    g.cpu.raise(fault(Vector::GeneralProtection, 0));
    CHECK(g.reg(Reg::Esp) == 0x100 - 6);
    CHECK(g.state.eip == 0x5678);
    CHECK(g.stack16(0) == 0x50);
}

TEST_CASE("interrupts: a 64 KiB stack wraps under an interrupt in real mode", "[cpu]") {
    Guest g;
    g.real_mode();
    g.reg(Reg::Esp) = 0;
    REQUIRE(soft(g, 0x10) == "ok");
    CHECK(g.reg(Reg::Esp) == 0xFFFA);
    CHECK(g.get16(0x2000 + 0xFFFE) == 0x202);
}

TEST_CASE("interrupts: real-mode double fault and shutdown", "[cpu]") {
    Guest g;
    g.real_mode();
    g.state.idtr.limit = kDf * 4 + 3;
    g.put32(kDf * 4, 0xF0005678);
    g.cpu.raise(fault(Vector::GeneralProtection, 0));
    CHECK(g.state.eip == 0x5678);
    CHECK(g.state.shutdown == 0);
    g.real_mode();
    g.state.idtr.limit = 3;
    g.cpu.raise(fault(Vector::GeneralProtection, 0));
    CHECK(g.state.shutdown == 1);
}

TEST_CASE("interrupts: faults push RF, traps and interrupts do not", "[cpu]") {
    Guest g;
    install_handlers(g);
    g.idt(0x30, gate(kKernelCs, kHandler, kInt32));
    g.protected_mode(3);
    g.cpu.raise(fault(Vector::GeneralProtection, 0x1234));
    CHECK(g.stack32(0) == 0x1234);
    CHECK(g.stack32(1) == kCode);
    CHECK(g.stack32(3) == (0x202 | eflags::kRf));
    g.protected_mode(3);
    g.state.halted = 1;
    g.cpu.external_interrupt(0x30);
    CHECK(g.state.halted == 0);
    CHECK(g.stack32(0) == kCode);
    CHECK(g.stack32(2) == 0x202);
    g.protected_mode(3);
    g.cpu.raise_debug(1u << 14); // BS
    CHECK(g.state.eip == kHandler + 1);
    CHECK((g.state.dr[6] & (1u << 14)) != 0);
    CHECK(g.stack32(2) == 0x202);
    g.protected_mode(0);
    g.cpu.raise_debug(1u << 13); // BD is a fault
    CHECK(g.stack32(2) == (0x202 | eflags::kRf));
}

TEST_CASE("interrupts: an NMI blocks NMIs until IRET", "[cpu]") {
    Guest g;
    install_handlers(g);
    g.protected_mode(0);
    g.cpu.external_interrupt(2);
    CHECK(g.state.nmi_blocked == 1);
    REQUIRE(g.cpu.iret(Width::Dword, 0));
    CHECK(g.state.nmi_blocked == 0);
    CHECK(g.state.eip == kCode);
}

TEST_CASE("interrupts: page faults set CR2 and push their error code", "[cpu]") {
    Guest g;
    install_handlers(g);
    g.protected_mode(3);
    g.cpu.raise(Fault{Vector::PageFault, true, 6, 0xDEAD000});
    CHECK(g.state.cr2 == 0xDEAD000);
    CHECK(g.state.eip == kHandler + kPf);
    CHECK(g.stack32(0) == 6);
}

TEST_CASE("interrupts: benign then contributory is handled serially, with EXT", "[cpu]") {
    Guest g;
    install_handlers(g);
    g.protected_mode(0);
    g.idt(6, not_present(gate(kKernelCs, 0, kInt32)));
    g.cpu.raise(Fault{Vector::InvalidOpcode, false, 0, 0});
    CHECK(g.state.eip == kHandler + kNp);
    CHECK(g.stack32(0) == (6 * 8 + 2 + 1));
    CHECK(g.stack32(1) == kCode);
    g.protected_mode(0);
    g.cpu.external_interrupt(0x90); // an empty gate
    CHECK(g.state.eip == kHandler + kGp);
    CHECK(g.stack32(0) == (0x90 * 8 + 2 + 1));
    // The PIC's power-on vector 8 is an interrupt, not a double fault.
    g.protected_mode(0);
    g.idt(kDf, 0);
    g.cpu.external_interrupt(8);
    CHECK(g.state.eip == kHandler + kGp);
    CHECK(g.state.shutdown == 0);
}

TEST_CASE("interrupts: contributory then contributory is a double fault", "[cpu]") {
    Guest g;
    install_handlers(g);
    g.protected_mode(0);
    g.idt(kGp, 0);
    g.cpu.raise(fault(Vector::GeneralProtection, 0));
    CHECK(g.state.eip == kHandler + kDf);
    CHECK(g.stack32(0) == 0); // error code
    CHECK(g.stack32(1) == kCode);
    CHECK(g.state.shutdown == 0);
}

TEST_CASE("interrupts: contributory then page fault is serial, page fault then anything is double", "[cpu]") {
    Guest g;
    install_handlers(g);
    g.protected_mode(0);
    g.paging();
    // #SS's handler code segment lies in an unmapped LDT.
    g.unmap(kLdt + 0x200000);
    g.state.ldtr = Segment{kLdtSel, 1, 0x200000 + kLdt, 0x3F, 0x8200};
    g.idt(kSs, gate(0x0C, 0, kInt32));
    g.cpu.raise(fault(Vector::StackFault, 0));
    CHECK(g.state.eip == kHandler + kPf);
    CHECK(g.state.cr2 == 0x200000 + kLdt + 8);

    g.protected_mode(0);
    g.idt(kPf, 0);
    g.cpu.raise(Fault{Vector::PageFault, true, 0, 0x1000});
    CHECK(g.state.eip == kHandler + kDf);

    g.protected_mode(0);
    g.state.ldtr = Segment{kLdtSel, 1, 0x200000 + kLdt, 0x3F, 0x8200};
    g.idt(kPf, gate(0x0C, 0, kInt32));
    g.cpu.raise(Fault{Vector::PageFault, true, 0, 0x1000});
    CHECK(g.state.eip == kHandler + kDf);
    CHECK(g.state.cr2 == 0x200000 + kLdt + 8);
}

TEST_CASE("interrupts: a fault in delivering a double fault is shutdown", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    g.state.idtr.limit = 0;
    const uint32_t eip = g.state.eip;
    g.cpu.raise(fault(Vector::GeneralProtection, 0));
    CHECK(g.state.shutdown == 1);
    CHECK(g.state.eip == eip);
    CHECK(g.state.cpl == 3);
}

TEST_CASE("interrupts: a fault while switching stacks leaves the interrupted context in the next frame",
          "[cpu]") {
    Guest g;
    install_handlers(g);
    g.protected_mode(3);
    g.put16(kTss + 8, 0xF00); // bad SS0: #TS, itself undeliverable: double fault, shutdown
    g.cpu.external_interrupt(0x20);
    CHECK(g.state.shutdown == 1);
    // #TS through a conforming segment needs no stack switch.
    g.protected_mode(3);
    g.state.shutdown = 0;
    g.idt(0x20, gate(kKernelCs, kHandler, kInt32));
    g.idt(kTs, gate(kConformingCs, 0x7000, kInt32));
    g.cpu.external_interrupt(0x20);
    CHECK(g.state.eip == 0x7000);
    CHECK(g.stack32(0) == 0xF01); // selector and EXT
    CHECK(g.stack32(1) == kCode);
}

TEST_CASE("interrupts: delivery ends the interrupt shadow", "[cpu]") {
    Guest g;
    install_handlers(g);
    g.protected_mode(0);
    g.state.interrupt_shadow = 1;
    g.cpu.raise(Fault{Vector::InvalidOpcode, false, 0, 0});
    CHECK(g.state.interrupt_shadow == 0);
}

TEST_CASE("interrupts: v86 to ring 0 pushes all segments and nulls them", "[cpu]") {
    Guest g;
    install_handlers(g);
    g.v86(0);
    const uint32_t flags = g.state.eflags;
    g.cpu.raise(fault(Vector::GeneralProtection, 0));
    CHECK(g.state.cpl == 0);
    CHECK_FALSE(g.state.v86());
    CHECK(g.reg(Reg::Esp) == kKernelStack - 40);
    const uint32_t expected[] = {0,      0x123,  0x1100, flags | eflags::kRf, 0x800, 0x1200, 0x1000,
                                 0x1300, 0x1400, 0x1500};
    for (unsigned i = 0; i < 10; ++i)
        CHECK(g.stack32(i) == expected[i]);
    for (const SegReg reg : {SegReg::Ds, SegReg::Es, SegReg::Fs, SegReg::Gs})
        CHECK(g.seg(reg).usable == 0);
    CHECK(g.seg(SegReg::Ss).selector == kKernelDs);
    // And back with the error code popped.
    REQUIRE(g.cpu.pop(Width::Dword));
    REQUIRE(g.cpu.iret(Width::Dword, 0));
    CHECK(g.state.v86());
    CHECK(g.seg(SegReg::Gs).base == 0x15000);
    CHECK(g.reg(Reg::Esp) == 0x800);
}

TEST_CASE("interrupts: v86 to anything but ring 0 is #GP of the code selector", "[cpu]") {
    Guest g;
    g.v86(3);
    g.idt(0x21, gate(kConformingCs, 0, kInt32, 3));
    CHECK(soft(g, 0x21) == "13(0038)");
    g.idt(0x21, gate(kUserCs, 0, kInt32, 3));
    CHECK(soft(g, 0x21) == "13(0018)");
}

TEST_CASE("interrupts: INT n in v86 needs IOPL 3 without VME, INT3 does not", "[cpu]") {
    Guest g;
    g.v86(0);
    g.idt(0x21, gate(kKernelCs, kHandler, kInt32, 3));
    g.idt(3, gate(kKernelCs, kHandler + 3, kInt32, 3));
    CHECK(soft(g, 0x21) == "13(0000)");
    CHECK(soft(g, 3, EventKind::Int3OrInto) == "ok");
    CHECK(g.state.eip == kHandler + 3);
    g.v86(3);
    CHECK(soft(g, 0x21) == "ok");
    CHECK(g.state.cpl == 0);
}

TEST_CASE("interrupts: VME redirects by the bitmap in the TSS", "[cpu]") {
    Guest g;
    const auto setup = [&](unsigned iopl) {
        g.v86(iopl);
        g.state.cr4 |= cr4::kVme;
        g.state.tr.limit = 0x68 + 32 + 16;
        g.put16(kTss + 0x66, 0x68 + 32); // redirection map at 68h
        g.put32(0x21 * 4, 0x30004444);
        g.put8(kTss + 0x68 + 0x21 / 8, 0);
    };
    setup(3);
    REQUIRE(soft(g, 0x21) == "ok");
    CHECK(g.state.v86());
    CHECK(g.seg(SegReg::Cs).base == 0x30000);
    CHECK(g.state.eip == 0x4444);
    CHECK((g.state.eflags & eflags::kIf) == 0);
    CHECK(g.stack16(2) == 0x3202);

    setup(0); // method 6: VIF stands for IF
    g.state.eflags |= eflags::kVif;
    REQUIRE(soft(g, 0x21) == "ok");
    CHECK((g.state.eflags & eflags::kVif) == 0);
    CHECK((g.state.eflags & eflags::kIf) != 0);
    CHECK(g.stack16(2) == 0x3202);

    setup(0);
    g.put8(kTss + 0x68 + 0x21 / 8, 1u << (0x21 & 7)); // to the monitor
    CHECK(soft(g, 0x21) == "13(0000)");
    setup(3);
    g.put8(kTss + 0x68 + 0x21 / 8, 1u << (0x21 & 7));
    g.idt(0x21, gate(kKernelCs, kHandler, kInt32, 3));
    CHECK(soft(g, 0x21) == "ok");
    CHECK(g.state.cpl == 0);
    setup(3);
    g.put16(kTss + 0x66, 0xFFFF); // map beyond the TSS
    CHECK(soft(g, 0x21) == "13(0000)");
    g.put16(kTss + 0x66, 30); // map that would start below the TSS
    CHECK(soft(g, 0x21) == "13(0000)");
}

TEST_CASE("interrupts: an unmapped kernel stack makes a double fault, then shutdown", "[cpu]") {
    Guest g;
    install_handlers(g);
    g.protected_mode(3);
    g.paging();
    g.unmap(kKernelStack - 4);
    g.cpu.external_interrupt(0x20); // empty gate: #GP, #PF, #DF, each on the same stack
    CHECK(g.state.shutdown == 1);
    CHECK(g.state.cr2 == kKernelStack - 24);
}
