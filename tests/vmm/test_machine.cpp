// The machine as one object: what its threads do to one another.
#include "tests/vmm/boot_disk.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <future>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

using namespace vmm;

namespace {

// A boot sector that asks the first drives of both IDE channels for their sector 8 and waits for neither.
GUEST16(two_reads, R"(
    mov dx, 0x1f2
    call 1f
    mov dx, 0x172
    call 1f
    cli
2:  hlt
    jmp 2b
1:  mov al, 1                  # one sector
    out dx, al
    inc dx
    mov al, 8                  # LBA 8
    out dx, al
    inc dx
    xor al, al
    out dx, al
    inc dx
    out dx, al
    inc dx
    mov al, 0xe0
    out dx, al
    inc dx
    mov al, 0x20               # READ SECTORS
    out dx, al
    ret
    .org 510
    .byte 0x55, 0xaa
)");

// With the BIOS's CR0, which leaves NE clear: an x87 error reaches the BIOS's handler of IRQ 13, which writes
// port F0h and calls interrupt 2. That one is ours: it says E on COM1 and clears the error; afterwards the
// program says K.
GUEST16(math_error, R"(
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7c00
    mov word ptr [8], 0x7c60
    mov word ptr [10], ax
    fninit
    fnstcw [0x600]
    and word ptr [0x600], 0xfffb
    fldcw [0x600]
    sti
    fldz
    fld1
    fdiv st(0), st(1)
    fwait
    mov dx, 0x3f8
    mov al, 'K'
    out dx, al
1:  hlt
    jmp 1b
    .org 0x60
    push ax
    push dx
    mov dx, 0x3f8
    mov al, 'E'
    out dx, al
    fnclex
    pop dx
    pop ax
    iret
    .org 510
    .byte 0x55, 0xaa
)");

// Says H and halts for good.
GUEST16(halt_for_good, R"(
    cli
    mov dx, 0x3f8
    mov al, 'H'
    out dx, al
1:  hlt
    jmp 1b
    .org 510
    .byte 0x55, 0xaa
)");

// An exception with no table to find its handler in, nor that of the double fault.
GUEST16(triple_fault, R"(
    xor ax, ax
    mov ds, ax
    mov word ptr [0x600], ax
    mov word ptr [0x602], ax
    mov word ptr [0x604], ax
    lidt [0x600]
    int3
    .org 510
    .byte 0x55, 0xaa
)");

// What COM1 says, until it has said so many bytes.
class Listener final : public CharPort {
  public:
    explicit Listener(size_t bytes) : bytes_(bytes) {}
    void send(uint8_t byte) override {
        said_ += static_cast<char>(byte);
        if (said_.size() == bytes_)
            heard.set_value(said_);
    }
    std::promise<std::string> heard;

  private:
    size_t bytes_;
    std::string said_;
};

// A wire that is never quiet.
class BusyWire final : public NetworkPort {
  public:
    bool send(std::span<const uint8_t>) override { return true; }
    size_t receive(std::span<uint8_t, kMaxFrame> frame) override {
        std::fill_n(frame.begin(), 60, uint8_t{0});
        return 60;
    }
    void set_ready(std::function<void()> call) override { ready = std::move(call); }
    void disconnect() override {}
    std::function<void()> ready;
};

// A disk with the boot sector `two_reads` whose reads of sector 8 take until it is told to go on.
class SlowDisk final : public BlockPort {
  public:
    [[nodiscard]] uint64_t size_bytes() const override { return 1u << 20; }
    [[nodiscard]] bool read_only() const override { return false; }
    base::Result<void> read(uint64_t offset, std::span<uint8_t> to) override {
        put_boot_code(two_reads, offset, to);
        if (offset == kSlowSector * 512) {
            reading.set_value(::gettid());
            go_on.get_future().wait();
        }
        return {};
    }
    base::Result<void> write(uint64_t, std::span<const uint8_t>) override { return {}; }
    base::Result<void> flush() override { return {}; }

    std::promise<pid_t> reading; // the thread that reads
    std::promise<void> go_on;

