#include "long_fixture.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kHandler = kHigh + 0x5678;
constexpr uint64_t kNextIp = 0x4002;

std::string interrupt(LongGuest& g, uint8_t vector = 0x40, EventKind kind = EventKind::SoftwareInt) {
    return g.tried([&] { return g.cpu.software_interrupt(vector, kind, kNextIp); });
}

} // namespace

TEST_CASE("long interrupts: from ring 3 the stack is RSP0, SS null, and five slots of eight bytes are pushed",
          "[cpu]") {
    LongGuest g;
    g.long_mode(3);
    g.put64(kTss + 4, kHigh + kKernelStack + 7); // is aligned
    g.idt64(0x40, kCode64, kHandler, 14, 3);
    g.wide(Reg::Esp) = 0x123456789;
    g.state.eflags = 0x202 | eflags::kTf | eflags::kNt | eflags::kAc | eflags::kDf;
    CHECK(interrupt(g) == "ok");
    CHECK(g.state.cpl == 0);
    CHECK(g.state.rip() == kHandler);
    CHECK(g.seg(SegReg::Cs).selector == kCode64);
    CHECK(g.state.mode64());
    CHECK(g.seg(SegReg::Ss).selector == 0);
    CHECK(g.seg(SegReg::Ss).usable == 0);
    CHECK(g.rsp() == kHigh + kKernelStack - 40);
    CHECK(g.stack64(0) == kNextIp);
    CHECK(g.stack64(1) == kUser64);
    CHECK(g.stack64(2) == (0x202 | eflags::kTf | eflags::kNt | eflags::kAc | eflags::kDf));
    CHECK(g.stack64(3) == 0x123456789);
    CHECK(g.stack64(4) == kUserDs);
    // IF, TF, NT and RF are cleared. AC is not: a kernel that has SMAP clears it itself.
    CHECK(g.state.eflags == (eflags::kFixed1 | eflags::kAc | eflags::kDf));
}

TEST_CASE("long interrupts: at the same level RSP is aligned, and SS:RSP are pushed all the same", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    g.idt64(13, kCode64, kHandler, 15);
    g.wide(Reg::Esp) = kHigh + kKernelStack + 9;
    g.cpu.raise(Fault{Vector::GeneralProtection, true, 0x123, 0});
    CHECK(g.rsp() == kHigh + kKernelStack - 48);
    CHECK(g.stack64(0) == 0x123);
    CHECK(g.stack64(1) == kFarIp);
    CHECK(g.stack64(2) == kCode64);
    CHECK(g.stack64(3) == (0x202 | eflags::kRf));
    CHECK(g.stack64(4) == kHigh + kKernelStack + 9);
    CHECK(g.stack64(5) == kKernelDs);
    CHECK(g.seg(SegReg::Ss).selector == kKernelDs); // is not changed
    CHECK(g.seg(SegReg::Ss).usable == 1);
    CHECK(g.state.eflags == 0x202); // a trap gate leaves IF
}

TEST_CASE("long interrupts: IST switches the stack at every level", "[cpu]") {
    for (const unsigned cpl : {0u, 3u}) {
        for (unsigned ist = 1; ist <= 7; ++ist) {
            LongGuest g;
            g.long_mode(cpl);
            g.idt64(2, kCode64, kHandler, 14, 0, ist);
            const uint64_t before = g.rsp();
            g.cpu.external_interrupt(2);
            CHECK(g.state.rip() == kHandler);
            CHECK(g.rsp() == kHigh + kIstStack + 0x100 * ist - 40);
            CHECK(g.stack64(3) == before);
            CHECK(g.state.nmi_blocked == 1);
            CHECK(g.seg(SegReg::Ss).selector == (cpl == 0 ? kKernelDs : 0));
        }
    }
    LongGuest g;
    g.long_mode(0);
    g.idt64(0x40, kCode64, kHandler, 14, 0, 7);
    g.state.tr.limit = 36 + 6 * 8 + 6;
    CHECK(interrupt(g) == "10(0028)"); // #TS of the TSS
    g.state.tr.limit += 1;
    CHECK(interrupt(g) == "ok");
}

