// 16-bit code: real mode, unreal mode, v86 mode, stacks and addresses that wrap at 64 KiB.
#include "tests/guest/guest.h"

using namespace vmm;
using namespace vmm::guest;

GUEST16(real_basic, R"(
    mov ax, 0x4000
    mov ds, ax
    mov bx, 0x10
    mov word ptr [bx + 2], 0x1234
    mov cx, [bx + 2]
    push cx
    pop dx
    hlt
)");
GUEST_TEST("real: segments are shifted selectors", "[real]") {
    g.real_mode();
    CHECK(g.run(real_basic) == "hlt");
    CHECK(g.get16(0x40012) == 0x1234);
    CHECK((g.edx() & 0xFFFF) == 0x1234);
}
GUEST16(real_wrap, R"(
    mov bx, 0xfff0
    mov si, 0x20
    mov byte ptr [bx + si], 0x5a
    mov al, [bx + si]
    hlt
)");
GUEST_TEST("real: 16-bit effective addresses wrap", "[real]") {
    g.real_mode();
    g.state.segment(SegReg::Ds) = segment_of(0x4000, descriptor(0x40000, 0xFFFF, 0x93, 0));
    CHECK(g.run(real_wrap) == "hlt");
    CHECK(g.get8(0x40010) == 0x5A);
}
GUEST16(real_cross, "mov ax, [bx]\n hlt");
GUEST_TEST("real: a word at FFFFh is #GP, at FFFEh it is not", "[real]") {
    g.real_mode();
    g.ebx() = 0xFFFF;
    CHECK(g.run(real_cross) == "#13(0000) at 0");
    g.ebx() = 0xFFFE;
    CHECK(g.run() == "hlt");
}
GUEST16(real_addr32, "mov al, [ebx]\n hlt");
GUEST_TEST("real: a 32-bit address beyond 64 KiB is #GP; unreal mode allows it", "[real]") {
    g.real_mode();
    g.ebx() = 0x200000;
    g.put8(0x200000, 0x77);
    CHECK(g.run(real_addr32) == "#13(0000) at 0");
    g.state.segment(SegReg::Ds) = segment_of(0, descriptor(0, 0xFFFFF, 0x93, 0xC));
    CHECK(g.run() == "hlt");
    CHECK((g.eax() & 0xFF) == 0x77);
}
GUEST16(unreal, R"(
    cli
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp 1f
1:  mov bx, 0x48
    mov ds, bx
    and al, 0xfe
    mov cr0, eax
    jmp 2f
2:  xor ax, ax
    mov ds, ax
    mov ebx, 0x300000
    mov dword ptr [ebx], 0x12345678
    hlt
)");
GUEST_TEST("real: going through protected mode leaves 4 GiB limits behind", "[real]") {
    g.real_mode();
    g.put64(kGdt + kFree, descriptor(0, 0xFFFFF, 0x93, 0x8));
    CHECK(g.run(unreal) == "hlt");
    CHECK(g.get32(0x300000) == 0x12345678);
    CHECK(g.state.segment(SegReg::Ds).limit == 0xFFFFFFFF);
    CHECK(g.state.segment(SegReg::Ds).base == 0);
}
GUEST16(real_push, "push ax\n push bx\n push eax\n hlt");
GUEST_TEST("real: the stack wraps at 64 KiB without touching the high half of ESP", "[real]") {
    g.real_mode();
    g.esp() = 0xABCD0002;
    g.eax() = 0x11112222;
    g.ebx() = 0x3333;
    CHECK(g.run(real_push) == "hlt");
    CHECK(g.esp() == 0xABCDFFFA);
    CHECK(g.get16(0x8000) == 0x2222);
    CHECK(g.get16(0x8000 + 0xFFFE) == 0x3333);
    CHECK(g.get32(0x8000 + 0xFFFA) == 0x11112222);
}
GUEST16(real_push_odd, "push ax\n hlt");
GUEST_TEST("real: a push across the end of the stack segment is #SS", "[real]") {
    g.real_mode();
    g.esp() = 1;
    CHECK(g.run(real_push_odd) == "#12(0000) at 0");
    CHECK(g.esp() == 1);
}
GUEST16(real_calls, R"(
    mov cx, 100
1:  call 2f
    .byte 0x9a
    .word 0x100, 0x1000       # call 1000:100
    dec cx
    jnz 1b
    hlt
2:  inc bx
    ret
    .org 0x100, 0x90
    inc dx
    retf
)");
GUEST_TEST("real: near and far calls", "[real]") {
    g.real_mode();
    CHECK(g.run(real_calls) == "hlt");
    CHECK(g.ebx() == 100);
    CHECK(g.edx() == 100);
    CHECK(g.esp() == 0x800);
}
GUEST16(real_int, R"(
    mov cx, 50
    sti
    cld
1:  stc
    int 0x21
    jnc 2f
    inc bx
2:  dec cx
    jnz 1b
    cli
    hlt
)");
GUEST16(real_int_handler, R"(
    push bp
    mov bp, sp
    and word ptr [bp + 6], 0xfffe      # clear the caller's CF every other time
    test cl, 1
    jz 1f
    or word ptr [bp + 6], 1
1:  pop bp
    inc dx
    iret
)");
GUEST_TEST("real: INT and IRET with the flags image edited", "[real]") {
    g.real_mode();
    g.load(real_int_handler, 0x50000);
    g.put32(4 * 0x21, 0x50000000);
    g.deliver_faults();
    CHECK(g.run(real_int) == "hlt");
    CHECK(g.edx() == 50);
    CHECK(g.ebx() == 25);
}
GUEST16(real_alias, R"(
    mov cx, 20
1:  .byte 0x9a
    .word 0x1000, 0x1000      # 1000:1000
    .byte 0x9a
    .word 0, 0x1100           # 1100:0000, the same bytes
    dec cx
    jnz 1b
    hlt
    .org 0x1000, 0x90
    call 2f
2:  pop ax
    add bx, ax
    mov dx, cs
    add si, dx
    retf
)");
GUEST_TEST("real: one routine run under two CS values", "[real]") {
    g.real_mode();
    CHECK(g.run(real_alias) == "hlt");
    CHECK((g.ebx() & 0xFFFF) == ((20 * (0x1003 + 3)) & 0xFFFF));
    CHECK((g.esi() & 0xFFFF) == ((20 * (0x1000 + 0x1100)) & 0xFFFF));
}
GUEST16(real_ip_wrap, "nop\n");
GUEST_TEST("real: falling off the end of the segment is #GP", "[real]") {
    g.real_mode();
    g.put8(0x10000 + 0xFFFF, 0x90);
    g.put8(0x20000, 0xF4);
    g.state.eip = 0xFFFF;
    CHECK(g.run() == "#13(0000) at 10000");
}
GUEST16(real_jump_wrap, "jmp guest_real_jump_wrap_first - 0x10\n");
GUEST_TEST("real: 16-bit relative jumps wrap IP", "[real]") {
    g.real_mode();
    g.load(real_jump_wrap);
    g.put8(0x1FFF0, 0xF4);
    CHECK(g.run() == "hlt");
    CHECK(g.state.eip == 0xFFF1);
}
GUEST16(real_o32_ret, "pushd 0x12345\n .byte 0x66\n ret\n");
GUEST_TEST("real: a 32-bit near return beyond 64 KiB is #GP at the RET", "[real]") {
    g.real_mode();
    CHECK(g.run(real_o32_ret) == "#13(0000) at 6");
    CHECK(g.esp() == 0x7FC);
}
GUEST16(real_strings, R"(
    mov ax, 0x4000
    mov es, ax
    mov ds, ax
    mov di, 0xfff8
    mov cx, 16
    mov al, 0x33
    cld
    rep stosb
    mov si, 0xfffc
    mov di, 0x100
    mov cx, 8
    rep movsb
    hlt
)");
GUEST_TEST("real: strings wrap at 64 KiB", "[real]") {
    g.real_mode();
    g.put8(0x40008, 0x44);
    CHECK(g.run(real_strings) == "hlt");
    CHECK(g.get8(0x4FFFF) == 0x33);
    CHECK(g.get8(0x40007) == 0x33);
    CHECK(g.get8(0x40008) == 0x44);
    CHECK(g.get8(0x40107) == 0x33);
    CHECK((g.esi() & 0xFFFF) == 4);
}
GUEST16(real_enter, R"(
    mov bp, 0x700
    enter 8, 0
    mov word ptr [bp - 2], 0x99
    mov cx, sp
    mov dx, [bp - 2]
    leave
    pusha
    popa
    pushad
    popad
    hlt
)");
GUEST_TEST("real: ENTER, LEAVE, PUSHA", "[real]") {
    g.real_mode();
    CHECK(g.run(real_enter) == "hlt");
    CHECK(g.ecx() == 0x800 - 2 - 8);
    CHECK(g.ebp() == 0x700);
    CHECK(g.esp() == 0x800);
    CHECK(g.edx() == 0x99);
}
GUEST16(real_loop, "mov cx, 0\n 1: inc ebx\n loop 1b\n jcxz 2f\n nop\n 2: hlt");
GUEST_TEST("real: LOOP counts CX through zero", "[real]") {
    g.real_mode();
    g.ecx() = 0x77770000;
    CHECK(g.run(real_loop) == "hlt");
    CHECK(g.ebx() == 0x10000);
    CHECK(g.ecx() == 0x77770000);
}
GUEST16(real_irq, "sti\n 1: jmp 1b");
GUEST_TEST("real: interrupts out of a tight loop", "[real]") {
    g.real_mode();
    g.load(real_irq);
    g.interrupt_after(15, 8);
    CHECK(g.run() == "hlt");
    CHECK(g.state.eip == 16 * 8 + 1);
    CHECK(g.get16(0x8000 + 0x7FA) == 1);
}

