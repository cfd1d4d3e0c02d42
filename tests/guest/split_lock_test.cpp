// Locked operations that run over a cache line are call-outs; those that do not are none. Each rule here also
// runs in a second engine of this process, whose loads have no guard behind the poll page to find out with.
#include "tests/guest/guest.h"

#include <fmt/format.h>

using namespace vmm;
using namespace vmm::guest;

// Does each LOCK BTS here keep flags that another maker's host would not (vmm/README.md, "One processor")? In
// a block of its own whatever follows might read them. It is a call-out from the first, found by no fault.
static bool pins_bit_tests(const Guest& g) {
    return host_maker() != HostMaker::Intel && g.mode == BlockMode::SingleInstruction;
}

GUEST32(split_lock, R"(
    mov edi, 0x100000
    xor ebp, ebp
    mov esi, 200
1:  lock add word ptr [edi + 0x3f], 1
    mov eax, 1
    lock xadd dword ptr [edi + 0x7d], eax
    mov eax, [edi + 0xf9]
    mov edx, [edi + 0xfd]
    mov ebx, eax
    inc ebx
    mov ecx, edx
    lock cmpxchg8b qword ptr [edi + 0xf9]
    mov ebx, esi
    mov ecx, 0x1f
    stc
    xchg dword ptr [edi + ecx * 8 + 0x46], ebx
    lock not dword ptr [edi + 0x17f]
    adc ebp, 0
    mov ebx, 40
    lock bts dword ptr [edi + 0x1b9], ebx
    lock inc dword ptr ds:[0x10023e]
    push edi
    lea esp, [esp - 8]
    lock dec dword ptr [edi + 0x27f]
    lea esp, [esp + 8]
    pop edi
    dec esi
    jnz 1b
    mov [edi + 0x300], ebp
    hlt
)");
GUEST_TEST("split locks: a locked operation that runs over a cache line is a call-out, of any width",
           "[split_lock]") {
    g.load(split_lock);
    CHECK(g.run() == "hlt");
    CHECK((g.get32(0x10003F) & 0xFFFF) == 200);
    CHECK(g.get32(0x10007D) == 200);
    CHECK(g.get32(0x1000F9) == 200);
    CHECK(g.get32(0x1000FD) == 0);
    CHECK(g.get32(0x10013E) == 1);
    CHECK(g.get32(0x10017F) == 0);
    CHECK(g.get32(0x1001BD) == 0x100);
    CHECK(g.get32(0x10023E) == 200);
    CHECK(g.get32(0x10027F) == 0u - 200);
    CHECK(g.get32(0x100300) == 200);
#ifndef __SANITIZE_ADDRESS__ // there is no guard; all locked operations are call-outs
    const SpecialForms forms = g.engine->special_forms();
    const uint64_t found = pins_bit_tests(g) ? 6 : 7; // the absolute one needs no fault to be known
    CHECK(forms.callouts_made >= found);
    CHECK(forms.needed >= found * 190);
#endif
}

GUEST32(whole_lock, R"(
    mov edi, 0x100000
1:  lock inc dword ptr [edi]
    lock add word ptr [edi + 2], 3
    mov ebx, 32
    lock bts dword ptr [edi + 0x100], ebx
    add edi, 4
    cmp edi, 0x100080
    jb 1b
    mov eax, 0x100035
    lock inc dword ptr [eax + 7]
    lock inc word ptr [eax + 9]
    lock cmpxchg8b qword ptr [eax + 3]
    lock inc byte ptr [eax + 10]
    hlt
)");
GUEST_TEST("split locks: a locked operation within a cache line is none", "[split_lock]") {
    g.load(whole_lock);
    CHECK(g.run() == "hlt");
    CHECK(g.get32(0x10007C) == 0x30001);
    CHECK(g.get32(0x100184 - 4) == 1);
    CHECK(g.engine->special_forms().callouts_made == 0);
}

