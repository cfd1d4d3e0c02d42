// The 8042 keyboard controller of a PS/2 (IBM PS/2 Hardware Interface Technical Reference, "Keyboard and
// Auxiliary Device Controller"): ports 60h and 64h, IRQ1 and IRQ12, the A20 gate and the reset line.
#include "vmm/devices/device_list.h"
#include "vmm/devices/ps2_keyboard.h"
#include "vmm/devices/ps2_mouse.h"

#include <algorithm>
#include <array>

namespace vmm {
namespace {

constexpr uint16_t kDataPort = 0x60, kCommandPort = 0x64;
constexpr unsigned kKeyboardIrq = 1, kMouseIrq = 12;

// Status register.
constexpr uint8_t kOutputFull = 0x01, kSystemFlag = 0x04, kLastWasCommand = 0x08, kNotLocked = 0x10,
                  kMouseOutputFull = 0x20;
// Controller configuration ("command") byte, RAM location 0.
constexpr uint8_t kKeyboardInterrupt = 0x01, kMouseInterrupt = 0x02, kKeyboardDisabled = 0x10,
                  kMouseDisabled = 0x20, kTranslate = 0x40;
// Output port.
constexpr uint8_t kNotReset = 0x01, kA20 = 0x02, kKeyboardFull = 0x10, kMouseFull = 0x20;
constexpr uint8_t kInputPort = 0xA0; // keyboard not inhibited, CMOS says display is not monochrome

constexpr uint8_t kReadRam = 0x20, kWriteRam = 0x60, kTestPassword = 0xA4, kDisableMouse = 0xA7,
                  kEnableMouse = 0xA8, kTestMouse = 0xA9, kSelfTest = 0xAA, kTestKeyboard = 0xAB,
                  kDisableKeyboard = 0xAD, kEnableKeyboard = 0xAE, kReadInputPort = 0xC0,
                  kReadOutputPort = 0xD0, kWriteOutputPort = 0xD1, kWriteKeyboardOutput = 0xD2,
                  kWriteMouseOutput = 0xD3, kWriteMouse = 0xD4, kDisableA20 = 0xDD, kEnableA20 = 0xDF,
                  kReadTestInputs = 0xE0, kPulse = 0xF0;
constexpr uint8_t kBreakPrefix = 0xF0; // scan code set 2

// A byte takes about a millisecond on the wire. Software that reads port 60h twice for one interrupt relies
// on there being a gap; a shorter one than the wire's is enough.
constexpr uint64_t kByteNanos = 200'000;
constexpr uint64_t kPollsAfterNanos = 2'000'000'000;
// Counts a relative mouse moves for the whole width of the absolute range.
constexpr int32_t kScreenWidth = 1024, kScreenHeight = 768;

enum class Source : uint8_t { Controller, Keyboard, Mouse };

class Ps2Controller final : public Device, public IoHandler {
  public:
    explicit Ps2Controller(Platform& platform) : platform_(platform) {
        platform.io.add(kDataPort, 1, this, name());
        platform.io.add(kCommandPort, 1, this, name());
        timer_ = platform.clock.add_timer(name(), [this] { fill_output(); });
        platform.outputs.key = [this](const KeyEvent& event) {
            keyboard_.key(event);
            fill_output();
        };
        platform.outputs.takes_key = [this] { return takes_key(); };
        platform.outputs.pointer = [this](const PointerEvent& event) { pointer(event); };
        reset();
    }

    [[nodiscard]] std::string_view name() const override { return "ps2_8042"; }

    void reset() override {
        keyboard_.reset();
        mouse_.reset();
        ram_ = {};
        ram_[0] = kTranslate | kKeyboardDisabled | kMouseDisabled;
        system_flag_ = last_was_command_ = pending_command_ = output_full_ = break_prefix_ = 0;
        output_ = 0;
        ready_at_ = 0;
        quiet_since_ = platform_.clock.now();
        set_a20(true);
        update_irqs();
        platform_.clock.disarm(timer_);
    }

    uint32_t io_read(uint16_t port, unsigned /*size*/) override {
        if (port == kDataPort)
            return read_data();
        fill_output(); // who polls need not wait for the timer to be served
        return status();
    }

    void io_write(uint16_t port, unsigned /*size*/, uint32_t value) override {
        const auto byte = static_cast<uint8_t>(value);
        last_was_command_ = port == kCommandPort;
        if (port == kCommandPort)
            command(byte);
        else
            write_data(byte);
        fill_output();
    }