GUEST16(v86_code, R"(
    mov ax, 0x4000
    mov ds, ax
    mov word ptr [0], 0x55
    mov bx, [0]
    pushf
    cli
    sti
    popf
    int 0x21
)");
GUEST_TEST("v86: runs 16-bit code; INT goes through the IDT to ring 0", "[v86]") {
    g.v86();
    g.load(v86_code);
    g.deliver_faults();
    CHECK(g.run() == "hlt");
    CHECK(g.in_handler(0x21));
    CHECK(g.ebx() == 0x55);
    CHECK(g.get16(0x40000) == 0x55);
    CHECK(g.state.cpl == 0);
    CHECK(g.get32(g.esp() + 4) == 0x1000);  // CS
    CHECK(g.get32(g.esp() + 12) == 0x800);  // SP
    CHECK(g.get32(g.esp() + 16) == 0x800);  // SS
    CHECK(g.get32(g.esp() + 24) == 0x4000); // DS
    CHECK((g.get32(g.esp() + 8) & eflags::kVm) != 0);
}
GUEST16(v86_cli, "cli\n hlt");
GUEST16(v86_pushf, "pushf\n hlt");
GUEST16(v86_lgdt, "lgdt [0]\n");
GUEST16(v86_sldt, "sldt ax\n");
GUEST_TEST("v86: IOPL below 3 makes CLI, PUSHF and INT fault", "[v86]") {
    g.v86(0x1000, 0);
    CHECK(g.run(v86_cli) == "#13(0000) at 0");
    CHECK(g.run(v86_pushf) == "#13(0000) at 0");
    CHECK(g.run(v86_lgdt) == "#13(0000) at 0");
    CHECK(g.run(v86_sldt) == "#6 at 0");
}
GUEST32(enter_v86, R"(
    mov ecx, 30
1:  push 0x4000
    push 0x4000
    push 0x4000
    push 0x4000
    push 0x800
    push 0x800
    push 0x23002
    push 0x2000
    push 0
    iretd
    .org 0x80, 0x90
    add esp, 36
    dec ecx
    jnz 1b
    hlt
)");
GUEST32(leave_v86, "mov eax, 0x10080\n jmp eax");
GUEST16(v86_body, "mov ax, ds\n add ebx, 1\n int 0x21");
GUEST_TEST("v86: entered by IRET and left by INT, again and again", "[v86]") {
    g.put32(kTss + 4, kKernelStack);
    g.load(v86_body, 0x20000);
    g.handler(0x21, leave_v86);
    g.deliver_faults();
    CHECK(g.run(enter_v86) == "hlt");
    CHECK(g.state.eip == kCode + 0x8B);
    CHECK(g.ebx() == 30);
}
