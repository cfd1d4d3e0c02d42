// The AC'97 controller and its codec, programmed as a driver does.
#include "tests/vmm/devices/legacy_fixture.h"

#include <cmath>

using namespace vmm;

namespace {

constexpr uint16_t kMixer = 0x1000, kMaster = 0x1400;
constexpr unsigned kOut = 0x10, kIn = 0x00, kMicrophone = 0x20;
constexpr uint32_t kList = 0x10000, kBuffers = 0x20000;
constexpr uint64_t kMillisecond = 1'000'000;

struct RecordedAudio : AudioPort {
    std::vector<int16_t> samples;
    uint32_t rate = 0;
    unsigned silences = 0;
    void play(std::span<const int16_t> more, uint32_t at) override {
        samples.insert(samples.end(), more.begin(), more.end());
        rate = at;
    }
    void silence() override { ++silences; }
};

struct SoundCard : LegacyFixture {
    SoundCard() : audio(std::make_shared<RecordedAudio>()) {
        platform.config.sound = true;
        platform.config.audio = audio;
        host = make_i440fx(platform);
        isa = make_piix3_isa(platform);
        card = make_ich_ac97(platform);
        config(1, 0x60, 0x0B0B0B0B); // every PIRQ to line 11
        config(5, 0x10, kMixer);
        config(5, 0x14, kMaster);
        config(5, 0x04, 5);
        master(0x2C, 4, 2); // out of cold reset
    }
    void config(unsigned slot, uint8_t offset, uint32_t value) {
        platform.io.write(0xCF8, 4, 0x80000000 | slot << 11 | offset);
        platform.io.write(0xCFC, 4, value);
    }
    uint32_t config(unsigned slot, uint8_t offset) {
        platform.io.write(0xCF8, 4, 0x80000000 | slot << 11 | offset);
        return platform.io.read(0xCFC, 4);
    }
    void mixer(unsigned offset, uint16_t value) {
        platform.io.write(static_cast<uint16_t>(kMixer + offset), 2, value);
    }
    uint16_t mixer(unsigned offset) {
        return static_cast<uint16_t>(platform.io.read(static_cast<uint16_t>(kMixer + offset), 2));
    }
    void master(unsigned offset, unsigned size, uint32_t value) {
        platform.io.write(static_cast<uint16_t>(kMaster + offset), size, value);
    }
    uint32_t master(unsigned offset, unsigned size) {
        return platform.io.read(static_cast<uint16_t>(kMaster + offset), size);
    }
    void describe(unsigned index, uint32_t address, uint32_t samples, uint32_t flags = 0) {
        memory->write<uint32_t>(kList + 8 * index, address);
        memory->write<uint32_t>(kList + 8 * index + 4, samples | flags);
    }
    // Two buffers of `frames` stereo frames counting up, both with an interrupt at their end.
    void two_buffers(unsigned frames) {
        for (unsigned i = 0; i < 4 * frames; ++i)
            memory->write<int16_t>(kBuffers + 2 * i, static_cast<int16_t>(i));
        describe(0, kBuffers, 2 * frames, 1u << 31);
        describe(1, kBuffers + 4 * frames, 2 * frames, 1u << 31);
    }
    void unmute() {
        mixer(0x02, 0x0000);
        mixer(0x18, 0x0808);
    }
    void play(uint8_t last, unsigned channel = kOut) {
        master(channel + 0x0, 4, kList);
        master(channel + 0x5, 1, last);
        master(channel + 0xB, 1, 0x1D); // run, all interrupts
    }

    std::shared_ptr<RecordedAudio> audio;
    std::unique_ptr<Device> host, isa, card;
};

} // namespace

