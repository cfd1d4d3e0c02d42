#include "tests/vmm/devices/legacy_fixture.h"

using namespace vmm;

namespace {
using Bytes = std::vector<unsigned>;

struct Ps2 : LegacyFixture {
    std::unique_ptr<Device> device = make_ps2_8042(platform);
    explicit Ps2(unsigned configuration = 0x47) { configure(configuration); }
    void configure(unsigned value) { out(0x64, 0x60), out(0x60, value); }
    unsigned controller(unsigned command) { return out(0x64, command), in(0x60); }
    void mouse(unsigned byte) { out(0x64, 0xD4), out(0x60, byte); }
    void key(unsigned code, bool pressed) { platform.outputs.key({static_cast<uint16_t>(code), pressed}); }
    void point(int x, int y, unsigned buttons = 0, int wheel = 0) {
        platform.outputs.pointer({false, x, y, wheel, static_cast<uint8_t>(buttons)});
    }
    // Everything the controller has to say, at the pace it says it.
    Bytes drain() {
        Bytes bytes;
        for (int i = 0; i < 600; ++i) {
            if ((in(0x64) & 1) != 0)
                bytes.push_back(in(0x60));
            else if (platform.clock.next_deadline() == kNever)
                break;
            else
                advance(100'000);
        }
        return bytes;
    }
};
} // namespace

TEST_CASE("ps2: self test, port tests and the command byte", "[devices]") {
    Ps2 ps2;
    CHECK(ps2.controller(0xAA) == 0x55);
    CHECK((ps2.in(0x64) & 0x04) != 0);
    CHECK(ps2.controller(0xAB) == 0x00);
    CHECK(ps2.controller(0xA9) == 0x00);
    CHECK(ps2.controller(0xA4) == 0xF1);
    CHECK(ps2.controller(0x20) == 0x47);
    ps2.out(0x64, 0xAD), ps2.out(0x64, 0xA7);
    CHECK(ps2.controller(0x20) == 0x77);
    ps2.out(0x64, 0xAE), ps2.out(0x64, 0xA8);
    CHECK(ps2.controller(0x20) == 0x47);
    ps2.out(0x64, 0x65), ps2.out(0x60, 0x99);
    CHECK(ps2.controller(0x25) == 0x99);
}

TEST_CASE("ps2: a key raises IRQ1 until it is read, in set 1 when translated", "[devices]") {
    Ps2 ps2;
    ps2.key(0x1E, true);
    CHECK(ps2.irq.is_high(1));
    CHECK(ps2.in(0x64) == 0x15);
    CHECK(ps2.in(0x60) == 0x1E);
    CHECK_FALSE(ps2.irq.is_high(1));
    CHECK(ps2.in(0x60) == 0x1E); // reading again gives the same
    ps2.key(0x1E, false);
    ps2.key(0xE048, true);
    ps2.key(0xE048, false);
    ps2.key(0xE11D, true);
    ps2.key(0xE11D, false);
    ps2.key(0x41, true); // F7: 83h in set 2
    ps2.key(0x41, false);
    CHECK(ps2.drain() == Bytes{0x9E, 0xE0, 0x48, 0xE0, 0xC8, 0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5, 0x41, 0xC1});
}

TEST_CASE("ps2: it takes a key when it is on and what it said has been read", "[devices]") {
    Ps2 ps2;
    const auto takes = [&] { return ps2.platform.outputs.takes_key(); };
    CHECK(takes());
    ps2.key(0xE048, true);
    CHECK_FALSE(takes());
    CHECK(ps2.in(0x60) == 0xE0);
    CHECK_FALSE(takes()); // the second byte is still to come
    CHECK(ps2.drain() == Bytes{0x48});
    CHECK(takes());
    ps2.configure(0x57); // its clock is held
    CHECK_FALSE(takes());
    ps2.configure(0x47);
    ps2.out(0x60, 0xF5); // disabled
    ps2.drain();
    CHECK_FALSE(takes());
    ps2.out(0x60, 0xF4);
    CHECK_FALSE(takes()); // the answer waits
    ps2.drain();
    CHECK(takes());
    ps2.configure(0x46); // the guest talks to the keyboard itself, or it polls
    CHECK_FALSE(takes());
    ps2.advance(3'000'000'000);
    CHECK(takes());
}

TEST_CASE("ps2: every set 1 code survives set 2 and translation", "[devices]") {
    Ps2 ps2;
    for (unsigned code = 1; code < 0x59; ++code) {
        if (code == 0x55 || code == 0x56)
            continue;
        ps2.key(code, true);
        ps2.key(code, false);
        CHECK(ps2.drain() == Bytes{code, code | 0x80});
    }
}

TEST_CASE("ps2: untranslated set 2, and set 1 by command", "[devices]") {
    Ps2 ps2(0x07);
    ps2.key(0x1E, true);
    ps2.key(0x1E, false);
    ps2.key(0xE01D, false);
    CHECK(ps2.drain() == Bytes{0x1C, 0xF0, 0x1C, 0xE0, 0xF0, 0x14});
    ps2.out(0x60, 0xF0);
    CHECK(ps2.drain() == Bytes{0xFA});
    ps2.out(0x60, 0x01);
    CHECK(ps2.drain() == Bytes{0xFA});
    ps2.key(0x1E, false);
    CHECK(ps2.drain() == Bytes{0x9E});
    ps2.out(0x60, 0xF0), ps2.drain(), ps2.out(0x60, 0x00);
    CHECK(ps2.drain() == Bytes{0xFA, 0x01});
}

TEST_CASE("ps2: keyboard commands answer as the manual says", "[devices]") {
    Ps2 ps2(0x07);
    const auto command = [&](unsigned byte) { return ps2.out(0x60, byte), ps2.drain(); };
    CHECK(command(0xFF) == Bytes{0xFA, 0xAA});
    CHECK(command(0xF2) == Bytes{0xFA, 0xAB, 0x83});
    CHECK(command(0xFE) == Bytes{0x83});
    CHECK(command(0xEE) == Bytes{0xEE});
    CHECK(command(0xED) == Bytes{0xFA});
    CHECK(command(0x07) == Bytes{0xFA});
    CHECK(command(0xF3) == Bytes{0xFA});
    CHECK(command(0xF4) == Bytes{0xFA}); // a command instead of the parameter
    CHECK(command(0x20) == Bytes{0xFE}); // not a command
    CHECK(command(0xF5) == Bytes{0xFA});
    ps2.key(0x1E, true);
    CHECK(ps2.drain().empty());
    CHECK(command(0xF4) == Bytes{0xFA});
    ps2.key(0x1E, true);
    CHECK(ps2.drain() == Bytes{0x1C});
}

TEST_CASE("ps2: identify through translation is AB 41, as on real machines", "[devices]") {
    Ps2 ps2;
    ps2.out(0x60, 0xF2);
    CHECK(ps2.drain() == Bytes{0xFA, 0xAB, 0x41});
}

TEST_CASE("ps2: an answer goes before keys that wait", "[devices]") {
    Ps2 ps2;
    ps2.out(0x64, 0xAD);
    ps2.key(0x1E, true);
    CHECK((ps2.in(0x64) & 1) == 0); // disabled: held back
    ps2.out(0x60, 0xF3);
    CHECK(ps2.drain() == Bytes{0xFA, 0x1E});
}

TEST_CASE("ps2: bytes of a device come with a gap between them", "[devices]") {
    Ps2 ps2;
    ps2.key(0x1E, true), ps2.key(0x1E, false);
    CHECK(ps2.in(0x60) == 0x1E);
    CHECK((ps2.in(0x64) & 1) == 0);
    ps2.advance(199'000);
    CHECK((ps2.in(0x64) & 1) == 0);
    ps2.advance(1'000);
    CHECK((ps2.in(0x64) & 1) == 1);
    CHECK(ps2.irq.rises[1] == 2);
}

TEST_CASE("ps2: mouse packets through IRQ12, signs and large moves in several packets", "[devices]") {
    Ps2 ps2;
    ps2.mouse(0xFF);
    CHECK((ps2.in(0x64) & 0x21) == 0x21);
    CHECK(ps2.irq.is_high(12));
    CHECK(ps2.drain() == Bytes{0xFA, 0xAA, 0x00});
    ps2.point(5, 5);
    CHECK(ps2.drain().empty()); // not enabled yet
    ps2.mouse(0xF4);
    CHECK(ps2.drain() == Bytes{0xFA});
    ps2.point(5, 3, 1);
    CHECK(ps2.drain() == Bytes{0x29, 5, 0xFD});
    ps2.point(-300, 0, 2);
    CHECK(ps2.drain() == Bytes{0x1A, 0x01, 0x00, 0x1A, 0xD3, 0x00});
    ps2.point(0, 0, 4);
    CHECK(ps2.drain() == Bytes{0x0C, 0, 0});
}

TEST_CASE("ps2: the wheel appears after the IntelliMouse knock", "[devices]") {
    Ps2 ps2;
    for (unsigned rate : {200, 100, 80})
        ps2.mouse(0xF3), ps2.drain(), ps2.mouse(rate), ps2.drain();
    ps2.mouse(0xF2);
    CHECK(ps2.drain() == Bytes{0xFA, 0x03});
    ps2.mouse(0xF4), ps2.drain();
    ps2.point(1, 0, 0, -1);
    CHECK(ps2.drain() == Bytes{0x08, 1, 0, 0xFF});
    ps2.mouse(0xE9);
    CHECK(ps2.drain() == Bytes{0xFA, 0x20, 2, 80});
}

TEST_CASE("ps2: a click between two packets is not lost", "[devices]") {
    Ps2 ps2;
    ps2.mouse(0xF4), ps2.drain();
    ps2.point(1, 0, 0);
    ps2.point(1, 0, 1);
    ps2.point(0, 0, 0);
    ps2.point(1, 0, 0);
    CHECK(ps2.drain() == Bytes{0x08, 1, 0, 0x09, 1, 0, 0x08, 1, 0});
}

TEST_CASE("ps2: wrap echoes, remote mode answers when asked", "[devices]") {
    Ps2 ps2;
    ps2.mouse(0xEE), ps2.drain();
    ps2.mouse(0x42);
    CHECK(ps2.drain() == Bytes{0x42});
    ps2.mouse(0xEC);
    CHECK(ps2.drain() == Bytes{0xFA});
    ps2.mouse(0xF0), ps2.drain();
    ps2.point(7, 0);
    CHECK(ps2.drain().empty());
    ps2.mouse(0xEB);
    CHECK(ps2.drain() == Bytes{0xFA, 0x08, 7, 0});
}

TEST_CASE("ps2: an absolute position becomes the way from the last one", "[devices]") {
    Ps2 ps2;
    ps2.mouse(0xF4), ps2.drain();
    ps2.platform.outputs.pointer({true, 6400, 0, 0, 0});
    CHECK(ps2.drain() == Bytes{0x08, 100, 0});
    ps2.platform.outputs.pointer({true, INT32_MAX, INT32_MIN, 0, 0});
    CHECK_FALSE(ps2.drain().empty());
}

TEST_CASE("ps2: A20 and reset through the output port and the pulse commands", "[devices]") {
    Ps2 ps2;
    CHECK((ps2.controller(0xD0) & 0x03) == 0x03);
    ps2.out(0x64, 0xD1), ps2.out(0x60, 0xDD);
    CHECK_FALSE(ps2.memory->a20());
    CHECK((ps2.controller(0xD0) & 0x02) == 0);
    ps2.out(0x64, 0xDF);
    CHECK(ps2.memory->a20());
    ps2.out(0x64, 0xDD);
    CHECK_FALSE(ps2.memory->a20());
    CHECK(ps2.control.resets == 0);
    ps2.out(0x64, 0xFF);
    CHECK(ps2.control.resets == 0);
    ps2.out(0x64, 0xFE);
    CHECK(ps2.control.resets == 1);
    ps2.out(0x64, 0xD1), ps2.out(0x60, 0x02);
    CHECK(ps2.control.resets == 2);
    ps2.device->reset();
    CHECK(ps2.memory->a20());
}

TEST_CASE("ps2: a guest that never reads bounds what waits, and keys stay whole", "[devices]") {
    Ps2 ps2;
    ps2.mouse(0xF4), ps2.drain();
    for (int i = 0; i < 10'000; ++i) {
        ps2.key(0xE048, i % 2 == 0);
        ps2.point(INT32_MAX, INT32_MIN, static_cast<unsigned>(i) & 7, INT32_MIN);
        ps2.mouse(0xE9);
    }
    unsigned after_prefix = 0;
    for (unsigned byte : ps2.drain())
        after_prefix += byte == 0x48 || byte == 0xC8;
    CHECK(after_prefix > 10);
}

TEST_CASE("ps2: state survives a save and a forged one is harmless", "[devices]") {
    Ps2 ps2, other;
    ps2.mouse(0xF4), ps2.drain();
    ps2.key(0xE048, true);
    ps2.key(0xE048, false);
    ps2.point(300, 300, 1);
    ps2.out(0x64, 0xDD);
    ps2.out(0x64, 0x60); // waits for its data
    require_round_trip(*ps2.device, *other.device);
    CHECK_FALSE(other.memory->a20());
    other.out(0x60, 0x47), ps2.out(0x60, 0x47);
    const Bytes expected = ps2.drain();
    CHECK(expected.size() == 10); // two keys, two packets
    CHECK(other.drain() == expected);
    for (unsigned byte : {0xFFu, 0x7Fu, 0x80u, 0x01u, 0xF0u}) {
        load_forged(*other.device, static_cast<uint8_t>(byte));
        other.point(5, 5, 1);
        other.drain();
        for (unsigned command = 0; command < 256; ++command)
            other.out(0x64, command), other.out(0x60, command);
        other.drain();
    }
}
