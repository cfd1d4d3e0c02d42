// The machine's interrupt controllers as guests use them, firmware's tables included.
#include "tests/vmm/boot_disk.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <string>

using namespace vmm;

namespace {

// Boot sectors that fetch what follows them, and go on at 7C80h in flat 32-bit code with GDT and IDT (at
// 1000h, to be filled) and a stack. Interrupts are disabled. What they may call: 7 says AL on COM1, 8 sets
// the gate of vector EAX to EDX, and 9 programs the PIT for a hundred ticks a second.
#define BOOT32                                                                                               \
    "    cli\n"                                                                                              \
    "    xor ax, ax\n"                                                                                       \
    "    mov ds, ax\n"                                                                                       \
    "    mov es, ax\n"                                                                                       \
    "    mov ss, ax\n"                                                                                       \
    "    mov sp, 0x7c00\n"                                                                                   \
    "    mov ax, 0x0203\n"                                                                                   \
    "    mov cx, 2\n"                                                                                        \
    "    xor dh, dh\n"                                                                                       \
    "    mov bx, 0x7e00\n"                                                                                   \
    "    int 0x13\n"                                                                                         \
    "    lgdt [0x7c50]\n"                                                                                    \
    "    lidt [0x7c58]\n"                                                                                    \
    "    mov eax, cr0\n"                                                                                     \
    "    or al, 1\n"                                                                                         \
    "    mov cr0, eax\n"                                                                                     \
    "    .byte 0xea\n"                                                                                       \
    "    .word 0x7c80, 8\n"                                                                                  \
    "    .org 0x50\n"                                                                                        \
    "    .word 0x17\n"                                                                                       \
    "    .long 0x7c60\n"                                                                                     \
    "    .org 0x58\n"                                                                                        \
    "    .word 0x7ff\n"                                                                                      \
    "    .long 0x1000\n"                                                                                     \
    "    .org 0x60\n"                                                                                        \
    "    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n"                                                  \
    "    .org 0x80\n"                                                                                        \
    "    .code32\n"                                                                                          \
    "    mov ax, 0x10\n"                                                                                     \
    "    mov ds, ax\n"                                                                                       \
    "    mov es, ax\n"                                                                                       \
    "    mov ss, ax\n"                                                                                       \
    "    mov esp, 0x7000\n"                                                                                  \
    "    jmp 1f\n"                                                                                           \
    "7:\n"                                                                                                   \
    "    push edx\n"                                                                                         \
    "    mov dx, 0x3f8\n"                                                                                    \
    "    out dx, al\n"                                                                                       \
    "    pop edx\n"                                                                                          \
    "    ret\n"                                                                                              \
    "8:\n"                                                                                                   \
    "    lea eax, [0x1000 + 8 * eax]\n"                                                                      \
    "    mov word ptr [eax], dx\n"                                                                           \
    "    mov word ptr [eax + 2], 8\n"                                                                        \
    "    shr edx, 16\n"                                                                                      \
    "    shl edx, 16\n"                                                                                      \
    "    mov dh, 0x8e\n"                                                                                     \
    "    mov [eax + 4], edx\n"                                                                               \
    "    ret\n"                                                                                              \
    "9:\n"                                                                                                   \
    "    mov al, 0x34\n"                                                                                     \
    "    out 0x43, al\n"                                                                                     \
    "    mov al, 0x9c\n"                                                                                     \
    "    out 0x40, al\n"                                                                                     \
    "    mov al, 0x2e\n"                                                                                     \
    "    out 0x40, al\n"                                                                                     \
    "    ret\n"                                                                                              \
    "    .org 0x1fe\n"                                                                                       \
    "    .byte 0x55, 0xaa\n"                                                                                 \
    "1:\n"

// Believes the MP table (MultiProcessor Specification 1.4, chapter 4): says what is missing, or P when it has
// found where the timer's interrupt is wired, T after ten ticks by way of the IO-APIC, and L after ten of the
// local APIC's timer; and then a dot for each ten more.
GUEST16(believer, BOOT32 R"(
    mov esi, 0xf0000
1:  cmp dword ptr [esi], 0x5f504d5f
    je 1f
    add esi, 16
    cmp esi, 0x100000
    jb 1b
    mov al, 'm'
    call 7b
    hlt
1:  mov edi, [esi + 4]
    test byte ptr [esi + 12], 0x80
    jz 1f
    mov al, 0x70               # IMCR: the 8259 pair is cut off
    out 0x22, al
    mov al, 1
    out 0x23, al
1:  mov ebp, [edi + 0x24]      # the local APIC
    movzx ecx, word ptr [edi + 0x22]
    lea esi, [edi + 0x2c]
    xor edi, edi               # the IO-APIC
    mov ebx, 0xffff            # BL: the ISA bus, BH: the timer's pin
1:  mov al, [esi]
    cmp al, 1
    jne 2f
    cmp word ptr [esi + 2], 0x5349 # "ISA"
    jne 2f
    mov bl, [esi + 1]
2:  cmp al, 2
    jne 2f
    mov edi, [esi + 4]
2:  cmp al, 3
    jne 2f
    cmp byte ptr [esi + 1], 0
    jne 2f
    cmp [esi + 4], bl
    jne 2f
    cmp byte ptr [esi + 5], 0
    jne 2f
    mov bh, [esi + 7]
2:  cmp al, 0
    jne 2f
    add esi, 12
2:  add esi, 8
    dec ecx
    jnz 1b
    mov al, 'p'
    test edi, edi
    jz 1f
    cmp bh, 0xff
    je 1f
    mov al, 'P'
1:  call 7b
    mov al, 0xff               # the 8259 pair asks for nothing
    out 0x21, al
    out 0xa1, al
    mov eax, 0x40
    mov edx, 0x8200
    call 8b
    mov eax, 0x41
    mov edx, 0x8200
    call 8b
    mov dword ptr [ebp + 0xf0], 0x1ff
    movzx eax, bh
    lea eax, [eax + eax + 0x10]
    mov [edi], eax
    mov dword ptr [edi + 0x10], 0x40
    inc eax
    mov [edi], eax
    mov eax, [ebp + 0x20]      # to this processor
    mov [edi + 0x10], eax
    call 9b
    mov ecx, 10
    sti
1:  hlt
    jecxz 1f
    jmp 1b
1:  cli
    mov al, 'T'
    call 7b
    movzx eax, bh
    lea eax, [eax + eax + 0x10]
    mov [edi], eax
    mov dword ptr [edi + 0x10], 0x10040
    mov dword ptr [ebp + 0x3e0], 0xb
    mov dword ptr [ebp + 0x320], 0x20041
    mov dword ptr [ebp + 0x380], 66000
    mov al, 'L'
2:  mov ecx, 10
    sti
1:  hlt
    jecxz 1f
    jmp 1b
1:  cli
    call 7b
    mov al, '.'
    jmp 2b
    .org 0x600, 0x90
    jecxz 1f                   # the handler: ECX counts down, and stays at none
    dec ecx
1:  mov dword ptr [ebp + 0xb0], 0
    iretd
)");

// The timer makes non-maskable interrupts by way of LINT0 while the processor halts with interrupts disabled,
// as a watchdog does: an N for each of three, then H, and no more.
GUEST16(watchdog, BOOT32 R"(
    mov eax, 2
    mov edx, 0x8200
    call 8b
    mov ebp, 0xfee00000
    mov dword ptr [ebp + 0xf0], 0x1ff
    mov dword ptr [ebp + 0x350], 0x400
    mov al, 0xfe
    out 0x21, al
    call 9b
    mov ecx, 3
1:  hlt
    jecxz 1f
    jmp 1b
1:  mov dword ptr [ebp + 0x350], 0x10400
    mov al, 'H'
    call 7b
2:  hlt
    jmp 2b
    .org 0x600, 0x90
    jecxz 1f
    dec ecx
    mov al, 'N'
    call 7b
1:  iretd
)");

// Halts for good as systems do that have set up LINT1, where this machine has nothing.
GUEST16(nothing_on_lint1, BOOT32 R"(
    mov ebp, 0xfee00000
    mov dword ptr [ebp + 0xf0], 0x1ff
    mov dword ptr [ebp + 0x360], 0x400
    mov al, 'H'
    call 7b
1:  hlt
    jmp 1b
    .org 0x600
)");

// At each tick of the BIOS, A if CPUID promises a local APIC, else a.
GUEST16(ticks, R"(
    sti
1:  hlt
    mov eax, 1
    cpuid
    mov al, 'a'
    test dh, 2
    jz 2f
    mov al, 'A'
2:  mov dx, 0x3f8
    out dx, al
    jmp 1b
    .org 510
    .byte 0x55, 0xaa
)");

// What COM1 says.
class Listener final : public CharPort {
  public:
    void send(uint8_t byte) override {
        const std::lock_guard lock(mutex_);
        said_ += static_cast<char>(byte);
        more_.notify_all();
    }
    // Forgets what was said before; false after a minute without all of it.
    bool hears(const std::string& what) {
        std::unique_lock lock(mutex_);
        const bool heard = more_.wait_for(lock, std::chrono::minutes(1),
                                          [&] { return said_.find(what) != std::string::npos; });
        INFO("heard: " << said_);
        CHECK(heard);
        said_.clear();
        return heard;
    }

