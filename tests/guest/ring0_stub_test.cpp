// Segment loads, PUSHFD and POPFD at ring 0 are served from memory of earlier ones: each case makes that
// memory hold something and then changes the world under it.
#include "tests/guest/guest.h"

using namespace vmm;
using namespace vmm::guest;

// Loads FS from kFree twice around a store to the descriptor's base, both times reading fs:[0].
GUEST32(reload_changed, R"(
    mov ecx, 3
    mov eax, 0x48
1:  mov fs, eax
    mov ebx, fs:[0]
    dec ecx
    jnz 1b
    mov byte ptr ds:[0x1000 + 0x48 + 2], 0x10     # base 40000h becomes 40010h
    mov fs, eax
    mov edx, fs:[0]
    hlt
)");
GUEST_TEST("ring 0: a descriptor changed in memory is what the next load takes", "[segment]") {
    g.put64(kGdt + kFree, descriptor(0x40000, 0xFFFFF, 0x93, 0xC));
    g.put32(0x40000, 0x11);
    g.put32(0x40010, 0x22);
    CHECK(g.run(reload_changed) == "hlt");
    CHECK(g.ebx() == 0x11);
    CHECK(g.edx() == 0x22);
}

GUEST32(reload_limited, R"(
    mov ecx, 3
    mov eax, 0x48
1:  mov es, eax
    dec ecx
    jnz 1b
    mov word ptr ds:[0x1000 + 0x48], 0x0f         # from 4 GiB to 16 bytes
    and byte ptr ds:[0x1000 + 0x48 + 6], 0x70
    mov es, eax
    mov edx, es:[12]
    nop
    mov edx, es:[13]
    hlt
)");
GUEST_TEST("ring 0: a load that changes how accesses must be checked is noticed", "[segment]") {
    g.put64(kGdt + kFree, descriptor(0, 0xFFFFF, 0x93, 0xC));
    const std::string said = g.run(reload_limited);
    CHECK(said.starts_with("#13(0000) at 100"));
    CHECK(g.state.segment(SegReg::Es).limit == 0xF);
}

GUEST32(reload_absent, R"(
    mov ecx, 3
    mov eax, 0x48
1:  mov gs, eax
    dec ecx
    jnz 1b
    and byte ptr ds:[0x1000 + 0x48 + 5], 0x7f     # not present
    push eax
    .org 0x40, 0x90
    pop gs
    hlt
)");
GUEST_TEST("ring 0: a descriptor made absent is #NP at the POP, which moves nothing", "[segment]") {
    g.put64(kGdt + kFree, descriptor(0x40000, 0xFFFFF, 0x93, 0xC));
    CHECK(g.run(reload_absent) == "#11(0048) at 10040");
    CHECK(g.esp() == kKernelStack - 4);
    CHECK(g.state.segment(SegReg::Gs).selector == kFree);
}

GUEST32(reload_accessed, R"(
    mov ecx, 3
    mov eax, 0x48
1:  mov ds, eax
    and byte ptr [0x1000 + 0x48 + 5], 0xfe        # accessed bit off
    dec ecx
    jnz 1b
    mov ds, eax
    hlt
)");
GUEST_TEST("ring 0: each load sets the accessed bit", "[segment]") {
    g.put64(kGdt + kFree, descriptor(0, 0xFFFFF, 0x92, 0xC));
    CHECK(g.run(reload_accessed) == "hlt");
    CHECK((g.get8(kGdt + kFree + 5) & 1) == 1);
}

GUEST32(other_table, R"(
    mov ecx, 3
    mov eax, 0x48
1:  mov fs, eax
    dec ecx
    jnz 1b
    lgdt ds:[0x40100]
    mov fs, eax
    mov edx, fs:[0]
    hlt
)");
GUEST_TEST("ring 0: after LGDT the selector means what the new table says", "[segment]") {
    g.put64(kGdt + kFree, descriptor(0x40000, 0xFFFFF, 0x93, 0xC));
    for (uint32_t at = 0; at < 0x100; at += 4) // a copy of the table elsewhere, one entry different
        g.put32(0x42000 + at, g.get32(kGdt + at));
    g.put64(0x42000 + kFree, descriptor(0x40020, 0xFFFFF, 0x93, 0xC));
    g.put16(0x40100, 0xFF);
    g.put32(0x40102, 0x42000);
    g.put32(0x40020, 0x33);
    CHECK(g.run(other_table) == "hlt");
    CHECK(g.edx() == 0x33);
}

