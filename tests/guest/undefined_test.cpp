// Opcodes that are undefined, prefixes that are not allowed, privileges, and hostile bytes.
#include "tests/guest/guest.h"

#include <fmt/format.h>

#include <random>

using namespace vmm;
using namespace vmm::guest;

GUEST_TEST("undefined: LOCK where it is not allowed", "[undefined]") {
    const std::vector<std::vector<uint8_t>> cases = {
        {0xF0, 0x90},                         // lock nop
        {0xF0, 0x89, 0x05, 0, 0, 4, 0},       // lock mov [40000], eax
        {0xF0, 0x01, 0xC0},                   // lock add eax, eax
        {0xF0, 0x03, 0x05, 0, 0, 4, 0},       // lock add eax, [40000]
        {0xF0, 0x83, 0x3D, 0, 0, 4, 0, 1},    // lock cmp [40000], 1
        {0xF0, 0xA5},                         // lock movsd
        {0xF0, 0x50},                         // lock push eax
        {0xF0, 0x0F, 0xA3, 0x05, 0, 0, 4, 0}, // lock bt
        {0xF0, 0xEB, 0x00},                   // lock jmp
        {0xF0, 0x0F, 0xC7, 0xC8},             // lock cmpxchg8b register
    };
    for (const auto& bytes : cases) {
        g.fill(kCode, 0xF4, 32);
        g.memory->write(kCode, bytes.data(), bytes.size());
        g.state.eip = kCode;
        CAPTURE(bytes);
        CHECK(g.run() == "#6 at 10000");
    }
    const std::vector<std::vector<uint8_t>> allowed = {
        {0xF0, 0x01, 0x05, 0, 0, 4, 0},       {0xF0, 0x87, 0x05, 0, 0, 4, 0},
        {0xF0, 0xFF, 0x05, 0, 0, 4, 0},       {0xF0, 0xF7, 0x15, 0, 0, 4, 0},
        {0xF0, 0x0F, 0xC1, 0x05, 0, 0, 4, 0}, {0xF0, 0x0F, 0xC7, 0x0D, 0, 0, 4, 0},
    };
    for (const auto& bytes : allowed) {
        g.fill(kCode, 0xF4, 32);
        g.memory->write(kCode, bytes.data(), bytes.size());
        g.state.eip = kCode;
        CAPTURE(bytes);
        CHECK(g.run() == "hlt");
    }
}
GUEST_TEST("undefined: opcodes this processor does not have", "[undefined]") {
    const std::vector<std::vector<uint8_t>> cases = {
        {0x0F, 0x0B},                         // UD2
        {0x0F, 0xB9, 0xC0},                   // UD1
        {0x0F, 0xFF, 0xC0},                   // UD0
        {0x0F, 0x04},                         //
        {0x0F, 0x05},                         // SYSCALL: not in a 32-bit Intel mode
        {0x0F, 0x07},                         // SYSRET
        {0x0F, 0x01, 0xC1},                   // VMCALL
        {0x0F, 0x01, 0xD0},                   // XGETBV
        {0x0F, 0x01, 0xF8},                   // SWAPGS
        {0x0F, 0x38, 0xF0, 0x05, 0, 0, 4, 0}, // MOVBE
        {0x0F, 0xC7, 0xF0},                   // RDRAND
        {0xF3, 0x0F, 0xAE, 0xC0},             // RDFSBASE
        {0xF3, 0x0F, 0xAE, 0xD8},             // WRGSBASE
        {0xC5, 0xF8, 0x58, 0xC0},             // VADDPS
        {0xC4, 0xE2, 0x79, 0x18, 0xC0},       //
        {0x62, 0xF1, 0x7C, 0x48, 0x58, 0xC0}, // EVEX
        {0x8C, 0xF0},                         // MOV from segment register 6
        {0x8E, 0xC8},                         // MOV CS
        {0x8D, 0xC0},                         // LEA register
        {0xC4, 0xC0},                         // LES register
        {0xFE, 0xF8},                         //
        {0xFF, 0xF8},                         // FF /7
        {0xFF, 0xD8 | 0x18},                  // CALL FAR register
        {0xC7, 0xF8, 0, 0, 0, 0},             // XBEGIN
        {0x0F, 0xBA, 0xC0, 0},                // BT group /0
        {0x0F, 0x20, 0xC8},                   // MOV from CR1
        {0x0F, 0x22, 0xE8},                   // MOV CR5
        {0x0F, 0x00, 0xF0},                   // group 6 /6
        {0x8F, 0xC8},                         // XOP space
        {0x66, 0x0F, 0x38, 0x10, 0xC1},       // PBLENDVB (SSE4.1)
        {0x66, 0x0F, 0x38, 0x17, 0xC1},       // PTEST (SSE4.1)
        {0x66, 0x0F, 0x3A, 0x0E, 0xC1, 0},    // PBLENDW (SSE4.1)
        {0x66, 0x0F, 0x38, 0x37, 0xC1},       // PCMPGTQ (SSE4.2)
        {0x0F, 0x01, 0xC8},                   // MONITOR
        {0xF3, 0x0F, 0xB8, 0xC0},             // POPCNT
    };
    for (const auto& bytes : cases) {
        g.fill(kCode, 0xF4, 32);
        g.memory->write(kCode, bytes.data(), bytes.size());
        g.state.eip = kCode;
        CAPTURE(bytes);
        CHECK(g.run() == "#6 at 10000");
    }
}
GUEST_TEST("undefined: more than 15 bytes is #GP(0), 15 is not", "[undefined]") {
    g.fill(kCode, 0x66, 15);
    g.put16(kCode + 15, 0xF490);
    CHECK(g.run() == "#13(0000) at 10000");
    g.put16(kCode + 14, 0xF490);
    CHECK(g.run() == "hlt");
    g.fill(kCode, 0x2E, 20); // across a page too
    g.fill(0x10FF8, 0x26, 15);
    g.state.eip = 0x10FF8;
    CHECK(g.run() == "#13(0000) at 10ff8");
}
GUEST_TEST("undefined: ring 3 may not", "[undefined]") {
    g.user();
    const std::vector<std::vector<uint8_t>> cases = {
        {0xF4},                         // HLT
        {0xFA},                         // CLI
        {0xFB},                         // STI
        {0x0F, 0x20, 0xC0},             // MOV from CR0
        {0x0F, 0x22, 0xD8},             // MOV CR3
        {0x0F, 0x21, 0xC0},             // MOV from DR0
        {0x0F, 0x01, 0x15, 0, 0, 4, 0}, // LGDT
        {0x0F, 0x01, 0x1D, 0, 0, 4, 0}, // LIDT
        {0x0F, 0x01, 0x3D, 0, 0, 4, 0}, // INVLPG
        {0x0F, 0x01, 0xF0},             // LMSW
        {0x0F, 0x00, 0xD0},             // LLDT
        {0x0F, 0x00, 0xD8},             // LTR
        {0x0F, 0x06},                   // CLTS
        {0x0F, 0x08},                   // INVD
        {0x0F, 0x09},                   // WBINVD
        {0x0F, 0x30},                   // WRMSR
        {0x0F, 0x32},                   // RDMSR
        {0x0F, 0x35},                   // SYSEXIT
        {0xE4, 0xE0},                   // IN
        {0xEE},                         // OUT
        {0x6C},                         // INSB
        {0xF3, 0x6F},                   // REP OUTSD
    };
    g.ecx() = 1;
    for (const auto& bytes : cases) {
        g.fill(kCode, 0x90, 32);
        g.memory->write(kCode, bytes.data(), bytes.size());
        g.state.eip = kCode;
        CAPTURE(bytes);
        CHECK(g.run() == "#13(0000) at 10000");
    }
}
GUEST32(user_popf, R"(
    push 0x00037302
    popfd
    pushfd
    pop eax
    int3
)");
GUEST_TEST("undefined: POPF in ring 3 changes neither IF nor IOPL nor VM", "[undefined]") {
    g.user();
    g.state.eflags = 2;
    CHECK(g.run(user_popf).substr(0, 3) == "#1 "); // TF was allowed
    g.state.eflags = 2;
    g.put8(kCode + 2, 0x72);
    g.state.eip = kCode;
    CHECK(g.run().substr(0, 3) == "#3 ");
    CHECK((g.eax() & (eflags::kIf | eflags::kIopl | eflags::kVm)) == 0);
    CHECK((g.eax() & eflags::kNt) != 0);
}
