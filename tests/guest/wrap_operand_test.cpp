// Operands whose address wraps at 4 GiB, one of each kind. Translated code adds up addresses in 64 bits at
// first and learns from the guard which operands do wrap; each must do what the same instruction does to the
// same memory without wrapping: before it learned, while, and after.
#include "tests/guest/guest.h"

#include <cstring>
#include <fmt/format.h>

using namespace vmm;
using namespace vmm::guest;

namespace {

// What comes before the operand, and after it. Results in registers or memory; EBX and ECX make the address.
#define WRAP_KINDS(X)                                                                                        \
    X(load, "mov eax, ", "")                                                                                 \
    X(load16, "mov ax, ", "")                                                                                \
    X(load8, "mov dl, ", "")                                                                                 \
    X(load_high, "mov ah, ", "")                                                                             \
    X(movzx, "movzx esi, byte ptr ", "")                                                                     \
    X(movsx, "movsx edi, word ptr ", "")                                                                     \
    X(store, "mov ", ", eax")                                                                                \
    X(store16, "mov ", ", dx")                                                                               \
    X(store_high, "mov ", ", dh")                                                                            \
    X(store_imm, "mov dword ptr ", ", 0x12345678")                                                           \
    X(compare, "cmp ", ", eax")                                                                              \
    X(add, "add ", ", eax")                                                                                  \
    X(add_high, "add ", ", ah")                                                                              \
    X(adc_from, "adc eax, ", "")                                                                             \
    X(inc, "inc word ptr ", "")                                                                              \
    X(shift, "shl dword ptr ", ", 3")                                                                        \
    X(shld, "shld ", ", eax, 7")                                                                             \
    X(multiply, "imul esi, ", ", 77")                                                                        \
    X(divide, "div dword ptr ", "")                                                                          \
    X(negate, "neg byte ptr ", "")                                                                           \
    X(setcc, "setc byte ptr ", "")                                                                           \
    X(cmov, "cmovc eax, ", "")                                                                               \
    X(bit, "bt dword ptr ", ", 5")                                                                           \
    X(bit_string, "bts ", ", edx")                                                                           \
    X(bit_scan, "bsf esi, ", "")                                                                             \
    X(exchange, "xchg ", ", eax")                                                                            \
    X(locked, "lock xadd ", ", eax")                                                                         \
    X(cmpxchg, "lock cmpxchg ", ", edx")                                                                     \
    X(cmpxchg8b, "lock cmpxchg8b ", "")                                                                      \
    X(push, "push dword ptr ", "")                                                                           \
    X(pop, "pop dword ptr ", "")                                                                             \
    X(jump, "jmp dword ptr ", "")                                                                            \
    X(call, "call dword ptr ", "")                                                                           \
    X(x87_load, "fld tbyte ptr ", "\n fstp tbyte ptr [0x40000]")                                             \
    X(x87_add, "fldpi\n fadd dword ptr ", "\n fstp tbyte ptr [0x40000]")                                     \
    X(x87_store, "fldpi\n fstp qword ptr ", "")                                                              \
    X(x87_control, "fnstcw ", "")                                                                            \
    X(mmx, "movq mm1, ", "\n movq [0x40000], mm1\n emms")                                                    \
    X(sse_load, "movaps xmm1, ", "\n movups [0x40000], xmm1")                                                \
    X(sse_store, "movups xmm2, [0x40020]\n movaps ", ", xmm2")                                               \
    X(sse_half, "movlps ", ", xmm0")                                                                         \
    X(sse_integer, "movd xmm0, eax\n paddd xmm0, ", "\n movups [0x40000], xmm0")

constexpr uint32_t kOperand = 0x51010; // physical; also linear 10h, and seen through FFFFFxxxh as 50xxxh

struct Kind {
    const char* name;
    Snippet up, down, index, both;
};

#define WRAP_CODE(name, before, after)                                                                       \
    GUEST32(name##_up, before "[ebx + 0x20]" after "\n hlt");                                                \
    GUEST32(name##_down, before "[ebp - 0x20]" after "\n hlt");                                              \
    GUEST32(name##_index, before "[ecx*8 + 0x20]" after "\n hlt");                                           \
    GUEST32(name##_both, before "[ebx + ecx*4 + 0x20]" after "\n hlt");
WRAP_KINDS(WRAP_CODE)
#define WRAP_ROW(name, before, after) {#name, name##_up, name##_down, name##_index, name##_both},
const Kind kKinds[] = {WRAP_KINDS(WRAP_ROW)};

// The address-making registers for the same memory with and without wrapping.
struct Way {
    const char* name;
    Snippet Kind::*code;
    uint32_t operand; // linear, when it wraps
    uint32_t straight;
    uint32_t ebx, ecx, ebp;                            // it wraps
    uint32_t straight_ebx, straight_ecx, straight_ebp; // it does not
};
constexpr Way kWays[] = {
    {"up", &Kind::up, 0x10, 0x51010, 0xFFFFFFF0, 0, 0, 0x50FF0, 0, 0},
    {"down", &Kind::down, 0xFFFFFFF0, 0x50FF0, 0, 0, 0x10, 0, 0, 0x51010},
    {"index, just beyond", &Kind::index, 0x10, 0x51010, 0, 0x1FFFFFFE, 0, 0, 0xA1FE, 0},
    {"index, far beyond", &Kind::index, 0x10, 0x51010, 0, 0xFFFFFFFE, 0, 0, 0xA1FE, 0},
    {"base and negative index", &Kind::both, 0x51010, 0x51010, 0x52000, 0xFFFFFBFC, 0, 0x50000, 0x3FC, 0},
};

void map_both_ends(Guest& g) {
    g.paging();
    g.put32(kDirectory + 4 * 1023, (kTable + 0x2000) | 7);
    g.put32(kTable + 0x2000 + 4 * 1023, 0x50007);
    g.page(0, 0x51007);
    g.state.cr4 |= cr4::kOsfxsr;
}

struct Result {
    std::string end;
    CpuState state;
    std::vector<uint8_t> memory;
};

Result run(Guest& g, const CpuState& start, uint32_t at, uint32_t ebx, uint32_t ecx, uint32_t ebp) {
    for (uint32_t i = 0; i < 0x100; ++i) {
        g.put8(0x50F80 + i, static_cast<uint8_t>(0x35 + 7 * i));
        g.put8(0x40000 + i, static_cast<uint8_t>(i));
    }
    for (const uint32_t operand : {0x50FF0u, kOperand})
        g.put32(operand, kCode - 16); // where JMP and CALL go: a HLT
    g.put8(kCode - 16, 0xF4);
    g.state = start;
    g.state.eip = at;
    g.eax() = 0x1122;
    g.edx() = 40; // bit 8 of the next doubleword for BTS; less than any divisor here
    g.ebx() = ebx;
    g.ecx() = ecx;
    g.ebp() = ebp;
    g.state.eflags |= eflags::kCf;
    Result result;
    result.end = g.run();
    result.state = g.state;
    for (const uint32_t from : {0x50F80u, 0x40000u, g.esp() & ~0xFFu})
        for (uint32_t i = 0; i < 0x100; ++i)
            result.memory.push_back(g.get8(from + i));
    return result;
}

void check_same(const Result& result, const Result& expected) {
    CHECK(result.end == expected.end);
    for (const size_t reg : {0, 2, 4, 6, 7}) // not those that make addresses
        CHECK(result.state.gpr[reg].low == expected.state.gpr[reg].low);
    CHECK(result.state.eip == expected.state.eip);
    CHECK(result.state.eflags == expected.state.eflags);
    CHECK((result.memory == expected.memory));
}

template <class F> void for_each_way(F&& function) {
    uint32_t at = kCode;
    for (const Kind& kind : kKinds)
        for (const Way& way : kWays) {
            INFO(kind.name << ", " << way.name);
            function(kind.*way.code, way, at);
            at += 64; // each learns for itself
        }
}

} // namespace

GUEST_TEST("wrap: an operand of any kind that wraps is the memory it wraps to", "[wrap]") {
    map_both_ends(g);
    const CpuState start = g.state;
    for_each_way([&](const Snippet& code, const Way& way, uint32_t at) {
        g.load(code, at);
        const auto straight = [&] {
            return run(g, start, at, way.straight_ebx, way.straight_ecx, way.straight_ebp);
        };
        const auto wrapped = [&] { return run(g, start, at, way.ebx, way.ecx, way.ebp); };
        const Result expected = straight();
        REQUIRE(expected.end == "hlt");
        check_same(wrapped(), expected);
        check_same(wrapped(), expected);
        check_same(straight(), expected);
    });
}

GUEST_TEST("wrap: a page fault names the address an operand wrapped to, and nothing has changed", "[wrap]") {
    map_both_ends(g);
    for (const uint32_t page : {0u, 0x50000u, 0x51000u})
        g.page(page, 0);
    g.put32(kTable + 0x2000 + 4 * 1023, 0);
    const CpuState start = g.state;
    size_t compared = 0;
    for_each_way([&](const Snippet& code, const Way& way, uint32_t at) {
        g.load(code, at);
        Result expected = run(g, start, at, way.straight_ebx, way.straight_ecx, way.straight_ebp);
        const std::string address = fmt::format("@{:x}", way.straight);
        const size_t found = expected.end.find(address);
        if (found == std::string::npos) // BTS: the doubleword its bit offset names
            return;
        ++compared;
        expected.end.replace(found, address.size(), fmt::format("@{:x}", way.operand));
        for (int turn = 0; turn < 2; ++turn)
            check_same(run(g, start, at, way.ebx, way.ecx, way.ebp), expected);
    });
    CHECK(compared == (std::size(kKinds) - 1) * std::size(kWays));
}

GUEST32(wrap_negative_index, R"(
    mov ecx, -16
1:  add eax, [ebx + ecx*4]
    inc ecx
    jnz 1b
    hlt
)");
GUEST_TEST("wrap: a loop with a negative index", "[wrap]") {
    for (uint32_t i = 0; i < 16; ++i)
        g.put32(kData + 4 * i, 1u << i);
    g.ebx() = kData + 64;
    for (uint32_t turn = 1; turn <= 100; ++turn) {
        g.state.eip = kCode;
        CHECK(g.run(wrap_negative_index) == "hlt");
        CHECK(g.eax() == turn * 0xFFFF);
    }
    const SpecialForms forms = g.engine->special_forms(); // learnt once, and no call-out
    CHECK(forms.wraps == 1);
    CHECK(forms.callouts_made == 0);
}

GUEST32(wrap_sixteenth, "mov eax, [ecx*8 + ebx]\n hlt");
GUEST_TEST("wrap: eight times a register reaches no other address space", "[wrap]") {
    for (const uint32_t index : {0x20000000u, 0x40000001u, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFFFFu}) {
        g.put32(kData, 0x600D);
        g.ecx() = index;
        g.ebx() = kData - 8 * index;
        g.state.eip = kCode;
        CHECK(g.run(wrap_sixteenth) == "hlt");
        CHECK(g.eax() == 0x600D);
    }
}
