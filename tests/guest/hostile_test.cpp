// Guests that mean harm: random code, page tables and descriptors. Whatever they do is theirs; the host
// process survives, the verifier stays content and the run can always be stopped.
#include "tests/guest/guest.h"

#include <array>
#include <chrono>
#include <cstring>
#include <random>

using namespace vmm;
using namespace vmm::guest;

namespace {

// Bytes that are instructions more often than noise is: random opcodes among common and sensitive ones.
void random_code(std::mt19937& random, std::vector<uint8_t>& code) {
    static constexpr uint8_t kSpice[] = {0x0F, 0x66, 0x67, 0xF0, 0xF2, 0xF3, 0x8E, 0x8B, 0x89,
                                         0xFF, 0x9C, 0x9D, 0xCF, 0xCB, 0xC3, 0xE8, 0xEB, 0x74,
                                         0x50, 0x58, 0x60, 0x61, 0xA4, 0xAB, 0xD9, 0xDD, 0xC8,
                                         0xC9, 0x1F, 0x07, 0x17, 0xCD, 0xFB, 0xFA, 0x2E, 0x65};
    for (uint8_t& byte : code) {
        const uint32_t r = random();
        byte = (r & 0x300) == 0 ? kSpice[(r >> 16) % sizeof kSpice] : static_cast<uint8_t>(r);
    }
}

uint32_t random_register(std::mt19937& random) {
    switch (random() % 6) {
    case 0:
        return random();
    case 1:
        return random() % 64;
    case 2:
        return 0xFFFFFFFF - random() % 64;
    default:
        return kData + random() % 0x20000;
    }
}

struct Mix {
    bool user, paging, random_tables, random_segments, sixteen;
};

void attack(Guest& g, const Mix& mix, unsigned seed, unsigned milliseconds) {
    std::mt19937 random(seed);
    std::vector<uint8_t> code(0x2000);
    const CpuState fresh = g.state;
    g.deliver_faults();
    g.watchdog_ms = 5;
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
    std::vector<uint8_t> low(0x10000);
    g.memory->read(0, low.data(), low.size());
    while (std::chrono::steady_clock::now() < end) {
        g.state = fresh;
        g.memory->write(0, low.data(), low.size());
        random_code(random, code);
        g.memory->write(kCode, code.data(), code.size());
        if (mix.paging)
            g.paging();
        if (mix.random_tables)
            for (unsigned i = 0; i < 200; ++i) {
                const uint32_t entry = random() & (random() % 4 ? 0x00FFFFFF : 0xFFFFFFFF);
                g.page((random() % 2048) << 12, entry | (random() % 8 != 0));
                if (random() % 16 == 0)
                    g.put32(kDirectory + 4 * (random() % 1024), entry);
            }
        if (mix.user)
            g.user();
        if (mix.sixteen)
            g.real_mode();
        if (mix.random_segments)
            for (uint16_t selector = kFree; selector < 0x100; selector = static_cast<uint16_t>(selector + 8))
                g.put64(kGdt + selector,
                        (uint64_t{random()} << 32 | random()) | (random() % 4 ? uint64_t{1} << 47 : 0));
        if (mix.random_segments && !mix.sixteen)
            for (SegReg reg : {SegReg::Ds, SegReg::Es, SegReg::Fs, SegReg::Gs}) {
                const uint64_t bits =
                    descriptor(random_register(random), random() & 0xFFFFF,
                               (mix.user ? 0xF1u : 0x91u) | (random() & 0x6), random() & 0xC);
                g.set_segment(
                    reg, static_cast<uint16_t>(kFree + 8 * static_cast<unsigned>(reg) + (mix.user ? 3 : 0)),
                    bits);
            }
        for (unsigned reg = 0; reg < kLegacyRegisterCount; ++reg)
            if (random() % 8 != 0)
                g.state.gpr[reg].low = random_register(random);
        if (random() % 2)
            g.esp() = mix.user ? kUserStack : kKernelStack;
        g.state.eflags = 2 | (random() & 0xED5);
        g.state.eip = mix.sixteen ? random() % 0x1000 : kCode + random() % 0x1000;
        if (random() % 4 == 0)
            g.engine->state_replaced();
        (void)g.run();
    }
    SUCCEED();
}

unsigned seed_of(unsigned base) { return base * 7919; }
constexpr unsigned kMilliseconds = 700; // for each mix and block mode

} // namespace

GUEST_TEST("hostile: random code in ring 0", "[hostile]") { attack(g, {}, seed_of(1), kMilliseconds); }
GUEST_TEST("hostile: random code in ring 0 with paging", "[hostile]") {
    attack(g, {false, true, false, false, false}, seed_of(2), kMilliseconds);
}
GUEST_TEST("hostile: random code in ring 3 with paging", "[hostile]") {
    attack(g, {true, true, false, false, false}, seed_of(3), kMilliseconds);
}
GUEST_TEST("hostile: random page tables", "[hostile]") {
    attack(g, {false, true, true, false, false}, seed_of(4), kMilliseconds);
}
GUEST_TEST("hostile: random page tables under ring 3", "[hostile]") {
    attack(g, {true, true, true, false, false}, seed_of(5), kMilliseconds);
}
GUEST_TEST("hostile: random segments", "[hostile]") {
    attack(g, {false, false, false, true, false}, seed_of(6), kMilliseconds);
}
GUEST_TEST("hostile: random segments under ring 3 and paging", "[hostile]") {
    attack(g, {true, true, true, true, false}, seed_of(7), kMilliseconds);
}
GUEST_TEST("hostile: random code in real mode", "[hostile]") {
    attack(g, {false, false, false, true, true}, seed_of(8), kMilliseconds);
}

