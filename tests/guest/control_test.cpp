// Near control flow that a return predictor gets wrong, and the stack pointer in odd places.
#include "tests/guest/guest.h"

using namespace vmm;
using namespace vmm::guest;

GUEST32(deep, R"(
    mov ecx, 20000
    call 1f
    hlt
1:  inc ebx
    dec ecx
    jz 2f
    call 1b
2:  inc edx
    ret
)");
GUEST_TEST("control: recursion far beyond the return stack", "[control]") {
    g.esp() = 0x200000;
    CHECK(g.run(deep) == "hlt");
    CHECK(g.ebx() == 20000);
    CHECK(g.edx() == 20000);
    CHECK(g.esp() == 0x200000);
}
GUEST32(longjmp, R"(
    mov ecx, 500
1:  mov ebp, esp
    call 2f
    inc ebx
4:  dec ecx
    jnz 1b
    hlt
2:  call 3f
    inc edx
    ret
3:  test ecx, 1
    jz 5f
    mov esp, ebp
    jmp 4b
5:  ret
)");
GUEST_TEST("control: frames abandoned without returning", "[control]") {
    CHECK(g.run(longjmp) == "hlt");
    CHECK(g.ebx() == 250);
    CHECK(g.edx() == 250);
    CHECK(g.esp() == kKernelStack);
}
GUEST32(coroutines, R"(
    mov dword ptr ds:[0x40000], 0x6000
    mov dword ptr ds:[0x5ffc + 4], 0x10080
    mov ecx, 200
1:  call 9f
    inc ebx
    dec ecx
    jnz 1b
    hlt
9:  xchg esp, [0x40000]
    ret
    .org 0x80, 0x90
2:  inc edx
    call 9b
    jmp 2b
)");
GUEST_TEST("control: two stacks that switch in the middle of calls", "[control]") {
    CHECK(g.run(coroutines) == "hlt");
    CHECK(g.ebx() == 200);
    CHECK(g.edx() == 200);
}
GUEST32(return_modified, R"(
    mov ecx, 100
1:  call 2f
    jmp 3f
    inc ebx
3:  dec ecx
    jnz 1b
    hlt
2:  add dword ptr [esp], 2
    ret
)");
GUEST_TEST("control: a callee that changes its return address", "[control]") {
    CHECK(g.run(return_modified) == "hlt");
    CHECK(g.ebx() == 100);
}
GUEST32(call_pop, R"(
    mov ecx, 100
1:  call 2f
2:  pop eax
    add ebx, eax
    dec ecx
    jnz 1b
    hlt
)");
GUEST_TEST("control: CALL to the next instruction reads EIP", "[control]") {
    CHECK(g.run(call_pop) == "hlt");
    CHECK(g.ebx() == 100 * (kCode + 10));
}
GUEST32(ret_flags, R"(
    mov ecx, 50
1:  stc
    call 2f
    adc ebx, 0
    push 0x10040
    stc
    ret                        # no call: the predictor is wrong
    .org 0x40, 0x90
    adc edx, 0
    dec ecx
    jnz 1b
    hlt
2:  ret
)");
GUEST_TEST("control: flags survive returns, predicted or not", "[control]") {
    CHECK(g.run(ret_flags) == "hlt");
    CHECK(g.ebx() == 50);
    CHECK(g.edx() == 50);
}
GUEST32(alias_jumps, R"(
    mov dword ptr ds:[0x20040], 0x00e3ff42 # inc edx; jmp ebx
    mov ebx, 0x10060
    mov esi, 0x20040
    mov edi, 0x10040
    mov ecx, 300
1:  jmp edi
    .org 0x40, 0x90
    inc ebp
    jmp esi
    .org 0x60, 0x90
    dec ecx
    jnz 1b
    hlt
)");
GUEST_TEST("control: indirect jumps to addresses that differ in their upper half", "[control]") {
    CHECK(g.run(alias_jumps) == "hlt");
    CHECK(g.edx() == 300);
    CHECK(g.ebp() == 300);
}
GUEST32(wrong_returns, R"(
    mov ecx, 4000
1:  call 2f
    ud2
    .org 0x20, 0x90
3:  dec ecx
    jnz 1b
    hlt
    .org 0x30, 0x90
    inc edx
    jmp 3b
    .org 0x40, 0x90
2:  mov eax, 0x10020
    test ecx, 3
    jnz 4f
    mov eax, 0x10030           # one call in four
4:  mov [esp], eax
    inc ebx
    ret
)");
GUEST_TEST("control: returns that never go where the call was", "[control]") {
    CHECK(g.run(wrong_returns) == "hlt");
    CHECK(g.ebx() == 4000);
    CHECK(g.edx() == 1000);
}
GUEST32(stack_steps, R"(
    mov dword ptr ds:[0x41000], 7
    mov ecx, 70000
1:  sub esp, 0x10000           # below zero and on around 4 GiB
    lea eax, [esp + 0x10000]
    dec ecx
    jnz 1b
    mov esi, esp
    mov esp, 0x31000
    mov ecx, 50
2:  sub esp, 0x10000
    add ebx, [esp + 0x10000]
    add esp, 0x10000
    add edx, [esp + 0x10000]
    sub esp, 0x40000
    mov ebp, [esp + 0x10000]
    add esp, 0x40000
    adc edi, 0
    push 7
    pop eax
    dec ecx
    jnz 2b
    hlt
)");
GUEST_TEST("control: the stack pointer may leave 4 GiB between accesses", "[control]") {
    g.put32(0x31000, 3);
    CHECK(g.run(stack_steps) == "hlt");
    CHECK(g.esi() == static_cast<uint32_t>(kKernelStack - uint64_t{70000} * 0x10000));
    CHECK(g.esp() == 0x31000);
    CHECK(g.ebx() == 150);
    CHECK(g.edx() == 350);
    CHECK(g.edi() == 50); // ADD over the top carries
    CHECK(g.eax() == 7);
}
GUEST32(esp_forms, R"(
    push esp
    pop eax
    mov dword ptr [esp - 4], 0x10040
    push dword ptr [esp - 4]
    pop dword ptr [esp - 12]
    mov edx, [esp - 12]
    push 0x7000
    pop esp
    mov ecx, esp
    push 0x55
    pop dword ptr [esp]
    mov ebx, [esp]
    hlt
)");
GUEST_TEST("control: PUSH ESP, POP ESP and POP [ESP] use the ESP of the manual", "[control]") {
    CHECK(g.run(esp_forms) == "hlt");
    CHECK(g.eax() == kKernelStack);
    CHECK(g.edx() == 0x10040);
    CHECK(g.ecx() == 0x7000);
    CHECK(g.ebx() == 0x55);
    CHECK(g.esp() == 0x7000);
}
