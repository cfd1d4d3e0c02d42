// What translated code remembers of a mapping (jump tables, return landings, links) must go when the mapping
// does: at MOV CR3, INVLPG and changes of CR4.
#include "tests/guest/guest.h"

#include "vmm/code_cache/contexts.h"
#include "vmm/code_cache/page_links.h"
#include "vmm/translator/supervisor_code.h"

#include <malloc.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utility>

using namespace vmm;
using namespace vmm::guest;

namespace {

constexpr uint32_t kOtherFrame = 0x50000; // what code pages are remapped to
constexpr uint32_t kSwitchesAsked = kData + 8;

void global_pages(Guest& g) {
    g.paging();
    g.state.cr4 |= cr4::kPge;
}

} // namespace

// Two threads of one kernel. The switch stores ESP, takes the other's, loads its page tables and returns: the
// RET, and those of its callers, pair with CALLs that another thread made. IN goes on after its call-out, so
// the return address of that call-out has stood on the host's stack right before.
GUEST32(two_threads, R"(
    mov esp, 0x50f00
    mov esi, 0xaaaaaaaa
    .org 0x20, 0x90
1:  mov ebx, esi
    xor ecx, ecx
2:  inc ecx
    call 3f
    cmp ebx, esi
    jne 8f
    jmp 2b
3:  push ecx
    call 4f
    pop edx
    cmp edx, ecx
    jne 8f
    ret
4:  call 5f
    ret
5:  push ebx
    push ecx
    push esi
    mov eax, [0x40000]
    mov ds:[0x40000], esp
    mov esp, eax
    mov eax, [0x40004]
    mov edx, cr3
    mov ds:[0x40004], edx
    mov cr3, eax
    in al, 0xe4
    pop esi
    pop ecx
    pop ebx
    dec dword ptr ds:[0x40008]
    jz 9f
    ret
8:  mov edi, 0xbad
9:  hlt
)");
static void switch_threads(Guest& g, uint32_t times) {
    global_pages(g);
    constexpr uint32_t kSecondStack = 0x58f00, kSecondMagic = 0xbbbbbbbb;
    for (uint32_t i = 0; i < 2; ++i)
        g.put32(kDirectory2 + 4 * i, (kTable + 0x1000 * i) | 7);
    g.put32(kSecondStack, kSecondMagic);      // ESI
    g.put32(kSecondStack + 12, kCode + 0x20); // where its first RET goes
    g.put32(kData, kSecondStack);
    g.put32(kData + 4, kDirectory2);
    g.put32(kSwitchesAsked, times);
    g.watchdog_ms = 30000 + times / 20;
    CHECK(g.run(two_threads) == "hlt");
    CHECK(g.edi() == 0);
    CHECK(g.get32(kSwitchesAsked) == 0);
    CHECK(g.ecx() == times / 2);
}
GUEST_TEST("mapping: threads that switch by MOV CR3 and RET on local pages", "[mapping]") {
    switch_threads(g, 40000);
}
GUEST_TEST("mapping: ten million switches of threads", "[.nightly]") { switch_threads(g, 10'000'000); }

// The caller's page is reached by an exception, which leaves no entry in the jump table; its landing lies on
// it all the same.
GUEST32(landing_remapped, R"(
    xor ecx, ecx
    div ecx
    .org 0x1000, 0x90
    call guest_landing_remapped_first + 0x2000
    mov eax, 0x111
    hlt
    .org 0x2000, 0x90
    mov dword ptr ds:[0x21044], 0x50007
    invlpg [0x11000]
    ret
)");
static void remap_under_landing(Guest& g) {
    g.bytes(kOtherFrame + 5, {0xB8, 0x22, 0x02, 0, 0, 0xF4}); // mov eax, 0x222; hlt
    g.put64(kIdt, gate(kKernelCs, 0x11000, 0xE));
    g.deliver_faults();
    CHECK(g.run(landing_remapped) == "hlt");
    CHECK(g.eax() == 0x222);
}
GUEST_TEST("mapping: a RET follows the remapping of its caller's page", "[mapping]") {
    g.paging();
    remap_under_landing(g);
}
GUEST_TEST("mapping: a RET follows the remapping of its caller's page, global pages on", "[mapping]") {
    global_pages(g);
    remap_under_landing(g);
}

