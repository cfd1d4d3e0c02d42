// External interrupts: taken promptly out of any loop, and exactly where the shadows of STI and MOV SS end.
#include "tests/guest/guest.h"

using namespace vmm;
using namespace vmm::guest;

static void expect_interrupt(Guest& g, const Snippet& loop) {
    g.state.eflags |= eflags::kIf;
    g.load(loop);
    g.interrupt_after(15, 0x40);
    g.watchdog_ms = 3000;
    CHECK(g.run() == "hlt");
    CHECK(g.in_handler(0x40));
}

GUEST32(loop_self, "1: jmp 1b");
GUEST_TEST("interrupt: out of JMP to itself", "[irq]") {
    expect_interrupt(g, loop_self);
    CHECK(g.get32(g.esp()) == kCode);
}
GUEST32(loop_dec, "1: dec ecx\n jnz 1b\n jmp 1b");
GUEST_TEST("interrupt: out of DEC/JNZ", "[irq]") { expect_interrupt(g, loop_dec); }
GUEST32(loop_loop, "1: mov ecx, 5\n 2: loop 2b\n jecxz 1b");
GUEST_TEST("interrupt: out of LOOP and JECXZ", "[irq]") { expect_interrupt(g, loop_loop); }
GUEST32(loop_recursion, R"(
1:  mov ecx, 100000
    mov esp, 0x800000
    call 2f
    jmp 1b
2:  dec ecx
    jz 3f
    call 2b
3:  ret
)");
GUEST_TEST("interrupt: out of deep recursion", "[irq]") { expect_interrupt(g, loop_recursion); }
GUEST32(loop_forward_calls, R"(
1:  mov esp, 0x700000
    call 2f
2:  call 3f
3:  jmp 1b
)");
GUEST_TEST("interrupt: out of calls that never return", "[irq]") { expect_interrupt(g, loop_forward_calls); }
GUEST32(loop_backward_calls, R"(
1:  mov esp, 0x700000
    call 1b
)");
GUEST_TEST("interrupt: out of a call to itself", "[irq]") { expect_interrupt(g, loop_backward_calls); }
GUEST32(loop_ret_only, R"(
    .org 0x10, 0x90
    push 0x10010
    ret
)");
GUEST_TEST("interrupt: out of a loop closed by RET", "[irq]") { expect_interrupt(g, loop_ret_only); }
GUEST32(loop_rets, "ret 0xfffc\n ret\n");
GUEST_TEST("interrupt: out of a chain of RETs over memory", "[irq]") {
    // Each RET pops the address of the next; the stack wraps around its 64 KiB.
    g.set_segment(SegReg::Ss, kFree, descriptor(0x100000, 0xFFFF, 0x93, 0));
    for (uint32_t i = 0; i < 0x10000; i += 4)
        g.put32(0x100000 + i, kCode + 3);
    g.esp() = 0x8000;
    g.state.eflags |= eflags::kIf;
    g.load(loop_rets);
    g.interrupt_after(15, 0x40);
    g.watchdog_ms = 3000;
    g.state.eip = kCode + 3;
    CHECK(g.run() == "hlt");
    CHECK(g.in_handler(0x40));
}
GUEST32(loop_call_tree, R"(
    mov eax, 60
    jmp 2f
1:  test eax, eax
    jz 3f
    dec eax
    call 1b
    call 1b
    inc eax
3:  ret
2:  call 1b
    ud2
)");
GUEST_TEST("interrupt: out of a recursion that only calls and returns", "[irq]") {
    g.esp() = 0x8000;
    expect_interrupt(g, loop_call_tree);
}
GUEST32(loop_indirect, R"(
    mov eax, 0x10005
    jmp eax
)");
GUEST_TEST("interrupt: out of an indirect jump to itself", "[irq]") { expect_interrupt(g, loop_indirect); }
GUEST32(loop_call_memory, R"(
    mov esp, 0x700000
    mov dword ptr ds:[0x40000], 0x1000f
    call dword ptr ds:[0x40000]
    jmp guest_loop_call_memory_first
)");
GUEST_TEST("interrupt: out of indirect calls", "[irq]") { expect_interrupt(g, loop_call_memory); }
GUEST32(loop_rep, R"(
1:  mov ecx, 0x00ffffff
    mov edi, 0x400000
    mov esi, edi
    rep lodsb
    jmp 1b
)");
GUEST_TEST("interrupt: out of REP, which resumes", "[irq]") { expect_interrupt(g, loop_rep); }
GUEST32(loop_far, "1: jmp 8:0x10000");
GUEST_TEST("interrupt: out of a far jump to itself", "[irq]") { expect_interrupt(g, loop_far); }
GUEST32(loop_faulting, "1: ud2");
GUEST32(fault_return, "iretd");
GUEST_TEST("interrupt: out of an exception that repeats forever", "[irq]") {
    g.handler(6, fault_return);
    g.deliver_faults();
    expect_interrupt(g, loop_faulting);
}
GUEST32(loop_user, "1: jmp 1b");
GUEST_TEST("interrupt: out of ring 3", "[irq]") {
    g.paging();
    g.user();
    expect_interrupt(g, loop_user);
    CHECK(g.state.cpl == 0);
    CHECK(g.get32(g.esp() + 4) == kUserCs);
    CHECK(g.get32(g.esp() + 12) == kUserStack);
}
GUEST32(loop_pushf, "1: pushfd\n popfd\n jmp 1b");
GUEST_TEST("interrupt: out of a loop of call-outs", "[irq]") { expect_interrupt(g, loop_pushf); }
GUEST32(loop_sti_cli, "1: sti\n nop\n cli\n jmp 1b");
GUEST_TEST("interrupt: through a window of one instruction after STI", "[irq]") {
    g.load(loop_sti_cli);
    g.interrupt_after(15, 0x40);
    g.watchdog_ms = 3000;
    CHECK(g.run() == "hlt");
    CHECK(g.in_handler(0x40));
    CHECK(g.get32(g.esp()) == kCode + 2); // after the NOP
}