TEST_CASE("ac97: a machine has it only when asked for", "[devices]") {
    LegacyFixture plain;
    CHECK(make_ich_ac97(plain.platform) == nullptr);
    SoundCard pc;
    CHECK(pc.config(5, 0x00) == 0x24158086);
    CHECK(pc.config(5, 0x08) == 0x04010002);
    CHECK((pc.config(5, 0x3C) >> 8) == 1);
    pc.config(5, 0x10, 0xFFFFFFFF); // sizing
    CHECK(pc.config(5, 0x10) == 0xFFFFFF01);
    CHECK(pc.platform.io.read(0xFF00, 2) == 0xFFFF); // and no port was taken by it
    pc.config(5, 0x10, kMixer);
    CHECK(pc.mixer(0x7C) == 0x8384);
}

TEST_CASE("ac97: the codec's registers hold what the specification lets them", "[devices]") {
    SoundCard pc;
    CHECK(pc.mixer(0x02) == 0x8000);
    CHECK(pc.mixer(0x18) == 0x8808);
    CHECK(pc.mixer(0x26) == 0x000F);
    pc.mixer(0x02, 0x3F20); // a sixth bit is full attenuation
    CHECK(pc.mixer(0x02) == 0x1F1F);
    pc.mixer(0x7C, 0x1234);
    CHECK(pc.mixer(0x7C) == 0x8384);
    pc.mixer(0x2C, 22050); // not without VRA
    CHECK(pc.mixer(0x2C) == 48000);
    pc.mixer(0x2A, 1);
    pc.mixer(0x2C, 22050);
    CHECK(pc.mixer(0x2C) == 22050);
    pc.mixer(0x2C, 100);
    CHECK(pc.mixer(0x2C) == 8000);
    pc.mixer(0x2C, 65535);
    CHECK(pc.mixer(0x2C) == 48000);
    pc.mixer(0x5A, 0xFFFF); // no such register
    CHECK(pc.mixer(0x5A) == 0);
    pc.mixer(0x00, 0);
    CHECK(pc.mixer(0x02) == 0x8000);
    CHECK(pc.mixer(0x2A) == 0);
    CHECK(pc.master(0x34, 1) == 0); // the semaphore: free, then taken until an access
    CHECK(pc.master(0x34, 1) == 1);
    pc.mixer(0x02);
    CHECK(pc.master(0x34, 1) == 0);
}

TEST_CASE("ac97: buffers play at 48 kHz of guest time and interrupt at their ends", "[devices]") {
    SoundCard pc;
    pc.unmute();
    pc.two_buffers(480);
    CHECK((pc.master(0x30, 4) & 0x100) != 0);
    pc.play(1);
    CHECK(pc.master(kOut + 0x4, 1) == 0);
    CHECK(pc.master(kOut + 0xA, 1) == 1);
    pc.advance(5 * kMillisecond);
    CHECK(pc.master(kOut + 0x8, 2) == 480); // half of 960 samples
    CHECK(pc.irq.level == 0);
    pc.advance(6 * kMillisecond);
    CHECK(pc.master(kOut + 0x4, 1) == 1);
    CHECK((pc.master(kOut + 0x6, 2) & 0x1F) == 0x08);
    CHECK(pc.irq.is_high(11));
    CHECK((pc.master(0x30, 4) & 0xE0) == 0x40);
    pc.master(kOut + 0x6, 2, 0x08);
    CHECK_FALSE(pc.irq.is_high(11));
    pc.advance(10 * kMillisecond);
    CHECK((pc.master(kOut + 0x6, 2) & 0x1F) == 0x0F); // halted at the last one
    CHECK(pc.irq.is_high(11));
    CHECK(pc.audio->rate == 48000);
    REQUIRE(pc.audio->samples.size() == 1920);
    for (size_t i = 0; i < 1920; ++i)
        REQUIRE(pc.audio->samples[i] == static_cast<int16_t>(i));
    // More is given: it goes on with the third.
    pc.describe(2, kBuffers, 96);
    pc.master(kOut + 0x6, 2, 0x1C);
    pc.master(kOut + 0x5, 1, 2);
    CHECK((pc.master(kOut + 0x6, 2) & 3) == 0);
    CHECK(pc.master(kOut + 0x4, 1) == 2);
    pc.advance(2 * kMillisecond);
    CHECK(pc.audio->samples.size() == 1920 + 96);
    CHECK(pc.platform.clock.next_deadline() == kNever); // nothing wakes the machine for silence
}

