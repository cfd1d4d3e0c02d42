#include "tests/vmm/devices/apic_fixture.h"

using namespace vmm;

namespace {

// All lines of the 8259 pair masked, as by a system that uses the APICs.
struct IoApicFixture : ApicFixture {
    static constexpr unsigned kPirqA = 16;
    IoApicFixture() {
        out(0x21, 0xFF), out(0xA1, 0xFF);
        enable();
    }
};

} // namespace

TEST_CASE("io-apic: the datasheet's registers, behind an index", "[apic]") {
    ApicFixture pc;
    CHECK(pc.io_reg(0) == 0);
    CHECK(pc.io_reg(1) == 0x00170011);
    CHECK(pc.io_reg(2) == 0);
    pc.set_io(0, 0xFFFFFFFF);
    CHECK(pc.io_reg(0) == 0x0F000000);
    CHECK(pc.io_reg(2) == 0x0F000000);
    for (const unsigned fixed : {1u, 2u, 3u, 0x0Fu, 0x40u, 0xFFu}) {
        const uint32_t before = pc.io_reg(static_cast<uint8_t>(fixed));
        pc.set_io(static_cast<uint8_t>(fixed), ~before);
        CHECK(pc.io_reg(static_cast<uint8_t>(fixed)) == before);
    }
    for (unsigned pin = 0; pin < 24; ++pin) {
        CHECK(pc.entry(pin) == pc.kMasked);
        CHECK(pc.io_reg(static_cast<uint8_t>(0x11 + 2 * pin)) == 0);
        pc.set_entry(pin, 0xFFFFFFFF);
        pc.set_io(static_cast<uint8_t>(0x11 + 2 * pin), 0xFFFFFFFF);
        CHECK(pc.entry(pin) == 0x0001AFFF); // neither delivery status nor remote IRR can be set
        CHECK(pc.io_reg(static_cast<uint8_t>(0x11 + 2 * pin)) == 0xFF000000);
    }
    pc.io->reset();
    CHECK(pc.entry(23) == pc.kMasked);
}

TEST_CASE("io-apic: narrow and unaligned accesses read their part and write nothing but the index",
          "[apic]") {
    ApicFixture pc;
    GuestMemory& memory = *pc.memory;
    memory.write<uint8_t>(pc.kIo, 1);
    CHECK(memory.read<uint8_t>(pc.kIo) == 1);
    CHECK(memory.read<uint32_t>(pc.kIo) == 1);
    CHECK(memory.read<uint16_t>(pc.kIo + 0x12) == 0x17);
    CHECK(memory.read<uint8_t>(pc.kIo + 0x10) == 0x11);
    CHECK(memory.read<uint16_t>(pc.kIo + 0x11) == 0x1700);
    CHECK(memory.read<uint32_t>(pc.kIo + 0x04) == 0);
    CHECK(memory.read<uint32_t>(pc.kIo + 0x20) == 0);
    memory.write<uint8_t>(pc.kIo, 0x10);
    memory.write<uint8_t>(pc.kIo + 0x10, 0x55);
    memory.write<uint16_t>(pc.kIo + 0x12, 0);
    memory.write<uint32_t>(pc.kIo + 0x0F, 0);
    memory.write<uint32_t>(pc.kIo + 0x40, 0); // the EOI register of later ones
    CHECK(pc.entry(0) == pc.kMasked);
}

TEST_CASE("io-apic: ISA lines are its pins, the timer's is pin 2, and the 8259 pair has them too", "[apic]") {
    IoApicFixture pc;
    for (unsigned pin = 0; pin < 24; ++pin)
        pc.set_entry(pin, 0x40 + pin);
    for (unsigned line = 0; line < 16; ++line) {
        if (line == 2)
            continue;
        INFO("line " << line);
        pc.line(line, true);
        CHECK(pc.take() == 0x40 + (line == 0 ? 2 : line));
        CHECK_FALSE(pc.pending());
        pc.line(line, false);
        CHECK_FALSE(pc.pending());
    }
    pc.set(pc.kLint0, pc.kExtInt);
    pc.line(4, true);
    CHECK(pc.take() == 0x44);
    pc.out(0x21, 0xEF);
    REQUIRE(pc.pending());
    CHECK(pc.ack() == 0x0C);
}

