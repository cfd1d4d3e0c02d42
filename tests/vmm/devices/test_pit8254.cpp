#include "tests/vmm/devices/legacy_fixture.h"

using namespace vmm;

namespace {
// The first nanosecond of CLK period `ticks`.
uint64_t at(uint64_t ticks) { return (ticks * kNanosPerSecond + 1193181) / 1193182; }

struct Pit : LegacyFixture {
    std::unique_ptr<Device> device = make_pit8254(platform);
    void control(unsigned channel, unsigned access, unsigned mode, unsigned bcd = 0) {
        out(0x43, channel << 6 | access << 4 | mode << 1 | bcd);
    }
    void count(unsigned channel, unsigned value) {
        out(static_cast<uint16_t>(0x40 + channel), value & 0xFF);
        out(static_cast<uint16_t>(0x40 + channel), value >> 8);
    }
    unsigned read(unsigned channel) {
        const unsigned low = in(static_cast<uint16_t>(0x40 + channel));
        return low | in(static_cast<uint16_t>(0x40 + channel)) << 8u;
    }
    unsigned latched(unsigned channel) { return out(0x43, channel << 6), read(channel); }
    unsigned status(unsigned channel) {
        out(0x43, 0xE0 | 2u << channel);
        return in(static_cast<uint16_t>(0x40 + channel));
    }
    bool out2() { return (in(0x61) & 0x20) != 0; }
    unsigned ticks() const { return irq.rises[0]; }
};
} // namespace