  private:
    std::mutex mutex_;
    std::condition_variable more_;
    std::string said_;
};

struct Pc {
    explicit Pc(const guest::Snippet& code) {
        MachineConfig config = booting(code);
        config.platform.serial = serial;
        machine = Machine::create(config).value();
        machine->start();
    }
    std::shared_ptr<Listener> serial = std::make_shared<Listener>();
    std::unique_ptr<Machine> machine;
};

// A saved state without some of its sections, as an earlier version made it.
std::vector<uint8_t> without(const std::vector<uint8_t>& state,
                             std::initializer_list<std::string_view> sections) {
    std::vector<uint8_t> kept;
    bool dropping = false;
    for (size_t at = 0; at < state.size();) {
        const size_t begin = at;
        const char kind = static_cast<char>(state[at]);
        const std::string_view name(reinterpret_cast<const char*>(&state[at + 2]), state[at + 1]);
        at += 2 + name.size();
        if (kind == 'S')
            dropping = std::ranges::count(sections, name) != 0;
        if (kind != 'E') {
            uint32_t number = 0;
            std::memcpy(&number, &state.at(at), sizeof number);
            at += sizeof number + (kind == 'F' ? number : 0);
        }
        if (!dropping)
            kept.insert(kept.end(), state.begin() + static_cast<ptrdiff_t>(begin),
                        state.begin() + static_cast<ptrdiff_t>(at));
    }
    return kept;
}

} // namespace