GUEST32(sti_nop, R"(
    mov al, 0x40
    out 0xe0, al
    nop
    sti
    inc ebx
    inc ebx
    hlt
)");
GUEST_TEST("interrupt: STI holds it off for one instruction", "[irq]") {
    CHECK(g.run(sti_nop) == "hlt");
    CHECK(g.in_handler(0x40));
    CHECK(g.ebx() == 1);
    CHECK((g.get32(g.esp() + 8) & eflags::kIf) != 0);
}
GUEST32(sti_ret, R"(
    mov al, 0x40
    out 0xe0, al
    call 1f
    hlt
1:  sti
    ret
)");
GUEST_TEST("interrupt: STI; RET takes it at the caller", "[irq]") {
    CHECK(g.run(sti_ret) == "hlt");
    CHECK(g.in_handler(0x40));
    CHECK(g.get32(g.esp()) == kCode + 9);
    CHECK(g.esp() == kKernelStack - 12);
}
GUEST32(sti_hlt, R"(
    mov al, 0x40
    out 0xe0, al
    sti
    hlt
    nop
)");
GUEST_TEST("interrupt: STI; HLT wakes and returns after the HLT", "[irq]") {
    CHECK(g.run(sti_hlt) == "hlt");
    CHECK(g.in_handler(0x40));
    CHECK(g.get32(g.esp()) == kCode + 6);
}
GUEST32(sti_cli, R"(
    mov al, 0x40
    out 0xe0, al
    sti
    cli
    inc ebx
    sti
    sti
    inc ebx
    inc ebx
    hlt
)");
GUEST_TEST("interrupt: STI; CLI lets nothing through; a second STI has no shadow", "[irq]") {
    CHECK(g.run(sti_cli) == "hlt");
    CHECK(g.in_handler(0x40));
    CHECK(g.ebx() == 1);
    CHECK(g.get32(g.esp()) == kCode + 9);
}
GUEST32(sti_loops, R"(
    mov al, 0x40
    mov ecx, 3
    out 0xe0, al
    sti
    loop 1f
1:  inc ebx
    hlt
)");
GUEST_TEST("interrupt: STI before a branch", "[irq]") {
    CHECK(g.run(sti_loops) == "hlt");
    CHECK(g.in_handler(0x40));
    CHECK(g.ebx() == 0);
    CHECK(g.ecx() == 2);
}
GUEST32(sti_fault, R"(
    mov al, 0x40
    out 0xe0, al
    sti
    ud2
)");
GUEST_TEST("interrupt: a fault in the shadow of STI is delivered first", "[irq]") {
    g.deliver_faults();
    CHECK(g.run(sti_fault) == "hlt");
    CHECK(g.in_handler(6)); // interrupt gate: IF is clear again, the request waits
    CHECK(g.log.empty());
}
GUEST32(mov_ss, R"(
    mov al, 0x40
    mov edx, ss
    out 0xe0, al
    popfd
    mov ss, edx
    mov esp, 0x7000
    inc ebx
    hlt
)");
GUEST_TEST("interrupt: MOV SS holds it off until ESP is loaded", "[irq]") {
    g.esp() = kKernelStack - 4;
    g.put32(g.esp(), 0x202);
    // POPF takes it at once; so mask that by raising it after: the shadow is what MOV SS adds.
    CHECK(g.run(mov_ss) == "hlt");
    CHECK(g.in_handler(0x40));
}
GUEST32(mov_ss_irq, R"(
    mov al, 0x40
    mov edx, ss
    sti
    mov ss, edx
    out 0xe0, al
    inc ebx
    mov ss, edx
    mov esp, 0x7000
    hlt
)");
GUEST_TEST("interrupt: raised in the shadow of MOV SS it waits for that instruction", "[irq]") {
    CHECK(g.run(mov_ss_irq) == "hlt");
    CHECK(g.in_handler(0x40));
    CHECK(g.ebx() == 0);
    CHECK(g.get32(g.esp()) == kCode + 9);
}
GUEST32(pop_ss, R"(
    mov al, 0x40
    push ss
    out 0xe0, al
    sti
    pop ss
    mov esp, 0x7000
    inc ebx
    hlt
)");
GUEST_TEST("interrupt: POP SS right after STI extends the shadow by its own", "[irq]") {
    CHECK(g.run(pop_ss) == "hlt");
    CHECK(g.in_handler(0x40));
    CHECK(g.ebx() == 0);
    CHECK(g.esp() == 0x7000 - 12);
}
GUEST32(lss_irq, R"(
    mov al, 0x40
    sti
    nop
    out 0xe0, al
    hlt
)");
GUEST32(lss_now, R"(
    mov dword ptr ds:[0x40000], 0x7000
    mov word ptr ds:[0x40004], 0x10
    mov al, 0x40
    out 0xe0, al
    sti
    lss esp, [0x40000]
    inc ebx
    hlt
)");
GUEST_TEST("interrupt: LSS casts no shadow", "[irq]") {
    CHECK(g.run(lss_now) == "hlt");
    CHECK(g.in_handler(0x40));
    CHECK(g.ebx() == 0);
    CHECK(g.esp() == 0x7000 - 12);
}
GUEST_TEST("interrupt: taken right after the OUT that raises it", "[irq]") {
    CHECK(g.run(lss_irq) == "hlt");
    CHECK(g.in_handler(0x40));
    CHECK(g.get32(g.esp()) == kCode + 6);
}
GUEST32(iret_if, R"(
    mov al, 0x40
    out 0xe0, al
    push 0x202
    push 8
    push 0x10040
    iretd
    .org 0x40, 0x90
    inc ebx
    hlt
)");
GUEST_TEST("interrupt: IRET to IF=1 with one pending takes it before the next instruction", "[irq]") {
    CHECK(g.run(iret_if) == "hlt");
    CHECK(g.in_handler(0x40));
    CHECK(g.ebx() == 0);
    CHECK(g.get32(g.esp()) == 0x10040);
}
GUEST32(popf_if, R"(
    mov al, 0x40
    out 0xe0, al
    push 0x202
    popfd
    inc ebx
    hlt
)");
GUEST_TEST("interrupt: POPF to IF=1 has no shadow", "[irq]") {
    CHECK(g.run(popf_if) == "hlt");
    CHECK(g.in_handler(0x40));
    CHECK(g.ebx() == 0);
}
GUEST32(masked, R"(
    mov al, 0x40
    out 0xe0, al
    mov ecx, 1000
1:  dec ecx
    jnz 1b
    hlt
)");
GUEST_TEST("interrupt: none while IF is clear", "[irq]") {
    CHECK(g.run(masked) == "hlt");
    CHECK(g.ecx() == 0);
    CHECK(g.log.empty());
}
GUEST32(irq_iret, "inc ebp\n xor eax, eax\n iretd");
GUEST32(irq_flags, R"(
    sti
    mov ecx, 100
1:  mov al, 0x40
    stc
    out 0xe0, al
    adc ebx, 0
    dec ecx
    jnz 1b
    cli
    hlt
)");
GUEST_TEST("interrupt: every raised interrupt runs its handler and flags survive it", "[irq]") {
    g.handler(0x40, irq_iret);
    CHECK(g.run(irq_flags) == "hlt");
    CHECK(g.ebp() == 100);
    CHECK(g.ebx() == 100);
}

