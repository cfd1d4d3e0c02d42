// Faults in the middle of instructions leave nothing behind, so that they can be restarted; strings keep what
// they have done.
#include "tests/guest/guest.h"

#include <fmt/format.h>

using namespace vmm;
using namespace vmm::guest;

// Data page 40000h present, 41000h not; the stack at 43000h grows into 42000h.
static void hole(Guest& g) {
    g.paging();
    g.page(0x41000, 0);
    g.engine->state_replaced();
}

// Faults at kCode on page 41000h with everything as before, then runs once the page is there.
static void restarts(Guest& g, const Snippet& code, bool write) {
    hole(g);
    g.load(code);
    g.fill(0x40000, 0x5A, 0x1000);
    const auto before = g.state.gpr;
    const uint32_t flags = g.state.eflags = 0xCD7 & ~eflags::kDf;
    const auto x87 = g.state.fx.bytes;
    CHECK(g.run() == (write ? "#14(0002)@41000 at 10000" : "#14(0000)@41000 at 10000"));
    CHECK(g.state.gpr == before);
    CHECK((g.state.eflags & ~eflags::kRf) == flags);
    CHECK(std::equal(x87.begin() + 32, x87.begin() + 288, g.state.fx.bytes.begin() + 32));
    CHECK(std::equal(x87.begin(), x87.begin() + 5, g.state.fx.bytes.begin()));
    for (uint32_t at = 0x40FF0; at < 0x41000; ++at)
        CHECK(g.get8(at) == 0x5A);
    g.page(0x41000, 0x41007);
    CHECK(g.run() == "hlt");
}

GUEST32(r_push, "push eax\n hlt");
GUEST32(r_pop, "pop eax\n hlt");
GUEST32(r_pop_mem, "pop dword ptr [0x40ffe]\n hlt");
GUEST32(r_push_mem, "push dword ptr [0x40ffe]\n hlt");
GUEST32(r_pusha, "pusha\n hlt");
GUEST32(r_popa, "popa\n hlt");
GUEST32(r_call, "call 1f\n 1: hlt");
GUEST32(r_call_mem, "call dword ptr [0x40ffe]\n hlt");
GUEST32(r_call_esp, "call dword ptr [esp + 0xffe]\n hlt");
GUEST32(r_xchg, "xchg eax, [0x40ffe]\n hlt");
GUEST32(r_xadd, "lock xadd [0x40ffe], ecx\n hlt");
GUEST32(r_cmpxchg, "lock cmpxchg [0x40ffe], ecx\n hlt");
GUEST32(r_cmpxchg8b, "lock cmpxchg8b [0x40ffc]\n hlt");
GUEST32(r_add, "add dword ptr [0x40ffd], 1\n hlt");
GUEST32(r_adc, "adc [0x40ffd], eax\n hlt");
GUEST32(r_shl, "shl dword ptr [0x40ffd], 3\n hlt");
GUEST32(r_bts, "bts dword ptr [0x40ffd], 3\n hlt");
GUEST32(r_fstp, "fstp qword ptr [0x40ffc]\n hlt");
GUEST32(r_fstp80, "fstp tbyte ptr [0x40ffa]\n hlt");
GUEST32(r_fistp, "fistp qword ptr [0x40ffc]\n hlt");
GUEST32(r_fnsave, "fnsave [0x40fd0]\n hlt");
GUEST32(r_fnstenv, "fnstenv [0x40ff0]\n hlt");
GUEST32(r_movups, "movups [0x40ff8], xmm0\n hlt");
GUEST32(r_movs, "movsd\n hlt");
GUEST32(r_stos, "stosd\n hlt");
GUEST32(r_enter, "enter 16, 3\n hlt");
GUEST32(r_sgdt, "sgdt [0x40ffc]\n hlt");
GUEST32(r_imul, "imul eax, [0x40ffd], 7\n hlt");
GUEST32(r_div, "div dword ptr [0x40ffd]\n hlt");
GUEST32(r_leave, "leave\n hlt");
GUEST32(r_ret, "ret 8\n hlt");
GUEST32(r_lss, "lss esp, [0x40ffc]\n hlt");
GUEST32(r_bound, "bound eax, [0x40ffc]\n hlt");
GUEST32(r_xlat, "xlatb\n hlt");
GUEST32(r_cmov, "cmovo eax, [0x40ffd]\n hlt");
GUEST32(r_set, "mov [0x40fff], ax\n hlt");

