// Devices on a host that is busy: each reading of its clock takes milliseconds or seconds, as when the thread
// is descheduled there. Whatever a guest asked for still comes, and an operation has one time.
#include "tests/vmm/devices/legacy_fixture.h"

using namespace vmm;

namespace {

constexpr uint64_t kSteps[] = {100'000, 1'000'000, 9'000'000, 3 * kNanosPerSecond};

struct SlowHost : LegacyFixture {
    // What follows happens on a host that takes `step_ns` to say the time.
    void begin(uint64_t step_ns) {
        platform.clock.set_host([this, step_ns] {
            ++readings;
            return host += step_ns;
        });
        platform.clock.start();
    }
    template <class Work> void once(Work work) {
        const unsigned before = readings;
        work();
        CHECK(readings - before <= 1);
    }
    uint32_t in(uint16_t port, unsigned size = 1) {
        uint32_t value = 0;
        once([&] { value = platform.io.read(port, size); });
        return value;
    }
    void out(uint16_t port, uint32_t value, unsigned size = 1) {
        once([&] { platform.io.write(port, size, value); });
    }
    // As the vCPU does, until `done` holds; false when nothing is going to happen any more.
    template <class Done> bool comes(Done done) {
        for (unsigned looks = 0; looks < 200'000; ++looks) {
            if (done())
                return true;
            if (platform.clock.next_deadline() == kNever)
                return false;
            once([&] { platform.clock.run_due(); });
        }
        return false;
    }
    void config(unsigned slot, unsigned function, uint8_t offset, unsigned size, uint32_t value) {
        out(0xCF8, 0x80000000 | slot << 11 | function << 8 | (offset & 0xFCu), 4);
        out(static_cast<uint16_t>(0xCFC + (offset & 3)), value, size);
    }

    uint64_t host = 0;
    unsigned readings = 0;
};

struct SouthBridgeHost : SlowHost {
    std::unique_ptr<Device> bridge = make_i440fx(platform), isa = make_piix3_isa(platform);
};

struct Listener : AudioPort {
    size_t samples = 0;
    void play(std::span<const int16_t> more, uint32_t) override { samples += more.size(); }
    void silence() override {}
};

} // namespace

TEST_CASE("slow host: a one-shot of the pit is owed or scheduled, whatever its count", "[devices][slow]") {
    for (const uint64_t step : kSteps)
        for (const unsigned mode : {0u, 4u})
            for (const unsigned count : {1u, 2u, 100u, 1000u, 11932u, 15000u, 20000u, 30000u, 65535u}) {
                INFO(step << " ns, mode " << mode << ", count " << count);
                SlowHost pc;
                const auto pit = make_pit8254(pc.platform);
                pc.begin(step);
                for (unsigned again = 0; again < 20; ++again) {
                    pc.out(0x43, 0x30 | mode << 1);
                    pc.out(0x40, count & 0xFF);
                    const unsigned before = pc.irq.rises[0];
                    pc.out(0x40, count >> 8);
                    REQUIRE(pc.comes([&] { return pc.irq.rises[0] > before; }));
                }
            }
}

TEST_CASE("slow host: the pit goes on ticking, also under a new count", "[devices][slow]") {
    for (const uint64_t step : kSteps)
        for (const unsigned mode : {2u, 3u}) {
            INFO(step << " ns, mode " << mode);
            SlowHost pc;
            const auto pit = make_pit8254(pc.platform);
            pc.begin(step);
            pc.out(0x43, 0x30 | mode << 1);
            for (const unsigned count : {11932u, 300u, 4773u, 65535u, 2u}) {
                pc.out(0x40, count & 0xFF);
                pc.out(0x40, count >> 8);
                const unsigned before = pc.irq.rises[0];
                REQUIRE(pc.comes([&] { return pc.irq.rises[0] > before + 5; }));
            }
        }
}

TEST_CASE("slow host: time passes between two accesses, never within one", "[devices][slow]") {
    SlowHost pc;
    const auto pit = make_pit8254(pc.platform);
    pc.begin(9'000'000);
    pc.out(0x61, 1);
    pc.out(0x43, 0xB0); // channel 2, mode 0
    pc.out(0x42, 0xFF);
    pc.out(0x42, 0xFF);
    CHECK((pc.in(0x61) & 0x20) == 0);
    CHECK(pc.comes([&] { return (pc.in(0x61) & 0x20) != 0; }) == false); // OUT2 interrupts nobody
    for (unsigned look = 0; look < 10; ++look)
        (void)pc.in(0x61);
    CHECK((pc.in(0x61) & 0x20) != 0);
}

TEST_CASE("slow host: the rtc's interrupts come", "[devices][slow]") {
    for (const uint64_t step : kSteps)
        for (const unsigned enable : {0x40u, 0x20u, 0x10u}) { // periodic, alarm, update ended
            INFO(step << " ns, enable " << enable);
            SlowHost pc;
            const auto rtc = make_rtc_mc146818(pc.platform);
            pc.begin(step);
            for (const unsigned alarm : {1u, 3u, 5u}) {
                pc.out(0x70, alarm);
                pc.out(0x71, 0xC0); // whatever the time
            }
            pc.out(0x70, 0x0B);
            pc.out(0x71, 0x02 | enable);
            pc.out(0x70, 0x0C);
            for (unsigned again = 0; again < 10; ++again) {
                (void)pc.in(0x71);
                REQUIRE(pc.comes([&] { return pc.irq.is_high(8); }));
            }
        }
}

TEST_CASE("slow host: the keyboard controller hands on every byte", "[devices][slow]") {
    for (const uint64_t step : kSteps) {
        INFO(step << " ns");
        SlowHost pc;
        const auto controller = make_ps2_8042(pc.platform);
        pc.begin(step);
        pc.out(0x64, 0x60);
        pc.out(0x60, 0x47);
        pc.platform.events.post([&] {
            for (const uint16_t code : {uint16_t{0x1E}, uint16_t{0xE048}})
                for (const bool pressed : {true, false})
                    pc.platform.outputs.key({code, pressed});
        });
        pc.once([&] { pc.platform.events.run_all(); });
        for (const unsigned byte : {0x1Eu, 0x9Eu, 0xE0u, 0x48u, 0xE0u, 0xC8u}) {
            REQUIRE(pc.comes([&] { return pc.irq.is_high(1); }));
            CHECK(pc.in(0x60) == byte);
        }
    }
}

TEST_CASE("slow host: the local apic's timer asks, once and again and again", "[devices][slow]") {
    constexpr uint32_t kApic = 0xFEE00000, kPeriodic = 1u << 17;
    for (const uint64_t step : kSteps)
        for (const uint32_t mode : {0u, kPeriodic})
            for (const uint32_t count : {1u, 100u, 4125u, 66'000u, 6'600'000u}) {
                INFO(step << " ns, mode " << mode << ", count " << count);
                SlowHost pc;
                const auto pic = make_pic8259(pc.platform), apic = make_local_apic(pc.platform);
                pc.begin(step);
                const auto set = [&](uint32_t offset, uint32_t value) {
                    pc.once([&] { pc.memory->write<uint32_t>(kApic + offset, value); });
                };
                set(0xF0, 0x1FF);
                set(0x3E0, 3);
                set(0x320, mode | 0x40);
                set(0x380, count);
                for (unsigned again = 0; again < 10; ++again) {
                    REQUIRE(pc.comes([&] { return pc.platform.interrupts->interrupt_pending(); }));
                    CHECK(pc.platform.interrupts->acknowledge_interrupt() == 0x40);
                    set(0xB0, 0);
                    if (mode == 0)
                        set(0x380, count);
                    pc.once([&] { (void)pc.memory->read<uint32_t>(kApic + 0x390); });
                }
            }
}

TEST_CASE("slow host: the pit goes on ticking by way of the io-apic", "[devices][slow]") {
    for (const uint64_t step : kSteps) {
        INFO(step << " ns");
        SlowHost pc;
        const auto pic = make_pic8259(pc.platform), apic = make_local_apic(pc.platform),
                   io = make_io_apic(pc.platform), pit = make_pit8254(pc.platform);
        pc.begin(step);
        pc.memory->write<uint32_t>(0xFEE000F0, 0x1FF);
        pc.memory->write<uint32_t>(0xFEC00000, 0x14); // pin 2
        pc.memory->write<uint32_t>(0xFEC00010, 0x42);
        pc.out(0x43, 0x34);
        pc.out(0x40, 11932 & 0xFF);
        pc.out(0x40, 11932 >> 8);
        for (unsigned again = 0; again < 20; ++again) { // the 8259 pair asks as well, unheard
            REQUIRE(pc.comes([&] { return pc.platform.interrupts->interrupt_pending(); }));
            CHECK(pc.platform.interrupts->acknowledge_interrupt() == 0x42);
            pc.once([&] { pc.memory->write<uint32_t>(0xFEE000B0, 0); });
        }
    }
}

TEST_CASE("slow host: the acpi timer overflows and says so", "[devices][slow]") {
    constexpr uint16_t kBase = 0xB000;
    for (const uint64_t step : kSteps) {
        INFO(step << " ns");
        SouthBridgeHost pc;
        const auto pm = make_piix4_pm(pc.platform);
        pc.begin(step);
        pc.config(1, 3, 0x40, 4, kBase | 1);
        pc.config(1, 3, 0x80, 1, 1);
        pc.out(kBase + 2, 1, 2); // TMROF_EN
        pc.out(kBase + 4, 1, 2); // SCI_EN
        for (unsigned again = 0; again < 3; ++again) {
            REQUIRE(pc.comes([&] { return pc.irq.is_high(9); }));
            REQUIRE((pc.in(kBase, 2) & 1) != 0);
            pc.out(kBase, 1, 2);
            // Another overflow may have come since, but then it is seen.
            if (!pc.irq.is_high(9))
                REQUIRE(pc.platform.clock.next_deadline() != kNever);
        }
    }
}

TEST_CASE("slow host: the sound card plays to the end and interrupts", "[devices][slow]") {
    constexpr uint16_t kMaster = 0x1400, kOut = kMaster + 0x10;
    constexpr uint32_t kList = 0x10000, kFrames = 480;
    for (const uint64_t step : kSteps) {
        INFO(step << " ns");
        SouthBridgeHost pc;
        const auto audio = std::make_shared<Listener>();
        pc.platform.config.sound = true;
        pc.platform.config.audio = audio;
        const auto card = make_ich_ac97(pc.platform);
        for (unsigned i = 0; i < 2; ++i) {
            pc.memory->write<uint32_t>(kList + 8 * i, 0x20000);
            pc.memory->write<uint32_t>(kList + 8 * i + 4, 2 * kFrames | 1u << 31);
        }
        pc.begin(step);
        pc.config(1, 0, 0x60, 4, 0x0B0B0B0B);
        pc.config(5, 0, 0x10, 4, 0x1000);
        pc.config(5, 0, 0x14, 4, kMaster);
        pc.config(5, 0, 0x04, 4, 5);
        pc.out(kMaster + 0x2C, 2, 4);
        pc.out(kOut, kList, 4);
        pc.out(kOut + 0x5, 1);
        pc.out(kOut + 0xB, 0x1D); // run, all interrupts
        constexpr unsigned kHalted = 1, kLastDone = 4;
        REQUIRE(pc.comes([&] { return (pc.in(kOut + 0x6, 2) & kLastDone) != 0; }));
        CHECK((pc.in(kOut + 0x6, 2) & kHalted) != 0);
        CHECK(pc.irq.is_high(11));
        CHECK(audio->samples == 2 * 2 * kFrames);
    }
}

TEST_CASE("slow host: the network card's timer is due when the count is reached", "[devices][slow]") {
    constexpr uint16_t kPorts = 0x1000;
    for (const uint64_t step : kSteps)
        for (const uint32_t count : {33u, 33'000u, 330'000u, 33'000'000u}) {
            INFO(step << " ns, count " << count);
            SouthBridgeHost pc;
            pc.platform.config.network_card = true;
            const auto card = make_rtl8139(pc.platform);
            pc.begin(step);
            pc.config(1, 0, 0x60, 4, 0x0B0B0B0B);
            pc.config(3, 0, 0x10, 4, kPorts);
            pc.config(3, 0, 0x04, 4, 7);
            pc.out(kPorts + 0x3C, 0x4000, 2);
            pc.out(kPorts + 0x54, count, 4);
            pc.out(kPorts + 0x48, 0, 4);                                       // counting begins
            const uint64_t due = pc.host - step + uint64_t{count} * 1000 / 33; // `host` began at `step`
            CHECK(pc.platform.clock.next_deadline() >= due);
            CHECK(pc.platform.clock.next_deadline() <= due + 60);
            REQUIRE(pc.comes([&] { return pc.irq.is_high(11); }));
        }
}

TEST_CASE("slow host: a floppy drive's seek ends", "[devices][slow]") {
    for (const uint64_t step : kSteps) {
        INFO(step << " ns");
        SlowHost pc;
        const auto controller = make_floppy82077(pc.platform);
        pc.begin(step);
        pc.out(0x3F2, 0x0C);
        for (unsigned drive = 0; drive < 4; ++drive) { // the interrupt of the reset
            pc.out(0x3F5, 0x08);
            (void)pc.in(0x3F5), (void)pc.in(0x3F5);
        }
        for (const unsigned cylinder : {40u, 3u, 79u}) {
            pc.out(0x3F5, 0x0F);
            pc.out(0x3F5, 0);
            pc.out(0x3F5, cylinder);
            REQUIRE(pc.comes([&] { return pc.irq.is_high(6); }));
            pc.out(0x3F5, 0x08);
            CHECK(pc.in(0x3F5) == 0x20);
            CHECK(pc.in(0x3F5) == cylinder);
        }
    }
}

// IDE, serial and parallel ports, display, DMA, interrupt controllers: whoever comes to use time is here.
TEST_CASE("slow host: no device of the machine reads the clock twice in an access", "[devices][slow]") {
    SlowHost pc;
    pc.platform.config.sound = pc.platform.config.network_card = true;
    const auto devices = make_devices(pc.platform);
    pc.begin(9'000'000);
    pc.config(1, 3, 0x40, 4, 0xB001);
    pc.config(1, 3, 0x80, 1, 1);
    for (const unsigned slot : {3u, 5u}) {
        pc.config(slot, 0, 0x10, 4, 0x1000 * slot);
        pc.config(slot, 0, 0x14, 4, slot == 3 ? 0xFEB00000 : 0x5400);
        pc.config(slot, 0, 0x04, 4, 7);
    }
    const unsigned before = pc.readings;
    for (const uint32_t value : {0x00u, 0x35u, 0xFFu})
        for (uint32_t port = 0; port < 0x10000; ++port) {
            if (port >= 0xCF8 && port < 0xD00) // where they are
                continue;
            (void)pc.in(static_cast<uint16_t>(port));
            pc.out(static_cast<uint16_t>(port), value);
            (void)pc.in(static_cast<uint16_t>(port), 4);
        }
    for (uint32_t address = 0xFEB00000; address < 0xFEB00100; address += 4)
        pc.once([&] { (void)pc.memory->read<uint32_t>(address); });
    for (const uint32_t value : {0x1FFu, 0x20040u, 0xFFFFFFFFu}) // the APICs, every register
        for (const uint32_t page : {0xFEC00000u, 0xFEE00000u})
            for (uint32_t at = page; at < page + 0x400; at += 4) {
                pc.once([&] { pc.memory->write(at, value); });
                pc.once([&] { (void)pc.memory->read<uint32_t>(at); });
            }
    CHECK(pc.readings > before);
}