    void serialize(base::StateArchive& archive) override {
        archive.begin(name(), 1);
        keyboard_.serialize(archive);
        mouse_.serialize(archive);
        archive.bytes_field("ram", ram_);
        archive.field("system_flag", system_flag_);
        archive.field("last_was_command", last_was_command_);
        archive.field("pending_command", pending_command_);
        archive.field("output", output_);
        archive.field("output_full", output_full_);
        archive.field("output_source", output_source_);
        archive.field("break_prefix", break_prefix_);
        archive.field("last_pointer", last_pointer_);
        const uint64_t now = platform_.clock.now();
        uint64_t gap = ready_at_ > now ? ready_at_ - now : 0;
        archive.field("gap", gap);
        // The A20 gate belongs to this device and port 92h alike; memory holds it, this saves it.
        uint8_t a20 = platform_.memory.a20() ? 1 : 0;
        archive.field("a20", a20);
        archive.end();
        if (archive.loading()) {
            if (output_source_ > Source::Mouse)
                output_source_ = Source::Controller;
            for (int32_t& coordinate : last_pointer_)
                coordinate = std::clamp(coordinate, 0, 0xFFFF);
            set_a20(a20 != 0);
            ready_at_ = now + std::min(gap, kByteNanos);
            quiet_since_ = now;
            update_irqs();
            fill_output();
        }
    }

  private:
    [[nodiscard]] bool configured(uint8_t bit) const { return (ram_[0] & bit) != 0; }

    [[nodiscard]] uint8_t status() const {
        return static_cast<uint8_t>(
            kNotLocked | (output_full_ != 0 ? kOutputFull : 0) |
            (output_full_ != 0 && output_source_ == Source::Mouse ? kMouseOutputFull : 0) |
            (system_flag_ != 0 ? kSystemFlag : 0) | (last_was_command_ != 0 ? kLastWasCommand : 0));
    }

    uint8_t read_data() {
        if (output_full_ != 0) {
            output_full_ = 0;
            if (output_source_ != Source::Controller)
                ready_at_ = platform_.clock.now() + kByteNanos;
            update_irqs();
            fill_output();
        }
        return output_; // reading again gives the same byte
    }

    void put_output(uint8_t byte, Source source) {
        output_ = byte;
        output_source_ = source;
        output_full_ = 1;
        update_irqs();
    }

    // Takes the next byte from a device when the output buffer is free; what is disabled stays silent.
    void fill_output() {
        if (output_full_ != 0)
            return;
        const bool keyboard = !configured(kKeyboardDisabled) && !keyboard_.output().empty();
        const bool mouse = !configured(kMouseDisabled) && !mouse_.output().empty();
        if (!keyboard && !mouse)
            return;
        if (platform_.clock.now() < ready_at_) {
            platform_.clock.arm(timer_, ready_at_);
            return;
        }
        if (!keyboard) {
            put_output(mouse_.output().pop(), Source::Mouse);
            return;
        }
        const uint8_t byte = keyboard_.output().pop();
        if (!configured(kTranslate)) {
            put_output(byte, Source::Keyboard);
        } else if (byte == kBreakPrefix) {
            break_prefix_ = 1; // folded into bit 7 of the code that follows
            fill_output();
        } else {
            const uint8_t code = Ps2Keyboard::set2_to_set1(byte);
            put_output(static_cast<uint8_t>(break_prefix_ != 0 ? code | 0x80 : code), Source::Keyboard);
            break_prefix_ = 0;
        }
    }

    void update_irqs() {
        if (platform_.irq == nullptr)
            return;
        const bool from_mouse = output_source_ == Source::Mouse;
        platform_.irq->set_irq(kKeyboardIrq,
                               output_full_ != 0 && !from_mouse && configured(kKeyboardInterrupt));
        platform_.irq->set_irq(kMouseIrq, output_full_ != 0 && from_mouse && configured(kMouseInterrupt));
    }

    // A guest that has just turned interrupts off talks to the keyboard itself, and takes a key that comes
    // meanwhile for an answer and drops it; one that leaves them off polls.
    [[nodiscard]] bool takes_key() const {
        return !configured(kKeyboardDisabled) && keyboard_.at_rest() &&
               (output_full_ == 0 || output_source_ != Source::Keyboard) &&
               (configured(kKeyboardInterrupt) || platform_.clock.now() - quiet_since_ >= kPollsAfterNanos);
    }

    void write_ram(unsigned index, uint8_t value) {
        if ((index & 31) == 0 && configured(kKeyboardInterrupt))
            quiet_since_ = platform_.clock.now();
        ram_[index & 31] = value;
        if ((index & 31) == 0) {
            system_flag_ = (value & kSystemFlag) != 0;
            update_irqs();
        }
    }

    [[nodiscard]] uint8_t output_port() const {
        return static_cast<uint8_t>(
            0xC0 | kNotReset | (platform_.memory.a20() ? kA20 : 0) |
            (output_full_ != 0 && output_source_ != Source::Mouse ? kKeyboardFull : 0) |
            (output_full_ != 0 && output_source_ == Source::Mouse ? kMouseFull : 0));
    }

