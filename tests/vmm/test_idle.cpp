// Guests that wait in a loop cost next to nothing; guests that work in one are left alone. Both hook the
// BIOS's timer interrupt and say '.' on COM1 about twice a second of theirs.
#include "tests/vmm/boot_disk.h"

#include <catch2/catch.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <ctime>
#include <mutex>
#include <string>

using namespace vmm;

namespace {

// Boot sectors of which `loop` is what differs. The timer's handler is at 7D00h; at 7D80h, for interrupt 21h,
// is something of an operating system, which lets others run (28h and 2Fh, nobody wants to) and asks the
// BIOS.
#define IDLE_BEFORE                                                                                          \
    "cli\n xor ax, ax\n mov ds, ax\n mov es, ax\n mov ss, ax\n mov sp, 0x7c00\n "                            \
    "mov word ptr [0x1c*4], 0x7d00\n mov [0x1c*4+2], ax\n mov word ptr [0x21*4], 0x7d80\n "                  \
    "mov [0x21*4+2], ax\n mov word ptr [0x28*4], 0x7df0\n mov [0x28*4+2], ax\n "                             \
    "mov word ptr [0x2f*4], 0x7df0\n mov [0x2f*4+2], ax\n mov byte ptr [0x600], 0\n sti\n "
#define IDLE_TIMER                                                                                           \
    ".org 0x100\n push ax\n push dx\n push ds\n xor ax, ax\n mov ds, ax\n "                                  \
    "inc byte ptr [0x600]\n cmp byte ptr [0x600], 9\n jb 9f\n mov byte ptr [0x600], 0\n "                    \
    "mov dx, 0x3f8\n mov al, '.'\n out dx, al\n 9: pop ds\n pop dx\n pop ax\n iret\n "
#define IDLE_SYSTEM                                                                                          \
    ".org 0x180\n sti\n push ds\n push bx\n xor bx, bx\n mov ds, bx\n inc byte ptr [0x602]\n "               \
    "int 0x28\n mov ax, 0x1680\n int 0x2f\n mov ah, 0x11\n int 0x16\n pushf\n dec byte ptr [0x602]\n "       \
    "popf\n "                                                                                                \
    "pop bx\n pop ds\n retf 2\n .org 0x1f0\n iret\n .org 510\n .byte 0x55, 0xaa\n "
#define IDLE_GUEST(name, loop) GUEST16(name, IDLE_BEFORE loop IDLE_TIMER IDLE_SYSTEM)

#define SAY_KEY "mov dx, 0x3f8\n out dx, al\n jmp 1b\n"

IDLE_GUEST(asks_bios, "1: mov ah, 1\n int 0x16\n jz 1b\n mov ah, 0\n int 0x16\n" SAY_KEY);
IDLE_GUEST(asks_dos, "1: mov ah, 0x0b\n int 0x21\n jz 1b\n mov ah, 0x10\n int 0x16\n" SAY_KEY);
// As MS-DOS does, which looks at the clock after so many turns.
IDLE_GUEST(asks_dos_and_counts,
           "1: inc word ptr [0x5000]\n mov ah, 0x0b\n int 0x21\n jz 1b\n mov ah, 0x10\n int 0x16\n" SAY_KEY);
// The keyboard's own interrupt is off.
IDLE_GUEST(asks_controller, R"(
    in al, 0x21
    or al, 2
    out 0x21, al
1:  in al, 0x64
    test al, 1
    jz 1b
    in al, 0x60
)" SAY_KEY);
// All interrupts are off; 'k' for each byte that is no answer.
IDLE_GUEST(asks_without_interrupts, R"(
    mov dx, 0x3f8
    mov al, '.'
    out dx, al
    cli
1:  in al, 0x64
    test al, 1
    jz 1b
    in al, 0x60
    mov al, 'k'
)" SAY_KEY);

// What counts is in a register, in memory, in the x87 unit, or in a device.
IDLE_GUEST(counts_in_register, "1: inc ecx\n mov ah, 1\n int 0x16\n jz 1b\n hlt\n");
IDLE_GUEST(counts_in_memory, "1: inc dword ptr [0x5000]\n mov ah, 1\n int 0x16\n jz 1b\n hlt\n");
IDLE_GUEST(counts_in_x87,
           "fninit\n fldz\n fld1\n1: fadd st(1), st(0)\n mov ah, 1\n int 0x16\n jz 1b\n hlt\n");
IDLE_GUEST(draws, R"(
    mov ax, 0xb800
    mov es, ax
1:  inc byte ptr es:[158]
    mov ah, 1
    int 0x16
    jz 1b
    hlt
)");
IDLE_GUEST(watches_clock, R"(
1:  rdtsc
    xor eax, eax
    xor edx, edx
    mov ah, 1
    int 0x16
    jz 1b
    hlt
)");
IDLE_GUEST(watches_port, "1: in al, 0x61\n mov ax, 0x100\n int 0x16\n jz 1b\n hlt\n");

class Console final : public CharPort {
  public:
    void send(uint8_t byte) override {
        const std::lock_guard lock(mutex_);
        said_ += static_cast<char>(byte);
        more_.notify_all();
    }
    // Waits until it has been said so many times.
    bool hears(char wanted, size_t times) {
        std::unique_lock lock(mutex_);
        return more_.wait_for(lock, std::chrono::minutes(1), [&] {
            return std::count(said_.begin(), said_.end(), wanted) >= static_cast<std::ptrdiff_t>(times);
        });
    }
    std::string said() {
        const std::lock_guard lock(mutex_);
        return said_;
    }