namespace {

uint64_t callouts_made(const Guest& g) { return g.engine->special_forms().callouts_made; }

// The same in an engine that has the guard, if the host gives it one, and in one that has none.
void in_both_engines(Guest& g, void (*rule)(Guest&, bool guarded)) {
#ifdef __SANITIZE_ADDRESS__
    rule(g, false);
#else
    rule(g, true);
#endif
    Guest second(g.mode);
    INFO("the second engine of this process");
    rule(second, false);
}

constexpr uint32_t kTurns = 101, kOffset = 0xA000;

} // namespace

GUEST16(lock_absolute, R"(
    mov cx, 101
1:  lock inc word ptr ds:[0xa03e]   # up to a line's end
    lock inc word ptr ds:[0xa07f]   # over it
    lock inc dword ptr ds:[0xa0bc]
    lock inc dword ptr ds:[0xa0fd]
    mov bx, 3
    lock xadd word ptr ds:[0xa13f], bx
    mov ebx, 3
    lock xadd dword ptr ds:[0xa144], ebx
    mov ebx, 40
    lock btc word ptr ds:[0xa180], bx
    lock btc dword ptr ds:[0xa1b9], ebx
    mov bx, cx
    xchg word ptr ds:[0xa1ff], bx
    mov eax, ds:[0xa23c]
    mov edx, ds:[0xa240]
    mov ebx, eax
    inc ebx
    mov esi, ecx
    mov ecx, edx
    lock cmpxchg8b qword ptr ds:[0xa23c]
    mov ecx, esi
    dec cx
    jnz 1b
    hlt
)");
static void run_absolute(Guest& g, uint32_t base) {
    CAPTURE(base);
    const uint32_t data = base + kOffset;
    CHECK(g.run() == "hlt");
    CHECK(g.get32(data + 0x3E) == kTurns);
    CHECK(g.get32(data + 0x7F) == kTurns);
    CHECK(g.get32(data + 0xBC) == kTurns);
    CHECK(g.get32(data + 0xFD) == kTurns);
    CHECK(g.get16(data + 0x13F) == 3 * kTurns);
    CHECK(g.get32(data + 0x144) == 3 * kTurns);
    CHECK(g.get32(data + 0x184) == 0x100);
    CHECK(g.get32(data + 0x1BD) == 0x100);
    CHECK(g.get16(data + 0x1FF) == 1);
    CHECK(g.get32(data + 0x23C) == kTurns);
}
GUEST_TEST("split locks: 16-bit code's absolute addresses", "[split_lock]") {
    in_both_engines(g, [](Guest& guest, bool guarded) {
        constexpr uint32_t kAt = 0x5000; // where IP reaches without a base
        guest.set_segment(SegReg::Cs, kFree, descriptor(0, 0xFFFFF, 0x9B, 0x8));
        guest.load(lock_absolute, kAt);
        guest.state.eip = kAt;
        run_absolute(guest, 0);
        CHECK(callouts_made(guest) == 0); // no fault is needed to know
        // By the segment's base the lines are elsewhere. Bits behind one are always a call-out's.
        guest.set_segment(SegReg::Ds, kFree2, descriptor(0x40000, 0xFFFF, 0x93, 0));
        guest.state.eip = kAt;
        run_absolute(guest, 0x40000);
        CHECK(callouts_made(guest) == (guarded ? 5 : 0));
        guest.set_segment(SegReg::Ds, kFree2, descriptor(0x60001, 0xFFFFF, 0x93, 0x8));
        guest.load(lock_absolute, kAt + 0x1000);
        guest.state.eip = kAt + 0x1000;
        run_absolute(guest, 0x60001);
        CHECK(callouts_made(guest) == (guarded ? 9 : 0));
    });
}
GUEST_TEST("split locks: absolute addresses in real mode", "[split_lock]") {
    in_both_engines(g, [](Guest& guest, bool guarded) {
        guest.load(lock_absolute);
        guest.real_mode();
        run_absolute(guest, 0);
        CHECK(callouts_made(guest) == (guarded ? 5 : 0));
    });
}