TEST_CASE("ac97: other rates take their own time; stopping keeps the place", "[devices]") {
    SoundCard pc;
    pc.unmute();
    pc.mixer(0x2A, 1);
    pc.mixer(0x2C, 8000);
    pc.two_buffers(800);
    pc.play(1);
    pc.advance(50 * kMillisecond);
    CHECK(pc.master(kOut + 0x8, 2) == 800);
    CHECK(pc.audio->rate == 8000);
    pc.master(kOut + 0xB, 1, 0);
    pc.advance(1000 * kMillisecond);
    CHECK(pc.master(kOut + 0x8, 2) == 800);
    CHECK((pc.master(kOut + 0x6, 2) & 1) == 1);
    pc.master(kOut + 0xB, 1, 1);
    pc.advance(25 * kMillisecond);
    CHECK(pc.master(kOut + 0x8, 2) == 400);
    pc.master(kOut + 0xB, 1, 2); // no reset while it runs
    CHECK(pc.master(kOut + 0x8, 2) == 400);
    pc.master(kOut + 0xB, 1, 0x10);
    pc.master(kOut + 0xB, 1, 2);
    CHECK(pc.master(kOut + 0x8, 2) == 0);
    CHECK(pc.master(kOut + 0xB, 1) == 0x10); // interrupt enables stay
    CHECK(pc.master(kOut + 0x0, 4) == 0);
}

TEST_CASE("ac97: volumes attenuate in steps of 1.5 dB, amplify to +12 dB and saturate, and mute",
          "[devices]") {
    const auto played = [](uint16_t master, uint16_t pcm, int16_t sample) {
        SoundCard pc;
        pc.mixer(0x02, master);
        pc.mixer(0x18, pcm);
        for (unsigned i = 0; i < 200; ++i)
            pc.memory->write<int16_t>(kBuffers + 2 * i, sample);
        pc.describe(0, kBuffers, 200);
        pc.play(0);
        pc.advance(5 * kMillisecond);
        REQUIRE(pc.audio->samples.size() == 200);
        return std::pair(pc.audio->samples[100], pc.audio->samples[101]);
    };
    const auto near = [](int16_t value, double wanted) { return std::abs(value - wanted) <= 2; };
    CHECK(played(0x0000, 0x0808, 12345) == std::pair<int16_t, int16_t>(12345, 12345));
    CHECK(near(played(0x0400, 0x0808, 10000).first, 10000 * std::pow(10, -6.0 / 20)));
    CHECK(played(0x0400, 0x0808, 10000).second == 10000);
    CHECK(near(played(0x0004, 0x0808, 10000).second, 10000 * std::pow(10, -6.0 / 20)));
    CHECK(near(played(0x1F1F, 0x1F1F, 30000).first, 30000 * std::pow(10, -1.5 * 54 / 20)));
    CHECK(near(played(0x0000, 0x0000, 1000).first, 1000 * std::pow(10, 12.0 / 20)));
    CHECK(played(0x0000, 0x0000, 20000).first == 32767);
    CHECK(played(0x0000, 0x0000, -20000).first == -32768);
    CHECK(played(0x8000, 0x0808, 20000).first == 0);
    CHECK(played(0x0000, 0x8808, 20000).first == 0);
}

TEST_CASE("ac97: what is recorded is silence", "[devices]") {
    for (const unsigned channel : {kIn, kMicrophone}) {
        SoundCard pc;
        pc.two_buffers(48);
        pc.play(0, channel);
        pc.advance(10 * kMillisecond);
        for (unsigned i = 0; i < 96; ++i)
            REQUIRE(pc.memory->read<int16_t>(kBuffers + 2 * i) == 0);
        CHECK(pc.memory->read<int16_t>(kBuffers + 2 * 96) == 96);
        CHECK((pc.master(channel + 0x6, 2) & 0x0F) == 0x0F);
        CHECK(pc.irq.is_high(11));
        CHECK(pc.audio->samples.empty());
    }
}

