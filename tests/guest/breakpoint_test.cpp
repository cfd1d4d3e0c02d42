// Breakpoints of the debug registers and code that runs at full speed beside them: what is met is reported
// exactly, and what is not met costs nothing (SDM Vol. 3B 17.2, 17.3). debug_test.cpp has the rules one by
// one.
#include "tests/guest/guest.h"

#include <string>

using namespace vmm;
using namespace vmm::guest;

// Logs the low byte of the return address of each #DB and ORs DR6 into [5000h].
#define DEBUG_LOG(name, last)                                                                                \
    GUEST32(name, "push eax\n mov al, [esp + 4]\n out 0xe1, al\n mov eax, dr6\n or ds:[0x5000], eax\n"       \
                  "xor eax, eax\n mov dr6, eax\n" last "pop eax\n iretd\n")
DEBUG_LOG(hit_log, "or dword ptr [esp + 12], 0x10000\n"); // lets an instruction pass
DEBUG_LOG(trap_log, "");                                  // for traps, without a look at the flags
static std::string hits(Guest& g, const Snippet& code) {
    g.handler(1, hit_log);
    g.deliver_faults();
    CHECK(g.run(code) == "hlt");
    return g.log;
}
static uint32_t reported(Guest& g) { return g.get32(0x5000) & 0xE00F; }

// How often the dispatcher was asked.
static uint64_t entries(Guest& g) {
    const std::string text = g.engine->statistics();
    return std::stoull(text.substr(text.find(' ') + 1));
}

// Stores, loads, the stack and calls, 200,000 times, beside a watched address 0.
GUEST32(busy_loop, R"(
    xor eax, eax
    mov dr0, eax
    mov eax, 0x000f0402       # DR0: read or write, 4 bytes
    mov dr7, eax
    mov ecx, 200000
1:  mov [0x40000], ecx
    add eax, [0x40004]
    push ecx
    call 2f
    pop edx
    dec ecx
    jnz 1b
    mov byte ptr ds:[3], 7
    .org 0x40, 0x90
    mov byte ptr ds:[4], 7
    hlt
2:  ret
)");
TEST_CASE("breakpoint: a watch on address 0 does not slow down what is elsewhere", "[debug]") {
    Guest g(BlockMode::Linked);
    CHECK(hits(g, busy_loop).size() == 2);
    CHECK(reported(g) == 1);
    CHECK(entries(g) < 1000);
}
// A write breakpoint lets the page be read.
GUEST32(read_beside, R"(
    mov eax, 0x40100
    mov dr1, eax
    mov eax, 0x00d00408       # DR1: write, 4 bytes
    mov dr7, eax
    mov ecx, 200000
1:  add eax, [0x40100]
    dec ecx
    jnz 1b
    mov [0x40100], ecx
    nop
    xor eax, eax
    mov dr7, eax
    mov ecx, 200000
1:  mov [0x40100], ecx
    dec ecx
    jnz 1b
    hlt
)");
TEST_CASE("breakpoint: reads of a page watched for writes, and all of it afterwards, run as ever",
          "[debug]") {
    Guest g(BlockMode::Linked);
    CHECK(hits(g, read_beside).size() == 2);
    CHECK(reported(g) == 2);
    CHECK(entries(g) < 1000);
}
// An instruction breakpoint that is never reached.
GUEST32(never_reached, R"(
    mov eax, 0x10080
    mov dr0, eax
    mov eax, 0x402
    mov dr7, eax
    mov ecx, 200000
1:  call 2f
    dec ecx
    jnz 1b
    hlt
2:  ret
    .org 0x80, 0x90
    nop
)");
TEST_CASE("breakpoint: one on an instruction that is not reached slows nothing down", "[debug]") {
    Guest g(BlockMode::Linked);
    CHECK(hits(g, never_reached).empty());
    CHECK(entries(g) < 1000);
}

