// Segments: limits at the byte, null registers, bases, gates, far transfers and tasks.
#include "tests/guest/guest.h"

#include <fmt/format.h>

using namespace vmm;
using namespace vmm::guest;

GUEST32(read_ds, "mov eax, [ebx]\n hlt");
GUEST32(read_es_byte, "mov al, es:[ebx]\n hlt");
GUEST32(write_ds, "mov [ebx], eax\n hlt");
GUEST_TEST("segment: expand-up limits, to the byte", "[segment]") {
    g.set_segment(SegReg::Ds, kFree, descriptor(0x40000, 0x1234, 0x93, 0x4));
    g.put32(0x40000 + 0x1231, 0x11223344);
    g.load(read_ds);
    g.ebx() = 0x1231; // bytes 1231h-1234h
    CHECK(g.run() == "hlt");
    CHECK(g.eax() == 0x11223344);
    for (uint32_t offset : {0x1232u, 0x1235u, 0x8000u, 0x80000000u, 0xFFFFFFFDu, 0xFFFFFFFFu}) {
        CAPTURE(offset);
        g.state.eip = kCode;
        g.ebx() = offset;
        CHECK(g.run() == "#13(0000) at 10000");
    }
}
GUEST_TEST("segment: expand-down limits, to the byte", "[segment]") {
    g.set_segment(SegReg::Ds, kFree, descriptor(0x40000, 0x1234, 0x97, 0x4));
    g.load(read_ds);
    for (uint32_t offset : {0u, 0x1231u, 0x1234u, 0xFFFFFFFDu}) {
        CAPTURE(offset);
        g.state.eip = kCode;
        g.ebx() = offset;
        CHECK(g.run() == "#13(0000) at 10000");
    }
    g.put32(0x41235, 0x55667788);
    g.ebx() = 0x1235;
    g.state.eip = kCode;
    CHECK(g.run() == "hlt");
    CHECK(g.eax() == 0x55667788);
    g.set_segment(SegReg::Ds, kFree, descriptor(0x40000, 0x1234, 0x97, 0)); // B=0: up to FFFFh
    g.ebx() = 0xFFFD;
    g.state.eip = kCode;
    CHECK(g.run() == "#13(0000) at 10000");
    g.ebx() = 0xFFFC;
    g.state.eip = kCode;
    CHECK(g.run() == "hlt");
}
GUEST_TEST("segment: a limit of zero has one byte", "[segment]") {
    g.set_segment(SegReg::Es, kFree, descriptor(0x40000, 0, 0x93, 0x4));
    g.put8(0x40000, 0x99);
    g.load(read_es_byte);
    CHECK(g.run() == "hlt");
    CHECK((g.eax() & 0xFF) == 0x99);
    g.ebx() = 1;
    g.state.eip = kCode;
    CHECK(g.run() == "#13(0000) at 10000");
}
GUEST_TEST("segment: a read-only segment is not written", "[segment]") {
    g.set_segment(SegReg::Ds, kFree, descriptor(0, 0xFFFFF, 0x91, 0xC));
    g.ebx() = kData;
    CHECK(g.run(write_ds) == "#13(0000) at 10000");
    g.load(read_ds);
    CHECK(g.run() == "hlt");
}
GUEST32(write_cs, "mov cs:[ebx], eax\n hlt");
GUEST32(read_cs, "mov eax, cs:[ebx]\n hlt");
GUEST_TEST("segment: code is never written, and read only when readable", "[segment]") {
    g.ebx() = kData;
    g.put32(kData, 77);
    CHECK(g.run(write_cs) == "#13(0000) at 10000");
    g.load(read_cs);
    CHECK(g.run() == "hlt");
    CHECK(g.eax() == 77);
    g.set_segment(SegReg::Cs, kFree, descriptor(0, 0xFFFFF, 0x99, 0xC));
    g.state.eip = kCode;
    CHECK(g.run() == "#13(0000) at 10000");
}
GUEST32(null_fs, R"(
    xor eax, eax
    mov fs, eax
    mov ecx, fs:[0]
    hlt
)");
GUEST_TEST("segment: loading a null FS is fine, using it is #GP(0)", "[segment]") {
    CHECK(g.run(null_fs) == "#13(0000) at 10004");
}
GUEST32(null_ds, R"(
    mov eax, 3
    mov gs, eax
    mov ds, eax
    mov es, eax
    mov byte ptr gs:[0x12345678], 1
)");
GUEST_TEST("segment: null with any RPL; writes too", "[segment]") {
    CHECK(g.run(null_ds) == "#13(0000) at 1000b");
}
GUEST32(null_ds_string, "xor eax, eax\n mov es, eax\n mov ecx, 3\n rep stosb\n hlt");
GUEST_TEST("segment: strings through a null segment", "[segment]") {
    CHECK(g.run(null_ds_string) == "#13(0000) at 10009");
    CHECK(g.ecx() == 3);
    g.state.eip = kCode;
    g.load(null_ds_string);
    g.ecx() = 0;
    g.put8(kCode + 5, 0);
    CHECK(g.run() == "hlt"); // no iteration, no access
}
GUEST32(based, R"(
    mov eax, fs:[0x10]
    mov ebx, 0xfffffff0
    mov ecx, fs:[ebx + 0x24]
    mov dword ptr fs:[ebx + ebx*1 + 0x40], 0x5a
    mov edx, fs:[0x20]
    lea esi, fs:[ebx]
    hlt
)");
GUEST_TEST("segment: a base is added modulo 4 GiB after the offset wrapped", "[segment]") {
    g.set_segment(SegReg::Fs, kFree, descriptor(0x40000, 0xFFFFF, 0x93, 0xC));
    g.put32(0x40010, 1);
    g.put32(0x40014, 2);
    CHECK(g.run(based) == "hlt");
    CHECK(g.eax() == 1);
    CHECK(g.ecx() == 2);
    CHECK(g.edx() == 0x5A);
    CHECK(g.esi() == 0xFFFFFFF0);
}
GUEST32(negative_base, "mov eax, fs:[0x41000]\n hlt");
GUEST_TEST("segment: a base near 4 GiB wraps", "[segment]") {
    g.set_segment(SegReg::Fs, kFree, descriptor(0xFFFFF000, 0xFFFFF, 0x93, 0xC));
    g.put32(0x40000, 0xBEEF);
    CHECK(g.run(negative_base) == "hlt");
    CHECK(g.eax() == 0xBEEF);
}
GUEST32(stack_limit, "push eax\n hlt");
GUEST_TEST("segment: the stack faults with #SS(0) and keeps ESP", "[segment]") {
    g.set_segment(SegReg::Ss, kFree, descriptor(0x40000, 0xFFF, 0x93, 0x4));
    g.load(stack_limit);
    g.esp() = 0x1004;
    CHECK(g.run() == "#12(0000) at 10000");
    CHECK(g.esp() == 0x1004);
    g.esp() = 0x1000;
    CHECK(g.run() == "hlt");
    CHECK(g.esp() == 0xFFC);
    g.esp() = 2;
    g.state.eip = kCode;
    CHECK(g.run() == "#12(0000) at 10000");
    CHECK(g.esp() == 2);
}
GUEST32(stack_relative, "mov eax, [ebp]\n hlt");
GUEST_TEST("segment: EBP-relative operands use SS", "[segment]") {
    g.set_segment(SegReg::Ss, kFree, descriptor(0x40000, 0xFFF, 0x93, 0x4));
    g.load(stack_relative);
    g.ebp() = 0xFFC;
    g.put32(0x40FFC, 12);
    CHECK(g.run() == "hlt");
    CHECK(g.eax() == 12);
    g.ebp() = 0xFFD;
    g.state.eip = kCode;
    CHECK(g.run() == "#12(0000) at 10000");
}
GUEST32(cs_limit, "nop\n nop\n mov eax, 0x11111111\n hlt");
GUEST_TEST("segment: execution stops at the limit of CS", "[segment]") {
    g.load(cs_limit, 0x40000);
    g.state.eip = 0;
    g.set_segment(SegReg::Cs, kFree, descriptor(0x40000, 5, 0x9B, 0x4));
    CHECK(g.run() == "#13(0000) at 2");
    g.set_segment(SegReg::Cs, kFree, descriptor(0x40000, 6, 0x9B, 0x4));
    CHECK(g.run() == "#13(0000) at 7");
    g.set_segment(SegReg::Cs, kFree, descriptor(0x40000, 7, 0x9B, 0x4));
    CHECK(g.run() == "hlt");
}
GUEST32(jump_past, "jmp guest_jump_past_first + 0x100");
GUEST32(ret_past, "push 0x100\n ret");
GUEST32(jcc_past, "xor eax, eax\n jz guest_jcc_past_first + 0x100");
GUEST_TEST("segment: branches beyond the limit fault at the branch", "[segment]") {
    g.set_segment(SegReg::Cs, kFree, descriptor(0x40000, 0xFF, 0x9B, 0x4));
    g.load(jump_past, 0x40000);
    g.state.eip = 0;
    CHECK(g.run() == "#13(0000) at 0");
    g.load(jcc_past, 0x40000);
    CHECK(g.run() == "#13(0000) at 2");
    g.load(ret_past, 0x40000);
    g.state.eip = 0;
    const uint32_t esp = g.esp();
    CHECK(g.run() == "#13(0000) at 5");
    CHECK(g.esp() == esp - 4);
}
GUEST32(call_past, "call guest_call_past_first + 0x100");
GUEST_TEST("segment: CALL beyond the limit pushes nothing", "[segment]") {
    g.set_segment(SegReg::Cs, kFree, descriptor(0x40000, 0xFF, 0x9B, 0x4));
    g.load(call_past, 0x40000);
    g.state.eip = 0;
    CHECK(g.run() == "#13(0000) at 0");
    CHECK(g.esp() == kKernelStack);
}
GUEST32(call_past_indirect, "mov eax, 0x100\n call eax");
GUEST_TEST("segment: indirect CALL beyond the limit pushes nothing", "[segment]") {
    g.set_segment(SegReg::Cs, kFree, descriptor(0x40000, 0xFF, 0x9B, 0x4));
    g.load(call_past_indirect, 0x40000);
    g.state.eip = 0;
    CHECK(g.run() == "#13(0000) at 5");
    CHECK(g.esp() == kKernelStack);
}

