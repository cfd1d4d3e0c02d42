#include "long_fixture.h"

#include <algorithm>

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint64_t kNextIp = kFarIp + 7;

std::string jump(LongGuest& g, uint16_t selector, uint64_t offset, Width width = Width::Dword) {
    return g.tried([&] { return g.cpu.far_jump(selector, offset, width, kNextIp); });
}
std::string call(LongGuest& g, uint16_t selector, uint64_t offset, Width width = Width::Dword) {
    return g.tried([&] { return g.cpu.far_call(selector, offset, width, kNextIp); });
}
std::string far_return(LongGuest& g, Width width, uint16_t release = 0) {
    return g.tried([&] { return g.cpu.far_return(width, release); });
}

} // namespace

TEST_CASE("long transfers: JMP between compatibility and 64-bit code", "[cpu]") {
    LongGuest g;
    g.long_mode(0, true);
    CHECK(jump(g, kCode64, 0x5000) == "ok");
    CHECK(g.state.mode64());
    CHECK(g.state.rip() == 0x5000);
    CHECK(jump(g, kCode64, kHigh + 0x5000, Width::Qword) == "ok");
    CHECK(g.state.rip() == kHigh + 0x5000);
    CHECK(jump(g, kCode64, kNoncanonical, Width::Qword) == "13(0000)");
    CHECK(jump(g, kKernelCs, 0xFFFF12345678, Width::Dword) == "ok"); // the operand has 32 bits
    CHECK_FALSE(g.state.mode64());
    CHECK(g.state.rip() == 0x12345678);

    g.long_mode(0);
    CHECK(jump(g, kKernelCs, 0x100000000, Width::Qword) == "13(0000)"); // beyond its limit
    g.gdt(kFree2, descriptor(0, 0xFFF, kCode0, 4));
    CHECK(jump(g, kFree2, 0x1000) == "13(0000)");
    CHECK(jump(g, kFree2, 0xF000FFF, Width::Word) == "ok");
}

TEST_CASE("long transfers: L with D, other levels and types are #GP of the selector", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    CHECK(jump(g, 0, 0x5000) == "13(0000)");
    CHECK(jump(g, kUser64, 0x5000) == "13(0068)");
    CHECK(jump(g, kKernelDs, 0x5000) == "13(0010)");
    g.gdt(kFree2, descriptor(0, 0xFFFFF, kCode0, 0xE));
    CHECK(jump(g, kFree2, 0x5000) == "13(0050)");
    g.gdt(kFree2, not_present(descriptor(0, 0xFFFFF, kCode0, kLongFlags)));
    CHECK(jump(g, kFree2, 0x5000) == "11(0050)");
    g.gdt(kFree2, descriptor(0, 0xFFFFF, 0x9A, kLongFlags));
    CHECK(jump(g, kFree2, 0x5000) == "ok");
    CHECK(g.access_byte(kFree2) == 0x9B);

    // Of system descriptors only the 64-bit call gate leads anywhere: no tasks, no other gates.
    for (unsigned type = 0; type < 16; ++type) {
        g.long_mode(0);
        g.gdt(kGate, gate(kCode64, 0x5000, type, 3));
        g.gdt(kGate + 8, 0);
        INFO("type " << type);
        CHECK(jump(g, kGate, 0) == (type == 12 ? "ok" : "13(0080)"));
        g.long_mode(0);
        CHECK(call(g, kGate, 0) == (type == 12 ? "ok" : "13(0080)"));
    }
    g.long_mode(3);
    CHECK(jump(g, kConforming64, 0x5000) == "ok");
    CHECK(g.state.cpl == 3);
    CHECK(g.seg(SegReg::Cs).selector == (kConforming64 | 3));
}