TEST_CASE("long interrupts: gate checks and their error codes", "[cpu]") {
    LongGuest g;
    g.long_mode(3);
    for (unsigned type = 0; type < 16; ++type) {
        g.idt64(0x40, kCode64, kHandler, type, 3);
        CHECK(interrupt(g) == (type == 14 || type == 15 ? "ok" : "13(0202)"));
        g.long_mode(3);
    }
    g.idt64(0x40, kCode64, kHandler, 14, 2);
    CHECK(interrupt(g) == "13(0202)");
    CHECK(interrupt(g, 0x40, EventKind::Int3OrInto) == "13(0202)");
    CHECK(interrupt(g, 0x40, EventKind::Exception) == "ok"); // INT1: hardware's do not look at DPL
    g.long_mode(3);
    g.put64(kIdt + 16 * 0x40, not_present(gate(kCode64, 0x5678, 14, 3)));
    CHECK(interrupt(g) == "11(0202)");
    g.idt64(0x40, kCode64, kHandler, 14, 3);
    g.state.idtr.limit = 0x40 * 16 + 14;
    CHECK(interrupt(g) == "13(0202)");
    g.state.idtr.limit = 0x40 * 16 + 15;
    CHECK(interrupt(g) == "ok");
}

TEST_CASE("long interrupts: handlers are in 64-bit code", "[cpu]") {
    LongGuest g;
    const auto through = [&](uint16_t selector, uint64_t offset = kHandler) {
        g.long_mode(3);
        g.idt64(0x40, selector, offset, 14, 3);
        return interrupt(g);
    };
    CHECK(through(0) == "13(0000)");
    CHECK(through(0x200) == "13(0200)");
    CHECK(through(kKernelDs) == "13(0010)");
    CHECK(through(kKernelCs) == "13(0008)"); // compatibility code
    g.gdt(kFree2, descriptor(0, 0xFFFFF, kCode0, 0xE));
    CHECK(through(kFree2) == "13(0050)"); // L and D
    g.gdt(kFree2, not_present(descriptor(0, 0xFFFFF, kCode0, kLongFlags)));
    CHECK(through(kFree2) == "11(0050)");
    CHECK(through(kCode64, kNoncanonical) == "13(0000)");
    CHECK(through(kCode64 | 3) == "ok"); // the RPL does not count
    CHECK(g.seg(SegReg::Cs).selector == kCode64);

    CHECK(through(kConforming64) == "ok"); // stays in ring 3, on its stack
    CHECK(g.state.cpl == 3);
    CHECK(g.seg(SegReg::Cs).selector == (kConforming64 | 3));
    CHECK(g.rsp() == kUserStack - 40);
    CHECK(g.seg(SegReg::Ss).selector == kUserDs);

    g.long_mode(0);
    g.idt64(0x40, kUser64, kHandler, 14, 3);
    CHECK(interrupt(g) == "13(0068)"); // never outwards
}

TEST_CASE("long interrupts: out of compatibility mode", "[cpu]") {
    LongGuest g;
    g.long_mode(3, true);
    CHECK_FALSE(g.state.mode64());
    g.idt64(0x80, kCode64, kHandler, 14, 3);
    CHECK(interrupt(g, 0x80) == "ok");
    CHECK(g.state.mode64());
    CHECK(g.state.rip() == kHandler);
    CHECK(g.stack64(1) == kUserCs);
    CHECK(g.stack64(3) == kUserStack);
}

TEST_CASE("long interrupts: stacks that cannot be used", "[cpu]") {
    LongGuest g;
    g.long_mode(3);
    g.idt64(0x40, kCode64, kHandler, 14, 3);
    g.put64(kTss + 4, kNoncanonical + 0x1000);
    CHECK(interrupt(g) == "12(0000)");
    g.put64(kTss + 4, kHigh + 0x100000000);
    CHECK(interrupt(g) == "14(0002)@ffff8000ffffffd8");
    g.put64(kTss + 4, kHigh + kKernelStack);
    g.state.tr.limit = 10;
    CHECK(interrupt(g) == "10(0028)");
}

TEST_CASE("long interrupts: a fault in delivery is a double fault on its own stack, and then shutdown",
          "[cpu]") {
    LongGuest g;
    g.long_mode(3);
    g.idt64(14, kCode64, kHandler);
    g.idt64(8, kCode64, kHandler + 8, 14, 0, 1);
    g.put64(kTss + 4, kHigh + 0x100000000); // nothing there
    g.cpu.raise(Fault{Vector::PageFault, true, 4, 0x0000123412341234});
    CHECK(g.state.rip() == kHandler + 8);
    CHECK(g.state.cr2 == 0xFFFF8000FFFFFFD0); // of the push
    CHECK(g.stack64(0) == 0);                 // error code
    CHECK(g.stack64(1) == kCode);
    CHECK(g.state.shutdown == 0);

    g.long_mode(3);
    g.idt64(8, kCode64, kHandler + 8); // RSP0 again
    g.cpu.raise(Fault{Vector::PageFault, true, 4, 0x0000123412341234});
    CHECK(g.state.shutdown == 1);
}