// Calls [EBX] = 11000h through the jump table, lets the snippet's tail change the page, and calls again.
#define REMAPPED_CALL(name, tail)                                                                            \
    GUEST32(name, "mov ebx, 0x11000\n call ebx\n call ebx\n" tail "\n call ebx\n hlt\n"                      \
                  ".org 0x1000, 0x90\n mov eax, 0x111\n ret\n")
static void remap_between_calls(Guest& g, const Snippet& code) {
    g.bytes(kOtherFrame, {0xB8, 0x22, 0x02, 0, 0, 0xC3}); // mov eax, 0x222; ret
    CHECK(g.run(code) == "hlt");
    CHECK(g.eax() == 0x222);
}
REMAPPED_CALL(by_invlpg, "mov dword ptr ds:[0x21044], 0x50007\n invlpg [0x11000]");
GUEST_TEST("mapping: INVLPG of a local page makes ring 0 forget its code, global pages on", "[mapping]") {
    global_pages(g);
    remap_between_calls(g, by_invlpg);
}
REMAPPED_CALL(by_pge, "mov eax, cr4\n and al, 0x7f\n mov cr4, eax\n mov dword ptr ds:[0x21044], 0x50007\n"
                      "or al, 0x80\n mov cr4, eax");
GUEST_TEST("mapping: clearing and setting CR4.PGE makes ring 0 forget code on local pages", "[mapping]") {
    global_pages(g);
    remap_between_calls(g, by_pge);
}
// CR3 bits 3 and 4 say how the directory is cached: the address space is the same.
REMAPPED_CALL(by_cr3_alias,
              "mov eax, cr3\n or al, 0x18\n mov cr3, eax\n"
              "mov dword ptr ds:[0x21044], 0x50007\n mov cr3, eax\n and al, 0xe7\n mov cr3, eax");
GUEST_TEST("mapping: CR3 with PCD or PWT names the same address space", "[mapping]") {
    g.paging();
    remap_between_calls(g, by_cr3_alias);
}

// A processor may drop a translation at any time, so a global page can be seen through its new entry before
// INVLPG, by one path and not yet by another. INVLPG then ends the old one everywhere.
GUEST32(global_seen_early, R"(
    jmp 2f
1:  call guest_global_seen_early_first + 0x1000
    ret
2:  call 1b
    call 1b
    mov dword ptr ds:[0x21044], 0x50107
    mov ebx, 0x411000
    call ebx
    mov ebx, 0x11020
    call ebx
    invlpg [0x11000]
    call 1b
    hlt
    .org 0x1000, 0x90
    mov eax, 0x111
    ret
)");
GUEST_TEST("mapping: INVLPG ends what was linked to a global page's older frame", "[mapping]") {
    global_pages(g);
    for (uint32_t page = 0; page < 2048; ++page)
        g.page(page << 12, page << 12 | 0x107);
    g.put8(0x411000, 0xC3);
    g.put8(kOtherFrame + 0x20, 0xC3);
    remap_between_calls(g, global_seen_early);
}

TEST_CASE("mapping: a return stack is emptied when its context is chosen, not while it is in use",
          "[mapping]") {
    Contexts contexts;
    REQUIRE(contexts.create());
    constexpr uint32_t kIndirectMiss = 0x1000, kReturnMiss = 0x2000;
    contexts.set_miss_stubs(kIndirectMiss, kReturnMiss);
    constexpr uint64_t kRoot = 1ull << 32;
    Context& context = contexts.select(kRoot, {}, 0);
    const uint64_t used = context.shadow_top - 24;
    context.shadow_rsp = used;
    context.note(0x11);
    contexts.drop_pages(kRoot, 0x11, 1);
    CHECK(context.shadow_rsp == used);
    CHECK(&contexts.select(kRoot, {}, 0) == &context);
    CHECK(context.shadow_rsp == context.shadow_top);
    contexts.drop_pages(kRoot, 0, 1u << 20);
    context.shadow_rsp = used;
    CHECK(contexts.select(kRoot, {}, 0).shadow_rsp == context.shadow_top);
}
TEST_CASE("mapping: what an empty return stack answers cannot be overwritten", "[mapping]") {
    Contexts contexts;
    REQUIRE(contexts.create());
    constexpr uint32_t kReturnMiss = 0x2000;
    contexts.set_miss_stubs(0x1000, kReturnMiss);
    const Context& context = contexts.select(0, {}, 0);
    auto* top = reinterpret_cast<uint64_t*>(context.shadow_top);
    CHECK(*top == kReturnMiss);
    uint64_t other = 0;
    const iovec from{&other, sizeof other}, to{top, sizeof other};
    CHECK(process_vm_writev(getpid(), &from, 1, &to, 1, 0) < 0);
    CHECK(*top == kReturnMiss);
    CHECK(contexts.in_bounds(context, context.shadow_top));
    CHECK_FALSE(contexts.in_bounds(context, context.shadow_top + 8));
    CHECK_FALSE(contexts.in_bounds(context, context.shadow_top - Contexts::kShadowBytes - 8));
}

