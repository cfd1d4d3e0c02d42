// The two 8259A interrupt controllers as wired in a PC/AT: the slave's INT on the master's IR2.
// Sources: Intel 8259A datasheet (231468); 82371SB (PIIX3) datasheet for ELCR (4D0h, 4D1h), where the
// edge/level choice per line replaces ICW1.LTIM.
#include "vmm/base/verify.h"
#include "vmm/devices/device_list.h"

#include <string>

namespace vmm {
namespace {

constexpr uint16_t kMasterPort = 0x20, kSlavePort = 0xA0, kElcrPort = 0x4D0;
constexpr uint8_t kElcrWritable[2] = {0xF8, 0xDE}; // IRQ 0, 1, 2, 8 and 13 are always edge
constexpr unsigned kCascade = 2;                   // the master's IR input with the slave
constexpr uint8_t kIcw1 = 0x10, kIcw1NeedIcw4 = 0x01, kIcw1Single = 0x02;
constexpr uint8_t kIcw4AutoEoi = 0x02, kIcw4SpecialFullyNested = 0x10;
constexpr uint8_t kOcw3 = 0x08, kOcw3ReadIsr = 0x01, kOcw3ReadRegister = 0x02, kOcw3Poll = 0x04,
                  kOcw3SpecialMask = 0x20, kOcw3EnableSpecialMask = 0x40;
constexpr int kNone = -1;

// Which initialization word the chip expects next.
enum Expect : uint8_t { kExpectNothing, kExpectIcw2, kExpectIcw3, kExpectIcw4 };

struct Pic8259 {
    uint8_t irr = 0, imr = 0, isr = 0;
    uint8_t lines = 0; // input levels
    uint8_t elcr = 0;  // 1 = level
    uint8_t vector_base = 0;
    uint8_t lowest_priority = 7;
    uint8_t expect = kExpectNothing;
    uint8_t icw1 = 0, icw4 = 0;
    uint8_t read_isr = 0, poll = 0, special_mask = 0, rotate_on_auto_eoi = 0;
    bool is_master = false;

    void input(unsigned level, bool high) {
        const auto bit = static_cast<uint8_t>(1u << level);
        // A request lasts only as long as its input is high, edge-triggered or not ("the IR input must
        // remain high until after the falling edge of the first INTA").
        if (!high)
            irr &= static_cast<uint8_t>(~bit);
        else if ((elcr & bit) != 0 || (lines & bit) == 0 || (is_master && level == kCascade))
            irr |= bit;
        lines = static_cast<uint8_t>(high ? lines | bit : lines & ~bit);
    }

    // The level to be serviced now, or kNone: the highest unmasked request above all in service.
    [[nodiscard]] int highest() const {
        const unsigned requests = irr & ~imr;
        // Special mask mode: a masked level in service no longer holds back the others.
        const unsigned in_service = special_mask != 0 ? isr & ~imr : isr;
        for (unsigned i = 1; i <= 8; ++i) {
            const unsigned level = (lowest_priority + i) & 7;
            const unsigned bit = 1u << level;
            // Special fully nested: the slave may interrupt again while one of its own is in service.
            const bool again = is_master && level == kCascade && (icw4 & kIcw4SpecialFullyNested) != 0;
            if ((in_service & bit) != 0 && !(again && (requests & bit) != 0))
                return kNone;
            if ((requests & bit) != 0)
                return static_cast<int>(level);
        }
        return kNone;
    }

    // INTA (or a poll): moves the request into service.
    void accept(unsigned level) {
        const auto bit = static_cast<uint8_t>(1u << level);
        if ((elcr & bit) == 0)
            irr &= static_cast<uint8_t>(~bit);
        if ((icw4 & kIcw4AutoEoi) == 0)
            isr |= bit;
        else if (rotate_on_auto_eoi != 0)
            lowest_priority = static_cast<uint8_t>(level);
    }

