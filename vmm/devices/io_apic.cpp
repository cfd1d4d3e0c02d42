// Intel 82093AA I/O APIC at FEC00000h (datasheet order number 290566): 24 pins, each with a redirection
// entry. The board's wiring is what its tables say (firmware/acpi_tables.cpp, SeaBIOS's MP table): ISA line 0
// on pin 2, the others on the pin of their number, PIRQA#-PIRQD# on pins 16 to 19, which are active low as
// PCI's wires are. The 8259 pair has the same ISA lines, and only what is masked in one of both is not heard
// twice. Version 11h has no EOI register: the ends of level-triggered interrupts come from the local APIC.
#include "vmm/bus/apic_bus.h"
#include "vmm/devices/device_list.h"
#include "vmm/firmware/acpi_hardware.h"

#include <array>

namespace vmm {

namespace {

using acpi_hardware::kFirstPirqPin, acpi_hardware::kTimerPin;

constexpr uint32_t kSelectAddress = 0x00, kWindowAddress = 0x10; // IOREGSEL, IOWIN
constexpr uint8_t kIdRegister = 0x00, kVersionRegister = 0x01, kArbitrationRegister = 0x02, kTable = 0x10;
constexpr unsigned kPins = 24, kIsaLines = 16, kTimerLine = 0, kPirqs = 4;
constexpr uint32_t kVersionValue = (kPins - 1) << 16 | 0x11;
constexpr uint32_t kIdBits = 0x0F000000;

// A redirection entry's low half; the high one holds the destination.
constexpr uint32_t kVectorBits = 0xFF, kLogical = 1u << 11, kActiveLow = 1u << 13, kRemoteIrr = 1u << 14,
                   kLevel = 1u << 15, kMasked = 1u << 16;
constexpr uint32_t kLowWritable = kVectorBits | 7u << 8 | kLogical | kActiveLow | kLevel | kMasked;
constexpr uint32_t kHighWritable = 0xFF000000;

DeliveryMode mode_of(uint32_t low) { return static_cast<DeliveryMode>(low >> 8 & 7); }

class IoApic final : public Device, public IrqLines, public MmioHandler, public IoApicPort {
  public:
    explicit IoApic(Platform& platform) : platform_(platform), pic_(platform.irq) {
        platform.irq = this;
        platform.apics.attach(*this);
        platform.memory.map_mmio(acpi_hardware::kIoApicAddress >> kPageShift, 1, this);
        reset();
    }

    [[nodiscard]] std::string_view name() const override { return "io_apic"; }

    void reset() override { // the pins belong to the devices
        select_ = 0;
        id_ = 0;
        for (Entry& entry : entries_)
            entry = {kMasked, 0};
    }

    void serialize(base::StateArchive& archive) override {
        if (archive.loading() && !archive.holds(name())) { // saved before there was one
            reset();
            wires_ = 0;
            return;
        }
        archive.begin(name(), 1);
        archive.field("select", select_);
        archive.field("id", id_);
        archive.field("entries", entries_);
        archive.field("wires", wires_);
        archive.end();
        if (!archive.loading())
            return;
        id_ &= kIdBits;
        for (Entry& entry : entries_) {
            entry.low &= kLowWritable | ((entry.low & kLevel) != 0 ? kRemoteIrr : 0);
            entry.high &= kHighWritable;
        }
    }

    // -- the board's lines -----------------------------------------------------------------------------
    void set_irq(unsigned line, bool level) override {
        if (line < kIsaLines)
            input(pin_of(line), level);
        if (pic_ != nullptr)
            pic_->set_irq(line, level);
    }
    void set_pirq(unsigned wire, bool asserted) override {
        if (wire < kPirqs)
            input(kFirstPirqPin + wire, asserted);
        if (pic_ != nullptr)
            pic_->set_pirq(wire, asserted);
    }
    // By the 8259 pair, if a processor listens to it, or in a local APIC.
    [[nodiscard]] bool irq_undelivered(unsigned line) const override {
        if (pic_ != nullptr && platform_.apics.pic_is_heard() && pic_->irq_undelivered(line))
            return true;
        if (line >= kIsaLines)
            return false;
        const uint32_t low = entries_[pin_of(line)].low;
        return is_open(low) && has_vector(low) && platform_.apics.is_requested(static_cast<uint8_t>(low));
    }

    // -- the bus ---------------------------------------------------------------------------------------
    void end_of_interrupt(uint8_t vector) override {
        for (unsigned pin = 0; pin < kPins; ++pin) {
            uint32_t& low = entries_[pin].low;
            if ((low & kRemoteIrr) == 0 || static_cast<uint8_t>(low) != vector)
                continue;
            low &= ~kRemoteIrr;
            look_at(pin);
        }
    }
    void offer_again() override {
        for (unsigned pin = 0; pin < kPins; ++pin)
            look_at(pin);
    }
    [[nodiscard]] bool nmi_possible() const override {
        for (const Entry& entry : entries_)
            if (is_open(entry.low) &&
                (mode_of(entry.low) == DeliveryMode::Nmi || mode_of(entry.low) == DeliveryMode::Init))
                return true;
        return false;
    }