// Two pages that take each other's place in every cache there is of fetches, for ever (case growth.asm).
GUEST32(fetched_for_ever, R"(
    mov ecx, 200000
    mov ebx, 0x411000
1:  mov eax, 0x11000
    call eax
    call ebx
    dec ecx
    jnz 1b
    hlt
    .org 0x1000, 0x90
    ret
)");
GUEST_TEST("mapping: code fetched again and again from local pages takes no memory", "[mapping]") {
    global_pages(g);
    g.put8(0x411000, 0xC3);
    g.load(fetched_for_ever);
    const auto in_use = [] {
        const struct mallinfo2 now = mallinfo2();
        return static_cast<long long>(now.uordblks + now.hblkhd);
    };
    const long long before = in_use();
    CHECK(g.run() == "hlt");
    constexpr long long kAllowed = 512 << 10; // the first pages translated; the old defect took 1.6 MB
    CHECK(in_use() - before < kAllowed);
}

TEST_CASE("mapping: a guest cannot make the lists of its kernel's code pages grow", "[mapping]") {
    SupervisorCode code;
    std::vector<std::pair<uint32_t, uint32_t>> dropped;
    const auto note = [&](uint32_t first, uint32_t count) { dropped.emplace_back(first, count); };
    code.add_local(7);
    code.add_local(7);
    code.add_local(9);
    code.for_local(8, 100, note);
    CHECK(dropped == std::vector<std::pair<uint32_t, uint32_t>>{{9, 1}});
    for (uint32_t page = 0; page < 1u << 20; ++page)
        code.add_local(page);
    dropped.clear();
    code.for_local(0, 1u << 20, note);
    CHECK(dropped == std::vector<std::pair<uint32_t, uint32_t>>{{0, 1u << 20}}); // all, said in one word
    code.clear_local();
    CHECK_FALSE(code.has_local());

    uint32_t added = 0;
    while (code.add_global(added, added, false))
        ++added;
    CHECK(added == SupervisorCode::kMostGlobal);
}

TEST_CASE("mapping: an INVLPG looks at its own page's code, and at what a large page may translate",
          "[mapping]") {
    SupervisorCode code;
    for (uint32_t page = 0x1000; page < 0x1400; ++page)
        CHECK(code.add_global(page, page, page % 256 == 1));
    std::vector<uint32_t> asked;
    const auto note = [&](uint32_t page, uint32_t physical_page) {
        CHECK(page == physical_page);
        asked.push_back(page);
        return page == 0x1020;
    };
    code.recheck_around(0x1020, note);
    CHECK(asked == std::vector<uint32_t>{0x1001, 0x1020, 0x1101, 0x1201, 0x1301});
    CHECK_FALSE(code.global_frame(0x1020));
    CHECK(code.global_frame(0x1021) == 0x1021u);
    asked.clear();
    code.recheck_around(0x1400, note);
    CHECK(asked.empty());
    code.recheck_all(note);
    CHECK(asked.size() == 1023);
}

// -- what user code of one page knows of another ---------------------------------------------------------

static void expect_counted(Guest& g, const char* what) {
    if (g.mode != BlockMode::Linked)
        return;
    const std::string counted = g.engine->statistics();
    const size_t at = counted.find(what);
    REQUIRE(at != std::string::npos);
    CHECK(std::stoul(counted.substr(at + std::string(what).size())) > 0);
}