    uint8_t acknowledge(int& level) {
        level = highest();
        if (level == kNone) // the request went away: the default vector, nothing in service
            return static_cast<uint8_t>(vector_base + 7);
        accept(static_cast<unsigned>(level));
        return static_cast<uint8_t>(vector_base + level);
    }

    void write_command(uint8_t value) {
        if ((value & kIcw1) != 0) {
            // The edge sense circuit is reset: edge inputs must rise again.
            irr = lines & elcr;
            imr = isr = icw4 = read_isr = poll = special_mask = rotate_on_auto_eoi = 0;
            lowest_priority = 7;
            icw1 = value;
            expect = kExpectIcw2;
        } else if ((value & kOcw3) != 0) {
            if ((value & kOcw3EnableSpecialMask) != 0)
                special_mask = (value & kOcw3SpecialMask) != 0;
            if ((value & kOcw3Poll) != 0)
                poll = 1;
            else if ((value & kOcw3ReadRegister) != 0)
                read_isr = value & kOcw3ReadIsr;
        } else {
            write_ocw2(value);
        }
    }

    void write_ocw2(uint8_t value) {
        const unsigned operation = value >> 5; // R, SL, EOI
        const bool rotate = (operation & 4) != 0, specific = (operation & 2) != 0, eoi = operation & 1;
        int level = specific ? value & 7 : kNone;
        if (eoi) {
            if (!specific)
                level = highest_in_service();
            if (level != kNone)
                isr &= static_cast<uint8_t>(~(1u << level));
            if (rotate && level != kNone)
                lowest_priority = static_cast<uint8_t>(level);
        } else if (!specific) {
            rotate_on_auto_eoi = rotate;
        } else if (rotate) { // set priority command
            lowest_priority = static_cast<uint8_t>(level);
        }
    }

    // What a non-specific EOI ends. In special mask mode masked levels are not cleared by it.
    [[nodiscard]] int highest_in_service() const {
        const unsigned candidates = special_mask != 0 ? isr & ~imr : isr;
        for (unsigned i = 1; i <= 8; ++i)
            if (const unsigned level = (lowest_priority + i) & 7; (candidates & (1u << level)) != 0)
                return static_cast<int>(level);
        return kNone;
    }

    void write_data(uint8_t value) {
        switch (expect) {
        case kExpectIcw2:
            vector_base = value & 0xF8;
            expect = (icw1 & kIcw1Single) == 0     ? kExpectIcw3
                     : (icw1 & kIcw1NeedIcw4) != 0 ? kExpectIcw4
                                                   : kExpectNothing;
            break;
        case kExpectIcw3: // the wiring is fixed
            expect = (icw1 & kIcw1NeedIcw4) != 0 ? kExpectIcw4 : kExpectNothing;
            break;
        case kExpectIcw4:
            icw4 = value;
            expect = kExpectNothing;
            break;
        default:
            imr = value; // OCW1
        }
    }

    uint8_t read(bool data) {
        if (poll != 0) {
            poll = 0;
            const int level = highest();
            if (level == kNone)
                return 0;
            accept(static_cast<unsigned>(level));
            return static_cast<uint8_t>(0x80 | level);
        }
        return data ? imr : read_isr != 0 ? isr : irr;
    }
};

class Pic8259Pair final : public Device, public IrqLines, public InterruptSource, public IoHandler {
  public:
    explicit Pic8259Pair(Platform& platform) : platform_(platform) {
        master_.is_master = true;
        platform.irq = this;
        platform.interrupts = this;
        platform.io.add(kMasterPort, 2, this, name());
        platform.io.add(kSlavePort, 2, this, name());
        platform.io.add(kElcrPort, 2, this, name());
    }

    [[nodiscard]] std::string_view name() const override { return "pic8259"; }

    void reset() override {
        for (Pic8259* chip : {&master_, &slave_}) {
            // The inputs belong to the devices; all else starts anew.
            const uint8_t lines = chip->lines;
            const bool is_master = chip->is_master;
            *chip = {};
            chip->lines = lines;
            chip->is_master = is_master;
        }
        update();
    }

