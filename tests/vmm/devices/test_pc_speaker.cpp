// The speaker, by port 61h and channel 2 of the interval timer, alone and beside a sound device.
#include "tests/vmm/devices/legacy_fixture.h"

#include <numeric>

using namespace vmm;

namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint32_t kRate = 48000;

struct Listener : AudioPort {
    std::vector<int16_t> left;
    bool stereo_agrees = true;
    uint32_t rate = 0;
    unsigned silences = 0;
    void play(std::span<const int16_t> samples, uint32_t at) override {
        for (size_t i = 0; i + 1 < samples.size(); i += 2) {
            left.push_back(samples[i]);
            stereo_agrees &= samples[i] == samples[i + 1];
        }
        rate = at;
    }
    void silence() override { ++silences; }
};

struct Speaker : LegacyFixture {
    explicit Speaker(bool heard = true) {
        if (heard)
            platform.config.audio = listener;
        pit = make_pit8254(platform);
    }
    void tone(unsigned count) {
        out(0x43, 0xB6);
        out(0x42, count & 0xFF), out(0x42, count >> 8);
        out(0x61, in(0x61) | 3);
    }
    void quiet() { out(0x61, in(0x61) & ~3u); }
    // How often the sound rose through zero, and the loudest of it.
    [[nodiscard]] unsigned rises(int level = 0) const {
        unsigned count = 0;
        for (size_t i = 1; i < listener->left.size(); ++i)
            count += listener->left[i - 1] < level && listener->left[i] >= level;
        return count;
    }
    [[nodiscard]] int loudest() const {
        return listener->left.empty() ? 0 : *std::ranges::max_element(listener->left);
    }
    std::shared_ptr<Listener> listener = std::make_shared<Listener>();
    std::unique_ptr<Device> pit;
};

} // namespace

TEST_CASE("speaker: plays the tone of channel 2 for as long as it is on, then costs nothing", "[devices]") {
    Speaker pc;
    CHECK(pc.platform.clock.next_deadline() == kNever);
    pc.tone(1193);
    pc.advance(2 * kNanosPerSecond);
    CHECK(pc.rises() == Approx(2000).margin(2));
    CHECK(pc.listener->left.size() == Approx(2 * kRate).margin(2 * kRate / 100));
    CHECK(pc.listener->rate == kRate);
    CHECK(pc.listener->stereo_agrees);
    CHECK(pc.loudest() > 4000);
    pc.quiet();
    pc.advance(kNanosPerSecond);
    CHECK(pc.rises() == Approx(2000).margin(2));
    CHECK(pc.listener->left.size() < 2.2 * kRate);
    CHECK(pc.platform.clock.next_deadline() == kNever);
}

TEST_CASE("speaker: a new count changes the tone where it is", "[devices]") {
    Speaker pc;
    pc.tone(1193);
    pc.advance(500 * kMillisecond);
    pc.out(0x42, 2386 & 0xFF), pc.out(0x42, 2386 >> 8);
    pc.advance(500 * kMillisecond);
    CHECK(pc.rises() == Approx(750).margin(2));
}

TEST_CASE("speaker: is heard by its bit alone, and pulses by their width", "[devices]") {
    Speaker pc;
    SECTION("port 61h bit 1 with the timer's gate closed") {
        pc.out(0x43, 0xB6); // OUT rests high
        for (unsigned i = 0; i < 200; ++i) {
            pc.out(0x61, (i & 1) << 1);
            pc.advance(kMillisecond);
        }
        pc.advance(10 * kMillisecond);
        CHECK(pc.rises() == Approx(100).margin(2));
    }
    SECTION("one-shots of channel 2, 16,000 a second, whose width is a wave of 100 Hz") {
        pc.out(0x61, 3);
        pc.out(0x43, 0x90); // low byte only, mode 0: low while it counts
        for (unsigned i = 0; i < 16000; ++i) {
            pc.out(0x42, i % 160 < 80 ? 20 : 55);
            pc.advance(62'500);
        }
        // The pulses themselves are beyond hearing: what is left is each millisecond's mean.
        std::vector<int16_t> means;
        for (size_t i = 0; i + 48 <= pc.listener->left.size(); i += 48)
            means.push_back(static_cast<int16_t>(
                std::accumulate(&pc.listener->left[i], &pc.listener->left[i] + 48, 0) / 48));
        pc.listener->left = means;
        CHECK(pc.loudest() > 2000);
        CHECK(pc.rises() == Approx(100).margin(3));
    }
}

TEST_CASE("speaker: a timer that measures is not heard, nor is a machine that nobody hears", "[devices]") {
    SECTION("channel 2 without bit 1") {
        Speaker pc;
        pc.out(0x61, 1);
        pc.out(0x43, 0xB6), pc.out(0x42, 0), pc.out(0x42, 8);
        CHECK(pc.platform.clock.next_deadline() == kNever);
        pc.advance(kNanosPerSecond);
        CHECK(pc.listener->left.empty());
    }
    SECTION("no listener") {
        Speaker pc(false);
        pc.tone(1193);
        CHECK(pc.platform.clock.next_deadline() == kNever);
    }
}

TEST_CASE("speaker: a sound device and the speaker are one stream", "[devices]") {
    Speaker pc;
    const uint32_t rate = GENERATE(48000u, 44100u);
    constexpr int16_t kLevel = 10'000;
    const std::vector<int16_t> block(2 * rate / 200, kLevel); // 5 ms, a little less at 44,100 Hz
    pc.tone(1193);
    for (unsigned i = 0; i < 200; ++i) {
        pc.advance(5 * kMillisecond);
        pc.platform.config.audio->play(block, rate);
    }
    CHECK(pc.listener->rate == rate);
    // A second of both takes a second, the first step at most apart.
    CHECK(pc.listener->left.size() == Approx(rate).margin(rate / 50));
    CHECK(pc.rises(kLevel) == Approx(1000).margin(15));
    pc.quiet();
    pc.advance(kNanosPerSecond);
    pc.listener->left.clear();
    pc.platform.config.audio->play(block, rate);
    CHECK(pc.listener->left == std::vector<int16_t>(block.size() / 2, kLevel)); // untouched
}

TEST_CASE("speaker: a saved tone goes on where it is loaded, and a reset ends it", "[devices]") {
    Speaker from, to;
    from.tone(1193);
    from.advance(100 * kMillisecond);
    const auto state = saved(*from.pit);
    to.platform.clock.set_manual(from.platform.clock.now());
    const unsigned before = to.listener->silences;
    load(*to.pit, state);
    CHECK(to.listener->silences > before);
    to.advance(kNanosPerSecond);
    CHECK(to.rises() == Approx(1000).margin(2));
    to.pit->reset();
    to.listener->left.clear();
    to.advance(kNanosPerSecond);
    CHECK(to.listener->left.empty());
    CHECK(to.platform.clock.next_deadline() == kNever);
}