TEST_CASE("long interrupts: CR2 has 64 bits, and a hardware interrupt ends a halt", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    g.idt64(14, kCode64, kHandler);
    g.cpu.raise(Fault{Vector::PageFault, true, 2, 0xFFFFC90012345678});
    CHECK(g.state.cr2 == 0xFFFFC90012345678);
    CHECK(g.stack64(0) == 2);
    g.idt64(0x30, kCode64, kHandler);
    g.state.halted = 1;
    g.cpu.external_interrupt(0x30);
    CHECK(g.state.halted == 0);
    CHECK(g.state.rip() == kHandler);
}

// -- IRET ------------------------------------------------------------------------------------------------

namespace {

std::string iret(LongGuest& g, Width width = Width::Qword) {
    return g.tried([&] { return g.cpu.iret(width, 0); });
}

} // namespace

TEST_CASE("long iret: IRETQ pops RIP, CS, RFLAGS, RSP and SS at the same level as well", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    g.state.nmi_blocked = 1;
    g.push64({kKernelDs, kHigh + 0x7123, 0x202 | eflags::kCf | eflags::kRf, kCode64, kHigh + 0x4000});
    CHECK(iret(g) == "ok");
    CHECK(g.state.rip() == kHigh + 0x4000);
    CHECK(g.rsp() == kHigh + 0x7123);
    CHECK(g.seg(SegReg::Ss).selector == kKernelDs);
    CHECK(g.state.eflags == (0x202 | eflags::kCf | eflags::kRf));
    CHECK(g.state.nmi_blocked == 0);
    CHECK(g.state.cpl == 0);
}

TEST_CASE("long iret: to ring 3, to 64-bit and to compatibility code", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    g.seg(SegReg::Ds) = Segment{kKernelDs, 1, 0, 0xFFFFFFFF, 0xC09300};
    g.push64({kUserDs, 0x7FFFFFFFF123, 0x202, kUser64, 0x7FFFFFFFF000});
    CHECK(iret(g) == "ok");
    CHECK(g.state.cpl == 3);
    CHECK(g.state.rip() == 0x7FFFFFFFF000);
    CHECK(g.rsp() == 0x7FFFFFFFF123);
    CHECK(g.seg(SegReg::Ds).usable == 0); // not for ring 3

    g.long_mode(0);
    g.push64({kUserDs, 0x100009000, 0x202, kUserCs, 0x4000});
    CHECK(iret(g) == "ok");
    CHECK_FALSE(g.state.mode64());
    CHECK(g.state.rip() == 0x4000);
    CHECK(g.rsp() == 0x9000);

    g.long_mode(0); // into a 16-bit stack: SP alone
    g.push64({kStack16, 0x1234, 0x202, kUserCs, 0x4000});
    const uint32_t esp = g.reg(Reg::Esp);
    CHECK(iret(g) == "ok");
    CHECK(g.rsp() == ((esp & 0xFFFF0000) | 0x1234));
}

TEST_CASE("long iret: where SS may be null", "[cpu]") {
    const auto to = [](uint16_t cs, uint16_t ss) {
        LongGuest g;
        g.gdt(kFree2, descriptor(0, 0xFFFFF, 0xBB, kLongFlags)); // 64-bit code of ring 1
        g.long_mode(0);
        g.push64({ss, kHigh + 0x7000, 0x202, cs, 0x4000});
        return iret(g);
    };
    CHECK(to(kCode64, 0) == "ok");
    CHECK(to(kCode64, 1) == "13(0000)"); // RPL
    CHECK(to(kFree2 | 1, 1) == "ok");
    CHECK(to(kFree2 | 1, 0) == "13(0000)");
    CHECK(to(kUser64, 3) == "13(0000)");
    CHECK(to(kUserCs, 3) == "13(0000)");
    CHECK(to(kKernelCs, 0) == "13(0000)"); // compatibility code
    CHECK(to(kCode64, kUserDs) == "13(0020)");
    CHECK(to(kUser64, kKernelDs) == "13(0010)");
    CHECK(to(kUser64, 0x203) == "13(0200)");
}

