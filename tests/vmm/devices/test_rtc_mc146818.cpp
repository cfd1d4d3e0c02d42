#include "tests/vmm/devices/legacy_fixture.h"
#include "tests/vmm/devices/storage_fixture.h"

using namespace vmm;

namespace {
constexpr uint64_t kStart = 1'709'251'198; // 2024-02-29 23:59:58 UTC, a Thursday

struct Rtc : LegacyFixture {
    std::unique_ptr<Device> device;
    explicit Rtc(uint64_t ram = 256ull << 20) : LegacyFixture(ram) {
        platform.config.rtc_start_seconds = kStart;
        device = make_rtc_mc146818(platform);
    }
    unsigned get(unsigned index) { return out(0x70, index), in(0x71); }
    void set(unsigned index, unsigned value) { out(0x70, index), out(0x71, value); }
    unsigned word(unsigned index) { return get(index) | get(index + 1) << 8; }
};
constexpr uint64_t kMillisecond = 1'000'000;
} // namespace

TEST_CASE("rtc: time starts where configured and carries over a leap day", "[devices]") {
    Rtc rtc;
    CHECK((rtc.get(0) == 0x58 && rtc.get(2) == 0x59 && rtc.get(4) == 0x23));
    CHECK((rtc.get(7) == 0x29 && rtc.get(8) == 0x02 && rtc.get(9) == 0x24 && rtc.get(0x32) == 0x20));
    CHECK(rtc.get(6) == 5);
    rtc.advance(2 * kNanosPerSecond);
    CHECK((rtc.get(0) == 0 && rtc.get(2) == 0 && rtc.get(4) == 0));
    CHECK((rtc.get(7) == 0x01 && rtc.get(8) == 0x03));
    CHECK(rtc.get(0x0D) == 0x80);
}

TEST_CASE("rtc: binary and 12-hour formats", "[devices]") {
    Rtc rtc;
    rtc.set(0x0B, 0x06);
    CHECK((rtc.get(0) == 58 && rtc.get(4) == 23));
    rtc.set(0x0B, 0x04);
    CHECK(rtc.get(4) == (11 | 0x80));
    rtc.set(0x0B, 0x00);
    CHECK(rtc.get(4) == (0x11 | 0x80));
    rtc.advance(2 * kNanosPerSecond);
    CHECK(rtc.get(4) == 0x12); // midnight
}

TEST_CASE("rtc: setting the time under SET takes effect when SET is cleared", "[devices]") {
    Rtc rtc;
    rtc.advance(700 * kMillisecond);
    rtc.set(0x0B, 0x82);
    rtc.set(0, 0x30), rtc.set(2, 0x45), rtc.set(4, 0x12);
    rtc.set(7, 0x31), rtc.set(8, 0x12), rtc.set(9, 0x99), rtc.set(0x32, 0x19);
    rtc.advance(5 * kNanosPerSecond);
    CHECK(rtc.get(0) == 0x30);
    rtc.set(0x0B, 0x02);
    rtc.advance(999 * kMillisecond);
    CHECK(rtc.get(0) == 0x30);
    rtc.advance(1 * kMillisecond);
    CHECK((rtc.get(0) == 0x31 && rtc.get(2) == 0x45 && rtc.get(4) == 0x12));
    CHECK((rtc.get(7) == 0x31 && rtc.get(8) == 0x12 && rtc.get(9) == 0x99 && rtc.get(0x32) == 0x19));
}

TEST_CASE("rtc: nonsense in the time registers does not disturb the host", "[devices]") {
    Rtc rtc;
    rtc.set(0x0B, 0x82);
    for (unsigned index = 0; index < 10; ++index)
        rtc.set(index, 0xFF);
    rtc.set(0x32, 0xFF);
    rtc.set(0x0B, 0x76);
    rtc.advance(3 * kNanosPerSecond);
    CHECK(rtc.get(0) < 60);
    CHECK(rtc.get(8) <= 12);
}

TEST_CASE("rtc: UIP warns at least 244 us before the registers change", "[devices]") {
    Rtc rtc;
    rtc.advance_to(997 * kMillisecond);
    CHECK((rtc.get(0x0A) & 0x80) == 0);
    rtc.advance_to(999 * kMillisecond);
    CHECK((rtc.get(0x0A) & 0x80) != 0);
    CHECK(rtc.get(0) == 0x58);
    rtc.advance_to(1000 * kMillisecond);
    CHECK((rtc.get(0x0A) & 0x80) == 0);
    CHECK(rtc.get(0) == 0x59);
}