// Tables, stacks and images across the top of the 4 GiB. What a processor does there is wrap or fault.
namespace {

constexpr uint32_t kTopPage = 0x50000, kBottomPage = 0x51000; // where FFFFF000h and 0 lie

void map_ends(Guest& g) {
    g.paging();
    g.put32(kDirectory + 4 * 1023, (kTable + 0x2000) | 7);
    g.put32(kTable + 0x2000 + 4 * 1023, kTopPage | 7);
    g.page(0, kBottomPage | 7);
    g.engine->state_replaced();
}

// Puts bytes at a linear address near either end.
void put_wrapped(Guest& g, uint32_t linear, const void* data, uint32_t size) {
    for (uint32_t i = 0; i < size; ++i)
        g.put8((linear + i >= 0xFFFFF000 ? kTopPage : kBottomPage) + ((linear + i) & 0xFFF),
               static_cast<const uint8_t*>(data)[i]);
}

// The fixture's GDT again, so that it begins at FFFFFFFCh.
constexpr uint32_t kWrappedTable = 0xFFFFFFFC;
void wrap_gdt(Guest& g) {
    std::array<uint8_t, 0x100> table{};
    g.memory->read(kGdt, table.data(), table.size());
    put_wrapped(g, kWrappedTable, table.data(), static_cast<uint32_t>(table.size()));
    g.state.gdtr = {kWrappedTable, 0xFF};
}

} // namespace

GUEST32(load_segments, R"(
    mov ecx, 5
1:  mov es, ax
    mov fs, ax
    push eax
    pop gs
    push 0
    pop es
    loop 1b
    mov ds, bx
    hlt
)");
GUEST_TEST("hostile: a descriptor table across 4 GiB", "[hostile]") { // case gdtwrap.asm
    for (const uint32_t selector : {uint32_t{0}, uint32_t{kKernelDs}}) {
        map_ends(g);
        wrap_gdt(g);
        g.state.eip = kCode;
        g.eax() = selector;
        g.ebx() = kKernelDs;
        CHECK(g.run(load_segments) == "hlt");
        CHECK(g.state.segment(SegReg::Gs).selector == selector);
        CHECK(g.state.segment(SegReg::Ds).limit == 0xFFFFFFFF);
    }
    // An entry of its own half on either side.
    g.state.gdtr = {uint32_t{0} - kKernelDs - 4, 0xFF};
    const uint64_t data = descriptor(0, 0xFFFFF, 0x93, 0xC);
    put_wrapped(g, 0xFFFFFFFC, &data, 8);
    g.state.eip = kCode;
    g.eax() = g.ebx() = kKernelDs;
    CHECK(g.run(load_segments) == "hlt");
    CHECK(g.state.segment(SegReg::Fs).limit == 0xFFFFFFFF);
    g.page(0, 0); // its second half is missing
    g.engine->state_replaced();
    g.state.eip = kCode;
    CHECK(g.run(load_segments) == "#14(0000)@0 at 10005");
}

GUEST32(table_instructions, R"(
    lldt cx
    mov es, dx
    str ax
    lar eax, edx
    lsl eax, edx
    verw dx
    sgdt [0xfffffff8]
    hlt
)");
GUEST32(store_table, "sgdt [0xfffffffc]\n hlt");
GUEST_TEST("hostile: a local table and a table's image across 4 GiB", "[hostile]") {
    map_ends(g);
    g.put64(kGdt + kLdtSel, descriptor(0xFFFFFFF4, 0x3F, 0x82, 0));
    const uint64_t data = descriptor(0x1000, 0xFFFFF, 0x93, 0xC);
    put_wrapped(g, 0xFFFFFFFC, &data, 8);
    g.ecx() = kLdtSel;
    g.edx() = 8 | 4;
    CHECK(g.run(table_instructions) == "hlt");
    CHECK(g.state.segment(SegReg::Es).base == 0x1000);
    g.state.eip = kCode;
    CHECK(g.run(store_table) == "hlt");
    CHECK(g.get16(kTopPage + 0xFFC) == static_cast<uint16_t>(g.state.gdtr.limit));
    CHECK(g.get16(kBottomPage) == g.state.gdtr.base >> 16);
}

