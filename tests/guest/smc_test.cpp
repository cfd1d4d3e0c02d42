// Self-modifying code: whoever writes, wherever to, the next instruction executed is the one in memory.
#include "tests/guest/guest.h"

using namespace vmm;
using namespace vmm::guest;

GUEST32(smc_next, R"(
    mov byte ptr ds:[0x10041], 0x22
    .org 0x40, 0x90
    mov al, 0x11
    hlt
)");
GUEST_TEST("smc: an instruction later in the same block is replaced before it runs", "[smc]") {
    CHECK(g.run(smc_next) == "hlt");
    CHECK((g.eax() & 0xFF) == 0x22);
}

GUEST32(smc_immediately_next, R"(
    mov eax, 0
    mov word ptr ds:[0x1000e], 0xc0ff    # becomes inc eax
    .org 0xe, 0x90
    nop
    nop
    hlt
)");
GUEST_TEST("smc: the very next instruction is replaced", "[smc]") {
    CHECK(g.run(smc_immediately_next) == "hlt");
    CHECK(g.eax() == 1);
}

GUEST32(smc_earlier, R"(
    xor ecx, ecx
    .org 0x40, 0x90
    mov al, 0x11
    inc ecx
    cmp ecx, 2
    je 1f
    mov byte ptr ds:[0x10041], 0x33
    jmp guest_smc_earlier_first + 0x40
1:  hlt
)");
GUEST_TEST("smc: an instruction earlier in the same block is new on the next pass", "[smc]") {
    CHECK(g.run(smc_earlier) == "hlt");
    CHECK((g.eax() & 0xFF) == 0x33);
    CHECK(g.ecx() == 2);
}

GUEST32(smc_loop, R"(
    xor ebx, ebx
    mov ecx, 200
    .org 0x40, 0x90
1:  add ebx, 0x01000000
    inc dword ptr ds:[0x10042]
    dec ecx
    jnz 1b
    hlt
)");
GUEST_TEST("smc: a loop that changes its own immediate each time sees each value", "[smc]") {
    uint32_t expected = 0, immediate = 0x01000000;
    for (int i = 0; i < 200; ++i)
        expected += immediate++;
    CHECK(g.run(smc_loop) == "hlt");
    CHECK(g.ebx() == expected);
}

GUEST32(smc_other_page, R"(
    xor ebx, ebx
    mov ecx, 50
1:  mov eax, 0x11000
    call eax
    inc dword ptr ds:[0x11001]
    dec ecx
    jnz 1b
    hlt
    .org 0x1000, 0x90
    mov edx, 5
    add ebx, edx
    ret
)");
GUEST_TEST("smc: code on another page is changed between calls", "[smc]") {
    CHECK(g.run(smc_other_page) == "hlt");
    CHECK(g.ebx() == 50 * 5 + 49 * 50 / 2);
}

GUEST32(smc_string_store, R"(
    mov edi, 0x11001
    mov eax, 7
    call 2f
    mov eax, 9
    mov ecx, 4
    mov edi, 0x11001
    rep stosb
    call 2f
    mov eax, 0x04030201
    mov dword ptr ds:[0x40000], eax
    mov esi, 0x40000
    mov edi, 0x11001
    movsd
    call 2f
    lock xadd dword ptr ds:[0x11001], eax
    call 2f
    hlt
    .org 0x1000, 0x90
2:  mov edx, 0
    add ebx, edx
    ret
)");
GUEST_TEST("smc: string and locked stores into code count", "[smc]") {
    CHECK(g.run(smc_string_store) == "hlt");
    CHECK(g.ebx() == 0x09090909u + 0x04030201u + 2 * 0x04030201u);
}

GUEST32(smc_dma, R"(
    mov ecx, 2
1:  call 2f
    out 0xe2, al
    dec ecx
    jnz 1b
    out 0xe2, al            # this time onto the very next instruction
    .org 0x80, 0x90
    hlt
    .org 0x1000, 0x90
2:  mov ebx, 5
    ret
)");
GUEST_TEST("smc: a device writes into code that has run", "[smc]") {
    g.dma_address = kCode + 0x1001;
    g.dma_bytes = {9};
    CHECK(g.run(smc_dma) == "hlt");
    CHECK(g.ebx() == 9);
}
GUEST32(smc_dma_next, R"(
    out 0xe2, al
    mov ebx, 1
    hlt
)");
GUEST_TEST("smc: a device writes over the instruction after the OUT that started it", "[smc]") {
    g.dma_address = kCode + 3;
    g.dma_bytes = {77};
    CHECK(g.run(smc_dma_next) == "hlt");
    CHECK(g.ebx() == 77);
}

GUEST_TEST("smc: memory changed between runs is what runs", "[smc]") {
    g.bytes(kCode, {0xB0, 0x01, 0xF4});
    CHECK(g.run() == "hlt");
    CHECK((g.eax() & 0xFF) == 1);
    g.bytes(kCode + 1, {0x02});
    g.state.eip = kCode;
    CHECK(g.run() == "hlt");
    CHECK((g.eax() & 0xFF) == 2);
}

