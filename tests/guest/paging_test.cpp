// Demand paging, page faults at the byte, and when a changed page table takes effect.
#include "tests/guest/guest.h"

using namespace vmm;
using namespace vmm::guest;

GUEST32(fetch_cross, R"(
    jmp guest_fetch_cross_first + 0xffe
    .org 0xffe, 0x90
    mov eax, 0x12345678
    hlt
)");
GUEST_TEST("paging: an instruction whose second page is missing faults there, restartably", "[paging]") {
    g.paging();
    g.page(0x11000, 0);
    CHECK(g.run(fetch_cross) == "#14(0000)@11000 at 10ffe");
    g.page(0x11000, 0x11007);
    CHECK(g.run() == "hlt");
    CHECK(g.eax() == 0x12345678);
}
GUEST_TEST("paging: the same from ring 3 says so", "[paging]") {
    g.paging();
    g.user();
    g.page(0x11000, 0x11003);
    CHECK(g.run(fetch_cross) == "#14(0005)@11000 at 10ffe");
}
GUEST_TEST("paging: a page-crossing instruction follows a remap of its second page", "[paging]") {
    g.paging();
    g.load(fetch_cross);
    g.put32(0x50000, 0xF4AAAAAA);
    g.put16(0x50003, 0xF4F4);
    CHECK(g.run() == "hlt");
    CHECK(g.eax() == 0x12345678);
    g.page(0x11000, 0x50007);
    g.engine->cpu().state() = g.state;
    REQUIRE(g.engine->cpu().write_cr(3, kDirectory));
    g.state.eip = kCode;
    CHECK(g.run() == "hlt");
    CHECK(g.eax() == 0xAAAAAA78);
}

GUEST32(read_write, R"(
    mov eax, [0x40ffe]
    mov [0x40ffe], eax
    hlt
)");
GUEST_TEST("paging: error codes of reads and writes, at the first missing byte", "[paging]") {
    g.paging();
    g.load(read_write);
    g.page(0x41000, 0);
    CHECK(g.run() == "#14(0000)@41000 at 10000");
    g.page(0x41000, 0x41005);
    CHECK(g.run() == "#14(0003)@41000 at 10005");
    g.page(0x40000, 0);
    CHECK(g.run() == "#14(0003)@41000 at 10005"); // the first page is still in the TLB: no flush yet
}
GUEST_TEST("paging: user mode sees neither supervisor nor read-only pages", "[paging]") {
    g.paging();
    g.user();
    g.load(read_write);
    g.page(0x41000, 0x41003);
    CHECK(g.run() == "#14(0005)@41000 at 10000");
    g.page(0x41000, 0x41005);
    CHECK(g.run() == "#14(0007)@41000 at 10005");
    g.page(0x41000, 0x41007);
    CHECK(g.run() == "#13(0000) at 1000a");
}

GUEST32(write_only, R"(
    mov dword ptr ds:[0x40000], 0x55
    hlt
)");
GUEST_TEST("paging: CR0.WP decides whether the supervisor may write read-only pages", "[paging]") {
    g.paging();
    g.page(0x40000, 0x40005);
    CHECK(g.run(write_only) == "#14(0003)@40000 at 10000");
    g.state.cr0 &= ~cr0::kWp;
    CHECK(g.run() == "hlt");
    CHECK(g.get32(0x40000) == 0x55);
    g.state.cr0 |= cr0::kWp;
    g.state.eip = kCode;
    CHECK(g.run() == "#14(0003)@40000 at 10000");
}

GUEST32(wp_toggle, R"(
    mov eax, cr0
    and eax, 0xfffeffff
    mov cr0, eax
    mov dword ptr ds:[0x40000], 1
    or eax, 0x10000
    mov cr0, eax
    mov dword ptr ds:[0x40000], 2
    hlt
)");
GUEST_TEST("paging: setting CR0.WP takes hold of pages already written without it", "[paging]") {
    g.paging();
    g.page(0x40000, 0x40005);
    CHECK(g.run(wp_toggle) == "#14(0003)@40000 at 1001d");
    CHECK(g.get32(0x40000) == 1);
}