    // -- registers -------------------------------------------------------------------------------------
    // The datasheet knows doublewords only; a narrower read gets its part, a narrower write of the window
    // does nothing.
    uint32_t mmio_read(Physical address, unsigned size) override {
        const uint32_t at = address & (kPageSize - 1), byte = at & 3;
        uint32_t value = 0;
        if ((at & ~3u) == kSelectAddress)
            value = select_;
        else if ((at & ~3u) == kWindowAddress)
            value = read_register();
        value >>= 8 * byte;
        return size == 4 ? value : value & ((1u << (8 * size)) - 1);
    }
    void mmio_write(Physical address, unsigned size, uint32_t value) override {
        const uint32_t at = address & (kPageSize - 1);
        if (at == kSelectAddress)
            select_ = static_cast<uint8_t>(value);
        else if (at == kWindowAddress && size == 4)
            write_register(value);
    }

  private:
    struct Entry {
        uint32_t low = 0, high = 0;
    };

    static unsigned pin_of(unsigned line) { return line == kTimerLine ? kTimerPin : line; }
    static bool is_open(uint32_t low) { return (low & kMasked) == 0; }
    static bool has_vector(uint32_t low) {
        return mode_of(low) == DeliveryMode::Fixed || mode_of(low) == DeliveryMode::LowestPriority;
    }
    // The voltage on a pin, as its entry's polarity sees it.
    [[nodiscard]] bool asserted(unsigned pin) const {
        const bool idles_high = pin >= kFirstPirqPin && pin < kFirstPirqPin + kPirqs;
        const bool high = ((wires_ >> pin & 1) != 0) != idles_high;
        return high != ((entries_[pin].low & kActiveLow) != 0);
    }

    // A device drives the wire at a pin, or lets go of it. Line 2, where a PC has no device, is not wired.
    void input(unsigned pin, bool driven) {
        const uint32_t bit = 1u << pin;
        if (((wires_ & bit) != 0) == driven)
            return;
        wires_ ^= bit;
        const uint32_t low = entries_[pin].low;
        if ((low & kLevel) != 0)
            look_at(pin);
        else if (asserted(pin) && is_open(low)) // an edge at a masked pin is lost
            (void)send(pin);
    }

    // A level-triggered pin that is asserted asks once until its interrupt has ended.
    void look_at(unsigned pin) {
        uint32_t& low = entries_[pin].low;
        if ((low & kLevel) == 0 || (low & kRemoteIrr) != 0 || !is_open(low) || !asserted(pin))
            return;
        if (send(pin) && has_vector(low))
            low |= kRemoteIrr;
    }

    bool send(unsigned pin) {
        const Entry& entry = entries_[pin];
        return platform_.apics.send({static_cast<uint8_t>(entry.low), mode_of(entry.low),
                                     (entry.low & kLevel) != 0, (entry.low & kLogical) != 0,
                                     static_cast<uint8_t>(entry.high >> 24)});
    }

    [[nodiscard]] uint32_t read_register() const {
        switch (select_) {
        case kIdRegister:
        case kArbitrationRegister: // loaded with the ID
            return id_;
        case kVersionRegister:
            return kVersionValue;
        default: {
            const unsigned half = select_ - unsigned{kTable};
            if (select_ < kTable || half >= 2 * kPins)
                return 0;
            return half % 2 == 0 ? entries_[half / 2].low : entries_[half / 2].high;
        }
        }
    }

    void write_register(uint32_t value) {
        if (select_ == kIdRegister)
            id_ = value & kIdBits;
        const unsigned half = select_ - unsigned{kTable};
        if (select_ < kTable || half >= 2 * kPins)
            return;
        Entry& entry = entries_[half / 2];
        if (half % 2 != 0) {
            entry.high = value & kHighWritable;
            return;
        }
        entry.low = (value & kLowWritable) | ((value & kLevel) != 0 ? entry.low & kRemoteIrr : 0);
        look_at(half / 2);
    }

    Platform& platform_;
    IrqLines* pic_;
    uint8_t select_ = 0;
    uint32_t id_ = 0;
    std::array<Entry, kPins> entries_{};
    uint32_t wires_ = 0; // bit per pin that a device drives
};

} // namespace

std::unique_ptr<Device> make_io_apic(Platform& platform) { return std::make_unique<IoApic>(platform); }

} // namespace vmm