TEST_CASE("rtc: the periodic interrupt comes at its rate once register C is read each time", "[devices]") {
    Rtc rtc;
    rtc.set(0x0A, 0x26); // 1024 Hz
    rtc.set(0x0B, 0x42);
    unsigned interrupts = 0;
    for (unsigned i = 0; i < 20'000; ++i) {
        rtc.advance(50'000); // 1 s in all
        if (rtc.irq.is_high(8)) {
            ++interrupts;
            CHECK((rtc.get(0x0C) & 0xC0) == 0xC0);
            CHECK_FALSE(rtc.irq.is_high(8));
        }
    }
    CHECK(interrupts >= 1023);
    CHECK(interrupts <= 1024);
    SECTION("and stops, costing nothing, while it is not read") {
        rtc.advance(kMillisecond);
        CHECK(rtc.platform.clock.next_deadline() == kNever);
        CHECK(rtc.irq.is_high(8));
    }
}

TEST_CASE("rtc: the update-ended interrupt comes at the second", "[devices]") {
    Rtc rtc;
    rtc.set(0x0B, 0x12);
    rtc.advance_to(kNanosPerSecond - 1);
    CHECK_FALSE(rtc.irq.is_high(8));
    rtc.advance_to(kNanosPerSecond);
    CHECK(rtc.irq.is_high(8));
    CHECK((rtc.get(0x0C) & 0x90) == 0x90);
    CHECK_FALSE(rtc.irq.is_high(8));
}

TEST_CASE("rtc: the alarm matches its time of day or anything", "[devices]") {
    Rtc rtc;
    rtc.set(1, 0x10), rtc.set(3, 0x00), rtc.set(5, 0xFF); // hh:00:10
    rtc.set(0x0B, 0x22);
    rtc.advance_to(11 * kNanosPerSecond);
    CHECK_FALSE(rtc.irq.is_high(8));
    rtc.advance_to(12 * kNanosPerSecond); // 00:00:10
    CHECK(rtc.irq.is_high(8));
    CHECK((rtc.get(0x0C) & 0xA0) == 0xA0);
    rtc.advance_to(3611 * kNanosPerSecond);
    CHECK_FALSE(rtc.irq.is_high(8));
    rtc.advance_to(3612 * kNanosPerSecond);
    CHECK(rtc.irq.is_high(8));
}

TEST_CASE("rtc: flags are set even with their interrupts off", "[devices]") {
    Rtc rtc;
    CHECK(rtc.platform.clock.next_deadline() == kNever);
    rtc.get(0x0C);
    rtc.advance(1500 * kMillisecond);
    CHECK((rtc.get(0x0C) & 0xF0) == 0x50); // periodic and update, no IRQF
    CHECK_FALSE(rtc.irq.is_high(8));
}

TEST_CASE("rtc: memory sizes as SeaBIOS reads them", "[devices]") {
    {
        Rtc rtc(256ull << 20);
        CHECK(rtc.word(0x15) == 640);
        CHECK(rtc.word(0x17) == 0xFFFF);
        CHECK(rtc.word(0x34) == (240u << 20) >> 16);
    }
    Rtc rtc(16ull << 20);
    CHECK(rtc.word(0x30) == 15 * 1024);
    CHECK(rtc.word(0x34) == 0);
}

TEST_CASE("rtc: boot order and floppies", "[devices]") {
    LegacyFixture machine;
    machine.platform.config.boot_order = {BootDevice::Cdrom, BootDevice::Disk, BootDevice::Floppy};
    machine.platform.config.media.push_back({MediumKind::Floppy, nullptr});
    auto rtc = make_rtc_mc146818(machine.platform);
    const auto get = [&](unsigned index) { return machine.out(0x70, index), machine.in(0x71); };
    CHECK(get(0x3D) == 0x23);
    CHECK((get(0x38) & 0xF0) == 0x10);
    CHECK(get(0x10) == 0x40);
    CHECK((get(0x14) & 0xC1) == 0x01);
    unsigned sum = 0;
    for (unsigned index = 0x10; index < 0x2E; ++index)
        sum += get(index);
    CHECK((get(0x2E) << 8 | get(0x2F)) == static_cast<int>(sum));
}

// For systems that ask the CMOS and not the BIOS: type 47 with the geometry beside it.
TEST_CASE("rtc: the first two disks stand in the CMOS with their geometry", "[devices]") {
    LegacyFixture without, machine;
    without.platform.config.media.push_back({MediumKind::Cdrom, nullptr});
    const auto other = make_rtc_mc146818(without.platform);
    for (const unsigned index : {0x12u, 0x19u}) {
        without.out(0x70, index);
        CHECK(without.in(0x71) == 0);
    }
    auto& media = machine.platform.config.media;
    media.push_back({MediumKind::Cdrom, nullptr});
    for (const size_t megabytes : {size_t{63}, size_t{8}, size_t{1}})
        media.push_back({MediumKind::Disk, std::make_shared<MemoryBlockPort>(megabytes << 20)});
    const auto rtc = make_rtc_mc146818(machine.platform);
    const auto get = [&](unsigned index) -> unsigned { return machine.out(0x70, index), machine.in(0x71); };
    CHECK(get(0x12) == 0xFF);
    for (unsigned drive = 0; drive < 2; ++drive) {
        const unsigned at = 0x1B + 9 * drive;
        CHECK(get(0x19 + drive) == 47);
        CHECK((get(at) | get(at + 1) << 8) == (drive == 0 ? 128u : 16u));
        CHECK(get(at + 2) == 16);
        CHECK((get(at + 3) & get(at + 4)) == 0xFF);
        CHECK(get(at + 5) == 0xC8);
        CHECK((get(at + 6) | get(at + 7) << 8) == (drive == 0 ? 128u : 16u));
        CHECK(get(at + 8) == 63);
    }
    unsigned sum = 0;
    for (unsigned index = 0x10; index < 0x2E; ++index)
        sum += get(index);
    CHECK((get(0x2E) << 8 | get(0x2F)) == sum);
}

TEST_CASE("rtc: reset keeps RAM and time but turns interrupts off", "[devices]") {
    Rtc rtc;
    rtc.set(0x0F, 0x0A);
    rtc.set(0x0B, 0x72);
    rtc.advance(2 * kNanosPerSecond);
    rtc.device->reset();
    CHECK_FALSE(rtc.irq.is_high(8));
    CHECK(rtc.get(0x0F) == 0x0A);
    CHECK(rtc.get(0x0B) == 0x02);
    CHECK(rtc.get(7) == 0x01);
}

TEST_CASE("rtc: the time can be set from outside, which raises no alarm on its way", "[devices]") {
    Rtc rtc;
    CHECK(rtc.platform.outputs.time_of_day() == kStart * kNanosPerSecond);
    rtc.set(5, 0x12); // an alarm at noon
    rtc.set(0x0B, 0x22);
    rtc.platform.outputs.set_time_of_day((kStart + 400 * 86'400) * kNanosPerSecond + 5);
    CHECK(rtc.platform.outputs.time_of_day() == (kStart + 400 * 86'400) * kNanosPerSecond + 5);
    CHECK((rtc.get(9) == 0x25 && rtc.get(8) == 0x04 && rtc.get(7) == 0x04 && rtc.get(4) == 0x23));
    CHECK_FALSE(rtc.irq.is_high(8));
    rtc.advance(2 * kNanosPerSecond);
    CHECK(rtc.get(7) == 0x05);
    rtc.platform.outputs.set_time_of_day(UINT64_MAX); // the chip's last year
    CHECK((rtc.get(0x32) == 0x21 && rtc.get(9) == 0x99));
    rtc.platform.outputs.set_time_of_day(0);
    CHECK((rtc.get(0x32) == 0x19 && rtc.get(9) == 0x70));
}

TEST_CASE("rtc: state survives a save and a forged one is harmless", "[devices]") {
    Rtc rtc, other;
    rtc.set(0x40, 0x5A);
    rtc.set(9, 0x30);
    rtc.advance(90 * kNanosPerSecond);
    other.platform.clock.set_manual(rtc.platform.clock.now());
    require_round_trip(*rtc.device, *other.device);
    CHECK(other.get(0x40) == 0x5A);
    CHECK(other.get(9) == 0x30);
    CHECK(other.get(0) == rtc.get(0));
    for (unsigned byte : {0xFFu, 0x7Fu, 0x80u, 0x01u}) {
        load_forged(*other.device, static_cast<uint8_t>(byte));
        other.advance(3 * kNanosPerSecond);
        for (unsigned index = 0; index < 128; ++index)
            other.get(index), other.set(index, 0xEE);
    }
}