GUEST32(null_and_back, R"(
    mov ecx, 4
    mov eax, 0x48
    xor edx, edx
1:  push eax
    push edx
    pop fs
    pop fs
    mov ebx, fs:[0]
    dec ecx
    jnz 1b
    push edx
    pop fs
    .org 0x40, 0x90
    mov ebx, fs:[0]
    hlt
)");
GUEST_TEST("ring 0: FS alternates between null and a base; null still faults", "[segment]") {
    g.put64(kGdt + kFree, descriptor(0x40000, 0xFFFFF, 0x93, 0xC));
    g.put32(0x40000, 0x44);
    CHECK(g.run(null_and_back) == "#13(0000) at 10040");
    CHECK(g.ebx() == 0x44);
    CHECK(g.esp() == kKernelStack);
}

GUEST32(flags_kept, R"(
    mov ecx, 3
    mov eax, 0x48
1:  stc
    mov bl, 0x7f
    inc bl
    mov es, eax
    setc dl
    seto dh
    dec ecx
    jnz 1b
    hlt
)");
GUEST_TEST("ring 0: a segment load leaves the flags and the other registers alone", "[segment]") {
    g.put64(kGdt + kFree, descriptor(0, 0xFFFFF, 0x93, 0xC));
    CHECK(g.run(flags_kept) == "hlt");
    CHECK((g.edx() & 0xFFFF) == 0x0101);
    CHECK(g.ecx() == 0);
}

GUEST32(table_gone, R"(
    mov ecx, 3
    mov eax, 0x48
1:  mov fs, eax
    dec ecx
    jnz 1b
    mov dword ptr ds:[0x21000 + 4], 0             # the table's page is not present
    invlpg ds:[0x1000]
    .org 0x40, 0x90
    mov fs, eax
    hlt
)");
GUEST_TEST("ring 0: a descriptor table that is paged out is #PF at the load", "[segment]") {
    g.paging();
    g.put64(kGdt + kFree, descriptor(0x40000, 0xFFFFF, 0x93, 0xC));
    CHECK(g.run(table_gone) == "#14(0000)@1048 at 10040");
}

GUEST32(flags_image, R"(
    std
    stc
    pushfd
    cld
    pop eax
    sti
    nop
    pushfd
    pop ebx
    or ebx, 0x240000       # AC, and IOPL stays
    push ebx
    popfd
    pushfd
    pop ecx
    hlt
)");
GUEST_TEST("ring 0: PUSHFD and POPFD see every flag", "[flags]") {
    CHECK(g.run(flags_image) == "hlt");
    CHECK((g.eax() & 0x601) == 0x401);
    CHECK((g.ebx() & 0x600) == 0x200);
    CHECK((g.ecx() & 0x240200) == 0x240200);
    CHECK((g.ecx() & 0x2) == 2);
}

GUEST32(popf_interrupts, R"(
    mov esi, 20
1:  cli
    pushfd
    pop eax
    mov edx, eax
    or edx, 0x200
    push edx
    popfd
    push eax
    popfd
    dec esi
    jnz 1b
    mov al, 0x41
    out 0xe0, al
    push edx
    popfd
    .org 0x60, 0x90
    inc ebx
    hlt
)");
GUEST32(interrupt_handler, "mov ecx, [esp]\n hlt");
GUEST_TEST("ring 0: POPFD lets a waiting interrupt in before the next instruction", "[flags][interrupt]") {
    g.handler(0x41, interrupt_handler);
    g.ebx() = 0;
    CHECK(g.run(popf_interrupts) == "hlt");
    CHECK(g.log.find("!41") != std::string::npos);
    CHECK(g.ebx() == 0);
    CHECK(g.ecx() > kCode);
    CHECK(g.ecx() <= kCode + 0x60);
}

GUEST32(sti_return, R"(
    mov al, 0x42
    out 0xe0, al
    call 1f
    .org 0x40, 0x90
    inc ebx
    hlt
1:  sti
    ret
)");
GUEST_TEST("ring 0: STI; RET takes a waiting interrupt after the RET", "[interrupt]") {
    g.state.eflags &= ~eflags::kIf;
    g.handler(0x42, interrupt_handler);
    g.ebx() = 0;
    CHECK(g.run(sti_return) == "hlt");
    CHECK(g.log.find("!42") != std::string::npos);
    CHECK(g.ecx() < kCode + 0x40);
    CHECK(g.ebx() == 0);
}
