// Single step, breakpoints and what DR6 says afterwards (SDM Vol. 3B ch. 17).
#include "tests/guest/guest.h"

using namespace vmm;
using namespace vmm::guest;

// Logs the low byte of the return address of each #DB and, in EBP, ORs all of DR6.
GUEST32(step_log, R"(
    push eax
    mov al, [esp + 4]
    out 0xe1, al
    mov eax, dr6
    or ebp, eax
    xor eax, eax
    mov dr6, eax
    pop eax
    iretd
)");
static void step(Guest& g, const Snippet& code) {
    g.handler(1, step_log);
    g.deliver_faults();
    g.state.eflags |= eflags::kTf;
    CHECK(g.run(code) == "hlt");
}

GUEST32(step_plain, R"(
    nop
    mov ecx, 2
1:  dec ecx
    jnz 1b
    nop
    and dword ptr [esp - 4], 0
    pushfd
    and dword ptr [esp], 0xfffffeff
    popfd
    nop
    hlt
)");
GUEST_TEST("debug: TF steps once per instruction, the one after POPF included", "[debug]") {
    g.state.eflags |= eflags::kTf;
    step(g, step_plain);
    // After: nop, mov, dec, jnz (taken), dec, jnz, nop, and, pushf, and, popf
    CHECK(g.log == "0106070607090a0f101718");
    CHECK((g.ebp() & 0xE00F) == 0x4000);
}
GUEST32(step_popf, R"(
    pushfd
    or dword ptr [esp], 0x100
    popfd
    nop
    nop
    pushfd
    and dword ptr [esp], 0xfffffeff
    popfd
    hlt
)");
GUEST_TEST("debug: setting TF by POPF traps after the next instruction", "[debug]") {
    g.handler(1, step_log);
    g.deliver_faults();
    CHECK(g.run(step_popf) == "hlt");
    CHECK(g.log == "0a0b0c1314");
}
GUEST32(step_rep, R"(
    mov edi, 0x40000
    mov ecx, 3
    rep stosb
    nop
    pushfd
    and dword ptr [esp], 0xfffffeff
    popfd
    hlt
)");
GUEST_TEST("debug: REP steps after every element", "[debug]") {
    step(g, step_rep);
    CHECK(g.log == "050a0a0a0c0d0e1516");
}
GUEST32(step_int, R"(
    int 0x80
    nop
    pushfd
    and dword ptr [esp], 0xfffffeff
    popfd
    hlt
)");
GUEST32(plain_iret, "nop\n iretd");
GUEST_TEST("debug: INT clears TF in the handler; IRET brings it back", "[debug]") {
    g.handler(0x80, plain_iret);
    step(g, step_int);
    // The handler itself is not stepped; the step after IRET comes at the second instruction after it.
    CHECK(g.log == "03040b0c");
}
GUEST32(step_call, R"(
    call 1f
    pushfd
    and dword ptr [esp], 0xfffffeff
    popfd
    hlt
1:  ret
)");
GUEST_TEST("debug: calls and returns are stepped", "[debug]") {
    step(g, step_call);
    CHECK(g.log == "0f05060d0e");
}
GUEST32(step_mov_ss, R"(
    mov edx, ss
    mov ss, edx
    nop
    pushfd
    and dword ptr [esp], 0xfffffeff
    popfd
    hlt
)");
GUEST_TEST("debug: MOV SS holds the single step off for one instruction", "[debug]") {
    step(g, step_mov_ss);
    CHECK(g.log == "0205060d0e");
}
GUEST32(step_fault, R"(
    ud2
    pushfd
    and dword ptr [esp], 0xfffffeff
    popfd
    hlt
)");
GUEST32(skip_ud2, "add dword ptr [esp], 2\n iretd");
GUEST_TEST("debug: a faulting instruction is not stepped", "[debug]") {
    g.handler(6, skip_ud2);
    step(g, step_fault);
    CHECK(g.log == "030a0b");
}