// Set in the middle of code that has long been linked, then elsewhere, then nowhere; by jump, call and
// return.
GUEST32(set_later, R"(
    mov esi, 1000
    call 3f
    mov eax, 0x10081          # inside the loop
    mov dr0, eax
    mov eax, 0x402
    mov dr7, eax
    mov esi, 5
    call 3f
    mov eax, 0x100a0          # the callee's first instruction
    mov dr0, eax
    mov esi, 3
    call 3f
    mov eax, 0x10087          # where the callee returns to
    mov dr0, eax
    mov esi, 2
    call 3f
    xor eax, eax
    mov dr7, eax
    mov esi, 1000
    call 3f
    hlt
    .org 0x80, 0x90
3:  nop
    inc ebx                   # 81
    call 4f                   # 82
    dec esi                   # 87
    jnz 3b
    ret
    .org 0xa0, 0x90
4:  inc edx
    ret
)");
GUEST_TEST("breakpoint: on an instruction in hot linked code, set and moved later", "[debug]") {
    CHECK(hits(g, set_later) == "8181818181"
                                "a0a0a0"
                                "8787");
    CHECK(g.ebx() == 2010);
    CHECK(g.edx() == 2010);
    CHECK(reported(g) == 1);
}
GUEST32(two_sets, R"(
    mov ecx, 4
    mov eax, 0x10080
    mov dr0, eax
    mov eax, 0x10084
    mov dr1, eax
1:  mov eax, 0x402            # DR0 only
    mov dr7, eax
    call 3f
    xor eax, eax
    mov dr7, eax
    call 3f
    mov eax, 0x408            # DR1 only
    mov dr7, eax
    call 3f
    dec ecx
    jnz 1b
    hlt
    .org 0x80, 0x90
3:  inc ebx
    inc ebx
    inc ebx
    inc ebx
    inc ebx
    ret
)");
GUEST_TEST("breakpoint: sets that alternate each stop where they say", "[debug]") {
    CHECK(hits(g, two_sets) == "8084808480848084");
    CHECK(g.ebx() == 60);
}
GUEST16(real_code_break, R"(
    mov eax, 0x10020
    mov dr0, eax
    mov eax, 0x402
    mov dr7, eax
    mov cx, 3
1:  inc bx
    jmp 2f
    .org 0x20, 0x90
2:  inc bx
    loop 1b
    hlt
)");
GUEST_TEST("breakpoint: instruction breakpoints are linear addresses, whatever CS begins at", "[debug]") {
    g.real_mode();
    g.load(real_code_break);
    g.deliver_faults();
    CHECK(g.run() == "hlt");
    CHECK(g.state.eip == 16 + 1); // the handler, before the instruction
    CHECK(g.get16(0x8000 + (g.esp() & 0xFFFF)) == 0x20);
    CHECK(g.ebx() == 1);
}

GUEST32(movs_break, R"(
    mov eax, 0x41006
    mov dr0, eax
    mov eax, 0x00010401       # DR0: write, 1 byte
    mov dr7, eax
    mov esi, 0x50000
    mov edi, 0x40f00
    mov ecx, 0x80
    rep movsd
    hlt
)");
GUEST32(movs_hit, R"(
    mov ebx, ecx
    mov edx, edi
    mov ebp, [esp + 8]
    iretd
)");
GUEST_TEST("breakpoint: REP MOVSD stops after the element that is watched, RF set, and goes on", "[debug]") {
    g.handler(1, movs_hit);
    g.deliver_faults();
    g.fill(0x50000, 0x77, 0x200);
    CHECK(g.run(movs_break) == "hlt");
    CHECK(g.ebx() == 0x80 - 0x42); // 41004h, the 42nd (hex) double word, is done
    CHECK(g.edx() == 0x41008);
    CHECK((g.ebp() & eflags::kRf) != 0);
    CHECK(g.ecx() == 0);
    CHECK(g.edi() == 0x41100);
    CHECK(g.get32(0x410FC) == 0x77777777);
    CHECK(g.get32(0x41100) == 0);
}
GUEST32(rep_stop, R"(
    mov eax, 0x10040
    mov dr0, eax
    mov eax, 0x40004
    mov dr1, eax
    mov eax, 0x00d0040a       # DR0: instruction; DR1: write, 4 bytes
    mov dr7, eax
    mov edi, 0x40000
    mov ecx, 12
    .org 0x40, 0x90
    rep stosb
    hlt
)");
GUEST_TEST("breakpoint: one on a REP instruction stops it once, not at each element", "[debug]") {
    // Before it, then after each of four bytes; the fifth address is that of the same instruction.
    CHECK(hits(g, rep_stop) == "4040404040");
    CHECK(reported(g) == 3);
    CHECK(g.ecx() == 0);
}