GUEST32(ud2, "ud2\n hlt");
GUEST_TEST("hostile: an interrupt table across 4 GiB", "[hostile]") {
    map_ends(g);
    g.deliver_faults();
    g.state.idtr = {uint32_t{0} - 6 * 8 - 4, 0x7FF};
    const uint64_t entry = gate(kKernelCs, kHandlers + 16 * 6, 0xE);
    put_wrapped(g, 0xFFFFFFFC, &entry, 8);
    CHECK(g.run(ud2) == "hlt");
    CHECK(g.in_handler(6));
    g.page(0, 0); // nor can #PF and #DF be delivered
    g.engine->state_replaced();
    g.state.eip = kCode;
    CHECK(g.run() == "shutdown");
}

GUEST32(user_int, "in al, 0xe0\n int 0x21\n hlt");
GUEST_TEST("hostile: a task state segment and a stack across 4 GiB", "[hostile]") {
    for (const uint32_t base : {0xFFFFFFFAu, 0xFFFFFFF7u, 0xFFFFFF9Au, 0xFFFFFF90u}) {
        for (const uint32_t stack : {2u, 4u, 8u, 0u}) {
            map_ends(g);
            g.deliver_faults();
            g.user();
            std::array<uint8_t, 0x90> tss{};
            std::memcpy(&tss[4], &stack, 4);
            tss[8] = kKernelDs;
            tss[0x66] = 0x68; // the bitmap follows: all ports allowed
            put_wrapped(g, base, tss.data(), static_cast<uint32_t>(tss.size()));
            g.state.shutdown = 0;
            g.state.tr.base = base;
            g.state.tr.limit = 0x8F;
            g.state.eip = kCode;
            CAPTURE(base, stack);
            CHECK(g.run(user_int) == "hlt");
        }
    }
}

GUEST32(task_jump, "ljmp 0x30:0\n hlt");
GUEST_TEST("hostile: a task switch to a segment across 4 GiB", "[hostile]") {
    for (const uint32_t base : {0xFFFFFFFEu, 0xFFFFFFC0u, 0xFFFFFFA1u, 0xFFFFFF99u}) {
        map_ends(g);
        std::array<uint8_t, 0x68> tss{};
        const auto put = [&](size_t at, uint32_t value) { std::memcpy(&tss[at], &value, 4); };
        put(0x1C, kDirectory);
        put(0x20, kCode + 7);
        put(0x24, 2);
        put(0x38, kKernelStack);
        for (size_t i = 0; i < 6; ++i)
            put(0x48 + 4 * i, i == 1 ? kKernelCs : kKernelDs);
        put_wrapped(g, base, tss.data(), static_cast<uint32_t>(tss.size()));
        g.put64(kGdt + kTss2Sel, descriptor(base, 0x67, 0x89, 0));
        g.put64(kGdt + kTssSel, descriptor(kTss, 0x67, 0x8B, 0));
        g.state.tr = segment_of(kTssSel, descriptor(kTss, 0x67, 0x8B, 0));
        g.state.eip = kCode;
        CAPTURE(base);
        CHECK(g.run(task_jump) == "hlt");
        CHECK(g.state.tr.base == base);
        // And away from it: its image is written.
        g.put64(kGdt + kTss3Sel, descriptor(kTss3, 0x67, 0x89, 0));
        std::array<uint8_t, 0x68> back = tss;
        g.memory->write(kTss3, back.data(), back.size());
        g.put8(kCode + 5, kTss3Sel);
        g.state.eip = kCode;
        CHECK(g.run() == "hlt");
        CHECK(g.state.tr.base == kTss3);
        g.put8(kCode + 5, kTss2Sel);
    }
}

GUEST32(wide_images, R"(
    fxsave fs:[ecx]
    fxrstor fs:[ecx]
    fnsave fs:[ecx]
    frstor fs:[ecx]
    movups xmm0, fs:[ecx]
    movups fs:[ecx], xmm0
    fld tbyte ptr fs:[ecx]
    fstp tbyte ptr fs:[ecx]
    cmpxchg8b fs:[ecx]
    bts dword ptr fs:[ecx], 3
    mov esi, ecx
    mov edi, ecx
    cmps dword ptr fs:[esi], dword ptr es:[edi]
    hlt
)");
// A segment that begins high up reaches over the top without breaking its own limit.
GUEST_TEST("hostile: operands whose linear address wraps", "[hostile]") {
    map_ends(g);
    for (const uint32_t linear : {0xFFFFFE10u, 0xFFFFFFF0u, 0xFFFFFFFCu, 0xFFFFFFFEu, 0xFFFFFFFFu}) {
        g.fill(kTopPage, 0, 0x1000);
        g.fill(kBottomPage, 0, 0x1000);
        g.set_segment(SegReg::Fs, kFree, descriptor(0xFFFF0000, 0xFFFFF, 0x93, 0x4));
        g.ecx() = linear - 0xFFFF0000;
        g.eax() = 0;
        g.state.eip = kCode;
        CAPTURE(linear);
        const std::string outcome = g.run(wide_images);
        CHECK(outcome == (linear % 16 == 0 ? "hlt" : "#13(0000) at 10000"));
        g.state.eip = kCode + 8; // past what must be aligned
        CHECK(g.run() == "hlt");
    }
}