  private:
    static constexpr uint64_t kSlowSector = 8;
};

// Whether that thread of this process waits for something, and has for a while.
bool rests(pid_t thread) {
    constexpr int kLooks = 50;
    for (int look = 0; look < kLooks; ++look) {
        std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
        const std::string line(std::istreambuf_iterator<char>(file), {});
        const size_t name = line.rfind(") "); // the state follows the name
        if (name == std::string::npos || line.at(name + 2) != 'S')
            return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

pid_t thread_in(SlowDisk& disk) {
    auto reading = disk.reading.get_future();
    REQUIRE(reading.wait_for(std::chrono::seconds(60)) == std::future_status::ready);
    return reading.get();
}

} // namespace

// While the secondary channel's disk holds up its taking apart, a request on the primary ends and wakes the
// machine.
TEST_CASE("machine: a disk request that ends while it is taken apart finds an engine", "[machine]") {
    const auto first = std::make_shared<SlowDisk>(), third = std::make_shared<SlowDisk>();
    MachineConfig config;
    config.platform.ram_bytes = 16u << 20;
    for (const auto& disk : {first, std::make_shared<SlowDisk>(), third})
        config.platform.media.push_back({MediumKind::Disk, disk});
    config.platform.boot_order = {BootDevice::Disk};
    auto machine = Machine::create(config);
    REQUIRE(machine);
    (*machine)->start();
    const pid_t worker = thread_in(*first);
    thread_in(*third);
    (*machine)->stop();
    REQUIRE((*machine)->wait(60000) == ExitReason::Stopped);
    std::promise<pid_t> thread;
    std::atomic<bool> gone{false};
    std::thread undoing([&] {
        thread.set_value(::gettid());
        machine->reset();
        gone = true;
    });
    const pid_t undoer = thread.get_future().get();
    while (!gone && !rests(undoer)) {
    }
    CHECK_FALSE(gone); // it waits for the third disk
    first->go_on.set_value();
    while (!rests(worker)) { // Machine::Impl::kick() VERIFYs that there is an engine
    }
    CHECK_FALSE(gone);
    third->go_on.set_value();
    undoing.join();
    CHECK(gone);
}

TEST_CASE("machine: without a timer for its processor it says so and goes away", "[machine]") {
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_SIGPENDING, &before) == 0);
    const rlimit none{0, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_SIGPENDING, &none) == 0);
    MachineConfig config;
    config.platform.ram_bytes = 16u << 20;
    const auto machine = Machine::create(config);
    REQUIRE(::setrlimit(RLIMIT_SIGPENDING, &before) == 0);
    REQUIRE_FALSE(machine);
    CHECK(machine.error().message.starts_with("cannot make a timer for the virtual processor"));
}

TEST_CASE("machine: an x87 error is IRQ 13 while CR0.NE is clear, and the BIOS passes it on", "[machine]") {
    const auto serial = std::make_shared<Listener>(2);
    MachineConfig config = booting(math_error);
    config.platform.serial = serial;
    auto machine = Machine::create(config);
    REQUIRE(machine);
    auto heard = serial->heard.get_future();
    (*machine)->start();
    REQUIRE(heard.wait_for(std::chrono::seconds(60)) == std::future_status::ready);
    CHECK(heard.get() == "EK");
    while ((*machine)->activity().halted_ns == 0) {
    }
    CHECK((*machine)->exit_reason() == ExitReason::None); // it waits, and its interrupts come
}

// The card takes 64 frames an event and posts the next.
TEST_CASE("machine: whoever asks it is answered while events post events, running or at rest", "[machine]") {
    const auto wire = std::make_shared<BusyWire>();
    MachineConfig config;
    config.platform.ram_bytes = 16u << 20;
    config.platform.network_card = true;
    config.platform.network = wire;
    auto created = Machine::create(config);
    REQUIRE(created);
    Machine& machine = **created;
    wire->ready();
    std::atomic<bool> enough{false};
    std::promise<void> rested;
    auto all_rested = rested.get_future();
    std::thread restless([&] {
        for (int i = 0; i < 100; ++i) { // long enough for a question that came too late to be looked at
            machine.start();
            std::this_thread::sleep_for(std::chrono::microseconds(100 + i));
            machine.pause();
            std::this_thread::sleep_for(std::chrono::milliseconds(25));
        }
        machine.start();
        enough = true;
        rested.set_value();
    });
    std::promise<void> asked;
    auto all_answered = asked.get_future();
    std::thread curious([&] {
        while (!enough)
            (void)machine.activity();
        asked.set_value();
    });
    for (auto* done : {&all_rested, &all_answered})
        if (done->wait_for(std::chrono::seconds(60)) != std::future_status::ready) {
            std::fputs("machine: a question or a pause was never answered\n", stderr);
            std::_Exit(1); // the threads will not end
        }
    restless.join();
    curious.join();
    CHECK(machine.exit_reason() == ExitReason::None);
}

