// Intel 82371SB (PIIX3) PCI-to-ISA bridge at 00:01.0 (datasheet order number 290550): the router from the
// four PCI interrupt wires PIRQA#-PIRQD# to ISA interrupt lines. Slots are wired to PIRQs in rotation, as on
// every i440FX board: slot 1 INTA# is PIRQA#, slot 2 INTA# is PIRQB# and so on. The wires themselves lead to
// the IO-APIC as well. The 8259 pair owns the ELCR;
// firmware makes the lines it routes to level-triggered. It also turns the processor's FERR# into IRQ 13 and
// port F0h into IGNNE# (datasheet "Coprocessor Error Register"). DEVIATION: XBCS bit 5, which enables that,
// is not asked: SeaBIOS leaves it clear and expects IRQ 13 all the same.
#include "vmm/bus/device.h"
#include "vmm/bus/platform.h"
#include "vmm/devices/device_list.h"

#include <algorithm>

namespace vmm {

namespace {

constexpr unsigned kSlot = 1;
constexpr unsigned kSlots = 32, kPins = 4, kPirqs = 4;
// The power-management function's interrupt is not a PIRQ: it is wired to the SCI, line 9 (82371AB
// datasheet, "SCI"). It is ORed here, because a PIRQ may be routed to line 9 as well.
constexpr unsigned kSciPin = 0, kSciLine = 9;

// Configuration registers (datasheet section 2.3).
constexpr uint8_t kIort = 0x4C, kXbcs = 0x4E, kPirqRoute = 0x60, kTopOfMemory = 0x69, kHeaderType = 0x0E;
constexpr uint8_t kRouteDisabled = 0x80, kRouteLine = 0x0F;
// Lines 0, 1, 2, 8 and 13 are reserved in PIRQRC: nothing is routed there.
constexpr uint16_t kRoutableLines = 0xDEF8;

constexpr uint16_t kCoprocessorError = 0xF0;
constexpr unsigned kMathLine = 13;
constexpr uint8_t kFerr = 1, kIgnne = 2, kRequest = 4; // kRequest: IRQ 13 is up

class Piix3Isa : public PciDevice, public PciBus::Router, public IoHandler, public MathErrorWires {
  public:
    explicit Piix3Isa(Platform& platform) : platform_(platform) {
        set_id(0x8086, 0x7000, 0x060100, 0x00);
        config_[kHeaderType] = 0x80; // more functions follow: IDE, power management
        for (unsigned i = 0; i < kPirqs; ++i)
            writable_[kPirqRoute + i] = kRouteDisabled | kRouteLine;
        writable_[kIort] = 0x7F;
        writable_[kXbcs] = 0xFF;
        writable_[kXbcs + 1] = 0x01;
        writable_[kTopOfMemory] = 0xFE;
        platform.pci.attach(kSlot, 0, this);
        platform.pci.set_router(this);
        platform.io.add(kCoprocessorError, 1, this, name());
        platform.math_errors = this;
        reset();
    }

    [[nodiscard]] std::string_view name() const override { return "piix3_isa"; }

    void reset() override {
        reset_config();
        set_word(4, 0x0007); // an ISA bridge always decodes and masters
        set_word(6, 0x0200);
        config_[kIort] = 0x4D;
        set_word(kXbcs, 0x0003);
        config_[kTopOfMemory] = 0x02;
        std::fill_n(config_.begin() + kPirqRoute, kPirqs, kRouteDisabled);
        levels_.fill(0);
        drive();
        request_math(false);
        math_ = 0;
    }

    // Write-only; a write says that the error is being looked after.
    uint32_t io_read(uint16_t /*port*/, unsigned /*size*/) override { return 0xFF; }
    void io_write(uint16_t /*port*/, unsigned /*size*/, uint32_t /*value*/) override {
        request_math(false);
        math_ = (math_ & kFerr) != 0 ? kFerr | kIgnne : 0;
    }

    void set_ferr(bool asserted) override {
        if (asserted) {
            math_ |= kFerr;
            request_math(true);
        } else {
            math_ &= kRequest;
        }
    }
    [[nodiscard]] bool ignne() const override { return (math_ & kIgnne) != 0; }

    void serialize(base::StateArchive& archive) override {
        archive.begin("piix3_isa", 1);
        serialize_config(archive);
        archive.field("levels", levels_);
        archive.field("driven", driven_); // the 8259 pair restores its own inputs
        archive.field("math", math_);
        archive.end();
        if (archive.loading())
            for (uint8_t& pins : levels_)
                pins &= (1u << kPins) - 1;
    }

    void config_write(uint8_t offset, unsigned size, uint32_t value) override {
        const uint8_t status_high = config_[7];
        PciDevice::config_write(offset, size, value);
        set_word(4, 0x0007);
        config_[7] = status_high;
        if (offset < kPirqRoute + kPirqs && offset + size > kPirqRoute)
            drive();
    }

    void set_intx(unsigned device, unsigned pin, bool level) override {
        if (device >= kSlots || pin >= kPins)
            return;
        const auto bit = static_cast<uint8_t>(1u << pin);
        levels_[device] = static_cast<uint8_t>(level ? levels_[device] | bit : levels_[device] & ~bit);
        drive();
    }

  private:
    // Latched until port F0h is written.
    void request_math(bool wanted) {
        if (wanted != ((math_ & kRequest) != 0) && platform_.irq != nullptr)
            platform_.irq->set_irq(kMathLine, wanted);
        math_ = static_cast<uint8_t>(wanted ? math_ | kRequest : math_ & ~kRequest);
    }

    // Recomputes the OR of all wires on each line, and tells the 8259 pair what changed.
    void drive() {
        uint16_t lines = 0;
        uint8_t pirqs = 0;
        for (unsigned device = 0; device < kSlots; ++device)
            for (unsigned pin = 0; levels_[device] != 0 && pin < kPins; ++pin) {
                if ((levels_[device] >> pin & 1) == 0)
                    continue;
                if (device == kSlot && pin == kSciPin) {
                    lines |= 1u << kSciLine;
                    continue;
                }
                const unsigned pirq = (device + pin + kPirqs - 1) % kPirqs;
                pirqs = static_cast<uint8_t>(pirqs | 1u << pirq);
                lines |= line_of(pirq);
            }
        const uint16_t changed = lines ^ driven_;
        driven_ = lines;
        for (unsigned line = 0; line < 16; ++line)
            if ((changed >> line & 1) != 0 && platform_.irq != nullptr)
                platform_.irq->set_irq(line, (lines >> line & 1) != 0);
        for (unsigned pirq = 0; pirq < kPirqs && platform_.irq != nullptr; ++pirq)
            platform_.irq->set_pirq(pirq, (pirqs >> pirq & 1) != 0);
    }

    // A mask with the one line that a PIRQ is steered to, or none.
    [[nodiscard]] uint16_t line_of(unsigned pirq) const {
        const uint8_t route = config_[kPirqRoute + pirq];
        if ((route & kRouteDisabled) != 0)
            return 0;
        return static_cast<uint16_t>(1u << (route & kRouteLine)) & kRoutableLines;
    }

    Platform& platform_;
    std::array<uint8_t, kSlots> levels_{}; // bit per asserted pin
    uint16_t driven_ = 0;                  // lines we hold high
    uint8_t math_ = 0;                     // kFerr, kIgnne, kRequest
};

} // namespace

std::unique_ptr<Device> make_piix3_isa(Platform& platform) { return std::make_unique<Piix3Isa>(platform); }

} // namespace vmm