TEST_CASE("ac97: hostile lists come to an end", "[devices]") {
    SoundCard pc;
    pc.unmute();
    // Thirty-two empty buffers, again and again.
    for (unsigned i = 0; i < 32; ++i)
        pc.describe(i, 0, 0, 1u << 31);
    for (unsigned round = 0; round < 100; ++round) {
        pc.play(static_cast<uint8_t>(round * 7 % 32));
        pc.advance(kMillisecond);
        CHECK((pc.master(kOut + 0x6, 2) & 1) == 1);
        pc.master(kOut + 0xB, 1, 0);
    }
    // A list, and buffers, where there is no memory, or at the end of the address space.
    for (const uint32_t base : {0xFFFFFFF8u, 0xFFFF0000u, 0x01000000u, 0x000A0000u, 0x000FFFF8u}) {
        pc.master(kOut + 0xB, 1, 2);
        pc.master(kOut + 0x0, 4, base);
        pc.master(kOut + 0x5, 1, 31);
        pc.master(kOut + 0xB, 1, 1);
        pc.advance(40'000 * kMillisecond);
        pc.master(kOut + 0xB, 1, 0);
    }
    for (unsigned i = 0; i < 32; ++i)
        pc.describe(i, 0xFFFFFFF0, 0xFFFF);
    for (const unsigned channel : {kOut, kIn, kMicrophone}) {
        pc.play(31, channel);
        pc.advance(1000 * kMillisecond);
        pc.master(channel + 0xB, 1, 0);
    }
    // The list itself as a recording's target.
    pc.describe(0, kList, 64);
    pc.describe(31, kList, 64);
    pc.master(kIn + 0xB, 1, 2);
    pc.play(31, kIn);
    pc.advance(1000 * kMillisecond);
    CHECK((pc.master(kIn + 0x6, 2) & 1) == 1);
    // No bus mastering: no memory is touched.
    pc.two_buffers(48);
    pc.config(5, 0x04, 1);
    pc.audio->samples.clear();
    pc.master(kOut + 0xB, 1, 2);
    pc.play(0);
    pc.advance(1000 * kMillisecond);
    CHECK(pc.audio->samples.empty());
}

TEST_CASE("ac97: a stall of the host is skipped, not played late", "[devices]") {
    SoundCard pc;
    pc.unmute();
    pc.describe(0, kBuffers, 0xFFFE);
    pc.describe(1, kBuffers, 0xFFFE);
    pc.play(1);
    pc.platform.clock.set_manual(60'000 * kMillisecond); // no timer ran meanwhile
    pc.platform.clock.run_due();
    CHECK(pc.audio->samples.size() == 48000);
}

TEST_CASE("ac97: saved state carries on where it was; forged state is harmless", "[devices]") {
    SoundCard pc, other;
    pc.unmute();
    pc.two_buffers(480);
    pc.play(1);
    pc.advance(3 * kMillisecond);
    const auto state = saved(*pc.card);
    CHECK(saved(*pc.card) == state);
    other.two_buffers(480);
    other.platform.clock.set_manual(pc.platform.clock.now());
    const unsigned silences = other.audio->silences;
    load(*other.card, state);
    CHECK(other.audio->silences == silences + 1);
    CHECK((saved(*other.card) == state));
    other.advance(30 * kMillisecond);
    REQUIRE(other.audio->samples.size() == 1920 - 288);
    CHECK(other.audio->samples[0] == 288);
    CHECK(other.irq.is_high(11));
    for (const uint8_t byte : {0xFF, 0x00, 0x01, 0x80, 0x7F, 0x55}) {
        SoundCard victim;
        load_forged(*victim.card, byte);
        victim.advance(1000 * kMillisecond);
        victim.mixer(0x02);
        victim.master(kOut + 0x8, 2);
    }
    pc.card->reset();
    CHECK(pc.platform.clock.next_deadline() == kNever);
}