GUEST32(smc_stack_page, R"(
    mov ecx, 300
1:  push ecx
    call 2f
    pop edx
    add ebx, edx
    dec ecx
    jnz 1b
    hlt
2:  push eax
    mov eax, [esp + 4]
    pop eax
    ret
)");
GUEST_TEST("smc: code and stack share a page", "[smc]") {
    g.esp() = kCode + 0xF00;
    CHECK(g.run(smc_stack_page) == "hlt");
    CHECK(g.ebx() == 300 * 301 / 2);
    CHECK(g.esp() == kCode + 0xF00);
}

GUEST32(smc_push_code, R"(
    mov esp, 0x10048
    push 0x90909090
    push 0x9090c3ff        # inc ebx; nop; nop, right below
    .org 0x40, 0x90
    hlt
    nop
    nop
    nop
    nop
    nop
    nop
    nop
    hlt
)");
GUEST_TEST("smc: PUSH writes the instructions that follow it", "[smc]") {
    CHECK(g.run(smc_push_code) == "hlt");
    CHECK(g.ebx() == 1);
    CHECK(g.state.eip == kCode + 0x49);
}

GUEST32(smc_cross, R"(
    xor ebx, ebx
    mov ecx, 5
    jmp guest_smc_cross_first + 0xffd
    .org 0xffd, 0x90
    add ebx, 0x00010001     # 81 C3 imm32: the immediate lies on pages 10 and 11
    inc byte ptr ds:[0x11001]
    dec ecx
    jnz guest_smc_cross_first + 0xffd
    hlt
)");
GUEST_TEST("smc: a page-crossing instruction is modified in its second page", "[smc]") {
    CHECK(g.run(smc_cross) == "hlt");
    uint32_t expected = 0;
    for (uint32_t i = 0; i < 5; ++i) // byte 11001h is bits 16-23 of the immediate
        expected += 0x00010001 + (i << 16);
    CHECK(g.ebx() == expected);
}

GUEST32(smc_cross_first, R"(
    xor ebx, ebx
    mov ecx, 5
    jmp guest_smc_cross_first_first + 0xffd
    .org 0xffd, 0x90
    add ebx, 0x00010001
    inc byte ptr ds:[0x10fff]
    dec ecx
    jnz guest_smc_cross_first_first + 0xffd
    hlt
)");
GUEST_TEST("smc: a page-crossing instruction is modified in its first page", "[smc]") {
    CHECK(g.run(smc_cross_first) == "hlt");
    uint32_t expected = 0;
    for (uint32_t i = 0; i < 5; ++i)
        expected += 0x00010001 + i;
    CHECK(g.ebx() == expected);
}

GUEST32(smc_alias, R"(
    mov ecx, 3
1:  call 2f
    inc byte ptr ds:[0x201001]   # another linear page of the same memory
    dec ecx
    jnz 1b
    hlt
    .org 0x1000, 0x90
2:  mov eax, 10
    add ebx, eax
    ret
)");
GUEST_TEST("smc: code is written through another mapping of its page", "[smc]") {
    g.paging();
    g.page(0x201000, 0x11007);
    CHECK(g.run(smc_alias) == "hlt");
    CHECK(g.ebx() == 10 + 11 + 12);
}

GUEST32(smc_mixed, R"(
    mov ecx, 5000
1:  inc dword ptr ds:[0x10080]
    dec ecx
    jnz 1b
    hlt
)");
GUEST_TEST("smc: a counter on the page of the loop that increments it", "[smc]") {
    CHECK(g.run(smc_mixed) == "hlt");
    CHECK(g.get32(kCode + 0x80) == 5000);
}

GUEST32(smc_xchg_flags, R"(
    stc
    mov byte ptr ds:[0x10021], 0x44      # MOV leaves the flags of STC
    .org 0x20, 0x90
    mov al, 0
    adc ebx, 0
    cmp ebx, 1
    sete cl
    mov byte ptr ds:[0x10041], 0x55
    setz ch
    .org 0x40, 0x90
    mov ah, 0
    hlt
)");
GUEST_TEST("smc: flags live across a store into code", "[smc]") {
    CHECK(g.run(smc_xchg_flags) == "hlt");
    CHECK(g.eax() == 0x5544);
    CHECK(g.ecx() == 0x0101);
}

GUEST32(smc_pop, R"(
    push 0x90909090
    push 0x33
    mov edx, esp
    pop dword ptr ds:[0x10041]
    sub edx, esp
    .org 0x40, 0x90
    mov eax, 0x11
    hlt
)");
GUEST_TEST("smc: POP into the code that follows it releases the stack once", "[smc]") {
    CHECK(g.run(smc_pop) == "hlt");
    CHECK(g.eax() == 0x33);
    CHECK(static_cast<int32_t>(g.edx()) == -4);
}