GUEST32(r_pushes, R"(
    push eax
    push ecx
    lea ebx, [esp + 8]
    push 0x12345678
    push dword ptr [esp + 4]
    sub esp, 8
    mov [esp + 4], edx
    push edx
    call 1f
1:  hlt)");
GUEST32(r_pops, R"(
    pop esi
    lea ebx, [esp + 4]
    pop edi
    mov eax, [esp + 8]
    pop ecx
    add esp, 4
    fld dword ptr [esp + 8]
    pop edx
    leave
    hlt)");

namespace {

struct InRow {
    uint32_t room;       // bytes of stack before the missing page
    uint32_t code;       // where the fault is then, after kCode,
    uint32_t moved;      // how far ESP has come,
    uint32_t beyond = 0; // and which byte of the page is met
};

// Each instruction of a row on the stack faults with ESP as it is before it, whatever went before in its
// block.
void faults_in_row(Guest& g, const Snippet& code, const InRow& row, bool down) {
    hole(g);
    g.load(code);
    g.fill(0x40000, 0x11, 0x1000);
    g.fill(0x42000, 0x22, 0x1000);
    g.state.eip = kCode;
    const uint32_t top = down ? 0x42000 + row.room : 0x41000 - row.room;
    g.esp() = top;
    g.ebp() = 0x42800;
    g.eax() = 0xAAAAAAAA;
    g.ecx() = 0xCCCCCCCC;
    g.edx() = 0xDDDDDDDD;
    const uint32_t address = down ? 0x41FFC - row.beyond : 0x41000 + row.beyond;
    CHECK(g.run() == fmt::format("#14(000{})@{:x} at {:x}", down ? 2 : 0, address, kCode + row.code));
    CHECK(g.esp() == (down ? top - row.moved : top + row.moved));
    g.page(0x41000, 0x41007);
    CHECK(g.run() == "hlt");
    CHECK(g.ebx() == (down ? top : top + 8));
    CHECK(g.esp() == (down ? top - 32 : 0x42804));
    if (down) {
        CHECK(g.get32(top - 4) == 0xAAAAAAAA);
        CHECK(g.get32(top - 8) == 0xCCCCCCCC);
        CHECK(g.get32(top - 12) == 0x12345678);
        CHECK(g.get32(top - 16) == 0xCCCCCCCC);
        CHECK(g.get32(top - 20) == 0xDDDDDDDD);
        CHECK(g.get32(top - 28) == 0xDDDDDDDD);
        CHECK(g.get32(top - 32) == kCode + 28);
    }
}

} // namespace

GUEST_TEST("restart: in a row of pushes ESP is exact at each", "[restart]") {
    for (const InRow& row : {InRow{0, 0, 0}, InRow{4, 1, 4}, InRow{8, 6, 8}, InRow{12, 11, 12},
                             InRow{16, 18, 24}, InRow{20, 22, 24, 4}, InRow{28, 23, 28}})
        faults_in_row(g, r_pushes, row, true);
}

GUEST_TEST("restart: in a row of pops ESP is exact at each", "[restart]") {
    for (const InRow& row : {InRow{0, 0, 0}, InRow{4, 5, 4}, InRow{8, 6, 8, 8}, InRow{16, 6, 8},
                             InRow{12, 6, 8, 4}, InRow{20, 14, 16, 4}})
        faults_in_row(g, r_pops, row, false);
}

// With the verifier on, which knows how far ESP may go in one step.
GUEST32(r_far_return, R"(
    pop eax
    pop ecx
    ret 0xfff8
    .org 0x100
    hlt)");