TEST_CASE("machine: a system that believes the MP table gets its interrupts", "[machine]") {
    Pc pc(believer);
    REQUIRE(pc.serial->hears("PTL"));
    // And so does one that goes on from a saved state.
    pc.machine->pause();
    const auto state = pc.machine->save_state();
    REQUIRE(state);
    pc.machine->start();
    REQUIRE(pc.serial->hears("..."));
    pc.machine->pause();
    REQUIRE(pc.machine->load_state(*state));
    pc.machine->start();
    REQUIRE(pc.serial->hears("..."));
    pc.machine->reset();
    REQUIRE(pc.serial->hears("PTL"));
}

TEST_CASE("machine: a halt that a non-maskable interrupt can end is not for good", "[machine]") {
    Pc pc(watchdog);
    CHECK(pc.machine->wait(60000) == ExitReason::GuestHang);
    CHECK(pc.serial->hears("NNNH"));
}

TEST_CASE("machine: a halt is for good where nothing is wired to LINT1", "[machine]") {
    Pc pc(nothing_on_lint1);
    CHECK(pc.machine->wait(60000) == ExitReason::GuestHang);
    CHECK(pc.serial->hears("H"));
}

TEST_CASE("machine: a state saved before there were APICs goes on without, and a reset brings them",
          "[machine]") {
    Pc pc(ticks);
    REQUIRE(pc.serial->hears("AA"));
    pc.machine->pause();
    const auto state = pc.machine->save_state();
    REQUIRE(state);
    REQUIRE(pc.machine->load_state(without(*state, {"local_apic", "io_apic"})));
    pc.machine->start();
    REQUIRE(pc.serial->hears("aa"));
    pc.machine->reset();
    REQUIRE(pc.serial->hears("AA"));
}