// Each line touches 40FFCh to 40FFFh once: with a page-crossing store, x87, SSE, call-outs of all kinds.
GUEST32(kinds, R"(
    mov eax, 0x40ffc
    mov dr3, eax
    mov eax, 0xf0000480       # DR3: read or write, 4 bytes
    mov dr7, eax
    mov dword ptr ds:[0x40ffe], 1
    mov dword ptr ds:[0x41000], 1
    fld1
    fstp qword ptr ds:[0x40ff8]
    fst dword ptr ds:[0x40ff8]
    fnstenv [0x40ff0]
    fxsave [0x40e00]
    movups xmmword ptr ds:[0x40ff0], xmm0
    sgdt [0x40ffa]
    cmpxchg ds:[0x40ffc], ecx
    bts dword ptr ds:[0x40f00], ecx
    mov esp, 0x41000
    pushfd
    popfd
    push ds
    pop es
    mov ebp, esp
    enter 16, 0
    leave
    pusha
    popa
    mov esi, 0x40ff8
    lodsd
    lodsd
    mov ebx, 0x40fff
    mov al, 0
    xlatb
    mov esp, 0x8000
    hlt
)");
GUEST_TEST("breakpoint: every kind of access is seen", "[debug]") {
    g.ecx() = 8 * 0xFC;
    g.eax() = 0;
    g.handler(1, trap_log);
    g.deliver_faults();
    CHECK(g.run(kinds) == "hlt");
    // mov, fstp, fnstenv, movups, sgdt, cmpxchg, bts, pushf, popf, push, pop, enter, leave, pusha, popa,
    // lodsd, xlat
    constexpr unsigned kSeen = 17;
    INFO(g.log);
    CHECK(g.log.size() == 2 * kSeen);
    CHECK(reported(g) == 8);
}

// The guard belongs to the linear page, in every address space and through every view.
GUEST32(both_spaces, R"(
    mov eax, 0x40000
    mov dr0, eax
    mov eax, 0x000d0402       # DR0: write, 4 bytes
    mov [0x40004], ecx
    mov ebx, 0x24000
    mov cr3, ebx
    mov [0x40004], ecx
    mov dr7, eax
    mov [0x40000], ecx        # 1
    mov [0x40004], ecx
    mov ebx, 0x20000
    mov cr3, ebx
    mov [0x40000], ecx        # 2
    mov ebx, cr0
    and ebx, 0xfffeffff
    mov cr0, ebx
    mov [0x40000], ecx        # 3
    invlpg [0x40000]
    mov [0x40000], ecx        # 4
    hlt
)");
GUEST_TEST("breakpoint: a watched page is watched in every address space", "[debug]") {
    g.paging();
    for (uint32_t i = 0; i < 2; ++i)
        g.put32(kDirectory2 + 4 * i, (kTable + 0x1000 * i) | 7);
    CHECK(hits(g, both_spaces).size() == 2 * 4);
    CHECK(reported(g) == 1);
}
GUEST32(faults_first, R"(
    mov eax, 0x40000
    mov dr0, eax
    mov eax, 0x000f0402       # DR0: read or write, 4 bytes
    mov dr7, eax
    mov ebx, [0x40000]
    hlt
)");
GUEST_TEST("breakpoint: a page fault comes before the watch on its page", "[debug]") {
    g.paging();
    g.page(0x40000, 0);
    g.load(faults_first);
    CHECK(g.run().substr(0, 16) == "#14(0000)@40000 ");
    CHECK(g.state.dr[6] == 0xFFFF0FF0);
    g.page(0x40000, 0x40007);
    CHECK(hits(g, faults_first).size() == 2);
}

GUEST32(ss_held, R"(
    mov eax, 0x40000
    mov dr0, eax
    mov eax, 0x000f0402
    mov dr7, eax
    mov word ptr ds:[0x40000], 0x10
    .org 0x40, 0x90
    mov ss, word ptr ds:[0x40000]
    mov ecx, ds:[0x41000]     # this page is new: a host fault between the two
    .org 0x60, 0x90
    hlt
)");
GUEST_TEST("breakpoint: met by a MOV to SS, reported after the next instruction, whatever that meets",
           "[debug]") {
    hits(g, ss_held);
    CHECK(g.log.size() == 4);
    CHECK(reported(g) == 1);
}