GUEST32(user_remapped, R"(
    mov ecx, 3
1:  call guest_user_remapped_first + 0x1000
    loop 1b
    mov ebx, eax
    int 0x30
    call guest_user_remapped_first + 0x1000
    int 0x42
    .org 0x1000, 0x90
    mov eax, 0x111
    ret
    .org 0x2000, 0x90
    mov dword ptr ds:[0x21044], 0x50007
    invlpg [0x11000]
    iretd
)");
GUEST_TEST("mapping: a direct call to another page ends with that page's mapping", "[mapping]") {
    g.paging();
    g.user();
    g.deliver_faults();
    g.bytes(kOtherFrame, {0xB8, 0x22, 0x02, 0, 0, 0xC3}); // mov eax, 0x222; ret
    g.put64(kIdt + 8 * 0x30, gate(kKernelCs, 0x12000, 0xE, 3));
    CHECK(g.run(user_remapped) == "hlt");
    CHECK(g.ebx() == 0x111);
    CHECK(g.eax() == 0x222);
    expect_counted(g, "links to other pages ");
}

// Two address spaces by turns. They share the caller's page; the callee's is each one's own.
GUEST32(two_spaces, R"(
    xor ebx, ebx
    mov ecx, 400
1:  call guest_two_spaces_first + 0x1000
    add ebx, eax
    call guest_two_spaces_first + 0x1000
    add ebx, eax
    int 0x30
    dec ecx
    jnz 1b
    int 0x42
    .org 0x1000, 0x90
    mov eax, 0x111
    ret
    .org 0x2000, 0x90
    mov edx, cr3
    xor edx, 0x4000
    mov cr3, edx
    iretd
)");
GUEST_TEST("mapping: a direct call to another page is its address space's own", "[mapping]") {
    g.paging();
    g.user();
    g.deliver_faults();
    g.put32(kDirectory2, kTable2 | 7);
    g.put32(kDirectory2 + 4, (kTable + 0x1000) | 7);
    for (uint32_t i = 0; i < 1024; ++i)
        g.put32(kTable2 + 4 * i, ((i == 0x11 ? kOtherFrame >> 12 : i) << 12) | 7);
    g.bytes(kOtherFrame, {0xB8, 0x22, 0x02, 0, 0, 0xC3}); // mov eax, 0x222; ret
    g.put64(kIdt + 8 * 0x30, gate(kKernelCs, 0x12000, 0xE, 3));
    CHECK(g.run(two_spaces) == "hlt");
    CHECK(g.ebx() == 400 * (0x111 + 0x222));
    expect_counted(g, "links to other pages ");
    expect_counted(g, "pages handed over ");
}

// A link that is made on the host: from a block to one beside it.
struct LinkedPair {
    LinkedPair() : cache(std::move(*CodeCache::create(1u << 20, 4, guest.data(), 4))) {
        Link link;
        link.site = cache->cursor() + 1;
        link.stub = cache->cursor() + 8;
        cache->links.push_back(link);
        cache->links[0].from = &add(0);
        target = &add(1);
    }
    Block& add(uint32_t backing) {
        Block block;
        block.backing = backing;
        block.second_backing = kNoPage;
        block.entry = block.body = cache->cursor();
        block.host_end = block.entry + 16;
        return *cache->add(block);
    }
    void link() { cache->link(cache->links[0], *target); }
    [[nodiscard]] bool linked() const { return cache->links[0].to != nullptr; }

    std::vector<uint8_t> guest = std::vector<uint8_t>(4 * kPageSize);
    std::unique_ptr<CodeCache> cache;
    Block* target = nullptr;
};

TEST_CASE("mapping: a guest cannot make the lists of links to other pages grow", "[mapping]") {
    LinkedPair pair;
    PageLinks pages(*pair.cache);
    constexpr uint64_t kRoot = 0x5000;
    constexpr size_t kMost = 1u << 20; // links in the lists
    CHECK(pages.admit(kRoot, 0) == 0);
    pair.link();
    for (size_t i = 0; i < kMost; ++i)
        pages.made(0, kRoot, 0, 1);
    CHECK(pair.linked());
    pages.made(0, kRoot, 0, 1); // one too many: all are undone, and the lists begin again
    CHECK_FALSE(pair.linked());
    CHECK(pages.owns(kRoot, 0));
    pair.link();
    for (size_t i = 1; i < kMost; ++i)
        pages.made(0, kRoot, 0, 1);
    CHECK(pair.linked());
}