// The part of an address within a line is the same however far the displacement reaches, and in whichever
// half of memory the registers are.
GUEST_TEST("split locks: displacements of any size", "[split_lock]") {
    in_both_engines(g, [](Guest& guest, bool guarded) {
        struct Form {
            const char* name;
            std::vector<uint8_t> modrm; // with /0, but for the displacement
            Reg reg;
            uint32_t scale;
        };
        const Form forms[] = {
            {"[ecx + n]", {0x81}, Reg::Ecx, 1},
            {"[ebp + n]", {0x85}, Reg::Ebp, 1},
            {"[esp + n]", {0x84, 0x24}, Reg::Esp, 1},
            {"[ecx * 8 + n]", {0x04, 0xCD}, Reg::Ecx, 8},
            {"[ebx + ecx * 4 + n]", {0x84, 0x8B}, Reg::Ecx, 4},
            {"[esp + ecx * 2 + n]", {0x84, 0x4C}, Reg::Ecx, 2},
        };
        struct Operation {
            const char* name;
            std::vector<uint8_t> code;
            uint8_t reg;
            uint32_t bytes;
            bool bits;
        };
        const Operation operations[] = {
            {"inc word", {0x66, 0xF0, 0xFF}, 0, 2, false},
            {"add dword", {0xF0, 0x01}, 2, 4, false},
            {"btc dword", {0xF0, 0x0F, 0xBB}, 2, 4, true},
            {"cmpxchg8b", {0xF0, 0x0F, 0xC7}, 1, 8, false},
        };
        // Around where the displacement, or four times as much, changes its sign or its form.
        const uint32_t displacements[] = {0x7FFFFFFF, 0x80000000, 0x80000001, 0x3FFFFFFF, 0x40000000,
                                          0xBFFFFFFF, 0xC0000000, 0x1FFFFFFD, 0x20000000, 0xE0000000,
                                          0xF0000000, 0xEFFFFFFF, 0xFFFFFFFF, 0x12345678};
        uint32_t at = kCode;
        uint64_t made = callouts_made(guest);
        for (const Form& form : forms)
            for (const Operation& operation : operations)
                for (const uint32_t wanted : displacements)
                    for (const uint32_t target : {kData + 0x30, kData + 0x3E, kData + 0x3F}) {
                        const uint32_t n = wanted + (target - wanted) % form.scale; // up to seven more
                        CAPTURE(form.name);
                        CAPTURE(operation.name);
                        INFO(fmt::format("{:x} behind displacement {:x}", target, n));
                        std::vector<uint8_t> code = operation.code;
                        code.push_back(static_cast<uint8_t>(form.modrm[0] | operation.reg << 3));
                        code.insert(code.end(), form.modrm.begin() + 1, form.modrm.end());
                        for (unsigned byte = 0; byte < 4; ++byte)
                            code.push_back(static_cast<uint8_t>(n >> 8 * byte));
                        code.push_back(0xF4);
                        guest.memory->write(at, code.data(), code.size());
                        guest.state.eip = at;
                        at += 16;
                        guest.fill(kData, 0, 0x80);
                        guest.eax() = guest.ebx() = guest.ecx() = guest.ebp() = guest.esp() = 0;
                        guest.edx() = operation.reg == 2 ? 33 : 0;
                        guest.reg(form.reg) = (target - n) / form.scale;
                        const uint32_t ecx = guest.ecx();
                        CHECK(guest.run() == "hlt");
                        if (operation.bits)
                            CHECK(guest.get32(target + 4) == 2);
                        else if (operation.bytes == 8)
                            CHECK(guest.get32(target + 4) == ecx);
                        else
                            CHECK(guest.get32(target) == (operation.reg == 2 ? 33 : 1));
                        const bool splits =
                            operation.bits ? target % 4 != 0 : target % 64 + operation.bytes > 64;
                        // Bytes beside ESP are expected near it: where the sum wraps it is a call-out's.
                        const int64_t sum = int64_t{guest.esp()} + static_cast<int32_t>(n);
                        const bool wraps = form.reg == Reg::Esp && (sum < 0 || sum >> 32 != 0);
                        const bool pinned = operation.bits && pins_bit_tests(guest);
                        if (guarded && (splits || wraps) && !pinned)
                            ++made;
                        CHECK(callouts_made(guest) == made);
                    }
    });
}