TEST_CASE("pit8254: mode 0 raises OUT once, count + 1 clocks after the write", "[devices]") {
    Pit pit;
    pit.control(0, 3, 0);
    CHECK_FALSE(pit.irq.is_high(0));
    pit.count(0, 1000);
    pit.advance_to(at(1001) - 1);
    CHECK_FALSE(pit.irq.is_high(0));
    pit.advance_to(at(1001));
    CHECK(pit.irq.is_high(0));
    CHECK(pit.ticks() == 1);
    pit.advance_to(at(200'000));
    CHECK(pit.ticks() == 1);
    pit.control(0, 3, 0);
    CHECK_FALSE(pit.irq.is_high(0));
}

TEST_CASE("pit8254: mode 2 ticks at exactly the programmed rate", "[devices]") {
    Pit pit;
    pit.control(0, 3, 2);
    pit.count(0, 11932); // 100 Hz
    const unsigned before = pit.ticks();
    pit.advance(10 * kNanosPerSecond);
    CHECK(pit.ticks() - before == 999); // 11931820 / 11932, the first a period after loading
}

TEST_CASE("pit8254: mode 2 reload takes effect after current count", "[devices]") {
    Pit pit;
    pit.control(0, 3, 2);
    pit.count(0, 10000);
    pit.advance_to(at(5001));
    pit.count(0, 20000);
    const unsigned before = pit.ticks();
    CHECK(pit.latched(0) == 5000);
    CHECK((pit.status(0) & 0x40) != 0); // null count: not yet in the counter
    pit.advance_to(at(10001));
    CHECK(pit.ticks() - before == 1);
    CHECK((pit.status(0) & 0x40) == 0);
    CHECK(pit.latched(0) == 20000);
    pit.advance_to(at(30000));
    CHECK(pit.ticks() - before == 1);
    pit.advance_to(at(30001));
    CHECK(pit.ticks() - before == 2);
}

TEST_CASE("pit8254: looking at a counter does not lose the tick of the count that ends", "[devices]") {
    Pit pit;
    pit.control(0, 3, 2);
    pit.count(0, 10000);
    pit.advance_to(at(5000));
    pit.count(0, 20000);
    const unsigned before = pit.ticks();
    pit.platform.clock.set_manual(at(10500)); // late: the timer has not run
    pit.latched(0);
    pit.platform.clock.run_due();
    CHECK(pit.ticks() - before == 1);
}

TEST_CASE("pit8254: mode 3 is high for the longer half and counts by two", "[devices]") {
    Pit pit;
    pit.out(0x61, 1);
    pit.control(2, 3, 3);
    pit.count(2, 1001);
    pit.advance_to(at(1));
    CHECK(pit.out2());
    CHECK(pit.latched(2) == 1000);
    pit.advance_to(at(2));
    CHECK(pit.latched(2) == 998);
    pit.advance_to(at(1 + 500));
    CHECK(pit.out2());
    pit.advance_to(at(1 + 501));
    CHECK_FALSE(pit.out2());
    pit.advance_to(at(1 + 1000));
    CHECK_FALSE(pit.out2());
    pit.advance_to(at(1 + 1001));
    CHECK(pit.out2());
}

TEST_CASE("pit8254: mode 3 takes a new count at the end of the half-cycle", "[devices]") {
    Pit pit;
    pit.out(0x61, 1);
    pit.control(2, 3, 3);
    pit.count(2, 1000);
    pit.advance_to(at(1 + 100));
    pit.count(2, 200);
    pit.advance_to(at(1 + 499));
    CHECK(pit.out2());
    pit.advance_to(at(1 + 500));
    CHECK_FALSE(pit.out2());
    pit.advance_to(at(1 + 599));
    CHECK_FALSE(pit.out2());
    pit.advance_to(at(1 + 600));
    CHECK(pit.out2());
    pit.advance_to(at(1 + 700));
    CHECK_FALSE(pit.out2());
}

TEST_CASE("pit8254: mode 1 fires on each rise of the gate", "[devices]") {
    Pit pit;
    pit.control(2, 3, 1);
    pit.count(2, 50);
    pit.advance_to(at(100));
    CHECK(pit.out2());
    pit.out(0x61, 1);
    pit.advance_to(at(101));
    CHECK_FALSE(pit.out2());
    pit.advance_to(at(140));
    pit.out(0x61, 0);
    pit.out(0x61, 1); // retriggered
    pit.advance_to(at(190));
    CHECK_FALSE(pit.out2());
    pit.advance_to(at(191));
    CHECK(pit.out2());
}

TEST_CASE("pit8254: the gate stops mode 0 and lets it go on", "[devices]") {
    Pit pit;
    pit.out(0x61, 1);
    pit.control(2, 3, 0);
    pit.count(2, 1000);
    pit.advance_to(at(401));
    pit.out(0x61, 0);
    CHECK(pit.latched(2) == 600);
    pit.advance_to(at(5000));
    CHECK(pit.latched(2) == 600);
    pit.out(0x61, 1);
    pit.advance_to(at(5599));
    CHECK_FALSE(pit.out2());
    pit.advance_to(at(5600));
    CHECK(pit.out2());
}

TEST_CASE("pit8254: modes 4 and 5 strobe low for one clock", "[devices]") {
    Pit pit;
    const bool hardware = GENERATE(false, true);
    pit.out(0x61, hardware ? 0 : 1);
    pit.control(2, 3, hardware ? 5 : 4);
    pit.count(2, 10);
    if (hardware) {
        pit.advance_to(at(50));
        CHECK(pit.out2());
        pit.out(0x61, 1);
    }
    const uint64_t start = hardware ? 50 : 0;
    pit.advance_to(at(start + 10));
    CHECK(pit.out2());
    pit.advance_to(at(start + 11));
    CHECK_FALSE(pit.out2());
    pit.advance_to(at(start + 12));
    CHECK(pit.out2());
    pit.advance_to(at(start + 11 + 65536));
    CHECK(pit.out2());
}

TEST_CASE("pit8254: BCD counts and wraps in decimal", "[devices]") {
    Pit pit;
    pit.out(0x61, 1);
    pit.control(2, 3, 0, 1);
    pit.count(2, 0x0100);
    pit.advance_to(at(1 + 1));
    CHECK(pit.latched(2) == 0x0099);
    pit.advance_to(at(1 + 101));
    CHECK(pit.latched(2) == 0x9999);
    pit.control(2, 3, 2, 1);
    pit.count(2, 0);
    pit.advance(at(1) + 1);
    CHECK(pit.latched(2) == 0x0000); // 10000
}

TEST_CASE("pit8254: a latched count stands until read, whatever comes after", "[devices]") {
    Pit pit;
    pit.control(1, 3, 2);
    pit.count(1, 0x8000);
    pit.advance_to(at(1 + 0x100));
    pit.out(0x43, 0x40);
    pit.advance_to(at(1 + 0x200));
    pit.out(0x43, 0x40);
    CHECK(pit.read(1) == 0x7F00);
    CHECK(pit.read(1) == 0x7E00); // live
}

TEST_CASE("pit8254: read-back gives status first, then the count", "[devices]") {
    Pit pit;
    pit.control(1, 2, 2);
    pit.out(0x41, 0x12);
    pit.advance_to(at(1));
    pit.out(0x43, 0xC4);
    CHECK(pit.in(0x41) == 0xA4); // OUT high, loaded, high byte only, mode 2
    CHECK(pit.in(0x41) == 0x12);
}

TEST_CASE("pit8254: a tick waits for the guest, which then catches up at no more than double speed",
          "[devices]") {
    Pit pit;
    pit.control(0, 3, 2);
    pit.count(0, 11932);
    pit.advance(5'000'000);
    pit.irq.waiting = 1; // interrupts disabled from here on
    pit.advance(100'000'000);
    const unsigned before = pit.ticks();
    pit.irq.waiting = 0;
    pit.advance(50'000'000);
    const unsigned during = pit.ticks() - before;
    CHECK(during >= 9);
    CHECK(during <= 11); // 5 periods
    pit.advance(150'000'000);
    CHECK(pit.ticks() - before >= 29); // 20 periods and the 10 owed: all made good
    CHECK(pit.ticks() - before <= 31);
}

TEST_CASE("pit8254: ticks the vCPU was late for are made good one at a time", "[devices]") {
    Pit pit;
    pit.control(0, 3, 3);
    pit.count(0, 11932);
    pit.advance(1'000'000);
    const unsigned before = pit.ticks();
    pit.platform.clock.set_manual(51'000'000); // 5 periods at once
    pit.platform.clock.run_due();
    CHECK(pit.ticks() - before == 1);
    pit.advance(100'000'000);
    CHECK(pit.ticks() - before == 15);
}

TEST_CASE("pit8254: a guest's shortest period cannot flood the vCPU", "[devices]") {
    Pit pit;
    pit.out(0x43, 0x14); // mode 2, low byte
    pit.out(0x40, 1);
    const unsigned before = pit.ticks();
    pit.advance(10'000'000);
    CHECK(pit.ticks() - before <= 500);
    CHECK(pit.ticks() - before >= 400);
}

TEST_CASE("pit8254: port 61h keeps its low bits and toggles refresh every 15 us", "[devices]") {
    Pit pit;
    pit.out(0x61, 0xFF);
    CHECK((pit.in(0x61) & 0xCF) == 0x0F);
    unsigned toggles = 0;
    bool last = (pit.in(0x61) & 0x10) != 0;
    for (unsigned us = 0; us < 1000; ++us) {
        pit.advance(1000);
        const bool now = (pit.in(0x61) & 0x10) != 0;
        toggles += now != last;
        last = now;
    }
    CHECK(toggles == 66);
}

TEST_CASE("pit8254: a one-shot that ran out just before a save ticks after the load", "[devices]") {
    Pit pit, other;
    pit.control(0, 3, 0);
    pit.count(0, 1000);
    pit.platform.clock.set_manual(at(1001) +
                                  5000); // due, and the machine came to rest before it was delivered
    REQUIRE(pit.ticks() == 0);
    other.platform.clock.set_manual(pit.platform.clock.now());
    require_round_trip(*pit.device, *other.device);
    CHECK(other.platform.clock.next_deadline() != kNever);
    other.advance(1'000'000);
    CHECK(other.ticks() == 1);
    other.advance(100'000'000);
    CHECK(other.ticks() == 1);
}

TEST_CASE("pit8254: state survives a save and a forged one is harmless", "[devices]") {
    Pit pit, other;
    pit.control(0, 3, 2);
    pit.count(0, 11932);
    pit.out(0x61, 1);
    pit.control(2, 3, 3);
    pit.out(0x42, 5); // half a count
    pit.advance(25'000'000);
    pit.out(0x43, 0x00);
    other.platform.clock.set_manual(pit.platform.clock.now());
    require_round_trip(*pit.device, *other.device);
    CHECK(other.read(0) == pit.read(0));
    const unsigned before = other.ticks();
    pit.advance(100'000'000);
    other.advance(100'000'000);
    CHECK(other.ticks() - before == 10);
    CHECK(other.latched(0) == pit.latched(0));
    for (unsigned byte : {0xFFu, 0x7Fu, 0x80u, 0x01u}) {
        load_forged(*other.device, static_cast<uint8_t>(byte));
        other.advance(1'000'000);
        for (unsigned channel = 0; channel < 3; ++channel)
            other.latched(channel), other.status(channel), other.count(channel, 77);
    }
}