GUEST32(r_far_steps, R"(
    push eax
    push ecx
    sub esp, 0x10008
    mov [esp], eax
    push ecx
    add esp, 0x1000c
    pop edx
    pop ebx
    hlt)");

GUEST_TEST("restart: after a row of pops and pushes ESP goes as far as RET and ADD take it", "[restart]") {
    g.load(r_far_return);
    g.esp() = 0x43000;
    g.put32(0x43008, kCode + 0x100);
    CHECK(g.run() == "hlt");
    CHECK(g.esp() == 0x4300C + 0xFFF8);
    g.load(r_far_steps);
    g.state.eip = kCode;
    g.esp() = 0x63000;
    g.eax() = 0xAAAAAAAA;
    g.ecx() = 0xCCCCCCCC;
    CHECK(g.run() == "hlt");
    CHECK(g.esp() == 0x63000);
    CHECK(g.edx() == 0xCCCCCCCC);
    CHECK(g.ebx() == 0xAAAAAAAA);
}

GUEST_TEST("restart: PUSH and CALL across a missing page", "[restart]") {
    for (const Snippet& code : {r_push, r_call, r_pusha, r_enter}) {
        g.state.eip = kCode;
        g.esp() = 0x41002;
        g.ebp() = 0x43000;
        restarts(g, code, true);
    }
}
GUEST_TEST("restart: POP, LEAVE and RET across a missing page", "[restart]") {
    g.esp() = 0x40FFE;
    restarts(g, r_pop, false);
    CHECK(g.esp() == 0x41002);
    g.esp() = 0x40FE4;
    g.state.eip = kCode;
    restarts(g, r_popa, false);
    g.state.eip = kCode;
    g.ebp() = 0x40FFD;
    restarts(g, r_leave, false);
    CHECK(g.esp() == 0x41001);
    g.state.eip = kCode;
    g.esp() = 0x40FFE;
    hole(g);
    g.load(r_ret);
    CHECK(g.run() == "#14(0000)@41000 at 10000");
    CHECK(g.esp() == 0x40FFE);
}
GUEST_TEST("restart: POP to memory and PUSH from memory", "[restart]") {
    restarts(g, r_pop_mem, true);
    CHECK(g.esp() == kKernelStack + 4);
    g.state.eip = kCode;
    g.esp() = kKernelStack;
    restarts(g, r_push_mem, false);
    CHECK(g.esp() == kKernelStack - 4);
}
GUEST_TEST("restart: indirect CALL whose pointer lies on a missing page", "[restart]") {
    hole(g);
    CHECK(g.run(r_call_mem) == "#14(0000)@41000 at 10000");
    CHECK(g.esp() == kKernelStack);
    g.esp() = 0x40000;
    g.load(r_call_esp);
    CHECK(g.run() == "#14(0000)@41000 at 10000");
    CHECK(g.esp() == 0x40000);
}
GUEST_TEST("restart: read-modify-write instructions", "[restart]") {
    for (const Snippet& code : {r_xchg, r_xadd, r_cmpxchg, r_cmpxchg8b, r_add, r_adc, r_shl, r_bts, r_set}) {
        g.state.eip = kCode;
        restarts(g, code, true);
    }
}
GUEST_TEST("restart: loads", "[restart]") {
    for (const Snippet& code : {r_imul, r_cmov}) {
        g.state.eip = kCode;
        restarts(g, code, false);
    }
    g.state.eip = kCode;
    g.ebx() = 0x41000;
    g.eax() = 0;
    restarts(g, r_xlat, false);
    hole(g);
    g.state.eip = kCode;
    CHECK(g.run(r_lss) == "#14(0000)@41000 at 10000");
    g.state.eip = kCode;
    g.eax() = 0x7FFFFFFF; // beyond the lower bound: the upper one is looked at
    CHECK(g.run(r_bound) == "#14(0000)@41000 at 10000");
    g.state.eip = kCode;
    CHECK(g.run(r_div) == "#14(0000)@41000 at 10000");
}
GUEST_TEST("restart: x87 and SSE stores leave the register stack alone", "[restart]") {
    for (const Snippet& code : {r_fstp, r_fstp80, r_fistp, r_fnsave, r_fnstenv, r_movups, r_sgdt}) {
        g.state.eip = kCode;
        g.state.fx.bytes[4] = 0xFF; // abridged tag word: all valid
        for (unsigned i = 0; i < 8; ++i) {
            g.state.fx.bytes[32 + 16 * i + 7] = 0x80; // 1.0
            g.state.fx.bytes[32 + 16 * i + 8] = 0xFF;
            g.state.fx.bytes[32 + 16 * i + 9] = 0x3F;
        }
        restarts(g, code, true);
    }
}
GUEST_TEST("restart: single string elements", "[restart]") {
    g.esi() = 0x50000;
    g.edi() = 0x40FFE;
    restarts(g, r_movs, true);
    CHECK(g.edi() == 0x41002);
    CHECK(g.esi() == 0x50004);
    g.state.eip = kCode;
    g.edi() = 0x40FFD;
    restarts(g, r_stos, true);
    g.state.eip = kCode;
    g.esi() = 0x40FFE;
    g.edi() = 0x50000;
    restarts(g, r_movs, false);
}