  private:
    std::mutex mutex_;
    std::condition_variable more_;
    std::string said_;
};

struct Guest {
    std::shared_ptr<Console> console = std::make_shared<Console>();
    std::unique_ptr<Machine> machine;

    explicit Guest(const guest::Snippet& code) {
        MachineConfig config = booting(code);
        config.platform.serial = console;
        machine = Machine::create(std::move(config)).value();
        machine->start();
        REQUIRE(console->hears('.', 1));
    }
    [[nodiscard]] uint64_t loops_found() const {
        const std::string text = machine->statistics();
        unsigned long found = 0;
        REQUIRE(std::sscanf(text.c_str() + text.rfind("idle loops"), "idle loops found %lu", &found) == 1);
        return found;
    }
    void press(uint16_t key) {
        machine->key({key, true});
        machine->key({key, false});
    }
};

// Of this process, in which only the guest has anything to do.
double processor_seconds() {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

constexpr uint16_t kKeyA = 0x1E;
// In truth it is about a hundredth.
constexpr double kMostShare = 0.1;

// The share of a processor that a guest takes while it says so many dots.
double share(Guest& guest, size_t dots) {
    const auto said = guest.console->said();
    const auto before = static_cast<size_t>(std::count(said.begin(), said.end(), '.'));
    REQUIRE(guest.console->hears('.', before + 1));
    const double start = processor_seconds();
    const uint64_t time = guest.machine->activity().time_ns;
    REQUIRE(guest.console->hears('.', before + 1 + dots));
    const double seconds = 1e-9 * static_cast<double>(guest.machine->activity().time_ns - time);
    return (processor_seconds() - start) / seconds;
}

} // namespace

TEST_CASE("idle: a guest that asks for a key costs little, and gets it", "[idle]") {
    for (const guest::Snippet& code : {asks_bios, asks_dos, asks_dos_and_counts, asks_controller}) {
        Guest guest(code);
        const double taken = share(guest, 2);
        std::printf("waiting: %.2f %% of a processor\n", 100 * taken);
        CHECK(taken < kMostShare);
        CHECK(guest.loops_found() > 10);
        for (size_t i = 1; i <= 3; ++i) {
            guest.press(kKeyA);
            CHECK(guest.console->hears(code.first == asks_controller.first ? '\x1e' : 'a', i));
        }
        CHECK(share(guest, 2) < kMostShare); // and goes on so
    }
}

TEST_CASE("idle: a key ends a wait with interrupts off", "[idle]") {
    Guest guest(asks_without_interrupts);
    while (guest.loops_found() == 0) {
    }
    for (size_t i = 1; i <= 3; ++i) {
        guest.press(kKeyA);
        CHECK(guest.console->hears('k', 2 * i));
    }
    CHECK(guest.machine->exit_reason() == ExitReason::None); // it has not halted for good
}

TEST_CASE("idle: a guest that does something between two questions is not put to sleep", "[idle]") {
    for (const guest::Snippet& code :
         {counts_in_register, counts_in_memory, counts_in_x87, draws, watches_clock, watches_port}) {
        CAPTURE(code.first - counts_in_register.first);
        Guest guest(code);
        REQUIRE(guest.console->hears('.', 2));
        CHECK(guest.loops_found() == 0);
    }
}

TEST_CASE("idle: what a guest found waiting is, goes with its state", "[idle]") {
    Guest guest(asks_bios);
    guest.machine->pause();
    const auto state = guest.machine->save_state();
    REQUIRE(state);
    REQUIRE(guest.machine->load_state(*state));
    guest.machine->start();
    guest.press(kKeyA);
    CHECK(guest.console->hears('a', 1));
    CHECK(share(guest, 1) < kMostShare);
}