GUEST32(bad_selector, "mov eax, 0xfc\n mov ds, eax\n hlt");
GUEST32(not_present_selector, "mov eax, 0x48\n mov es, eax\n hlt");
GUEST32(bad_ss, "mov eax, 0x48\n mov ss, eax\n hlt");
GUEST_TEST("segment: loads fault with the selector as error code", "[segment]") {
    CHECK(g.run(bad_selector) == "#13(00fc) at 10005");
    g.put64(kGdt + kFree, descriptor(0, 0xFFFFF, 0x13, 0xC));
    g.state.eip = kCode;
    CHECK(g.run(not_present_selector) == "#11(0048) at 10005");
    g.state.eip = kCode;
    CHECK(g.run(bad_ss) == "#12(0048) at 10005");
    g.put64(kGdt + kFree, descriptor(0, 0xFFFFF, 0xF3, 0xC));
    g.state.eip = kCode;
    CHECK(g.run(bad_ss) == "#13(0048) at 10005");
}
GUEST32(far_calls, R"(
    mov ecx, 50
1:  call 0x48:0x40000
    dec ecx
    jnz 1b
    hlt
)");
GUEST_TEST("segment: far calls into another code segment and back", "[segment]") {
    g.put64(kGdt + kFree, descriptor(0, 0xFFFFF, 0x9B, 0xC));
    g.bytes(0x40000, {0x43, 0xCB}); // inc ebx; retf
    CHECK(g.run(far_calls) == "hlt");
    CHECK(g.ebx() == 50);
    CHECK(g.esp() == kKernelStack);
}
GUEST32(far_calls_16, R"(
    mov ecx, 20
1:  call 0x48:0
    dec ecx
    jnz 1b
    hlt
)");
GUEST_TEST("segment: a 32-bit caller and a 16-bit callee", "[segment]") {
    g.put64(kGdt + kFree, descriptor(0x40000, 0xFFFF, 0x9B, 0));
    g.bytes(0x40000, {0x43, 0x66, 0xCB}); // inc bx; 32-bit retf
    CHECK(g.run(far_calls_16) == "hlt");
    CHECK(g.ebx() == 20);
}
GUEST32(user_gate_call, R"(
    push 0x1111
    push 0x2222
    call 0x4b:0
    hlt
)");
GUEST32(gate_target, R"(
    mov eax, [esp + 8]
    mov ebx, [esp + 12]
    mov ecx, [esp + 20]
    mov edx, cs
    retf 8
)");
GUEST_TEST("segment: a call gate changes stacks, copies parameters and comes back", "[segment]") {
    g.put64(kGdt + kFree, gate(kKernelCs, 0x50000, 0xC, 3, 2));
    g.load(gate_target, 0x50000);
    g.user();
    CHECK(g.run(user_gate_call) == "#13(0000) at 1001" + std::string("1")); // HLT in ring 3
    CHECK(g.eax() == 0x2222);
    CHECK(g.ebx() == 0x1111);
    CHECK(g.ecx() == kUserDs);
    CHECK(g.edx() == kKernelCs);
    CHECK(g.esp() == kUserStack);
    CHECK(g.state.cpl == 3);
}
GUEST32(conforming, "call 0x38:0x50000\n hlt");
GUEST_TEST("segment: conforming code runs at its caller's level", "[segment]") {
    g.bytes(0x50000, {0x8C, 0xC8, 0xF4}); // mov eax, cs; hlt
    g.user();
    CHECK(g.run(conforming) == "#13(0000) at 50002");
    CHECK(g.eax() == (kConformingCs | 3));
}
GUEST32(task_call, R"(
    call 0x30:0
    mov ebx, 7
    hlt
)");
GUEST_TEST("segment: a task is called and returns by IRET", "[segment]") {
    g.put32(kTss2 + 0x20, 0x50000); // EIP
    g.put32(kTss2 + 0x24, 2);
    g.put32(kTss2 + 0x28, 0xEA); // EAX
    g.put32(kTss2 + 0x38, 0x7000);
    for (uint32_t i = 0; i < 6; ++i)
        g.put16(kTss2 + 0x48 + 4 * i, i == 1 ? kKernelCs : kKernelDs);
    g.bytes(0x50000, {0xA3, 0x00, 0x00, 0x04, 0x00, 0xCF}); // mov [40000h], eax; iret
    CHECK(g.run(task_call) == "hlt");
    CHECK(g.get32(kData) == 0xEA);
    CHECK(g.ebx() == 7);
    CHECK(g.state.tr.selector == kTssSel);
    CHECK((g.state.cr0 & cr0::kTs) != 0);
}
GUEST32(int_errors, "int3\n hlt");
GUEST_TEST("segment: an IDT entry that is missing is #GP with the vector", "[segment]") {
    g.state.idtr.limit = 3 * 8 - 1;
    CHECK(g.run(int_errors) == "#3 at 10000"); // seen before delivery
    g.deliver_faults();
    g.state.eip = kCode;
    CHECK(g.run() == "shutdown"); // #GP has no gate, and neither has #DF
}
GUEST32(double_fault, "ud2");
GUEST_TEST("segment: two contributory faults make a double fault", "[segment]") {
    g.deliver_faults();
    g.put64(kIdt + 8 * 13, 0);
    g.state.segment(SegReg::Ds) = Segment{};
    g.ebx() = 0;
    CHECK(g.run(read_ds) == "hlt");
    CHECK(g.in_handler(8));
    CHECK(g.get32(g.esp()) == 0);
    CHECK(g.get32(g.esp() + 4) == kCode);
}
GUEST32(seg_switch_loop, R"(
    mov ecx, 100
1:  mov eax, 0x48
    mov ds, eax
    add ebx, [0]
    mov eax, 0x50
    mov ds, eax
    add ebx, [0]
    mov eax, 0x10
    mov ds, eax
    add ebx, [0x40000]
    dec ecx
    jnz 1b
    hlt
)");
GUEST_TEST("segment: one block, three meanings of DS in each pass", "[segment]") {
    g.put64(kGdt + kFree, descriptor(0x40000, 0xFFF, 0x93, 0x4));
    g.put64(kGdt + kFree2, descriptor(0x41000, 0xFFFFF, 0x93, 0xC));
    g.put32(0x40000, 1);
    g.put32(0x41000, 100);
    CHECK(g.run(seg_switch_loop) == "hlt");
    CHECK(g.ebx() == 100 * 102);
}