GUEST32(code_break, R"(
    nop
    mov eax, 0x10011
    mov dr0, eax
    mov eax, 0x401
    mov dr7, eax
    nop
    inc ebx
    xor eax, eax
    mov dr7, eax
    hlt
)");
// The image an instruction breakpoint pushes has RF clear (SDM Vol. 3B 17.3.1.1): the handler sets it.
GUEST32(break_log, R"(
    test byte ptr [esp + 10], 1
    jnz 1f
    or dword ptr [esp + 8], 0x10000
    mov al, [esp]
    out 0xe1, al
    mov ebp, dr6
1:  iretd
)");
GUEST_TEST("debug: an instruction breakpoint faults before it and RF lets it pass", "[debug]") {
    g.handler(1, break_log);
    g.deliver_faults();
    g.load(code_break);
    CHECK(g.run() == "hlt");
    CHECK(g.log == "11");
    CHECK((g.ebp() & 0xE00F) == 1);
    CHECK(g.ebx() == 1);
}
GUEST32(data_break, R"(
    mov eax, 0x40004
    mov dr1, eax
    mov eax, 0x00d00404       # DR1: write, 4 bytes, local
    mov dr7, eax
    mov eax, [0x40004]
    mov byte ptr ds:[0x40003], 1
    mov byte ptr ds:[0x40007], 1
    mov dword ptr ds:[0x40001], 1
    mov dword ptr ds:[0x40008], 1
    push 0
    xor eax, eax
    mov dr7, eax
    hlt
)");
GUEST_TEST("debug: a data breakpoint traps after writes that touch it and no others", "[debug]") {
    g.handler(1, step_log);
    g.deliver_faults();
    CHECK(g.run(data_break) == "hlt");
    CHECK(g.log == "232d");
    CHECK((g.ebp() & 0xE00F) == 2);
}
GUEST32(data_break_reads, R"(
    mov eax, 0x40000
    mov dr3, eax
    mov eax, 0x304000c0 + 0xc0000000      # DR3: read or write, 4 bytes
    mov dr7, eax
    mov ecx, [0x40000]
    push dword ptr ds:[0x40000]
    pop dword ptr ds:[0x40000]
    inc dword ptr ds:[0x40003]
    mov esi, 0x40000
    lodsb
    xor eax, eax
    mov dr7, eax
    hlt
)");
GUEST_TEST("debug: a read/write breakpoint sees loads, stack moves and strings", "[debug]") {
    g.handler(1, step_log);
    g.deliver_faults();
    CHECK(g.run(data_break_reads) == "hlt");
    CHECK(g.log.size() == 2 * 5);
    CHECK((g.ebp() & 0xE00F) == 8);
}
GUEST32(stack_break, R"(
    mov eax, 0x7ff8
    mov dr2, eax
    mov eax, 0x0d000410       # DR2: write, 4 bytes
    mov dr7, eax
    push 1
    push 2
    pop ecx
    call 1f
1:  pop ecx
    pusha
    popa
    xor eax, eax
    mov dr7, eax
    hlt
)");
GUEST_TEST("debug: PUSH, CALL and PUSHA write to the stack as any store does", "[debug]") {
    g.handler(1, step_log);
    g.deliver_faults();
    CHECK(g.run(stack_break) == "hlt");
    CHECK(g.log.size() == 2 * 3);
}
GUEST32(string_break, R"(
    mov eax, 0x40005
    mov dr0, eax
    mov eax, 0x00010401       # DR0: write, 1 byte
    mov dr7, eax
    mov edi, 0x40000
    mov ecx, 16
    rep stosb
    xor eax, eax
    mov dr7, eax
    hlt
)");
GUEST32(break_ecx, R"(
    mov ebx, ecx
    iretd
)");
GUEST_TEST("debug: a data breakpoint inside REP STOS traps after that element", "[debug]") {
    g.handler(1, break_ecx);
    g.deliver_faults();
    CHECK(g.run(string_break) == "hlt");
    CHECK(g.ebx() == 10);
    CHECK(g.ecx() == 0);
}
GUEST32(icebp, ".byte 0xf1\n nop\n hlt");
GUEST_TEST("debug: INT1 reaches vector 1 past its gate's DPL, INT 1 does not", "[debug]") {
    g.user();
    g.deliver_faults();
    g.put64(kIdt + 8, gate(kKernelCs, kHandlers + 16, 0xE, 0));
    CHECK(g.run(icebp) == "hlt");
    CHECK(g.in_handler(1));
    CHECK(g.get32(g.esp()) == kCode + 1);
}
GUEST32(int_1, "int 1");
GUEST_TEST("debug: INT 1 respects the gate's DPL", "[debug]") {
    g.user();
    g.put64(kIdt + 8, gate(kKernelCs, kHandlers + 16, 0xE, 0));
    g.load(int_1);
    g.deliver_faults();
    CHECK(g.run() == "hlt");
    CHECK(g.in_handler(13));
    CHECK(g.get32(g.esp()) == 8 + 2);
    CHECK(g.get32(g.esp() + 4) == kCode);
}
GUEST32(general_detect, "mov eax, 0x2400\n mov dr7, eax\n mov ecx, dr0\n hlt");
GUEST_TEST("debug: GD faults on any access to a debug register", "[debug]") {
    g.handler(1, step_log);
    g.deliver_faults();
    CHECK(g.run(general_detect) == "hlt");
    CHECK(g.log == "08");
    CHECK((g.ebp() & 0xE00F) == 0x2000);
}
GUEST32(rf_stale, R"(
    ud2
    nop
    int3
    hlt
)");
GUEST32(skip_fault, "add dword ptr [esp], 2\n iretd");
GUEST_TEST("debug: RF does not outlive the instruction it was restored for", "[debug]") {
    g.handler(6, skip_fault);
    g.deliver_faults();
    CHECK(g.run(rf_stale) == "hlt");
    CHECK(g.in_handler(3));
    CHECK((g.get32(g.esp() + 8) & eflags::kRf) == 0);
}
GUEST32(rf_stale_irq, R"(
    sti
    ud2
    nop
    mov al, 0x40
    out 0xe0, al
    hlt
)");
GUEST_TEST("debug: RF is clear in the image an interrupt pushes later", "[debug]") {
    g.handler(6, skip_fault);
    g.deliver_faults();
    CHECK(g.run(rf_stale_irq) == "hlt");
    CHECK(g.in_handler(0x40));
    CHECK((g.get32(g.esp() + 8) & eflags::kRf) == 0);
}
