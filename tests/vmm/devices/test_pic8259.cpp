#include "tests/vmm/devices/legacy_fixture.h"

using namespace vmm;

namespace {
struct Pic : LegacyFixture {
    std::unique_ptr<Device> device = make_pic8259(platform);
    unsigned changes = 0;
    Pic() {
        platform.interrupt_line_changed = [this] { ++changes; };
        initialize(0x01);
    }
    void initialize(unsigned icw4, unsigned master_icw4_extra = 0) {
        out(0x20, 0x11), out(0x21, 0x08), out(0x21, 0x04), out(0x21, icw4 | master_icw4_extra);
        out(0xA0, 0x11), out(0xA1, 0x70), out(0xA1, 0x02), out(0xA1, icw4);
    }
    void raise(unsigned line) { platform.irq->set_irq(line, true); }
    void lower(unsigned line) { platform.irq->set_irq(line, false); }
    void pulse(unsigned line) { lower(line), raise(line); }
    bool pending() { return platform.interrupts->interrupt_pending(); }
    unsigned ack() { return platform.interrupts->acknowledge_interrupt(); }
    unsigned irr() { return out(0x20, 0x0A), in(0x20); }
    unsigned isr() { return out(0x20, 0x0B), in(0x20); }
};
constexpr unsigned kEoi = 0x20;
} // namespace

TEST_CASE("pic8259: an edge requests once however long the line stays high", "[devices]") {
    Pic pic;
    pic.raise(3);
    REQUIRE(pic.pending());
    CHECK(pic.changes == 1);
    CHECK(pic.ack() == 0x0B);
    CHECK_FALSE(pic.pending());
    pic.out(0x20, kEoi);
    CHECK_FALSE(pic.pending());
    pic.pulse(3);
    CHECK(pic.pending());
}

TEST_CASE("pic8259: a level line requests again after EOI until it falls", "[devices]") {
    Pic pic;
    pic.out(0x4D0, 0xFF);
    CHECK(pic.in(0x4D0) == 0xF8);
    pic.out(0x4D1, 0xFF);
    CHECK(pic.in(0x4D1) == 0xDE);
    pic.raise(11);
    CHECK(pic.ack() == 0x73);
    pic.out(0xA0, kEoi), pic.out(0x20, kEoi);
    CHECK(pic.pending());
    CHECK(pic.ack() == 0x73);
    pic.lower(11);
    pic.out(0xA0, kEoi), pic.out(0x20, kEoi);
    CHECK_FALSE(pic.pending());
}

TEST_CASE("pic8259: a higher level interrupts a lower one in service, not the reverse", "[devices]") {
    Pic pic;
    pic.raise(5);
    CHECK(pic.ack() == 0x0D);
    pic.raise(6);
    CHECK_FALSE(pic.pending());
    pic.raise(1);
    CHECK(pic.ack() == 0x09);
    CHECK(pic.isr() == 0x22);
    pic.out(0x20, kEoi); // non-specific: the highest
    CHECK(pic.isr() == 0x20);
    pic.out(0x20, kEoi);
    CHECK(pic.ack() == 0x0E);
}

TEST_CASE("pic8259: a slave's request passes through IR2 and outranks the master's IR3", "[devices]") {
    Pic pic;
    pic.raise(3);
    pic.raise(12);
    CHECK(pic.irr() == 0x0C);
    CHECK(pic.ack() == 0x74);
    CHECK(pic.isr() == 0x04);
    pic.out(0xA0, kEoi), pic.out(0x20, kEoi);
    CHECK(pic.ack() == 0x0B);
}

TEST_CASE("pic8259: a request gone before INTA gives the spurious vector and no service bit", "[devices]") {
    Pic pic;
    CHECK(pic.ack() == 0x0F);
    CHECK(pic.isr() == 0);
    pic.raise(4);
    pic.lower(4);
    CHECK_FALSE(pic.pending());
    CHECK(pic.ack() == 0x0F);
}