// SDM Vol. 2A "ARPL": the destination is written, and must be writable, only when its RPL is too small.
GUEST32(seg_arpl, "arpl word ptr fs:[0], cx\n hlt");
GUEST_TEST("segment: ARPL writes only what changes", "[segment]") {
    const auto run = [&](uint16_t source) {
        g.put16(kData, 0xFFF2);
        g.ecx() = source;
        g.state.eip = kCode;
        g.state.eflags = eflags::kFixed1;
        return g.run(seg_arpl);
    };
    for (const bool read_only_page : {false, true}) {
        g.set_segment(SegReg::Fs, kFree, descriptor(kData, 0xFFFFF, read_only_page ? 0x93 : 0x91, 0xC));
        if (read_only_page) {
            g.paging();
            g.page(kData, kData | 5);
            g.engine->state_replaced();
        }
        for (const uint16_t source : {uint16_t{0}, uint16_t{2}}) {
            CHECK(run(source) == "hlt");
            CHECK((g.state.eflags & eflags::kZf) == 0);
        }
        CHECK(run(3) == (read_only_page ? "#14(0003)@40000 at 10000" : "#13(0000) at 10000"));
        CHECK((g.state.eflags & eflags::kZf) == 0);
        CHECK(g.get16(kData) == 0xFFF2);
    }
    g.page(kData, kData | 7);
    g.engine->state_replaced();
    CHECK(run(3) == "hlt");
    CHECK((g.state.eflags & eflags::kZf) != 0);
    CHECK(g.get16(kData) == 0xFFF3);
}