    void set_a20(bool enabled) {
        if (platform_.memory.a20() != enabled)
            platform_.memory.set_a20(enabled);
    }

    void request_reset() {
        if (platform_.system != nullptr)
            platform_.system->request_reset();
    }

    void command(uint8_t byte) {
        pending_command_ = 0;
        if (byte >= kReadRam && byte < kReadRam + 32) {
            put_output(ram_[byte & 31], Source::Controller);
            return;
        }
        if (byte >= kWriteRam && byte < kWriteRam + 32) {
            pending_command_ = byte;
            return;
        }
        if (byte >= kPulse) { // lines whose bit is zero go low for 6 us; bit 0 is the processor's reset
            if ((byte & kNotReset) == 0)
                request_reset();
            return;
        }
        switch (byte) {
        case kTestPassword:
            put_output(0xF1, Source::Controller);
            break; // none installed
        case kDisableMouse:
            write_ram(0, ram_[0] | kMouseDisabled);
            break;
        case kEnableMouse:
            write_ram(0, ram_[0] & static_cast<uint8_t>(~kMouseDisabled));
            break;
        case kTestMouse:
        case kTestKeyboard:
            put_output(0x00, Source::Controller);
            break; // no fault
        case kSelfTest:
            system_flag_ = 1;
            ram_[0] |= kSystemFlag;
            put_output(0x55, Source::Controller);
            break;
        case kDisableKeyboard:
            write_ram(0, ram_[0] | kKeyboardDisabled);
            break;
        case kEnableKeyboard:
            write_ram(0, ram_[0] & static_cast<uint8_t>(~kKeyboardDisabled));
            break;
        case kReadInputPort:
            put_output(kInputPort, Source::Controller);
            break;
        case kReadOutputPort:
            put_output(output_port(), Source::Controller);
            break;
        case kReadTestInputs:
            put_output(0x00, Source::Controller);
            break; // clock lines
        case kDisableA20:
            set_a20(false);
            break;
        case kEnableA20:
            set_a20(true);
            break;
        case kWriteOutputPort:
        case kWriteKeyboardOutput:
        case kWriteMouseOutput:
        case kWriteMouse:
            pending_command_ = byte;
            break;
        default:
            break;
        }
    }

    void write_data(uint8_t byte) {
        const uint8_t command = pending_command_;
        pending_command_ = 0;
        if (command >= kWriteRam && command < kWriteRam + 32) {
            write_ram(command, byte);
            return;
        }
        switch (command) {
        case kWriteOutputPort:
            set_a20((byte & kA20) != 0);
            if ((byte & kNotReset) == 0)
                request_reset();
            break;
        case kWriteKeyboardOutput:
            put_output(byte, Source::Keyboard);
            break;
        case kWriteMouseOutput:
            put_output(byte, Source::Mouse);
            break;
        case kWriteMouse:
            write_ram(0, ram_[0] & static_cast<uint8_t>(~kMouseDisabled));
            mouse_.command(byte);
            break;
        default: // a byte for the keyboard, which turns its clock on
            write_ram(0, ram_[0] & static_cast<uint8_t>(~kKeyboardDisabled));
            keyboard_.command(byte);
        }
    }

    void pointer(const PointerEvent& event) {
        PointerEvent relative = event;
        if (event.absolute) {
            // For a guest without an absolute driver: the way since the last position.
            const int32_t x = std::clamp(event.x, 0, 0xFFFF), y = std::clamp(event.y, 0, 0xFFFF);
            relative.x = x * kScreenWidth / 0x10000 - last_pointer_[0] * kScreenWidth / 0x10000;
            relative.y = y * kScreenHeight / 0x10000 - last_pointer_[1] * kScreenHeight / 0x10000;
            relative.absolute = false;
            last_pointer_ = {x, y};
        }
        mouse_.move(relative);
        fill_output();
    }

    Platform& platform_;
    Ps2Keyboard keyboard_;
    Ps2Mouse mouse_;
    std::array<uint8_t, 32> ram_{};
    uint8_t system_flag_ = 0, last_was_command_ = 0;
    uint8_t pending_command_ = 0; // its data byte comes next
    uint8_t output_ = 0, output_full_ = 0;
    Source output_source_ = Source::Controller;
    uint8_t break_prefix_ = 0;
    std::array<int32_t, 2> last_pointer_{}; // absolute
    uint64_t ready_at_ = 0;                 // no device byte before this time
    uint64_t quiet_since_ = 0;              // when the keyboard's interrupt was last turned off
    Clock::TimerId timer_ = 0;
};

} // namespace

std::unique_ptr<Device> make_ps2_8042(Platform& platform) {
    return std::make_unique<Ps2Controller>(platform);
}

} // namespace vmm