GUEST32(accessed_dirty, R"(
    mov eax, [0x40000]
    mov ebx, [0x21100]
    mov dword ptr ds:[0x40000], 1
    mov ecx, [0x21100]
    hlt
)");
GUEST_TEST("paging: accessed on the first use, dirty on the first write only", "[paging]") {
    g.paging();
    CHECK(g.run(accessed_dirty) == "hlt");
    CHECK(g.ebx() == (0x40000 | 0x27));
    CHECK(g.ecx() == (0x40000 | 0x67));
}

GUEST32(invlpg_data, R"(
    mov eax, [0x40000]
    mov dword ptr ds:[0x21100], 0x42007
    invlpg [0x40000]
    mov ebx, [0x40000]
    mov dword ptr ds:[0x21100], 0x43007
    mov ecx, cr3
    mov cr3, ecx
    mov ecx, [0x40000]
    mov dword ptr ds:[0x21100], 0
    invlpg [0x40000]
    mov edx, [0x40000]
    hlt
)");
GUEST_TEST("paging: INVLPG and CR3 loads make a changed entry count", "[paging]") {
    g.paging();
    g.put32(0x40000, 0xA);
    g.put32(0x42000, 0xB);
    g.put32(0x43000, 0xC);
    CHECK(g.run(invlpg_data).substr(0, 16) == "#14(0000)@40000 ");
    CHECK(g.eax() == 0xA);
    CHECK(g.ebx() == 0xB);
    CHECK(g.ecx() == 0xC);
}

GUEST32(global_page, R"(
    mov eax, cr4
    or eax, 0x80
    mov cr4, eax
    mov eax, [0x40000]
    mov dword ptr ds:[0x21100], 0x42107
    mov ecx, cr3
    mov cr3, ecx
    invlpg [0x40000]
    mov ebx, [0x40000]
    mov dword ptr ds:[0x21100], 0x43107
    mov ecx, cr4
    xor ecx, 0x80
    mov cr4, ecx
    mov ecx, [0x40000]
    hlt
)");
GUEST_TEST("paging: INVLPG and toggling CR4.PGE drop global pages", "[paging]") {
    g.paging();
    g.page(0x40000, 0x40107);
    g.put32(0x40000, 0xA);
    g.put32(0x42000, 0xB);
    g.put32(0x43000, 0xC);
    CHECK(g.run(global_page) == "hlt");
    CHECK(g.eax() == 0xA);
    CHECK(g.ebx() == 0xB);
    CHECK(g.ecx() == 0xC);
}

GUEST32(remap_code, R"(
    xor ebx, ebx
    mov eax, 0x11000
    call eax
    call guest_remap_code_first + 0x1000
    mov dword ptr ds:[0x21044], 0x50007
    invlpg [0x11000]
    call eax
    call guest_remap_code_first + 0x1000
    mov dword ptr ds:[0x21044], 0x51007
    mov ecx, cr3
    mov cr3, ecx
    call eax
    call guest_remap_code_first + 0x1000
    hlt
    .org 0x1000, 0x90
    add ebx, 1
    ret
)");
GUEST_TEST("paging: a code page remapped elsewhere runs the new code, called and jumped to", "[paging]") {
    g.paging();
    g.bytes(0x50000, {0x83, 0xC3, 0x10, 0xC3}); // add ebx, 10h; ret
    g.bytes(0x51000, {0x81, 0xC3, 0x00, 0x01, 0x00, 0x00, 0xC3});
    CHECK(g.run(remap_code) == "hlt");
    CHECK(g.ebx() == 0x222);
}