TEST_CASE("io-apic: an edge at a masked pin is lost", "[apic]") {
    IoApicFixture pc;
    pc.set_entry(4, pc.kMasked | 0x44);
    pc.line(4, true);
    pc.set_entry(4, 0x44);
    CHECK_FALSE(pc.pending());
    pc.pulse(4);
    CHECK(pc.take() == 0x44);
}

TEST_CASE("io-apic: a level-triggered pin asks once until the interrupt has ended", "[apic]") {
    IoApicFixture pc;
    pc.set_entry(11, pc.kLevel | 0x4B);
    pc.line(11, true);
    CHECK(pc.entry(11) == (pc.kLevel | pc.kRemoteIrr | 0x4B));
    CHECK((pc.reg(pc.kTmr + 0x20) & 1u << 11) != 0);
    CHECK(pc.ack() == 0x4B);
    pc.line(11, false), pc.line(11, true);
    CHECK_FALSE(pc.pending());
    pc.set(pc.kEoi, 0);
    CHECK(pc.ack() == 0x4B); // it still asks
    pc.line(11, false);
    pc.set(pc.kEoi, 0);
    CHECK(pc.entry(11) == (pc.kLevel | 0x4B));
    CHECK_FALSE(pc.pending());
    // Masked meanwhile: nothing until it is opened.
    pc.line(11, true);
    CHECK(pc.ack() == 0x4B);
    pc.set_entry(11, pc.kMasked | pc.kLevel | 0x4B);
    CHECK((pc.entry(11) & pc.kRemoteIrr) != 0); // not for software to clear
    pc.set(pc.kEoi, 0);
    CHECK((pc.entry(11) & pc.kRemoteIrr) == 0);
    CHECK_FALSE(pc.pending());
    pc.set_entry(11, pc.kLevel | 0x4B);
    CHECK(pc.ack() == 0x4B);
    // As an edge it has no remote IRR, which is how systems get rid of a stuck one.
    pc.set_entry(11, pc.kMasked | 0x4B);
    pc.set_entry(11, pc.kMasked | pc.kLevel | 0x4B);
    CHECK((pc.entry(11) & pc.kRemoteIrr) == 0);
}

TEST_CASE("io-apic: PCI's wires are pins 16 to 19 and active low", "[apic]") {
    IoApicFixture pc;
    const auto asserts = [&](unsigned wire, bool level) { pc.platform.irq->set_pirq(wire, level); };
    for (unsigned wire = 0; wire < 4; ++wire) {
        pc.set_entry(pc.kPirqA + wire, pc.kLevel | pc.kActiveLow | (0x50 + wire));
        CHECK_FALSE(pc.pending());
        asserts(wire, true);
        CHECK(pc.ack() == 0x50 + wire);
        asserts(wire, false);
        pc.set(pc.kEoi, 0);
        CHECK_FALSE(pc.pending());
    }
    pc.set_entry(pc.kPirqA, pc.kLevel | 0x50); // the wrong way round: an idle wire asks
    CHECK(pc.ack() == 0x50);
    asserts(0, true);
    pc.set(pc.kEoi, 0);
    CHECK_FALSE(pc.pending());
    // An active-low edge of an ISA line is its fall.
    pc.set_entry(5, pc.kActiveLow | 0x45);
    pc.line(5, true);
    CHECK_FALSE(pc.pending());
    pc.line(5, false);
    CHECK(pc.take() == 0x45);
}

TEST_CASE("io-apic: the bridge drives both the wire and the line that it is steered to", "[apic]") {
    IoApicFixture pc;
    const auto bridge = make_i440fx(pc.platform), isa = make_piix3_isa(pc.platform);
    pc.platform.io.write(0xCF8, 4, 0x80000860);
    pc.platform.io.write(0xCFC, 4, 0x0B0A0B0A); // PIRQA# and C# to line 10, the others to 11
    pc.set_entry(17, pc.kLevel | pc.kActiveLow | 0x51);
    pc.set_entry(11, pc.kLevel | 0x4B);
    pc.platform.pci.set_intx(2, 0, true); // PIRQB#
    CHECK(pc.ack() == 0x51);
    pc.platform.pci.set_intx(3, 3, true); // likewise
    pc.platform.pci.set_intx(2, 0, false);
    pc.set(pc.kEoi, 0);
    CHECK(pc.ack() == 0x51);
    pc.platform.pci.set_intx(3, 3, false);
    pc.set(pc.kEoi, 0);
    CHECK(pc.take() == 0x4B); // it was asked for, too
    CHECK_FALSE(pc.pending());
    pc.set_entry(9, pc.kLevel | 0x49);
    pc.platform.pci.set_intx(1, 0, true); // power management: the SCI, no PIRQ
    CHECK(pc.ack() == 0x49);
}