TEST_CASE("long transfers: CALL pushes CS and RIP as wide as the operand", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    CHECK(call(g, kCode64, kHigh + 0x5000, Width::Qword) == "ok");
    CHECK(g.rsp() == kHigh + kKernelStack - 16);
    CHECK(g.stack64(0) == kNextIp);
    CHECK(g.stack64(1) == kCode64);
    CHECK(far_return(g, Width::Qword) == "ok");
    CHECK(g.state.rip() == kNextIp);
    CHECK(g.rsp() == kHigh + kKernelStack);

    CHECK(call(g, kKernelCs, 0x5000) == "ok");
    CHECK(g.rsp() == ((kHigh + kKernelStack - 8) & 0xFFFFFFFFFFFFFFFF));
    CHECK(g.get32(kKernelStack - 8) == static_cast<uint32_t>(kNextIp));
    CHECK(g.get32(kKernelStack - 4) == kCode64);

    g.long_mode(0);
    g.wide(Reg::Esp) = kNoncanonical + 8;
    CHECK(call(g, kCode64, 0x5000) == "12(0000)");
    CHECK(call(g, kCode64, kNoncanonical, Width::Qword) == "12(0000)"); // the stack comes first
    g.wide(Reg::Esp) = kHigh + kKernelStack;
    CHECK(call(g, kCode64, kNoncanonical, Width::Qword) == "13(0000)");
    g.wide(Reg::Esp) = 8; // wraps: both ends are canonical, and nothing is there
    CHECK(call(g, kCode64, 0x5000, Width::Qword) == "14(0002)@fffffffffffffff8");
}

TEST_CASE("long transfers: call gates have 16 bytes and lead to 64-bit code", "[cpu]") {
    LongGuest g;
    const auto through = [&](uint16_t selector, uint64_t offset = kHigh + 0x5000, unsigned dpl = 3) {
        g.long_mode(3);
        g.call_gate(kGate, selector, offset, dpl);
        return call(g, kGate, 0xDEAD);
    };
    CHECK(through(kCode64) == "ok");
    CHECK(g.state.cpl == 0);
    CHECK(g.state.rip() == kHigh + 0x5000);
    CHECK(g.seg(SegReg::Ss).selector == 0);
    CHECK(g.seg(SegReg::Ss).usable == 0);
    CHECK(g.rsp() == kHigh + kKernelStack - 32);
    CHECK(g.stack64(0) == kNextIp);
    CHECK(g.stack64(1) == kUser64);
    CHECK(g.stack64(2) == kUserStack);
    CHECK(g.stack64(3) == kUserDs);
    CHECK(far_return(g, Width::Qword) == "ok");
    CHECK(g.state.cpl == 3);
    CHECK(g.rsp() == kUserStack);
    CHECK(g.seg(SegReg::Ss).selector == kUserDs);

    CHECK(through(kKernelCs) == "13(0008)"); // not 64-bit
    g.gdt(kFree2, descriptor(0, 0xFFFFF, kCode0, 0xE));
    CHECK(through(kFree2) == "13(0050)");
    CHECK(through(0) == "13(0000)");
    CHECK(through(kKernelDs) == "13(0010)");
    CHECK(through(kCode64, kNoncanonical) == "13(0000)");
    CHECK(through(kCode64, kHigh, 2) == "13(0080)");
    g.call_gate(kGate, kCode64, kHigh + 0x5000);
    g.gdt(kGate + 8, 0x00000C00FFFF8000); // looks like a gate itself
    CHECK(call(g, kGate, 0) == "13(0080)");
    g.call_gate(kGate, kCode64, kHigh + 0x5000);
    g.gdt(kGate, not_present(gate(kCode64, 0x5000, 12, 3)));
    CHECK(call(g, kGate, 0) == "11(0080)");
    g.call_gate(kGate, kCode64, kHigh + 0x5000);
    g.state.gdtr.limit = kGate + 14;
    CHECK(call(g, kGate, 0) == "13(0080)"); // half of it is outside
    g.state.gdtr.limit = kGdtBytes - 1;
    CHECK(jump(g, kGate, 0) == "13(0060)"); // JMP never changes the level
    g.put64(kTss + 4, kNoncanonical + 0x1000);
    CHECK(call(g, kGate, 0) == "12(0000)");
    g.state.tr.limit = 10;
    CHECK(call(g, kGate, 0) == "10(0028)");
}

