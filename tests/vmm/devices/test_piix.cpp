// The PIIX functions of the chipset: interrupt routing and power management.
#include "tests/vmm/devices/chipset_fixture.h"

using namespace vmm;

namespace {

constexpr uint16_t kBase = 0x600;
constexpr uint64_t kTimerHz = 3'579'545;

struct SouthBridge : ChipsetFixture {
    SouthBridge() : host(make_i440fx(platform)), isa(make_piix3_isa(platform)), pm(make_piix4_pm(platform)) {}
    void route(unsigned pirq, uint8_t value) {
        config_write(1, 0, static_cast<uint8_t>(0x60 + pirq), 1, value);
    }
    void enable_pm(uint32_t base = kBase) {
        config_write(1, 3, 0x40, 4, base | 1);
        config_write(1, 3, 0x80, 1, 1);
    }
    uint32_t in(uint16_t offset, unsigned size) {
        return platform.io.read(static_cast<uint16_t>(kBase + offset), size);
    }
    void out(uint16_t offset, unsigned size, uint32_t value) {
        platform.io.write(static_cast<uint16_t>(kBase + offset), size, value);
    }
    void acpi_on() { platform.io.write(0xB2, 1, 0xF1); }

    std::unique_ptr<Device> host, isa, pm;
};

} // namespace

TEST_CASE("piix3: identifies itself and starts with routing off", "[devices]") {
    SouthBridge pc;
    CHECK(pc.config_read(1, 0, 0, 4) == 0x70008086);
    CHECK(pc.config_read(1, 0, 0x0A, 2) == 0x0601);
    CHECK(pc.config_read(1, 0, 0x0E) == 0x80);
    CHECK(pc.config_read(1, 0, 0x60, 4) == 0x80808080);
    pc.platform.pci.set_intx(3, 0, true);
    CHECK(pc.irq.level == 0);
}

TEST_CASE("piix3: slots rotate over the four PIRQs", "[devices]") {
    SouthBridge pc;
    constexpr uint8_t kLines[] = {5, 10, 11, 6};
    for (unsigned i = 0; i < 4; ++i)
        pc.route(i, kLines[i]);
    for (unsigned slot = 2; slot < 6; ++slot)
        for (unsigned pin = 0; pin < 4; ++pin) {
            pc.platform.pci.set_intx(slot, pin, true);
            CHECK(pc.irq.level == 1u << kLines[(slot - 1 + pin) % 4]);
            pc.platform.pci.set_intx(slot, pin, false);
            CHECK(pc.irq.level == 0);
        }
}

TEST_CASE("piix3: FERR# asks for IRQ 13 until port F0h is written, which raises IGNNE# while FERR# is up",
          "[devices]") {
    constexpr uint16_t kPort = 0xF0;
    SouthBridge pc;
    MathErrorWires& wires = *pc.platform.math_errors;
    pc.platform.io.write(kPort, 1, 0);
    CHECK_FALSE(wires.ignne());
    wires.set_ferr(true);
    CHECK(pc.irq.level == 1u << 13);
    CHECK_FALSE(wires.ignne());
    pc.platform.io.write(kPort, 1, 0);
    CHECK(pc.irq.level == 0);
    CHECK(wires.ignne());
    // Saved in the middle of it.
    SouthBridge other;
    base::StateArchive save;
    pc.isa->serialize(save);
    auto load = base::StateArchive::parse(save.bytes());
    REQUIRE(load);
    other.isa->serialize(*load);
    CHECK(other.platform.math_errors->ignne());
    wires.set_ferr(false);
    CHECK_FALSE(wires.ignne());
    // The request is latched: FERR# may fall before the handler comes.
    wires.set_ferr(true);
    wires.set_ferr(false);
    CHECK(pc.irq.level == 1u << 13);
    pc.platform.io.write(kPort, 1, 0);
    CHECK(pc.irq.level == 0);
    CHECK_FALSE(wires.ignne());
    wires.set_ferr(true);
    pc.isa->reset();
    CHECK(pc.irq.level == 0);
}

TEST_CASE("piix3: a shared line stays high until its last wire falls", "[devices]") {
    SouthBridge pc;
    pc.route(1, 11);
    pc.route(2, 11);
    pc.platform.pci.set_intx(2, 0, true);
    pc.platform.pci.set_intx(3, 0, true);
    pc.platform.pci.set_intx(2, 0, false);
    CHECK(pc.irq.high(11));
    pc.platform.pci.set_intx(3, 0, false);
    CHECK_FALSE(pc.irq.high(11));
}