    void set_irq(unsigned line, bool level) override {
        VERIFY(line < 16);
        if (line == kCascade)
            return;
        (line < 8 ? master_ : slave_).input(line & 7, level);
        update();
    }

    [[nodiscard]] bool irq_undelivered(unsigned line) const override {
        VERIFY(line < 16);
        const Pic8259& chip = line < 8 ? master_ : slave_;
        return (chip.irr & ~chip.imr & (1u << (line & 7))) != 0;
    }

    [[nodiscard]] bool interrupt_pending() const override { return intr_; }

    uint8_t acknowledge_interrupt() override {
        int level = kNone;
        uint8_t vector = master_.acknowledge(level);
        if (level == static_cast<int>(kCascade))
            vector = slave_.acknowledge(level); // spurious here leaves the master's IR2 in service
        update();
        return vector;
    }

    uint32_t io_read(uint16_t port, unsigned /*size*/) override {
        if (port >= kElcrPort)
            return port == kElcrPort ? master_.elcr : slave_.elcr;
        const uint8_t value = chip_at(port).read((port & 1) != 0);
        update();
        return value;
    }

    void io_write(uint16_t port, unsigned /*size*/, uint32_t value) override {
        const auto byte = static_cast<uint8_t>(value);
        if (port >= kElcrPort)
            write_elcr(port - kElcrPort, byte);
        else if ((port & 1) != 0)
            chip_at(port).write_data(byte);
        else
            chip_at(port).write_command(byte);
        update();
    }

    void serialize(base::StateArchive& archive) override {
        archive.begin(name(), 1);
        serialize_chip(archive, "master.", master_);
        serialize_chip(archive, "slave.", slave_);
        archive.end();
        if (archive.loading()) {
            master_.elcr &= kElcrWritable[0];
            slave_.elcr &= kElcrWritable[1];
            update();
        }
    }

  private:
    Pic8259& chip_at(uint16_t port) { return port < kSlavePort ? master_ : slave_; }

    void write_elcr(unsigned index, uint8_t value) {
        Pic8259& chip = index == 0 ? master_ : slave_;
        chip.elcr = value & kElcrWritable[index & 1];
        chip.irr = static_cast<uint8_t>(chip.irr | (chip.lines & chip.elcr));
    }

    // Passes the slave's INT on to the master and the master's towards the processor.
    void update() {
        master_.input(kCascade, slave_.highest() != kNone);
        const bool intr = master_.highest() != kNone;
        if (intr == intr_)
            return;
        intr_ = intr;
        if (platform_.intr != nullptr)
            platform_.intr->set_intr(intr);
        else if (platform_.interrupt_line_changed)
            platform_.interrupt_line_changed();
    }

    static void serialize_chip(base::StateArchive& archive, const std::string& prefix, Pic8259& chip) {
        archive.field(prefix + "irr", chip.irr);
        archive.field(prefix + "imr", chip.imr);
        archive.field(prefix + "isr", chip.isr);
        archive.field(prefix + "lines", chip.lines);
        archive.field(prefix + "elcr", chip.elcr);
        archive.field(prefix + "vector_base", chip.vector_base);
        archive.field(prefix + "lowest_priority", chip.lowest_priority);
        archive.field(prefix + "expect", chip.expect);
        archive.field(prefix + "icw1", chip.icw1);
        archive.field(prefix + "icw4", chip.icw4);
        archive.field(prefix + "read_isr", chip.read_isr);
        archive.field(prefix + "poll", chip.poll);
        archive.field(prefix + "special_mask", chip.special_mask);
        archive.field(prefix + "rotate_on_auto_eoi", chip.rotate_on_auto_eoi);
        chip.lowest_priority &= 7;
    }

    Platform& platform_;
    Pic8259 master_, slave_;
    bool intr_ = false;
};

} // namespace

std::unique_ptr<Device> make_pic8259(Platform& platform) { return std::make_unique<Pic8259Pair>(platform); }

} // namespace vmm