GUEST32(remap_under_return, R"(
    call guest_remap_under_return_first + 0x1000
    hlt
    .org 0x1000, 0x90
    call guest_remap_under_return_first + 0x2000
    mov ebx, 1
    ret
    .org 0x2000, 0x90
    mov dword ptr ds:[0x21044], 0x50007
    invlpg [0x11000]
    ret
)");
GUEST_TEST("paging: a return lands in the page now mapped at its address", "[paging]") {
    g.paging();
    g.fill(0x50000, 0x90, 0x20);
    g.bytes(0x50005, {0xBB, 0x02, 0x00, 0x00, 0x00, 0xC3});
    CHECK(g.run(remap_under_return) == "hlt");
    CHECK(g.ebx() == 2);
}

GUEST32(two_spaces, R"(
    mov ecx, 20
1:  call guest_two_spaces_first + 0x1000
    mov edx, 0x24000
    mov cr3, edx
    call guest_two_spaces_first + 0x1000
    mov edx, 0x20000
    mov cr3, edx
    dec ecx
    jnz 1b
    hlt
    .org 0x1000, 0x90
    inc eax
    ret
)");
GUEST_TEST("paging: two address spaces with different code at one linear address", "[paging]") {
    g.paging();
    for (uint32_t i = 0; i < 1024; ++i)
        g.put32(kTable2 + 4 * i, (i << 12) | 7);
    g.put32(kDirectory2, kTable2 | 7);
    g.put32(kTable2 + 0x11 * 4, 0x50007);
    g.bytes(0x50000, {0x83, 0xC3, 0x03, 0xC3}); // add ebx, 3; ret
    CHECK(g.run(two_spaces) == "hlt");
    CHECK(g.eax() == 20);
    CHECK(g.ebx() == 60);
}

GUEST32(a20_gate, R"(
    mov eax, [0x140000]
    mov ecx, eax
    xor eax, eax
    out 0xe3, al
    mov ebx, [0x140000]
    call guest_a20_gate_first + 0x1000
    inc eax
    out 0xe3, al
    mov edx, [0x140000]
    hlt
    .org 0x1000, 0x90
    ret
)");
GUEST_TEST("paging: the A20 gate folds addresses at once, for data already touched", "[paging]") {
    g.put32(0x40000, 0xA);
    g.put32(0x140000, 0xB);
    CHECK(g.run(a20_gate) == "hlt");
    CHECK(g.ecx() == 0xB);
    CHECK(g.ebx() == 0xA);
    CHECK(g.edx() == 0xB);
}
GUEST32(a20_code, R"(
    mov esi, 0x150000
    call esi
    xor eax, eax
    out 0xe3, al
    call esi
    hlt
)");
GUEST_TEST("paging: the A20 gate changes which code an address runs", "[paging]") {
    g.bytes(0x150000, {0x43, 0xC3});            // inc ebx; ret
    g.bytes(0x50000, {0x83, 0xC3, 0x10, 0xC3}); // add ebx, 10h; ret
    CHECK(g.run(a20_code) == "hlt");
    CHECK(g.ebx() == 0x11);
}

GUEST32(enable_paging, R"(
    mov eax, 0x20000
    mov cr3, eax
    mov eax, [0x40000]
    mov edx, cr0
    or edx, 0x80000000
    mov cr0, edx
    mov ebx, [0x40000]
    and edx, 0x7fffffff
    mov cr0, edx
    mov ecx, [0x40000]
    hlt
)");
GUEST_TEST("paging: switching it on and off changes what an address means at once", "[paging]") {
    g.paging();
    g.state.cr0 &= ~cr0::kPg;
    g.page(0x40000, 0x42007);
    g.put32(0x40000, 0xA);
    g.put32(0x42000, 0xB);
    CHECK(g.run(enable_paging) == "hlt");
    CHECK(g.eax() == 0xA);
    CHECK(g.ebx() == 0xB);
    CHECK(g.ecx() == 0xA);
}

