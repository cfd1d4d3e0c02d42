// What a frame begins with: start address, preset row scan and panning, and when each counts.
#include "vga_fixture.h"

#include <random>

using namespace vmm;

namespace {

constexpr uint32_t kWhite = 0xFFFFFF, kBlack = 0;
constexpr uint16_t kSecondPage = 0x9800;

// Mode 12h with a bar, eight pixels wide, at x = 104 on page 0 and at x = 107 on the second.
struct TwoPages : VgaFixture {
    TwoPages() {
        set_mode(kMode12);
        out(0x3C8, 0);
        for (unsigned i = 0; i < 256; ++i)
            for (unsigned component = 0; component < 3; ++component)
                out(0x3C9, i == 0 ? 0 : 63);
        for (uint32_t line = 0; line < 480; ++line) {
            memory->write<uint8_t>(0xA0000 + line * 80 + 13, 0xFF);
            memory->write<uint8_t>(0xA0000 + kSecondPage + line * 80 + 13, 0x1F);
            memory->write<uint8_t>(0xA0000 + kSecondPage + line * 80 + 14, 0xE0);
        }
        next_frames();
    }
    void start(uint16_t address) { crtc(0x0C, address >> 8), crtc(0x0D, address & 0xFF); }
    // Where the bar is; 0: nowhere.
    uint32_t bar() {
        const Picture now = picture();
        for (uint32_t x = 0; x < now.width; ++x)
            if (pixel(now, x, 200) == kWhite)
                return pixel(now, x + 7, 200) == kWhite && pixel(now, x + 8, 200) == kBlack ? x : 0;
        return 0;
    }
    bool retrace() { return (in(0x3DA) & 8) != 0; }
    void pass(uint64_t ns) { platform.clock.set_manual(platform.clock.now() + ns); }
    void pass_until(bool in_retrace) {
        while (retrace() != in_retrace)
            pass(20'000);
    }
};

// A saved state as versions wrote it that took the start address at once.
std::vector<uint8_t> without_frame(const std::vector<uint8_t>& state) {
    std::vector<uint8_t> rest;
    for (size_t at = 0; at < state.size();) {
        const char kind = static_cast<char>(state[at]);
        const std::string name(state.begin() + at + 2, state.begin() + at + 2 + state[at + 1]);
        size_t end = at + 2 + name.size() + (kind == 'E' ? 0 : 4);
        if (kind == 'F') {
            uint32_t size = 0;
            std::memcpy(&size, &state[end - 4], sizeof size);
            end += size;
        }
        const bool newer = name.starts_with("shown_") || name.starts_with("latch") ||
                           name == "watched_until" || name == "in_retrace";
        if (!newer)
            rest.insert(rest.end(), state.begin() + at, state.begin() + end);
        at = end;
    }
    return rest;
}

} // namespace

TEST_CASE("vga: the start address counts from the next retrace, panning at once", "[devices][vga]") {
    TwoPages vga;
    vga.pass_until(true);
    vga.pass_until(false);
    vga.start(kSecondPage);
    CHECK(vga.bar() == 104);
    vga.attr(0x13, 2);
    CHECK(vga.bar() == 102);
    vga.attr(0x13, 0);
    SECTION("for a guest that looks at retrace") {
        vga.pass_until(true);
        CHECK(vga.bar() == 104); // nothing of the next frame is to be seen yet
        vga.pass_until(false);
        CHECK(vga.bar() == 107);
    }
    SECTION("for a guest that does not") {
        const uint64_t generation = vga.platform.outputs.picture_generation();
        vga.next_frames();
        CHECK(vga.platform.outputs.picture_generation() != generation);
        CHECK(vga.bar() == 107);
        vga.start(0);
        CHECK(vga.bar() == 107);
        vga.pass(kNanosPerSecond / 60);
        CHECK(vga.bar() == 104);
    }
    SECTION("also where the page was changed back in time") {
        vga.start(0);
        vga.pass_until(true);
        vga.pass_until(false);
        CHECK(vga.bar() == 104);
    }
}

TEST_CASE("vga: start address before the retrace and panning in it scroll smoothly", "[devices][vga]") {
    TwoPages vga;
    std::mt19937 random(3);
    uint16_t page = 0;
    unsigned pictures = 0;
    // Between any two accesses a picture may be taken and the host may hold the thread, for frames even.
    const auto held = [&] {
        vga.pass(random() % 64 == 0 ? random() % 60'000'000 : random() % 300'000);
        if (random() % 4 == 0) {
            REQUIRE(vga.bar() == 104);
            ++pictures;
        }
    };
    const auto wait_for = [&](bool in_retrace) {
        do
            held();
        while (vga.retrace() != in_retrace);
    };
    for (unsigned frame = 0; frame < 200; ++frame) {
        wait_for(false);
        page ^= kSecondPage;
        vga.crtc(0x0C, page >> 8); // its low half is 0
        wait_for(true);
        held();
        vga.out(0x3C0, 0x33);
        held();
        vga.out(0x3C0, page == 0 ? 0 : 3);
    }
    CHECK(pictures > 200);
}

TEST_CASE("vga: the preset row scan goes with the start address that it belongs to", "[devices][vga]") {
    TwoPages vga;
    vga.memory->write<uint8_t>(0xA0000 + kSecondPage + 200 * 80 + 11, 0xFF); // at x = 88
    vga.pass_until(false);
    vga.start(kSecondPage);
    vga.crtc(0x08, 0x40); // byte panning: two characters
    CHECK(vga.bar() == 104);
    SECTION("for a guest that looks at retrace") {
        vga.pass_until(true);
        CHECK(vga.bar() == 104);
        vga.pass_until(false);
    }
    SECTION("for a guest that does not") { vga.next_frames(); }
    CHECK(vga.bar() == 88 - 16);
}

TEST_CASE("vga: a saved moment knows what waits for retrace", "[devices][vga]") {
    TwoPages from;
    from.pass_until(false);
    from.start(kSecondPage);
    const auto state = VgaFixture::saved(*from.device);
    TwoPages to;
    to.platform.clock.set_manual(from.platform.clock.now());
    SECTION("as it was") {
        VgaFixture::load(*to.device, state);
        CHECK(to.bar() == 104);
        const bool same = VgaFixture::saved(*to.device) == state;
        CHECK(same);
        to.next_frames();
    }
    SECTION("of an earlier version: nothing did") {
        const auto older = without_frame(state);
        REQUIRE(older.size() < state.size());
        VgaFixture::load(*to.device, older);
    }
    CHECK(to.bar() == 107);
}