TEST_CASE("long transfers: a call gate to the same level pushes eight bytes a slot, from either sub-mode",
          "[cpu]") {
    for (const bool compatibility : {false, true}) {
        LongGuest g;
        g.long_mode(0, compatibility);
        g.call_gate(kGate, kCode64, kHigh + 0x5000);
        const uint64_t before = g.rsp();
        CHECK(call(g, kGate, 0) == "ok");
        CHECK(g.state.mode64());
        CHECK(g.rsp() == before - 16);
        CHECK(g.stack64(0) == kNextIp);
        CHECK(g.stack64(1) == (compatibility ? kKernelCs : kCode64));
    }
}

TEST_CASE("long transfers: RETF to the outer level releases parameters on both stacks", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    g.push64({kUserDs, 0x9000, 0xAAAA, kUser64, 0x4000});
    CHECK(far_return(g, Width::Qword, 8) == "ok");
    CHECK(g.state.cpl == 3);
    CHECK(g.state.rip() == 0x4000);
    CHECK(g.rsp() == 0x9008);

    const auto back_to = [](uint16_t cs, uint64_t rip, uint16_t ss) {
        LongGuest guest;
        guest.gdt(kFree2, descriptor(0, 0xFFFFF, kCode3, 0xE)); // L and D
        guest.long_mode(0);
        guest.push64({ss, 0x9000, cs, rip});
        return far_return(guest, Width::Qword);
    };
    CHECK(back_to(kUser64, kNoncanonical, kUserDs) == "13(0000)");
    CHECK(back_to(kUser64, 0x4000, 3) == "13(0000)"); // null, in ring 3
    CHECK(back_to(kUserCs, 0x4000, 3) == "13(0000)");
    CHECK(back_to(kUserCs, 0x100000000, kUserDs) == "13(0000)");
    CHECK(back_to(kFree2 | 3, 0x4000, kUserDs) == "13(0050)");
    CHECK(back_to(kUser64, 0x4000, kKernelDs) == "13(0010)");
    CHECK(back_to(0, 0x4000, kUserDs) == "13(0000)");
    CHECK(back_to(kUserCs, 0x4000, kUserDs) == "ok");
}

// -- loads of system registers and segments ----------------------------------------------------------------

TEST_CASE("long segments: LLDT and LTR read descriptors of 16 bytes", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    g.system_descriptor(kGate, kHigh + kLdt, 0x3F, 0x82);
    CHECK(outcome(g.cpu.lldt(kGate)) == "ok");
    CHECK(g.state.ldtr.linear_base() == kHigh + kLdt);
    g.ldt(0x08, flat(kData0));
    CHECK(outcome(g.cpu.load_segment(SegReg::Ds, 0x0C)) == "ok"); // from the LDT in the upper half
    CHECK(g.seg(SegReg::Ds).selector == 0x0C);

    g.gdt(kGate + 8, 0x00000200FFFF8000); // upper type is not zero
    CHECK(outcome(g.cpu.lldt(kGate)) == "13(0080)");
    g.system_descriptor(kGate, kHigh + kTss2, 0x67, 0x89);
    CHECK(outcome(g.cpu.ltr(kGate)) == "ok");
    CHECK(g.state.tr.linear_base() == kHigh + kTss2);
    CHECK(g.access_byte(kGate) == 0x8B); // busy
    CHECK(outcome(g.cpu.ltr(kGate)) == "13(0080)");
    g.system_descriptor(kGate, kHigh + kTss2, 0x67, 0x81); // 16-bit
    CHECK(outcome(g.cpu.ltr(kGate)) == "13(0080)");
    g.system_descriptor(kGate, kHigh + kTss2, 0x67, 0x89);
    g.state.gdtr.limit = kGate + 14;
    CHECK(outcome(g.cpu.ltr(kGate)) == "13(0080)");
}

TEST_CASE("long segments: SS may be null in 64-bit code of rings 0 to 2, with that ring's RPL", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    CHECK(outcome(g.cpu.load_segment(SegReg::Ss, 1)) == "13(0000)");
    CHECK(outcome(g.cpu.load_segment(SegReg::Ss, 0)) == "ok");
    CHECK(g.seg(SegReg::Ss).usable == 0);
    g.long_mode(3);
    CHECK(outcome(g.cpu.load_segment(SegReg::Ss, 3)) == "13(0000)");
    g.long_mode(0, true);
    CHECK(outcome(g.cpu.load_segment(SegReg::Ss, 0)) == "13(0000)");
}