TEST_CASE("pic8259: masked lines wait", "[devices]") {
    Pic pic;
    pic.out(0x21, 0x02);
    CHECK(pic.in(0x21) == 0x02);
    pic.raise(1);
    CHECK_FALSE(pic.pending());
    CHECK_FALSE(pic.platform.irq->irq_undelivered(1));
    pic.out(0x21, 0x00);
    CHECK(pic.pending());
    CHECK(pic.platform.irq->irq_undelivered(1));
    CHECK(pic.ack() == 0x09);
    CHECK_FALSE(pic.platform.irq->irq_undelivered(1));
}

TEST_CASE("pic8259: automatic EOI leaves nothing in service", "[devices]") {
    Pic pic;
    pic.initialize(0x03);
    pic.raise(2 + 1);
    CHECK(pic.ack() == 0x0B);
    CHECK(pic.isr() == 0);
    SECTION("and rotates when told to") {
        pic.out(0x20, 0x80);
        pic.pulse(3);
        CHECK(pic.ack() == 0x0B); // now IR3 is lowest and IR4 highest
        pic.pulse(3);
        pic.pulse(4);
        CHECK(pic.ack() == 0x0C);
    }
}

TEST_CASE("pic8259: rotation and set priority move the bottom", "[devices]") {
    Pic pic;
    pic.out(0x20, 0xC0 | 4); // IR4 lowest: IR5 highest
    pic.raise(0), pic.raise(5);
    CHECK(pic.ack() == 0x0D);
    pic.out(0x20, 0xA0); // rotate on non-specific EOI: IR5 lowest
    pic.pulse(5);
    CHECK(pic.ack() == 0x08);
    pic.out(0x20, 0x60 | 0); // specific EOI
    CHECK(pic.isr() == 0);
    CHECK(pic.ack() == 0x0D);
}

TEST_CASE("pic8259: special mask mode lets lower levels through a masked level in service", "[devices]") {
    Pic pic;
    pic.raise(1);
    CHECK(pic.ack() == 0x09);
    pic.raise(4);
    pic.out(0x21, 0x02);
    CHECK_FALSE(pic.pending());
    pic.out(0x20, 0x68);
    CHECK(pic.pending());
    CHECK(pic.ack() == 0x0C);
    pic.out(0x20, kEoi); // clears IR4; the masked IR1 stays
    CHECK(pic.isr() == 0x02);
    pic.out(0x20, 0x48);
    pic.out(0x20, kEoi);
    CHECK(pic.isr() == 0);
}

TEST_CASE("pic8259: special fully nested mode admits a higher slave line while the slave is in service",
          "[devices]") {
    Pic pic;
    pic.raise(12);
    CHECK(pic.ack() == 0x74);
    pic.raise(9);
    CHECK_FALSE(pic.pending());
    pic.initialize(0x01, 0x10);
    pic.pulse(12);
    CHECK(pic.ack() == 0x74);
    pic.pulse(9);
    CHECK(pic.pending());
    CHECK(pic.ack() == 0x71);
}

TEST_CASE("pic8259: a poll acknowledges", "[devices]") {
    Pic pic;
    pic.raise(6);
    pic.out(0x20, 0x0C);
    CHECK(pic.in(0x20) == 0x86);
    CHECK(pic.isr() == 0x40);
    CHECK_FALSE(pic.pending());
    pic.out(0x20, 0x0C);
    CHECK(pic.in(0x20) == 0x00);
}

TEST_CASE("pic8259: state survives a save and a forged one is harmless", "[devices]") {
    Pic pic, other;
    pic.raise(5), pic.raise(12);
    pic.ack();
    pic.out(0x21, 0x80);
    pic.out(0x4D1, 0x08);
    pic.out(0x20, 0xC3);
    pic.out(0xA0, 0x11); // half-way through initialization
    require_round_trip(*pic.device, *other.device);
    CHECK(other.in(0x21) == 0x80);
    CHECK(other.pending() == pic.pending());
    for (unsigned byte : {0xFFu, 0x80u}) {
        load_forged(*other.device, static_cast<uint8_t>(byte));
        for (int i = 0; i < 20; ++i)
            other.ack();
    }
}