TEST_CASE("mapping: of more pages than can have an owner none has one", "[mapping]") {
    LinkedPair pair;
    PageLinks pages(*pair.cache);
    constexpr uint64_t kRoot = 0x5000, kOther = 0x6000;
    constexpr uint32_t kMost = 1u << 17; // pages with an owner
    for (uint32_t page = 0; page < kMost; ++page)
        CHECK(pages.admit(kRoot, page) == 0);
    pair.link();
    pages.made(0, kRoot, 0, 1);
    CHECK(pages.owns(kRoot, kMost - 1));
    CHECK(pages.admit(kOther, kMost) == 0);
    CHECK_FALSE(pair.linked());
    CHECK_FALSE(pages.owns(kOther, kMost));
    CHECK_FALSE(pages.owns(kRoot, 0));
    CHECK(pages.admit(kOther, 0) == 0); // and so none has to ask again for it
    pages.clear();
    CHECK(pages.admit(kOther, kMost) == 0);
    CHECK(pages.owns(kOther, kMost));
}

// A loop without a jump back: four blocks that each go to the next by an indirect jump, too long to be made
// whole at once. The clock's interrupts find it.
GUEST32(busy_ring, R"(
    mov esi, 0x10100
    jmp esi
    .org 0x100, 0x90
    .rept 40
    inc ebx
    .endr
    mov esi, 0x10200
    jmp esi
    .org 0x200, 0x90
    .rept 40
    inc ebx
    .endr
    mov esi, 0x10100
    cmp dword ptr ds:[0x40000], 0
    mov edi, 0x10300
    cmovne esi, edi
    jmp esi
    .org 0x300, 0x90
    int 0x42
    .org 0x400, 0x90
    inc dword ptr ds:[0x40000]
    iretd
)");
GUEST_TEST("mapping: a brief block that the clock finds running is made whole", "[mapping]") {
    g.deliver_faults();
    g.put64(kIdt + 8 * 0x40, gate(kKernelCs, 0x10400, 0xE));
    g.state.eflags |= 0x200;
    g.interrupt_after(15, 0x40);
    CHECK(g.run(busy_ring) == "hlt");
    CHECK(g.ebx() % 80 == 0);
    expect_counted(g, "busy blocks made whole ");
}

// The same frames at two addresses: what is made for the first is copied for the second. Whatever tells its
// EIP must tell the right one.
GUEST32(at_two_addresses, R"(
    mov esi, 0x410040
    call esi
    mov ds:[0x40000], edi
    mov ds:[0x40004], edx
    mov ds:[0x40008], ebp
    mov ds:[0x4000c], ebx
    mov esi, 0x620040
    call esi
    int 0x42
    .org 0x40, 0x90
    call 1f
1:  pop edi
    int 0x30
    mov ecx, 5
    xor ebp, ebp
2:  call guest_at_two_addresses_first + 0x1000
    pushfd
    popfd
    test ebp, 64
    mov ecx, 0
    jz 3f
    inc ecx
3:  add ebp, 16
    cmp ebp, 96
    jb 2b
    cmp ecx, 1
    jne 4f
    lea ebx, [esi + 1]
    ret
4:  ud2
    .org 0x1000, 0x90
    mov eax, 0
    inc ebp
    dec ebp
    ret
    .org 0x2000, 0x90
    mov edx, [esp]
    iretd
)");
GUEST_TEST("mapping: code at a second address is a copy with that address in it", "[mapping]") {
    g.paging();
    g.user();
    g.deliver_faults();
    for (const uint32_t first : {0x410u, 0x620u})
        for (uint32_t i = 0; i < 2; ++i)
            g.put32(kTable + 4 * (first + i), ((kCode >> 12) + i) << 12 | 7);
    g.put64(kIdt + 8 * 0x30, gate(kKernelCs, 0x12000, 0xE, 3));
    CHECK(g.run(at_two_addresses) == "hlt");
    CHECK(g.get32(kData) == 0x410045);
    CHECK(g.get32(kData + 4) == 0x410048);
    CHECK(g.get32(kData + 8) == 96);
    CHECK(g.get32(kData + 12) == 0x410041);
    CHECK(g.edi() == 0x620045);
    CHECK(g.ebp() == 96);
    CHECK(g.ebx() == 0x620041);
    expect_counted(g, " copied ");
}