TEST_CASE("io-apic: a level that was not accepted is offered to a local APIC that is enabled later",
          "[apic]") {
    IoApicFixture pc;
    pc.set(pc.kSvr, 0xFF);
    pc.line(11, true);
    pc.set_entry(11, pc.kLevel | 0x4B);
    CHECK(pc.entry(11) == (pc.kLevel | 0x4B));
    CHECK_FALSE(pc.pending());
    pc.enable();
    CHECK(pc.ack() == 0x4B);
    CHECK((pc.entry(11) & pc.kRemoteIrr) != 0);
}

TEST_CASE("io-apic: destinations, and messages other than vectors", "[apic]") {
    IoApicFixture pc;
    const InterruptSource& processor = *pc.platform.interrupts;
    pc.set_entry(4, 0x44);
    pc.set_io(0x19, 0x07000000); // APIC 7
    pc.pulse(4);
    CHECK_FALSE(pc.pending());
    pc.set(pc.kLdr, 0x01000000);
    pc.set_entry(4, pc.kLogical | 1u << 8 | 0x44);
    pc.set_io(0x19, 0x03000000);
    pc.pulse(4);
    CHECK(pc.take() == 0x44);
    CHECK_FALSE(processor.nmi_possible());
    pc.set_io(0x19, 0);
    pc.set_entry(4, pc.kNmi);
    CHECK(processor.nmi_possible());
    pc.pulse(4);
    CHECK(processor.nmi_pending());
    CHECK_FALSE(pc.pending());
    pc.out(0x21, 0xEF);
    pc.set_entry(4, pc.kExtInt);
    CHECK_FALSE(processor.nmi_possible());
    pc.pulse(4);
    CHECK(pc.ack() == 0x0C); // the 8259 pair's vector, whatever LINT0 says
    CHECK_FALSE(pc.pending());
}

// What a timer asks before it pulses its line again.
TEST_CASE("io-apic: a request is undelivered where a processor would hear it", "[apic]") {
    IoApicFixture pc;
    const IrqLines& lines = *pc.platform.irq;
    pc.out(0x21, 0xFE);
    pc.pulse(0);
    CHECK_FALSE(lines.irq_undelivered(0)); // the 8259 pair asks, but LINT0 is closed
    pc.set(pc.kLint0, pc.kExtInt);
    CHECK(lines.irq_undelivered(0));
    pc.set(pc.kLint0, pc.kMasked);
    pc.set_entry(2, 0x42);
    CHECK_FALSE(lines.irq_undelivered(0));
    pc.pulse(0);
    CHECK(lines.irq_undelivered(0));
    CHECK(pc.ack() == 0x42);
    CHECK_FALSE(lines.irq_undelivered(0));
    pc.pulse(0);
    CHECK(lines.irq_undelivered(0));
    pc.set_entry(2, pc.kMasked | 0x42);
    CHECK_FALSE(lines.irq_undelivered(0));
}

TEST_CASE("io-apic: its state goes on where it was saved; without one it is as after a reset", "[apic]") {
    IoApicFixture from, to;
    from.set_entry(11, from.kLevel | 0x4B);
    from.set_io(0x27, 0x01000000);
    from.set_io(0x27, 0);
    from.line(11, true);
    from.set_entry(4, 0x44);
    from.line(4, true);
    require_round_trip(*from.io, *to.io);
    CHECK(to.entry(11) == (from.kLevel | from.kRemoteIrr | 0x4B));
    to.line(4, true); // it is high already
    CHECK_FALSE(to.pending());
    to.platform.apics.end_of_interrupt(0x4B);
    CHECK(to.take() == 0x4B);
    for (const unsigned byte : {0x00u, 0x5Au, 0xFFu}) {
        load_forged(*to.io, static_cast<uint8_t>(byte));
        for (unsigned line = 0; line < 16; ++line)
            to.pulse(line);
        for (unsigned wire = 0; wire < 4; ++wire)
            to.platform.irq->set_pirq(wire, true);
        (void)to.take();
    }
    load(*to.io, saved(*to.pic)); // a state without its section
    for (unsigned pin = 0; pin < 24; ++pin)
        CHECK(to.entry(pin) == to.kMasked);
}
