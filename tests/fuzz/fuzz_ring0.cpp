// A guest that means harm, with all a kernel may do and every device there is: random ring-0 programs
// (ring0_program.h) on a whole machine. Whatever it does, the process neither ends nor grows, answers
// within half a second of processor time, and a revert makes everything as it was.
//
// Input: the program's operations.
#include "tests/fuzz/ring0_program.h"
#include "tests/vmm/boot_disk.h"
#include "tests/vmm/devices/memory_block_port.h"
#include "vmm/base/verify.h"

#include <chrono>
#include <ctime>
#include <fstream>
#include <mutex>
#include <thread>
#include <unordered_map>

using namespace vmm;

namespace {

// Into flat protected mode; says R and waits.
GUEST16(wait_for_program, R"(
    cli
    xor ax, ax
    mov ds, ax
    mov dword ptr [0x6000], 0
    mov word ptr [0x6100], 0x17
    mov dword ptr [0x6102], 0x7c60
    lgdt [0x6100]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea
    .long 0x7c80
    .word 8
    .org 0x60
    .long 0, 0
    .long 0x0000ffff, 0x00cf9b00
    .long 0x0000ffff, 0x00cf9300
    .org 0x80
    .code32
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    mov esp, 0x7f000
    mov dx, 0x3f8
    mov al, 'R'
    out dx, al
1:  pause
    cmp dword ptr [0x6000], 0
    je 1b
    mov eax, 0x10000
    jmp eax
    .org 510
    .byte 0x55, 0xaa
)");

class Ready final : public CharPort {
  public:
    void send(uint8_t byte) override { ready = ready || byte == 'R'; }
    std::atomic<bool> ready = false;
};

// What is sent comes back.
class Mirror final : public NetworkPort {
  public:
    bool send(std::span<const uint8_t> frame) override {
        VERIFY(frame.size() <= kMaxFrame);
        frame_.assign(frame.begin(), frame.end());
        return true;
    }
    size_t receive(std::span<uint8_t, kMaxFrame> frame) override {
        const size_t size = frame_.size();
        std::ranges::copy(frame_, frame.begin());
        frame_.clear();
        return size;
    }
    void set_ready(std::function<void()>) override {}
    void disconnect() override { frame_.clear(); }

  private:
    std::vector<uint8_t> frame_;
};

class Listener final : public AudioPort {
  public:
    void play(std::span<const int16_t> samples, uint32_t) override { VERIFY(samples.size() % 2 == 0); }
    void silence() override {}
};

class Copied final : public PageSource {
  public:
    explicit Copied(GuestMemory& memory) : bytes_(memory.data(), memory.data() + memory.ram_bytes()) {}
    base::Result<void> read(uint32_t page, std::span<uint8_t> to) override {
        std::copy_n(bytes_.begin() + (static_cast<ptrdiff_t>(page) << kPageShift), to.size(), to.begin());
        return {};
    }

  private:
    std::vector<uint8_t> bytes_;
};

MachineConfig everything(const std::shared_ptr<CharPort>& serial) {
    MachineConfig config = booting(wait_for_program);
    constexpr uint64_t kMedium = 1 << 20, kFloppy = 1440 << 10;
    config.platform.media.push_back({MediumKind::Disk, std::make_shared<MemoryBlockPort>(kMedium)});
    config.platform.media.push_back({MediumKind::Cdrom, std::make_shared<MemoryBlockPort>(kMedium)});
    config.platform.media.push_back({MediumKind::Floppy, std::make_shared<MemoryBlockPort>(kFloppy)});
    config.platform.vram_bytes = 1u << 20;
    config.platform.serial = serial;
    config.platform.sound = config.platform.network_card = true;
    config.platform.audio = std::make_shared<Listener>();
    config.platform.network = std::make_shared<Mirror>();
    config.verify_containment = true;
    return config;
}

// The machine at the moment where it waits for its program.
class Prepared {
  public:
    Prepared() {
        auto serial = std::make_shared<Ready>();
        auto machine = Machine::create(everything(serial));
        VERIFY(machine);
        (*machine)->start();
        for (int i = 0; i < 6000 && !serial->ready; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        VERIFY(serial->ready);
        (*machine)->pause();
        for (const ring0::Bytes& part : ring0::surroundings())
            (*machine)->memory().write(part.at, part.bytes.data(), part.bytes.size());
        auto state = (*machine)->save_scene_state();
        VERIFY(state);
        state_ = *state;
        memory_ = std::make_shared<Copied>((*machine)->memory());
    }
    [[nodiscard]] std::unique_ptr<Machine> open() const {
        auto machine = Machine::create(everything(std::make_shared<Ready>()));
        VERIFY(machine);
        SavedMachine saved;
        saved.state = state_;
        saved.memory = memory_;
        VERIFY((*machine)->open_at(std::move(saved)));
        return std::move(*machine);
    }

  private:
    std::vector<uint8_t> state_;
    std::shared_ptr<PageSource> memory_;
};

// Half a second, of the processor's time: the clock's would depend on what else the host does.
template <class F> void answers(F&& request) {
    constexpr std::clock_t kLongest = CLOCKS_PER_SEC / 2;
#ifdef ENCORE_SLOWED // by sanitizers
    constexpr int kSlower = 10;
#else
    constexpr int kSlower = 1;
#endif
    const std::clock_t began = std::clock();
    request();
    VERIFY(std::clock() - began < kLongest * kSlower);
}

size_t mappings() {
    std::ifstream maps("/proc/self/maps");
    return static_cast<size_t>(std::count(std::istreambuf_iterator<char>(maps), {}, '\n'));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const Prepared prepared;
    static std::unique_ptr<Machine> machine;
    static unsigned runs = 0;
    if (machine == nullptr || machine->has_ended())
        machine = prepared.open();

    const std::vector<uint8_t> program = ring0::program({data, size});
    machine->memory().write(ring0::kProgram, program.data(), program.size());
    const uint32_t go = ring0::kWaiting;
    machine->memory().write(ring0::kGo, &go, sizeof go);
    machine->start();
    // Until it has begun, which a busy host may take its time for; then as long as most programs take.
    const volatile uint8_t* begun = machine->memory().data() + ring0::kGo;
    for (int i = 0; i < 20'000 && *begun == ring0::kWaiting; ++i)
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    VERIFY(*begun != ring0::kWaiting);
    std::this_thread::sleep_for(std::chrono::microseconds(1000));
    answers([] { (void)machine->picture(); });
    answers([] { (void)machine->text_screen(); });
    answers([] { machine->key({0x1E, true}); });
    answers([] { (void)machine->activity(); });
    answers([] { machine->pause(); });
    if (machine->has_ended()) { // turned off by its guest, which may
        VERIFY(machine->exit_reason() != ExitReason::HostError);
        return 0;
    }
    answers([] { VERIFY(machine->save_state()); });
    answers([] { VERIFY(machine->revert()); });
    const auto difference = machine->state_difference();
    VERIFY(difference && difference->empty());
    constexpr unsigned kBetween = 256;
    constexpr size_t kMostMappings = 30'000;
    if (++runs % kBetween == 0)
        VERIFY(mappings() < kMostMappings);
    return 0;
}