TEST_CASE("long iret: what is refused", "[cpu]") {
    const auto to = [](uint16_t cs, uint64_t rip, uint32_t flags = 0x202, unsigned from = 0) {
        LongGuest g;
        g.gdt(kFree2, descriptor(0, 0xFFFFF, kCode0, 0xE));                     // L and D
        g.gdt(kFree3, not_present(descriptor(0, 0xFFFFF, kCode0, kLongFlags))); // 64-bit
        g.gdt(0x78, descriptor(0, 0xFFF, kCode0, 4));                           // 32-bit, 4 KiB
        g.long_mode(from);
        g.state.eflags = flags;
        g.push64({static_cast<uint64_t>(from == 0 ? kKernelDs : kUserDs), 0x7000, 0x202, cs, rip});
        return iret(g);
    };
    CHECK(to(0, kFarIp) == "13(0000)");
    CHECK(to(0x200, kFarIp) == "13(0200)");
    CHECK(to(kKernelDs, kFarIp) == "13(0010)");
    CHECK(to(kFree2, kFarIp) == "13(0050)");
    CHECK(to(kFree3, kFarIp) == "11(0058)");
    CHECK(to(kCode64, kNoncanonical) == "13(0000)");
    CHECK(to(0x78, 0x1000) == "13(0000)");
    CHECK(to(0x78, 0xFFF) == "ok");
    CHECK(to(kKernelCs, 0x100000000) == "13(0000)");
    CHECK(to(kCode64, kFarIp, 0x202 | eflags::kNt) == "13(0000)"); // no tasks to go back to
    CHECK(to(kCode64, kFarIp, 0x202, 3) == "13(0060)");            // inwards
    CHECK(to(kUser64, kCode, 0x202, 3) == "ok");
}

TEST_CASE("long iret: compatibility mode pops a stack pointer only when it goes outwards", "[cpu]") {
    LongGuest g;
    g.long_mode(3, true);
    const uint32_t esp = kUserStack - 12;
    g.reg(Reg::Esp) = esp;
    g.put32(esp, 0x4000);
    g.put32(esp + 4, kUserCs);
    g.put32(esp + 8, 0x202 | eflags::kZf);
    CHECK(iret(g, Width::Dword) == "ok");
    CHECK(g.rsp() == kUserStack);
    CHECK(g.state.rip() == 0x4000);
    CHECK((g.state.eflags & eflags::kZf) != 0);

    // From 64-bit mode five slots are popped at every operand size.
    g.long_mode(0);
    g.wide(Reg::Esp) = kHigh + kKernelStack - 10;
    const uint16_t words[] = {0x4000, kUserCs, 0x202, 0x8000, kUserDs};
    for (unsigned i = 0; i < 5; ++i)
        g.put16(kKernelStack - 10 + 2 * i, words[i]);
    CHECK(iret(g, Width::Word) == "ok");
    CHECK(g.state.rip() == 0x4000);
    CHECK(g.rsp() == 0x8000);
    CHECK(g.state.cpl == 3);
}

TEST_CASE("long iret: flags by CPL and IOPL", "[cpu]") {
    const uint32_t all = 0x3F7FD7; // every defined flag, VM among them
    const auto flags_after = [&](unsigned cpl, unsigned iopl, Width width) {
        LongGuest g;
        g.long_mode(cpl);
        g.state.eflags = 0x2 | iopl << 12;
        const uint16_t cs = cpl == 0 ? kCode64 : kUser64, ss = cpl == 0 ? kKernelDs : kUserDs;
        if (width == Width::Qword) {
            g.push64({ss, 0x7000, all, cs, 0x4000});
        } else {
            g.wide(Reg::Esp) = kUserStack - 10;
            const uint16_t words[] = {0x4000, cs, static_cast<uint16_t>(all), 0x7000, ss};
            for (unsigned i = 0; i < 5; ++i)
                g.put16(kUserStack - 10 + 2 * i, words[i]);
        }
        CHECK(iret(g, width) == "ok");
        return g.state.eflags;
    };
    using namespace eflags;
    const uint32_t unprivileged = kFixed1 | kArithmetic | kTf | kDf | kNt;
    const uint32_t wide = unprivileged | kRf | kAc | kId;
    CHECK(flags_after(0, 0, Width::Qword) == (wide | kIf | kIopl | kVif | kVip));
    CHECK(flags_after(3, 0, Width::Qword) == wide);
    CHECK(flags_after(3, 3, Width::Qword) == (wide | kIf | kIopl));
    CHECK(flags_after(3, 0, Width::Word) == unprivileged);
    CHECK(flags_after(0, 0, Width::Word) == (unprivileged | kIf | kIopl));
}
