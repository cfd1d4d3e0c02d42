// Addresses that wrap at 4 GiB, with windows that have guards there.
#include "tests/guest/guest.h"

using namespace vmm;
using namespace vmm::guest;

GUEST32(wrap_movs, "rep movsb\n hlt");
GUEST32(wrap_movsd, "rep movsd\n hlt");
// The top page of the 4 GiB and page 0 are both mapped.
static void wrap(Guest& g) {
    g.paging();
    g.put32(kDirectory + 4 * 1023, (kTable + 0x2000) | 7);
    g.put32(kTable + 0x2000 + 4 * 1023, 0x50007);
    g.page(0, 0x51007);
    g.fill(0x50000, 0xA0, 0x1000);
    g.fill(0x51000, 0xB0, 0x1000);
}
GUEST32(wrap_read, "mov eax, [ebx]\n hlt");
GUEST32(wrap_write, "mov [ebx], eax\n hlt");
// Accesses that cross the top of a 4 GiB segment: SDM Vol. 3A 5.3 leaves it to the implementation whether
// they fault. Intel's processors (measured) wrap in a flat segment and refuse in one whose base is not 0.
GUEST_TEST("wrap: a doubleword at FFFFFFFEh of a flat segment goes on at 0", "[wrap]") {
    wrap(g);
    g.ebx() = 0xFFFFFFFE;
    CHECK(g.run(wrap_read) == "hlt");
    CHECK(g.eax() == 0xB0B0A0A0);
    g.eax() = 0x12345678;
    g.state.eip = kCode;
    CHECK(g.run(wrap_write) == "hlt");
    CHECK(g.get16(0x50FFE) == 0x5678);
    CHECK(g.get16(0x51000) == 0x1234);
    g.page(0, 0); // of its two pages the second is missing, then the first
    g.engine->state_replaced();
    g.state.eip = kCode;
    CHECK(g.run() == "#14(0002)@0 at 10000");
    g.page(0, 0x51007);
    g.put32(kTable + 0x2000 + 4 * 1023, 0);
    g.engine->state_replaced();
    CHECK(g.run() == "#14(0002)@fffffffe at 10000");
}
GUEST32(wrap_enter, "enter 16, 3\n hlt");
GUEST32(wrap_far_call, "lcall 0x08:0x10020\n .org 0x20\n hlt");
GUEST_TEST("wrap: frames across the top of a flat stack", "[wrap]") {
    wrap(g);
    g.esp() = 0x800;
    g.ebp() = 1; // its link is read at FFFFFFFDh
    CHECK(g.run(wrap_enter) == "hlt");
    CHECK(g.get32(0x517F8) == 0xB0A0A0A0);
    CHECK(g.ebp() == 0x7FC);
    g.esp() = 3;
    g.state.eip = kCode;
    CHECK(g.run(wrap_far_call) == "hlt");
    CHECK(g.esp() == 0xFFFFFFFB);
    CHECK(g.get32(0x50FFB) == kCode + 7);
    CHECK(g.get8(0x50FFF) == kKernelCs);
    CHECK(g.get8(0x51000) == 0);
    g.put32(kTable + 0x2000 + 4 * 1023, 0); // and what is missing there is a page, not a piece of the segment
    g.engine->state_replaced();
    g.esp() = 3;
    g.state.eip = kCode;
    CHECK(g.run() == "#14(0002)@ffffffff at 10000");
    g.ebp() = 1;
    g.esp() = 0x800;
    CHECK(g.run(wrap_enter) == "#14(0000)@fffffffd at 10000");
    CHECK(g.esp() == 0x800);
}
GUEST_TEST("wrap: a 4 GiB segment with a base ends at its top", "[wrap]") {
    wrap(g);
    g.set_segment(SegReg::Ss, kFree, descriptor(0x40000, 0xFFFFF, 0x93, 0xC));
    g.esp() = 0x800;
    g.ebp() = 1;
    CHECK(g.run(wrap_enter) == "#12(0000) at 10000");
    g.esp() = 3;
    CHECK(g.run(wrap_far_call) == "#12(0000) at 10000");
}
GUEST32(wrap_push, "push eax\n hlt");
GUEST32(wrap_pop, "pop eax\n hlt");
GUEST_TEST("wrap: PUSH at ESP=0 writes the top of memory, POP there wraps", "[wrap]") {
    wrap(g);
    g.esp() = 0;
    g.eax() = 0x12345678;
    CHECK(g.run(wrap_push) == "hlt");
    CHECK(g.esp() == 0xFFFFFFFC);
    CHECK(g.get32(0x50FFC) == 0x12345678);
    g.eax() = 0;
    g.state.eip = kCode;
    CHECK(g.run(wrap_pop) == "hlt");
    CHECK(g.esp() == 0);
    CHECK(g.eax() == 0x12345678);
    g.esp() = 2;
    g.eax() = 0x12345678;
    g.state.eip = kCode;
    CHECK(g.run(wrap_push) == "hlt");
    CHECK(g.esp() == 0xFFFFFFFE);
    CHECK(g.get16(0x50FFE) == 0x5678);
    CHECK(g.get16(0x51000) == 0x1234);
    g.eax() = 0;
    g.state.eip = kCode;
    CHECK(g.run(wrap_pop) == "hlt");
    CHECK(g.eax() == 0x12345678);
}
GUEST32(wrap_walk, R"(
    mov ecx, 8
1:  push ecx
    dec ecx
    jnz 1b
    mov ecx, 8
2:  pop edx
    add eax, edx
    dec ecx
    jnz 2b
    hlt
)");
GUEST_TEST("wrap: a stack that walks over the top and back", "[wrap]") {
    wrap(g);
    g.esp() = 0x10;
    CHECK(g.run(wrap_walk) == "hlt");
    CHECK(g.eax() == 36);
    CHECK(g.esp() == 0x10);
}
GUEST32(wrap_displacement,
        "mov eax, [esp + 0x7fffffff]\n mov ebx, [esp - 0x40]\n mov ecx, [esp + edx*8 + 4]\n hlt");