GUEST32(large_page, R"(
    mov eax, [0x00840000]
    mov dword ptr ds:[0x00840004], 0x77
    hlt
)");
GUEST_TEST("paging: 4 MiB pages and their reserved bits", "[paging]") {
    g.paging();
    g.state.cr4 |= cr4::kPse;
    g.put32(kDirectory + 4 * 2, 0x00000087); // 8 MiB -> physical 0
    g.put32(0x40000, 0xABCD);
    CHECK(g.run(large_page) == "hlt");
    CHECK(g.eax() == 0xABCD);
    CHECK(g.get32(0x40004) == 0x77);
    CHECK((g.get32(kDirectory + 8) & 0x60) == 0x60);
}
GUEST_TEST("paging: a reserved bit in a directory entry is error code 8", "[paging]") {
    g.paging();
    g.state.cr4 |= cr4::kPse;
    g.put32(kDirectory + 4 * 2, 0x00200087); // bit 21 must be zero
    CHECK(g.run(large_page) == "#14(0009)@840000 at 10000");
}

// PAE with 4 KiB identity pages for the first 2 MiB.
static void pae(Guest& g) {
    g.put64(0x24000, 0x25001);
    g.put64(0x25000, 0x26007);
    for (uint64_t i = 0; i < 512; ++i)
        g.put64(static_cast<uint32_t>(0x26000 + 8 * i), i << 12 | 7);
    g.state.pdpte = {0x25001, 0, 0, 0};
    g.state.cr3 = 0x24000;
    g.state.cr4 |= cr4::kPae;
    g.state.efer = 1u << 11;
    g.state.cr0 |= cr0::kPg | cr0::kWp;
}
GUEST32(pae_jump, R"(
    mov eax, [0x40000]
    mov ebx, 0x40010
    jmp ebx
)");
GUEST_TEST("paging: PAE with NX: data is read, executing it is an instruction-fetch fault", "[paging]") {
    pae(g);
    g.put64(0x26000 + 8 * 0x40, 0x8000000000040007);
    g.put32(0x40000, 0x1234);
    g.put8(0x40010, 0xF4);
    CHECK(g.run(pae_jump) == "#14(0011)@40010 at 40010");
    CHECK(g.eax() == 0x1234);
    g.user();
    g.state.eip = kCode;
    CHECK(g.run() == "#14(0015)@40010 at 40010");
}
GUEST32(pae_nx_late, R"(
    call guest_pae_nx_late_first + 0x1000
    mov dword ptr ds:[0x2608c], 0x80000000
    invlpg [0x11000]
    call guest_pae_nx_late_first + 0x1000
    hlt
    .org 0x1000, 0x90
    inc ebx
    ret
)");
GUEST_TEST("paging: NX set on a page that has run stops it from running", "[paging]") {
    pae(g);
    CHECK(g.run(pae_nx_late) == "#14(0011)@11000 at 11000");
    CHECK(g.ebx() == 1);
}
GUEST_TEST("paging: without EFER.NX bit 63 is reserved", "[paging]") {
    pae(g);
    g.state.efer = 0;
    g.put64(0x26000 + 8 * 0x40, 0x8000000000040007);
    CHECK(g.run(pae_jump) == "#14(0009)@40000 at 10000");
}

GUEST32(fetch_not_present, R"(
    mov eax, 0x00700000
    jmp eax
)");
GUEST_TEST("paging: fetching from pages that are not there", "[paging]") {
    g.paging();
    g.page(0x700000, 0);
    CHECK(g.run(fetch_not_present) == "#14(0000)@700000 at 700000");
    g.state.eip = kCode;
    g.user();
    CHECK(g.run() == "#14(0004)@700000 at 700000");
    g.page(0x700000, 0x40003);
    CHECK(g.run() == "#14(0005)@700000 at 700000");
}