TEST_CASE("machine: a halt that no interrupt can end is told, and a reset or another state ends it",
          "[machine]") {
    MachineConfig config = booting(halt_for_good);
    config.platform.serial = std::make_shared<Listener>(3);
    auto created = Machine::create(config);
    REQUIRE(created);
    Machine& machine = **created;
    const auto halts = [&] { return machine.wait(60000) == ExitReason::GuestHang; };
    machine.start();
    REQUIRE(halts());
    CHECK(machine.exit_reason() == ExitReason::GuestHang);
    CHECK_FALSE(machine.has_ended());
    CHECK(machine.text_screen().find("Booting") != std::string::npos); // it can be looked at
    machine.key({0x1E, true});                                         // and nothing wakes it
    machine.power_button();
    CHECK(machine.reset_count() == 0);
    machine.pause();
    CHECK(machine.wait(0) == ExitReason::None); // at rest because that was wanted
    const auto state = machine.save_state();
    REQUIRE(state);
    machine.start();
    REQUIRE(halts());
    machine.reset();
    while (machine.reset_count() == 0) {
    }
    REQUIRE(halts());
    machine.pause();
    REQUIRE(machine.load_state(*state));
    CHECK(machine.exit_reason() == ExitReason::None);
    machine.start();
    REQUIRE(halts());
    machine.stop();
    CHECK(machine.wait(60000) == ExitReason::Stopped);
    CHECK(machine.has_ended());
}

TEST_CASE("machine: a triple fault is a reset, and a hang where a reset ends the machine", "[machine]") {
    auto created = Machine::create(booting(triple_fault));
    REQUIRE(created);
    (*created)->start();
    while ((*created)->reset_count() < 2) {
    }
    CHECK((*created)->exit_reason() == ExitReason::None);
    MachineConfig config = booting(triple_fault);
    config.reset_ends_machine = true;
    auto ending = Machine::create(config);
    REQUIRE(ending);
    (*ending)->start();
    CHECK((*ending)->wait(60000) == ExitReason::GuestHang);
    CHECK((*ending)->has_ended());
}

// Clocks reckon with signed 64 bits: a state whose time is close to their end is nobody's.
TEST_CASE("machine: an impossible saved time is refused, and at the latest one timers still fire",
          "[machine]") {
    MachineConfig config;
    config.platform.ram_bytes = 16u << 20;
    auto machine = Machine::create(config);
    REQUIRE(machine);
    const auto saved = (*machine)->save_state();
    REQUIRE(saved);
    const auto with = [](std::vector<uint8_t> state, std::string_view name, uint64_t value) {
        const auto found = std::search(state.begin(), state.end(), name.begin(), name.end());
        REQUIRE(found != state.end());
        const auto at = static_cast<size_t>(found - state.begin()) + name.size() + sizeof(uint32_t);
        std::memcpy(&state.at(at), &value, sizeof value);
        return state;
    };
    for (const uint64_t time : {uint64_t{INT64_MAX}, UINT64_MAX, Clock::kLongestSaved + 1}) {
        const auto loaded = (*machine)->load_state(with(*saved, "now_ns", time));
        REQUIRE_FALSE(loaded);
        CHECK(loaded.error().message.find("damaged") != std::string::npos);
    }
    auto latest = with(*saved, "now_ns", Clock::kLongestSaved);
    latest = with(with(latest, "offset", INT64_MAX), "next_overflow", UINT64_MAX);
    REQUIRE((*machine)->load_state(latest));
    (*machine)->start();
    while ((*machine)->text_screen().find("SeaBIOS") == std::string::npos)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    (*machine)->pause();
    CHECK((*machine)->save_state());
}
