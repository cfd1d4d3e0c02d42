// What the engine learns about places in code it unlearns when they behave otherwise: no form but the plain
// one is for ever, and being wrong costs little. Counted, not timed.
#include "tests/guest/guest.h"

#include "vmm/code_cache/sites.h"

using namespace vmm;
using namespace vmm::guest;

namespace {

constexpr uint32_t kRomPage = 0x300;

void rom_at_300000(Guest& g) { g.memory->map(kRomPage, 1, PageKind::Rom, kRomPage); }

} // namespace

GUEST32(site_cold, R"(
    mov ecx, 100
1:  mov edi, 0x100000
2:  inc dword ptr [edi]
    add edi, 0x1000
    cmp edi, 0x800000
    jb 2b
    dec ecx
    jnz 1b
    hlt
)");
GUEST_TEST("sites: case cold.c: an instruction that touched fresh pages is plain again once they are mapped",
           "[sites]") {
    g.load(site_cold);
    g.paging();
    CHECK(g.run() == "hlt");
    CHECK(g.get32(0x100000) == 100);
    CHECK(g.get32(0x7FF000) == 100);
    const SpecialForms forms = g.engine->special_forms();
    CHECK(forms.callouts_made >= 1);
    CHECK(forms.callouts == 0);
    CHECK(forms.needed > 1000);
    CHECK(forms.needless < 1000); // of 177,000 accesses to pages that were there
}