TEST_CASE("piix3: rerouting an asserted wire moves its level", "[devices]") {
    SouthBridge pc;
    pc.route(2, 10);
    pc.platform.pci.set_intx(3, 0, true);
    CHECK(pc.irq.level == 1u << 10);
    pc.route(2, 11);
    CHECK(pc.irq.level == 1u << 11);
    pc.route(2, 0x8B);
    CHECK(pc.irq.level == 0);
    for (uint8_t reserved : {0, 1, 2, 8, 13}) {
        pc.route(2, reserved);
        CHECK(pc.irq.level == 0);
    }
    pc.platform.pci.set_intx(99, 7, true); // out of range: ignored
    CHECK(pc.irq.level == 0);
}

TEST_CASE("piix3: state round-trips, and restored wires still fall", "[devices]") {
    SouthBridge pc;
    pc.route(2, 10);
    pc.platform.pci.set_intx(3, 0, true);
    const auto state = ChipsetFixture::saved(*pc.isa);
    SouthBridge other;
    ChipsetFixture::load(*other.isa, state);
    CHECK(ChipsetFixture::saved(*other.isa) == state);
    other.irq.level = 1u << 10; // as the 8259 pair restored it
    other.platform.pci.set_intx(3, 0, false);
    CHECK(other.irq.level == 0);
}

TEST_CASE("piix4 pm: registers answer only when enabled, and follow PMBASE", "[devices]") {
    SouthBridge pc;
    CHECK(pc.config_read(1, 3, 0, 4) == 0x71138086);
    CHECK(pc.config_read(1, 3, 0x0A, 2) == 0x0680);
    CHECK(pc.in(4, 2) == 0xFFFF);
    pc.enable_pm();
    CHECK(pc.config_read(1, 3, 0x40, 4) == (kBase | 1));
    CHECK(pc.in(4, 2) == 0);
    pc.enable_pm(0xB000);
    CHECK(pc.in(4, 2) == 0xFFFF);
    CHECK(pc.platform.io.read(0xB004, 2) == 0);
    pc.enable_pm(0xC80); // collides with CF8h only beyond its own 64 bytes
    CHECK(pc.platform.io.read(0xC84, 2) == 0);
    pc.enable_pm(0xCC0); // would cover CF8h: refused, CF8h still answers
    CHECK(pc.config_read(1, 0, 0, 4) == 0x70008086);
    CHECK(pc.platform.io.read(0xCC4, 2) == 0xFFFF);
}

TEST_CASE("piix4 pm: firmware finds system-management mode already set up", "[devices]") {
    SouthBridge pc;
    CHECK((pc.config_read(1, 3, 0x58, 4) & 1u << 25) != 0);
}

TEST_CASE("piix4 pm: the timer counts 24 bits at 3.579545 MHz", "[devices]") {
    SouthBridge pc;
    pc.enable_pm();
    CHECK(pc.in(8, 4) == 0);
    pc.platform.clock.set_manual(kNanosPerSecond);
    CHECK(pc.in(8, 4) == kTimerHz);
    pc.platform.clock.set_manual(10 * kNanosPerSecond);
    CHECK(pc.in(8, 4) == 10 * kTimerHz % (1u << 24));
    pc.platform.clock.set_manual(1'000'000 * kNanosPerSecond); // beyond 64-bit intermediate products
    CHECK(pc.in(8, 4) == 1'000'000 * kTimerHz % (1u << 24));
    CHECK(pc.in(9, 1) == (1'000'000 * kTimerHz >> 8 & 0xFF));
}

TEST_CASE("piix4 pm: the running timer never reads less than it did", "[devices]") {
    const auto memory = GuestMemory::create(ChipsetFixture::kRam).value();
    Platform platform({}, *memory);
    const std::unique_ptr<Device> host = make_i440fx(platform), isa = make_piix3_isa(platform),
                                  pm = make_piix4_pm(platform);
    const auto config_write = [&](uint8_t offset, unsigned size, uint32_t value) {
        platform.io.write(0xCF8, 4, ChipsetFixture::address(1, 3, offset));
        platform.io.write(0xCFC, size, value);
    };
    config_write(0x40, 4, kBase | 1);
    config_write(0x80, 1, 1);
    platform.clock.start();
    uint32_t last = 0;
    unsigned backwards = 0;
    for (unsigned i = 0; i < 200'000; ++i) {
        const uint32_t ticks = platform.io.read(kBase + 8, 4);
        backwards += ticks < last;
        last = ticks;
    }
    CHECK(last > 0);
    CHECK(backwards == 0);
}