GUEST32(user_gate, R"(
    int 0x80
    mov eax, [0x41000]
    hlt
)");
GUEST32(kernel_touch, R"(
    mov ebx, [0x41000]
    iretd
)");
GUEST_TEST("paging: what the kernel has touched stays closed to the user", "[paging]") {
    g.paging();
    g.user();
    g.page(0x41000, 0x41003);
    g.put32(0x41000, 0x99);
    g.handler(0x80, kernel_touch);
    g.deliver_faults();
    g.load(user_gate);
    CHECK(g.run() == "hlt");
    CHECK(g.in_handler(14));
    CHECK(g.faults == "#128 at 10000 #14(0005)@41000 at 10002");
    CHECK(g.ebx() == 0x99);
    CHECK(g.state.cr2 == 0x41000);
}

GUEST32(demand, R"(
    mov esi, 0x00400000
    mov ecx, 64
1:  mov [esi], ecx
    add eax, [esi]
    add esi, 0x1000
    loop 1b
    hlt
)");
GUEST32(demand_handler, R"(
    push eax
    mov eax, cr2
    and eax, 0xfffff000
    mov edx, eax
    shr edx, 10
    or eax, 7
    mov [0x21000 + edx], eax
    inc ebx
    pop eax
    add esp, 4
    iretd
)");
GUEST_TEST("paging: a guest that maps pages as it touches them", "[paging]") {
    g.paging();
    for (uint32_t i = 0; i < 64; ++i)
        g.page(0x400000 + i * 0x1000, 0);
    g.handler(14, demand_handler);
    g.deliver_faults();
    CHECK(g.run(demand) == "hlt");
    CHECK(g.eax() == 64 * 65 / 2);
    CHECK(g.ebx() == 64);
}

// ESI is the stride. The handler (at 10100h) maps the page of CR2 to itself.
GUEST32(touch_pages, R"(
    mov ebx, 0x200000
    mov ecx, 300
    mov esi, 0x1000
    xor edx, edx
    mov edi, 4
1:  mov eax, [ebx]
    add edx, eax
    mov [ebx + 4], edx
    add ebx, esi
    dec ecx
    jnz 1b
    mov ebx, 0x200000      # then many times within one page, and over all pages again
    mov ecx, 1000
    xor esi, 4
    and esi, 4
    dec edi
    jz 2f
    test edi, 1
    jz 1b
    mov esi, 0x1000
    mov ecx, 300
    jmp 1b
2:  hlt
    .org 0x100, 0x90
    push eax
    push ebx
    mov eax, cr2
    and eax, 0xfffff000
    mov ebx, eax
    shr ebx, 12
    or eax, 7
    mov [0x21000 + ebx * 4], eax
    inc ebp
    pop ebx
    pop eax
    add esp, 4
    iretd
)");
GUEST32(to_mapper, "push 0x10100\n ret");
GUEST_TEST("paging: a site that touches page after page sees the same as one that stays", "[paging]") {
    g.paging();
    for (uint32_t i = 0; i < 300; ++i) {
        g.put32(0x200000 + i * kPageSize, i * 7 + 1);
        g.page(0x200000 + i * kPageSize, 0);
    }
    g.deliver_faults();
    g.handler(14, to_mapper);
    g.ebp() = 0;
    CHECK(g.run(touch_pages) == "hlt");
    CHECK(g.ebp() == 300); // one fault a page, whoever carried the accesses out

    // The same in C++.
    std::vector<uint32_t> memory(300 * kPageSize / 4 + 4096);
    for (uint32_t i = 0; i < 300; ++i)
        memory[i * kPageSize / 4] = i * 7 + 1;
    uint32_t at = 0, count = 300, stride = kPageSize, sum = 0, passes = 4;
    for (;;) {
        for (; count != 0; --count, at += stride) {
            sum += memory[at / 4];
            memory[at / 4 + 1] = sum;
        }
        at = 0, count = 1000, stride = (stride ^ 4) & 4;
        if (--passes == 0)
            break;
        if (passes & 1)
            stride = kPageSize, count = 300;
    }
    CHECK(g.edx() == sum);
    bool same = true;
    for (uint32_t i = 0; i < 300 * kPageSize; i += 4)
        same = same && g.get32(0x200000 + i) == memory[i / 4];
    CHECK(same);
}
