// Code that comes back as it was is not made anew, and is as right as the first time.
#include "tests/guest/guest.h"

using namespace vmm;
using namespace vmm::guest;

GUEST32(revival_alternating, R"(
    xor ebx, ebx
    xor edi, edi
    mov esi, 400
1:  mov eax, 0x11000
    call eax
    xor byte ptr ds:[0x11001], 5 ^ 6
    dec esi
    jnz 1b
    hlt
    .org 0x1000, 0x90
    mov edx, 5
    mov ecx, 3
2:  call 3f                              # a landing, a loop and a link in code that dies and comes back
    add ebx, edx
    dec ecx
    jnz 2b
    ret
3:  inc edi
    ret
)");
GUEST_TEST("revival: a function that alternates between two bodies is translated twice, not 400 times",
           "[smc]") {
    CHECK(g.run(revival_alternating) == "hlt");
    CHECK(g.ebx() == 3 * (200 * 5 + 200 * 6));
    CHECK(g.edi() == 400 * 3);
    const CodeUse use = g.engine->code_use();
    CHECK(use.translated < 100); // some stores become call-outs on the way
    CHECK(use.revived > 350);
    CHECK(use.flushes <= 1); // at the start
}

GUEST32(revival_spanning, R"(
    xor ebx, ebx
    mov esi, 200
1:  mov eax, 0x11ffe
    call eax
    xor byte ptr ds:[0x12000], 1
    test esi, 1
    jz 2f
    xor dword ptr ds:[0x21048], 0x40000  # the second page: 12000h or 52000h
    invlpg ds:[0x12000]
2:  dec esi
    jnz 1b
    hlt
    .org 0x1ffe, 0x90
    mov edx, 0x77                        # its second byte of data is the first of the next page
    add ebx, edx
    ret
)");
GUEST_TEST("revival: an instruction across two pages is the one that stands in both", "[smc]") {
    g.load(revival_spanning);
    g.paging();
    for (uint32_t at = 0; at < 16; ++at)
        g.put8(0x52000 + at, g.get8(0x12000 + at));
    g.put8(0x52000, 2);
    uint32_t expected = 0, seconds[] = {0, 2}, page = 0;
    for (uint32_t left = 200; left != 0; --left) {
        expected += 0x77 + (seconds[page] << 8);
        seconds[page] ^= 1;
        page ^= left & 1;
    }
    CHECK(g.run() == "hlt");
    CHECK(g.ebx() == expected);
    CHECK(g.engine->code_use().revived > 50);
}

GUEST32(revival_versions, R"(
    xor ebx, ebx
    mov esi, 3000
1:  mov ds:[0x11001], esi                # never the same again
    mov eax, 0x11000
    call eax
    dec esi
    jnz 1b
    hlt
    .org 0x1000, 0x90
    mov edx, 0
    add ebx, edx
    ret
)");
GUEST_TEST("revival: code that is never the same again is made each time", "[smc]") {
    CHECK(g.run(revival_versions) == "hlt");
    CHECK(g.ebx() == 3000 * 3001 / 2);
    CHECK(g.engine->code_use().translated >= 3000);
}