GUEST32(site_always_cold, R"(
    mov ecx, 20
1:  mov edi, 0x100000
2:  mov eax, [edi]
    mov ebx, edi
    shr ebx, 10                          # another frame, not yet accessed
    xor dword ptr [ebx + 0x21000], 0x1000
    and dword ptr [ebx + 0x21000], 0xffffffdf
    invlpg [edi]
    add edi, 0x1000
    cmp edi, 0x800000
    jb 2b
    dec ecx
    jnz 1b
    hlt
)");
GUEST_TEST("sites: an instruction that never meets a mapped page stays a call-out", "[sites]") {
    g.load(site_always_cold);
    g.paging();
    CHECK(g.run() == "hlt");
    const SpecialForms forms = g.engine->special_forms();
    CHECK(forms.callouts == 1);
    CHECK(forms.needed > 30'000);
    CHECK(forms.needless < 100);
}

GUEST32(site_small_window, R"(
    mov esi, 4000
1:  mov eax, esi
    and eax, 63
    shl eax, 12
    add eax, 0x100063                    # one frame after the other at the same address
    mov ds:[0x22c00], eax
    mov edi, 0x700000
    mov ecx, 0x400
    mov eax, esi
    rep stosd
    inc dword ptr ds:[0x700010]
    mov dword ptr ds:[0x22c00], 0
    invlpg ds:[0x700000]
    dec esi
    jnz 1b
    hlt
)");
GUEST_TEST("sites: a page that is another one after each INVLPG is reached by call-outs, strings too",
           "[sites]") {
    g.load(site_small_window);
    g.paging();
    CHECK(g.run() == "hlt");
    CHECK(g.get32(0x101000) == 1);
    CHECK(g.get32(0x101010) == 2);
    CHECK(g.get32(0x100FFC) == 64);
    const SpecialForms forms = g.engine->special_forms();
    CHECK(forms.callouts == 2);
    CHECK(forms.needed > 7'500); // of 8,000 accesses
    CHECK(forms.needless < 100);
}

// Rounds of a program's life: EBP times pages 100h to 7FFh come by page fault, are touched ESI times each,
// and go.
GUEST32(site_fresh, R"(
    mov ecx, ebp
1:  mov edi, 0x100000
2:  mov edx, esi
3:  mov [edi], edx
    dec edx
    jnz 3b
    add edi, 0x1000
    cmp edi, 0x800000
    jb 2b
    mov edi, 0x21400                     # their entries
    xor eax, eax
4:  mov [edi], eax
    add edi, 4
    cmp edi, 0x23000
    jb 4b
    mov eax, cr3
    mov cr3, eax
    dec ecx
    jnz 1b
    hlt
    .org 0x80, 0x90
    push eax
    push ebx
    mov eax, cr2
    mov ebx, eax
    shr ebx, 10
    and eax, 0xfffff000
    or al, 7
    mov [ebx + 0x21000], eax
    pop ebx
    pop eax
    add esp, 4
    iretd
)");
GUEST32(site_fresh_fault, "push 0x10080\n ret");
namespace {
constexpr uint32_t kLives = 20;
constexpr uint64_t kPagesOfALife = 0x700, kFreshPages = kPagesOfALife * kLives;
SpecialForms touch_fresh_pages(Guest& g, uint32_t times, uint32_t lives = kLives) {
    g.load(site_fresh);
    g.paging();
    g.handler(14, site_fresh_fault);
    g.deliver_faults();
    g.esi() = times;
    g.ebp() = lives;
    CHECK(g.run() == "hlt");
    CHECK(g.get32(0x7FF000) == 1);
    return g.engine->special_forms();
}
} // namespace
GUEST_TEST("sites: pages that are touched a few times and go are not worth a mapping", "[sites]") {
    const SpecialForms forms = touch_fresh_pages(g, 5);
    CHECK(forms.mapped < kFreshPages / 10); // before the instruction was known for it
    CHECK(forms.mapped_by_callouts < 100);
    CHECK(forms.callouts == 1);
}
GUEST_TEST("sites: pages that are used some more are mapped at the eighth access after the first",
           "[sites]") {
    const SpecialForms forms = touch_fresh_pages(g, 24);
    CHECK(forms.mapped_by_callouts > kFreshPages * 9 / 10);
    constexpr uint64_t kOfEach = 1 + 1 + 8; // the access with the page fault, the first, those that count
    CHECK(forms.needed > kFreshPages * (kOfEach - 1));
    CHECK(forms.needed <= kFreshPages * kOfEach);
}
GUEST_TEST("sites: pages that are used often are mapped, and not by call-outs", "[sites]") {
    constexpr uint32_t kFew = 4; // some 350,000 accesses each
    const SpecialForms forms = touch_fresh_pages(g, 200, kFew);
    CHECK(forms.mapped >= kPagesOfALife * kFew);
    CHECK(forms.needed + forms.needless < kPagesOfALife * kFew * 4); // of 200 each
}

GUEST32(site_mixed, R"(
    mov esi, 2000
1:  mov eax, 0x11000
    call eax
    call 9f
    dec esi
    jnz 1b
    mov esi, 200000
2:  call 9f
    dec esi
    jnz 2b
    hlt
9:  mov ds:[0x11800], esi
    ret
    .org 0x1000, 0x90
    inc ebx
    ret
)");
GUEST_TEST("sites: case deg.c: stores to a page that was code again and again are plain once it is data",
           "[sites]") {
    CHECK(g.run(site_mixed) == "hlt");
    CHECK(g.ebx() == 2000);
    CHECK(g.get32(0x11800) == 1);
    const SpecialForms forms = g.engine->special_forms();
    CHECK(forms.callouts_made >= 1);
    CHECK(forms.callouts == 0);
    CHECK(forms.needed + forms.needless < 30'000); // of 202,000 stores
}

GUEST32(site_self, R"(
    mov esi, 200000
1:  mov ds:[0x10800], esi
    dec esi
    jnz 1b
    hlt
)");
GUEST_TEST("sites: a store beside the running code stays a call-out, however often the page is tried without",
           "[sites]") {
    CHECK(g.run(site_self) == "hlt");
    CHECK(g.get32(0x10800) == 1);
    const SpecialForms forms = g.engine->special_forms();
    CHECK(forms.callouts == 1);
    CHECK(forms.callouts_made < 10);
    CHECK(g.engine->code_use().translated < 50);
}

GUEST32(site_device, R"(
    mov eax, 0x12345678
    mov edi, 0x300000
    mov ecx, 20
1:  call 9f
    dec ecx
    jnz 1b
    mov edi, 0x40000
    mov ecx, 100000
2:  call 9f
    dec ecx
    jnz 2b
    hlt
9:  mov [edi], eax
    push dword ptr [edi]
    pop dword ptr [edi + 4]
    ret
)");
GUEST_TEST("sites: an instruction that met a device once serves memory at full speed afterwards", "[sites]") {
    g.load(site_device);
    rom_at_300000(g);
    CHECK(g.run() == "hlt");
    CHECK(g.get32(0x300000) == 0);
    CHECK(g.get32(0x40004) == 0x12345678);
    const SpecialForms forms = g.engine->special_forms();
    CHECK(forms.callouts_made >= 2);
    CHECK(forms.callouts == 0);
    CHECK(forms.needless < 1000);
}

GUEST32(site_string, R"(
    cld
    mov eax, 0x55
    mov edi, 0x300000
    mov ecx, 16
    call 9f
    mov edx, 100
1:  mov edi, 0x40000
    mov ecx, 1024
    call 9f
    dec edx
    jnz 1b
    hlt
9:  rep stosd
    ret
)");
GUEST_TEST("sites: a string instruction is judged by its elements", "[sites]") {
    g.load(site_string);
    rom_at_300000(g);
    CHECK(g.run() == "hlt");
    CHECK(g.get32(0x300000) == 0);
    CHECK(g.get32(0x40FFC) == 0x55);
    const SpecialForms forms = g.engine->special_forms();
    CHECK(forms.callouts_made == 1);
    CHECK(forms.callouts == 0);
    CHECK(forms.needless <= 2 * 1024);
}

GUEST32(site_alternating, R"(
    mov esi, 20000
1:  mov edi, 0x300000
    call 9f
    mov edi, 0x40000
    call 9f
    dec esi
    jnz 1b
    hlt
9:  mov [edi], esi
    ret
)");
GUEST_TEST("sites: one that meets devices every other time is left alone", "[sites]") {
    g.load(site_alternating);
    rom_at_300000(g);
    CHECK(g.run() == "hlt");
    CHECK(g.get32(0x40000) == 1);
    const SpecialForms forms = g.engine->special_forms();
    CHECK(forms.callouts == 1);
    CHECK(forms.callouts_made == 1);
}

GUEST32(site_rare, R"(
    mov esi, 200
1:  mov edi, 0x300000
    call 9f
    mov ecx, 1000
    mov edi, 0x40000
2:  call 9f
    dec ecx
    jnz 2b
    dec esi
    jnz 1b
    hlt
9:  mov [edi], esi
    ret
)");
GUEST_TEST("sites: one that meets a device now and then takes no new translation each time", "[sites]") {
    g.load(site_rare);
    rom_at_300000(g);
    CHECK(g.run() == "hlt");
    CHECK(g.get32(0x40000) == 1);
    CHECK(g.engine->code_use().translated < 100);
}

GUEST32(site_replaced, R"(
    mov eax, 0x11000
    call eax
    mov dword ptr ds:[0x11000], 0x90909090
    mov word ptr ds:[0x11004], 0xC390
    mov eax, 0x11000
    call eax
    hlt
    .org 0x1000, 0x90
    mov ds:[0x300000], eax
    ret
)");
GUEST_TEST("sites: code that is replaced takes its marks along", "[sites]") {
    g.load(site_replaced);
    rom_at_300000(g);
    CHECK(g.run() == "hlt");
    const SpecialForms forms = g.engine->special_forms();
    CHECK(forms.callouts_made >= 1);
    CHECK(forms.callouts == 0);
}

namespace {

// MOV [EDI], AL; HLT wherever it is read from.
struct CodeDevice final : MmioHandler {
    uint32_t mmio_read(Physical address, unsigned size) override {
        constexpr uint8_t kCodeBytes[4] = {0x88, 0x07, 0xF4, 0xF4};
        uint32_t value = 0;
        for (unsigned i = 0; i < size; ++i)
            value |= uint32_t{kCodeBytes[(address + i) % 4]} << (8 * i);
        return value;
    }
    void mmio_write(Physical address, unsigned, uint32_t value) override {
        written_at = address;
        written = value;
    }
    uint32_t written_at = 0, written = 0;
};

} // namespace

GUEST32(site_uncached, R"(
    mov edi, 0x300abc
    mov al, 0x5a
    mov edx, 0x300000
    jmp edx
)");
GUEST_TEST("sites: code in a device's memory may store to a device", "[sites]") {
    CodeDevice device;
    g.load(site_uncached);
    g.memory->map_mmio(kRomPage, 1, &device);
    CHECK(g.run() == "hlt");
    CHECK(device.written_at == 0x300ABC);
    CHECK((device.written & 0xFF) == 0x5A);
    g.memory->unmap_mmio(&device);
}

TEST_CASE("sites: four wrong arrivals within a second are too many, four in a day are not", "[sites]") {
    Sites sites;
    constexpr Sites::Place kPlace{7, 0x123, Sites::Kind::Arrival};
    constexpr Sites::Microseconds kMinute = 60'000'000;
    Sites::Microseconds now = 0;
    for (int minute = 0; minute < 24 * 60; ++minute, now += kMinute) {
        CHECK_FALSE(sites.missed(kPlace, now));
        CHECK_FALSE(sites.missed(kPlace, now + 1000));
        CHECK_FALSE(sites.missed(kPlace, now + 2000));
    }
    for (unsigned i = 0; i < 3; ++i)
        CHECK_FALSE(sites.missed(kPlace, now + i * 1000));
    CHECK(sites.missed(kPlace, now + 900'000));
}

TEST_CASE(
    "sites: an arrival that compares is tried with its guard again, ever more seldom when that is wrong",
    "[sites]") {
    Sites sites;
    constexpr Sites::Place kPlace{7, 0x123, Sites::Kind::Arrival};
    constexpr Sites::Microseconds kSecond = 1'000'000;
    std::optional<Sites::Place> lost;
    Sites::Microseconds now = 0, lease = 0;
    for (int trial = 0; trial < 20; ++trial) {
        const uint16_t mark = sites.mark(kPlace, Sites::Reason::Arrival, 0, now, lost);
        const Sites::Microseconds since = now;
        while (sites.expired(now).empty())
            now += kSecond / 2;
        CHECK(sites.expired(now) == std::vector<uint16_t>{mark});
        CHECK(now - since >= lease);
        lease = now - since;
        sites.return_to_plain(mark, now);
        CHECK(sites.expired(now).empty());
    }
    CHECK(lease == 64 * kSecond);
    now += 10 * lease; // it was right for a while
    (void)sites.mark(kPlace, Sites::Reason::Arrival, 0, now, lost);
    CHECK(sites.expired(now + lease / 2).size() == 1);
}

TEST_CASE("sites: what there is no room for is given up, never kept without a mark", "[sites]") {
    Sites sites;
    std::vector<Sites::Place> marked;
    uint64_t lost_marks = 0;
    for (uint32_t i = 0; i < 50'000; ++i) {
        std::optional<Sites::Place> lost;
        const Sites::Place place{i / 16, static_cast<uint16_t>(i % 16 * 256), Sites::Kind::Memory};
        const uint16_t number = sites.mark(place, Sites::Reason::Device, i, i, lost);
        CHECK(number != 0);
        CHECK(sites.place(number) == place);
        lost_marks += lost.has_value();
        if (lost)
            CHECK_FALSE(*lost == place);
    }
    CHECK(sites.statistics.crowded_out == lost_marks);
    CHECK(sites.statistics.live[static_cast<size_t>(Sites::Reason::Device)] == 50'000 - lost_marks);
    CHECK(lost_marks >= 50'000 - 16'384);
}