GUEST32(rep_movs, "rep movsb\n hlt");
GUEST32(rep_movsd, "rep movsd\n hlt");
GUEST32(rep_stos, "rep stosd\n hlt");
GUEST32(rep_scas, "repne scasb\n hlt");
GUEST32(rep_cmps, "repe cmpsb\n hlt");
GUEST32(rep_cmpsd, "repe cmpsd\n hlt");
GUEST_TEST("string: REP MOVS stops exactly at the missing page and goes on", "[string]") {
    for (const bool source_missing : {false, true}) {
        hole(g);
        g.state.eip = kCode;
        g.esi() = source_missing ? 0x40F00 : 0x50000;
        g.edi() = source_missing ? 0x50000 : 0x40F00;
        g.ecx() = 0x200;
        g.fill(g.esi(), 0x77, 0x200);
        const uint32_t esi = g.esi(), edi = g.edi();
        g.load(rep_movs);
        CHECK(g.run() == (source_missing ? "#14(0000)@41000 at 10000" : "#14(0002)@41000 at 10000"));
        CHECK(g.ecx() == 0x100);
        CHECK(g.esi() == esi + 0x100);
        CHECK(g.edi() == edi + 0x100);
        g.page(0x41000, 0x41007);
        CHECK(g.run() == "hlt");
        CHECK(g.ecx() == 0);
        CHECK(g.get8(edi + 0x1FF) == 0x77);
    }
}
GUEST_TEST("string: an element that straddles the missing page is not half done", "[string]") {
    hole(g);
    g.esi() = 0x50000;
    g.edi() = 0x40FF2;
    g.ecx() = 8;
    g.fill(0x50000, 0x77, 64);
    g.fill(0x40FF0, 0x11, 16);
    CHECK(g.run(rep_movsd) == "#14(0002)@41000 at 10000");
    CHECK(g.ecx() == 5);
    CHECK(g.edi() == 0x40FFE);
    CHECK(g.get8(0x40FFD) == 0x77);
    CHECK(g.get8(0x40FFE) == 0x11);
}
GUEST_TEST("string: backwards into a missing page", "[string]") {
    g.paging();
    g.page(0x40000, 0);
    g.state.eflags |= eflags::kDf;
    g.edi() = 0x41008;
    g.ecx() = 10;
    g.eax() = 0xAABBCCDD;
    CHECK(g.run(rep_stos) == "#14(0002)@40ffc at 10000");
    CHECK(g.ecx() == 7);
    CHECK(g.edi() == 0x40FFC);
    CHECK(g.get32(0x41000) == 0xAABBCCDD);
    CHECK((g.state.eflags & eflags::kDf) != 0);
}
// SDM Vol. 2B "REP": the flags are those from before the instruction, whatever was compared until then.
GUEST_TEST("string: REP SCAS and CMPS that fault leave the flags from before", "[string]") {
    for (const bool slot_form : {false, true}) {
        for (const uint32_t before : {uint32_t{0}, eflags::kArithmetic}) {
            hole(g);
            if (slot_form) // C++ carries it out
                g.state.segment(SegReg::Es).limit = g.state.segment(SegReg::Ds).limit = 0x7FFFFFFF;
            g.fill(0x40F00, 0x20, 0x100);
            g.fill(0x50000, 0x20, 0x200);
            const auto flags = [&] { return g.state.eflags & eflags::kArithmetic; };
            const auto start = [&](uint32_t count) {
                g.state.eip = kCode;
                g.ecx() = count;
                g.state.eflags = eflags::kFixed1 | before;
            };
            start(0x1000);
            g.edi() = 0x40F80;
            g.eax() = 0x10;
            CHECK(g.run(rep_scas) == "#14(0000)@41000 at 10000");
            CHECK(g.ecx() == 0x1000 - 0x80);
            CHECK(flags() == before);
            start(0x200);
            g.esi() = 0x50000;
            g.edi() = 0x40F00;
            CHECK(g.run(rep_cmps) == "#14(0000)@41000 at 10000");
            CHECK(g.ecx() == 0x100);
            CHECK(flags() == before);
            g.page(0x41000, 0x41007);
            g.fill(0x41000, 0x20, 0x100);
            CHECK(g.run() == "hlt");
            CHECK(flags() == (eflags::kZf | eflags::kPf));
        }
    }
}
GUEST32(one_cmpsd, "cmpsd\n hlt");
// Measured on Intel's processors: ES:[EDI] is read first, all of it.
GUEST_TEST("string: CMPS with both pages missing reports EDI's", "[string]") {
    struct Row {
        uint32_t esi, edi, address;
    };
    // 41000h and 43000h are missing.
    constexpr Row kRows[] = {{0x41010, 0x43010, 0x43010}, {0x40FFE, 0x42FFE, 0x43000},
                             {0x40FFE, 0x43010, 0x43010}, {0x41010, 0x42FFE, 0x43000},
                             {0x41010, 0x42000, 0x41010}, {0x40FFE, 0x42000, 0x41000},
                             {0x40000, 0x43FFE, 0x43FFE}};
    for (const bool slot_form : {false, true}) {
        for (const Snippet& code : {one_cmpsd, rep_cmpsd}) {
            for (const Row& row : kRows) {
                hole(g);
                g.page(0x43000, 0);
                if (slot_form)
                    g.state.segment(SegReg::Ds).limit = 0x7FFFFFFF;
                g.state.eip = kCode;
                g.esi() = row.esi;
                g.edi() = row.edi;
                g.ecx() = 4;
                CAPTURE(row.esi, row.edi, slot_form);
                CHECK(g.run(code) == fmt::format("#14(0000)@{:x} at 10000", row.address));
                CHECK(g.esi() == row.esi);
                CHECK(g.edi() == row.edi);
            }
        }
    }
}
GUEST_TEST("string: overlapping REP MOVSB repeats what it wrote", "[string]") {
    g.put8(0x40000, 0x99);
    g.esi() = 0x40000;
    g.edi() = 0x40001;
    g.ecx() = 5000;
    CHECK(g.run(rep_movs) == "hlt");
    CHECK(g.get8(0x40000 + 5000) == 0x99);
    CHECK(g.get8(0x40000 + 5001) == 0);
}
GUEST32(rep_16, ".byte 0x67\n rep stosb\n hlt");
GUEST_TEST("string: 16-bit addressing wraps DI and counts CX", "[string]") {
    g.edi() = 0xABCDFFFE;
    g.ecx() = 0x12340004;
    g.eax() = 0x77;
    g.fill(0, 0, 16);
    CHECK(g.run(rep_16) == "hlt");
    CHECK(g.edi() == 0xABCD0002);
    CHECK(g.ecx() == 0x12340000);
    CHECK(g.get8(0xFFFF) == 0x77);
    CHECK(g.get8(1) == 0x77);
    CHECK(g.get8(2) == 0);
}