TEST_CASE("long segments: a selector load gives FS and GS a base of 32 bits, null clears it", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    g.seg(SegReg::Gs).set_linear_base(kHigh + 0x1000);
    g.gdt(kFree2, descriptor(0x12345678, 0xFFFFF, kData0, 0xC));
    CHECK(outcome(g.cpu.load_segment(SegReg::Gs, kFree2)) == "ok");
    CHECK(g.seg(SegReg::Gs).linear_base() == 0x12345678);
    g.seg(SegReg::Gs).set_linear_base(kHigh + 0x1000);
    CHECK(outcome(g.cpu.load_segment(SegReg::Gs, 0)) == "ok");
    CHECK(g.seg(SegReg::Gs).linear_base() == 0);
}

TEST_CASE("long segments: in 64-bit mode only FS and GS have a base, and addresses must be canonical",
          "[cpu]") {
    LongGuest g;
    g.long_mode(3);
    g.seg(SegReg::Ds) = Segment{kUserDs, 1, 0x1000, 0xFFF, 0x40F300};
    g.seg(SegReg::Fs).set_linear_base(0x7F0000001000);
    CHECK(g.cpu.linear_address64(SegReg::Ds, 0x5000, 8).value() == 0x5000);
    CHECK(g.cpu.linear_address64(SegReg::Fs, 0x5000, 8).value() == 0x7F0000006000);
    CHECK(g.cpu.linear_address64(SegReg::Fs, ~uint64_t{0xFFF}, 8).value() == 0x7F0000000000); // wraps
    CHECK(outcome(g.cpu.linear_address64(SegReg::Ds, kNoncanonical, 1)) == "13(0000)");
    CHECK(outcome(g.cpu.linear_address64(SegReg::Ds, kNoncanonical - 1, 2)) == "13(0000)");
    CHECK(outcome(g.cpu.linear_address64(SegReg::Ss, kNoncanonical - 1, 2)) == "12(0000)");
    CHECK(outcome(g.cpu.linear_address64(SegReg::Ds, kNoncanonical - 1, 1)) == "ok");
}

TEST_CASE("long segments: LGDT and LIDT take 64 bits, LAR and LSL know 64-bit system types", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    CHECK(outcome(g.cpu.lidt(0xFFF, kNoncanonical, Width::Qword)) == "13(0000)");
    CHECK(outcome(g.cpu.lidt(0x7F, kHigh + 0x4000, Width::Qword)) == "ok");
    CHECK(g.state.idtr == TableRegister{kHigh + 0x4000, 0x7F});
    CHECK(outcome(g.cpu.lgdt(0xFF, kNoncanonical, Width::Qword)) == "13(0000)");
    const unsigned in_lsl[] = {2, 9, 11}, only_lar = 12;
    for (unsigned type = 0; type < 16; ++type) {
        g.gdt(kFree2, descriptor(0, 0x67, 0x80 | type, 0));
        const bool lsl = std::count(std::begin(in_lsl), std::end(in_lsl), type) != 0;
        INFO("type " << type);
        REQUIRE(g.cpu.lsl(kFree2, 0));
        CHECK(((g.state.eflags & eflags::kZf) != 0) == lsl);
        REQUIRE(g.cpu.lar(kFree2, 0));
        CHECK(((g.state.eflags & eflags::kZf) != 0) == (lsl || type == only_lar));
    }
}

TEST_CASE("long segments: I/O permissions come from the 64-bit TSS, wherever it is", "[cpu]") {
    LongGuest g;
    g.long_mode(3);
    g.state.tr.limit = 0x67 + 0x20;
    g.put16(kTss + 0x66, 0x68);
    g.put8(kTss + 0x68 + (0x60 >> 3), 0xFE); // port 60h alone
    CHECK(outcome(g.cpu.port_in(0x60, Width::Byte)) == "ok");
    CHECK(outcome(g.cpu.port_in(0x61, Width::Byte)) == "13(0000)");
}