TEST_CASE("piix4 pm: timer overflow sets its status and interrupts when enabled", "[devices]") {
    SouthBridge pc;
    pc.enable_pm();
    pc.acpi_on();
    CHECK(pc.platform.clock.next_deadline() == kNever);
    pc.out(2, 2, 1);
    const uint64_t due = pc.platform.clock.next_deadline();
    CHECK(due / 1000 == (uint64_t{1} << 23) * 1'000'000 / kTimerHz);
    pc.platform.clock.set_manual(due);
    pc.platform.clock.run_due();
    CHECK(pc.irq.high(9));
    CHECK((pc.in(0, 2) & 1) == 1);
    pc.out(0, 2, 1);
    CHECK_FALSE(pc.irq.high(9));
    CHECK(pc.in(0, 2) == 0);
    CHECK(pc.platform.clock.next_deadline() > due);
    CHECK(pc.platform.clock.next_deadline() < 2 * due + 1000);
}

TEST_CASE("piix4 pm: the power button raises the SCI until acknowledged", "[devices]") {
    SouthBridge pc;
    pc.enable_pm();
    pc.platform.outputs.power_button();
    CHECK((pc.in(0, 2) & 0x100) != 0);
    pc.out(2, 2, 0x100);
    CHECK_FALSE(pc.irq.high(9)); // SCI_EN is off
    pc.acpi_on();
    CHECK(pc.irq.high(9));
    CHECK((pc.in(4, 2) & 1) == 1);
    pc.out(0, 1, 0xFF); // the low byte alone does not clear bit 8
    CHECK(pc.irq.high(9));
    pc.out(0, 2, 0x100);
    CHECK_FALSE(pc.irq.high(9));
    pc.platform.io.write(0xB2, 1, 0xF0);
    CHECK((pc.in(4, 2) & 1) == 0);
    CHECK(pc.platform.io.read(0xB2, 1) == 0xF0);
}

TEST_CASE("piix4 pm: a general-purpose event interrupts when enabled, until cleared", "[devices]") {
    SouthBridge pc;
    pc.enable_pm();
    pc.acpi_on();
    pc.platform.raise_gpe(5);
    CHECK(pc.in(0xC, 2) == 0x20);
    CHECK_FALSE(pc.irq.high(9));
    pc.out(0xE, 2, 0x20);
    CHECK(pc.irq.high(9));
    pc.out(0xC, 2, 0x20);
    CHECK_FALSE(pc.irq.high(9));
    CHECK(pc.in(0xC, 2) == 0);
}

TEST_CASE("piix4 pm: SLP_EN with type 0 turns the machine off, other types do not", "[devices]") {
    SouthBridge pc;
    pc.enable_pm();
    pc.out(4, 2, 1u << 13 | 1u << 10);
    CHECK(pc.control.power_offs == 0);
    pc.out(4, 2, 0);
    CHECK(pc.control.power_offs == 0);
    pc.out(4, 2, 1u << 13);
    CHECK(pc.control.power_offs == 1);
    CHECK((pc.in(4, 2) & 1u << 13) == 0); // SLP_EN reads as zero
}

TEST_CASE("piix4 pm: reset releases the ports and the SCI", "[devices]") {
    SouthBridge pc;
    pc.enable_pm();
    pc.acpi_on();
    pc.out(2, 2, 0x100);
    pc.platform.outputs.power_button();
    REQUIRE(pc.irq.high(9));
    pc.pm->reset();
    CHECK_FALSE(pc.irq.high(9));
    CHECK(pc.in(4, 2) == 0xFFFF);
}

TEST_CASE("piix4 pm: state round-trips with ports and pending event", "[devices]") {
    SouthBridge pc;
    pc.enable_pm();
    pc.acpi_on();
    pc.out(2, 2, 0x100);
    pc.out(0xE, 2, 0x1234);
    pc.out(0x28, 4, 0xCAFEBABE);
    pc.platform.outputs.power_button();
    const auto state = ChipsetFixture::saved(*pc.pm);
    SouthBridge other;
    ChipsetFixture::load(*other.pm, state);
    CHECK(ChipsetFixture::saved(*other.pm) == state);
    CHECK(other.in(0, 4) == 0x01000100);
    CHECK(other.in(0xE, 2) == 0x1234);
    CHECK(other.in(0x28, 4) == 0xCAFEBABE);
    CHECK(other.irq.high(9));
}