// -- NMI ------------------------------------------------------------------------------------------------

GUEST32(nmi_masked, R"(
    cli
    out 0xe4, al
    .org 0x10, 0x90
    inc ebx
    hlt
)");
GUEST_TEST("nmi: taken at once, whatever IF says, and IF stays for IRET", "[irq]") {
    CHECK(g.run(nmi_masked) == "hlt");
    CHECK(g.in_handler(2));
    CHECK(g.ebx() == 0);
    CHECK(g.get32(g.esp()) == kCode + 3);
    CHECK((g.get32(g.esp() + 8) & eflags::kIf) == 0);
    CHECK(g.state.nmi_blocked == 1);
}

GUEST32(nmi_handler, R"(
    mov al, 1
    out 0xe1, al
    inc ebx
    cmp ebx, 3
    jae 1f
    out 0xe4, al               # another, from within
1:  mov al, 2
    out 0xe1, al
    iretd
)");
GUEST32(nmi_three, R"(
    out 0xe4, al
    mov al, 3
    out 0xe1, al
    hlt
)");
GUEST_TEST("nmi: held off in its handler until IRET, then taken before anything else", "[irq]") {
    g.handler(2, nmi_handler);
    CHECK(g.run(nmi_three) == "hlt");
    CHECK(g.log == "01020102010203");
    CHECK(g.state.nmi_blocked == 0);
}

GUEST32(nmi_and_irq, R"(
    mov al, 0x40
    out 0xe0, al
    out 0xe4, al
    sti
    nop
    hlt
)");
GUEST32(log_and_return, "mov al, 1\n out 0xe1, al\n iretd");
GUEST_TEST("nmi: does not wait for the interrupt that waits for IF", "[irq]") {
    g.handler(2, log_and_return);
    CHECK(g.run(nmi_and_irq) == "hlt");
    CHECK(g.log == "01!40");
    CHECK(g.in_handler(0x40));
}

GUEST32(nmi_counts, "inc ebp\n iretd");
GUEST32(nmi_loop, R"(
    mov ecx, 100
1:  stc
    out 0xe4, al
    adc ebx, 0
    dec ecx
    jnz 1b
    hlt
)");
GUEST_TEST("nmi: one each time it is asked for, and flags survive it", "[irq]") {
    g.handler(2, nmi_counts);
    CHECK(g.run(nmi_loop) == "hlt");
    CHECK(g.ebp() == 100);
    CHECK(g.ebx() == 100);
}