GUEST_TEST("wrap: ESP-relative operands far out of the stack", "[wrap]") {
    wrap(g);
    g.esp() = 0x8003FFF1; // + 7FFFFFFFh = 3FFF0h
    g.put32(0x3FFF0, 0x1111);
    g.edx() = 0;
    CHECK(g.run(wrap_displacement).substr(0, 18) == "#14(0000)@8003ffb1");
    CHECK(g.eax() == 0x1111);
}
GUEST32(wrap_index, "mov eax, [ebx + ecx*4 + 8]\n hlt");
GUEST_TEST("wrap: base, index and displacement add modulo 4 GiB", "[wrap]") {
    g.ebx() = 0xFFFF0000;
    g.ecx() = 0x14000;
    g.put32(0x40008, 0x600D);
    CHECK(g.run(wrap_index) == "hlt");
    CHECK(g.eax() == 0x600D);
}
GUEST_TEST("wrap: REP MOVS over the top of memory", "[wrap]") {
    wrap(g);
    g.esi() = 0xFFFFFFF8;
    g.edi() = 0x40000;
    g.ecx() = 16;
    CHECK(g.run(wrap_movs) == "hlt");
    CHECK(g.get8(0x40007) == 0xA0);
    CHECK(g.get8(0x40008) == 0xB0);
    CHECK(g.esi() == 8);
    g.esi() = 0x40004;
    g.edi() = 0xFFFFFFFE;
    g.ecx() = 2;
    g.state.eip = kCode;
    g.load(wrap_movsd);
    g.put32(0x40004, 0x12345678);
    CHECK(g.run() == "hlt");
    CHECK(g.edi() == 6);
    CHECK(g.get16(0x50FFE) == 0x5678);
    CHECK(g.get16(0x51000) == 0x1234);
}
GUEST_TEST("wrap: an instruction across the top of memory ends at 0", "[wrap]") {
    wrap(g);
    g.bytes(0x50FFD, {0x43, 0xB8, 0x78}); // inc ebx; mov eax, ...: three bytes of it at 0
    g.bytes(0x51000, {0x56, 0x34, 0x12, 0xF4});
    g.state.eip = 0xFFFFFFFD;
    CHECK(g.run() == "hlt");
    CHECK(g.state.eip == 4);
    CHECK(g.ebx() == 1);
    CHECK(g.eax() == 0x12345678);
    // Bytes behind the end of CS are none.
    g.state.segment(SegReg::Cs).limit = 0xFFFFFFFE;
    g.state.eip = 0xFFFFFFFD;
    CHECK(g.run() == "#13(0000) at fffffffe");
}
