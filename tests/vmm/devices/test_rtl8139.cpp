// The network card, programmed as its drivers do it, with a cable that the test holds the other end of.
#include "tests/vmm/devices/legacy_fixture.h"

#include <deque>

using namespace vmm;

namespace {

constexpr uint16_t kPorts = 0x1000;
constexpr uint32_t kMemoryBase = 0xFEB00000, kRing = 0x20000, kBuffers = 0x10000;
constexpr std::array<uint8_t, 6> kMac{0x02, 0x11, 0x22, 0x33, 0x44, 0x55};
constexpr uint16_t kRxOk = 1, kTxOk = 4, kTxError = 8, kOverflow = 0x10, kLinkChanged = 0x20,
                   kTimeOut = 0x4000;
constexpr uint32_t kOwn = 1u << 13, kSent = 1u << 15, kAborted = 1u << 30, kCarrierLost = 1u << 31;

using Frame = std::vector<uint8_t>;

struct Cable : NetworkPort {
    std::vector<Frame> sent;
    std::deque<Frame> waiting;
    size_t room = SIZE_MAX;
    unsigned disconnects = 0;
    std::function<void()> ready;
    bool send(std::span<const uint8_t> frame) override {
        if (sent.size() >= room)
            return false;
        sent.emplace_back(frame.begin(), frame.end());
        return true;
    }
    size_t receive(std::span<uint8_t, kMaxFrame> to) override {
        if (waiting.empty())
            return 0;
        const Frame frame = waiting.front();
        waiting.pop_front();
        std::ranges::copy(frame, to.begin());
        return frame.size();
    }
    void set_ready(std::function<void()> call) override { ready = std::move(call); }
    void disconnect() override {
        ++disconnects;
        waiting.clear();
    }
};

struct Card : LegacyFixture {
    explicit Card(bool plugged = true) : cable(std::make_shared<Cable>()) {
        platform.config.network_card = true;
        if (plugged)
            platform.config.network = cable;
        platform.config.identity.mac = kMac;
        host = make_i440fx(platform);
        isa = make_piix3_isa(platform);
        card = make_rtl8139(platform);
        config(1, 0x60, 0x0B0B0B0B); // every PIRQ to line 11
        config(3, 0x10, kPorts);
        config(3, 0x14, kMemoryBase);
        config(3, 0x04, 7);
    }
    void config(unsigned slot, uint8_t offset, uint32_t value) {
        platform.io.write(0xCF8, 4, 0x80000000 | slot << 11 | offset);
        platform.io.write(0xCFC, 4, value);
    }
    uint32_t config(unsigned slot, uint8_t offset) {
        platform.io.write(0xCF8, 4, 0x80000000 | slot << 11 | offset);
        return platform.io.read(0xCFC, 4);
    }
    void put(unsigned offset, unsigned size, uint32_t value) {
        platform.io.write(static_cast<uint16_t>(kPorts + offset), size, value);
    }
    uint32_t get(unsigned offset, unsigned size) {
        return platform.io.read(static_cast<uint16_t>(kPorts + offset), size);
    }
    // As a driver starts it: 8 KiB ring, frames for this station and for all, every interrupt.
    void start(uint32_t receive = 0x8A) {
        put(0x37, 1, 0x10);
        put(0x37, 1, 0x0C);
        put(0x30, 4, kRing);
        put(0x44, 4, receive);
        put(0x3C, 2, 0xFFFF);
    }
    void transmit(unsigned descriptor, const Frame& frame) {
        const uint32_t at = kBuffers + descriptor * 2048;
        memory->write(at, frame.data(), frame.size());
        put(0x20 + 4 * descriptor, 4, at);
        put(0x10 + 4 * descriptor, 4, static_cast<uint32_t>(frame.size()));
    }
    void arrive(const Frame& frame) {
        cable->waiting.push_back(frame);
        cable->ready();
        platform.events.run_all();
    }
    uint16_t word_of_eeprom(unsigned index) {
        const auto pins = [&](unsigned value) { put(0x50, 1, 0x80 | value); };
        pins(0);
        pins(8);
        for (int bit = 10; bit >= 0; --bit) { // two zeros, the start bit, read, the address
            const unsigned data = (6u << 6 | index) >> bit & 1 ? 2 : 0;
            pins(8 | data);
            pins(8 | data | 4);
        }
        CHECK((get(0x50, 1) & 1) == 0); // the zero in front
        uint16_t value = 0;
        for (unsigned bit = 0; bit < 16; ++bit) {
            pins(8);
            pins(8 | 4);
            value = static_cast<uint16_t>(value << 1 | (get(0x50, 1) & 1));
        }
        put(0x50, 1, 0);
        return value;
    }

    std::shared_ptr<Cable> cable;
    std::unique_ptr<Device> host, isa, card;
};

Frame frame_to(std::array<uint8_t, 6> to, size_t size, uint8_t fill = 0xA5) {
    Frame frame(size, fill);
    std::ranges::copy(to, frame.begin());
    return frame;
}
constexpr std::array<uint8_t, 6> kAll{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};

} // namespace

TEST_CASE("rtl8139: a machine has it only when asked for", "[devices]") {
    LegacyFixture plain;
    CHECK(make_rtl8139(plain.platform) == nullptr);
    Card pc;
    CHECK(pc.config(3, 0x00) == 0x813910EC);
    CHECK(pc.config(3, 0x08) == 0x02000010);
    CHECK((pc.config(3, 0x3C) >> 8 & 0xFF) == 1);
    pc.config(3, 0x10, 0xFFFFFFFF); // sizing
    pc.config(3, 0x14, 0xFFFFFFFF);
    CHECK(pc.config(3, 0x10) == 0xFFFFFF01);
    CHECK(pc.config(3, 0x14) == 0xFFFFFF00);
    pc.config(3, 0x10, kPorts);
    pc.config(3, 0x14, kMemoryBase + 0x300); // a part of a page
    CHECK(pc.memory->read<uint32_t>(kMemoryBase + 0x300) == pc.get(0x00, 4));
    CHECK(pc.memory->read<uint32_t>(kMemoryBase) == 0xFFFFFFFF);
    pc.config(3, 0x14, 0x200000); // in RAM, which stays
    pc.memory->write<uint32_t>(0x200000, 0x12345678);
    CHECK(pc.memory->read<uint32_t>(0x200000) == 0x12345678);
}

TEST_CASE("rtl8139: its address is in the EEPROM and, from there, in the registers", "[devices]") {
    Card pc;
    CHECK(pc.word_of_eeprom(0) == 0x8129);
    for (unsigned i = 0; i < 3; ++i)
        CHECK(pc.word_of_eeprom(7 + i) == (kMac[2 * i] | kMac[2 * i + 1] << 8));
    CHECK(pc.get(0x00, 4) == 0x33221102);
    CHECK(pc.get(0x04, 2) == 0x5544);
    CHECK((pc.get(0x40, 4) & 0x7CC00000) == 0x74000000); // RTL8139C
    pc.put(0x00, 4, 0xDDCCBBAA);
    pc.put(0x37, 1, 0x10);
    CHECK(pc.get(0x00, 4) == 0xDDCCBBAA); // not the business of a software reset
    pc.put(0x50, 1, 0x40);                // reload
    CHECK(pc.get(0x00, 4) == 0x33221102);
    CHECK(pc.get(0x50, 1) == 0);
}

TEST_CASE("rtl8139: a software reset leaves it idle, with its buffer empty", "[devices]") {
    Card pc;
    pc.start();
    pc.put(0x37, 1, 0x10);
    CHECK(pc.get(0x37, 1) == 0x01);
    CHECK(pc.get(0x38, 2) == 0xFFF0);
    CHECK(pc.get(0x3A, 2) == 0);
    CHECK(pc.get(0x3C, 4) == 0);
    for (unsigned i = 0; i < 4; ++i)
        CHECK(pc.get(0x10 + 4 * i, 4) == kOwn);
    CHECK(pc.get(0x60, 2) == 0x000F);
}

TEST_CASE("rtl8139: four descriptors send in turn and say so", "[devices]") {
    Card pc;
    pc.start();
    for (unsigned i = 0; i < 10; ++i) {
        pc.transmit(i % 4, frame_to(kAll, 60 + i, static_cast<uint8_t>(i)));
        CHECK((pc.get(0x10 + 4 * (i % 4), 4) & (kOwn | kSent)) == (kOwn | kSent));
        CHECK(pc.get(0x3E, 2) == kTxOk);
        CHECK(pc.irq.is_high(11));
        pc.put(0x3E, 2, kTxOk);
        CHECK_FALSE(pc.irq.is_high(11));
    }
    REQUIRE(pc.cable->sent.size() == 10);
    for (unsigned i = 0; i < 10; ++i)
        CHECK(pc.cable->sent[i] == frame_to(kAll, 60 + i, static_cast<uint8_t>(i)));
    CHECK(pc.get(0x60, 2) == 0xF00F);
    // The third before its turn: it waits for the other two.
    pc.transmit(0, frame_to(kAll, 60)); // after ten it is the turn of 2
    CHECK(pc.cable->sent.size() == 10);
    pc.transmit(2, frame_to(kAll, 61));
    CHECK(pc.cable->sent.size() == 11);
    pc.transmit(3, frame_to(kAll, 62));
    CHECK(pc.cable->sent.size() == 13);
    CHECK(pc.cable->sent.back().size() == 60);
}

TEST_CASE("rtl8139: what the far end has no room for goes when it has", "[devices]") {
    Card pc;
    pc.start();
    pc.cable->room = 1;
    pc.transmit(0, frame_to(kAll, 60));
    pc.transmit(1, frame_to(kAll, 61));
    pc.transmit(2, frame_to(kAll, 62));
    CHECK((pc.get(0x14, 4) & (kOwn | kSent)) == 0);
    CHECK(pc.cable->sent.size() == 1);
    pc.cable->room = 10;
    pc.cable->ready();
    pc.platform.events.run_all();
    CHECK(pc.cable->sent.size() == 3);
    CHECK((pc.get(0x18, 4) & (kOwn | kSent)) == (kOwn | kSent));
}

TEST_CASE("rtl8139: frames too long are aborted or lost, without a cable they lose the carrier",
          "[devices]") {
    Card pc;
    pc.start();
    pc.transmit(0, frame_to(kAll, 1792));
    CHECK((pc.get(0x10, 4) & (kOwn | kSent)) == (kOwn | kSent));
    CHECK(pc.cable->sent.empty());
    pc.put(0x14, 4, 0x1FFF);
    CHECK((pc.get(0x14, 4) & kAborted) != 0);
    CHECK((pc.get(0x3E, 2) & kTxError) != 0);
    Card loose(false);
    loose.start();
    CHECK((loose.get(0x64, 2) & 4) == 0); // BMSR: no link
    CHECK((loose.get(0x58, 1) & 4) != 0);
    loose.transmit(0, frame_to(kAll, 60));
    CHECK((loose.get(0x10, 4) & kCarrierLost) != 0);
}

TEST_CASE("rtl8139: a frame arrives with its header and check sequence", "[devices]") {
    Card pc;
    CHECK((pc.get(0x64, 2) & 4) != 0);
    pc.start();
    Frame frame = frame_to(kMac, 64);
    for (size_t i = 6; i < frame.size(); ++i)
        frame[i] = static_cast<uint8_t>(i);
    CHECK((pc.get(0x37, 1) & 1) != 0);
    pc.arrive(frame);
    CHECK((pc.get(0x37, 1) & 1) == 0);
    CHECK(pc.get(0x3E, 2) == kRxOk);
    CHECK(pc.irq.is_high(11));
    CHECK(pc.memory->read<uint32_t>(kRing) == (68u << 16 | 0x4001)); // for this station, good
    Frame got(68);
    pc.memory->read(kRing + 4, got.data(), got.size());
    CHECK(std::equal(frame.begin(), frame.end(), got.begin()));
    // The residue of a frame with a good check sequence (IEEE 802.3, 3.2.9).
    uint32_t crc = 0xFFFFFFFF;
    for (const uint8_t byte : got)
        for (unsigned bit = 0; bit < 8; ++bit)
            crc = crc >> 1 ^ (((crc ^ byte >> bit) & 1) != 0 ? 0xEDB88320 : 0);
    CHECK(crc == 0xDEBB20E3);
    CHECK(pc.get(0x3A, 2) == 72);
    pc.put(0x38, 2, 72 - 16);
    CHECK((pc.get(0x37, 1) & 1) != 0);
    pc.arrive(frame_to(kAll, 20)); // padded, as on a wire
    CHECK(pc.memory->read<uint32_t>(kRing + 72) == (64u << 16 | 0x2001));
}

TEST_CASE("rtl8139: it takes what it is told to take", "[devices]") {
    constexpr std::array<uint8_t, 6> kOther{0x02, 9, 9, 9, 9, 9}, kGroup{0x01, 0x00, 0x5E, 0x00, 0x00, 0x01};
    const auto takes = [&](uint32_t receive, std::array<uint8_t, 6> to, uint32_t low = 0, uint32_t high = 0) {
        Card pc;
        pc.put(0x08, 4, low);
        pc.put(0x0C, 4, high);
        pc.start(receive);
        pc.arrive(frame_to(to, 60));
        return (pc.get(0x37, 1) & 1) == 0;
    };
    CHECK(takes(2, kMac));
    CHECK_FALSE(takes(0, kMac));
    CHECK_FALSE(takes(2, kOther));
    CHECK(takes(1, kOther));
    CHECK(takes(8, kAll));
    CHECK_FALSE(takes(6, kAll));
    CHECK_FALSE(takes(4, kGroup));
    CHECK(takes(4, kGroup, 0xFFFFFFFF, 0xFFFFFFFF));
    // The bit of 01:00:5e:00:00:01: 6 most significant bits of its CRC, 0x7FA32D9B, are 31.
    CHECK(takes(4, kGroup, 1u << 31, 0));
    CHECK_FALSE(takes(4, kGroup, ~(1u << 31), 0xFFFFFFFF));
}

TEST_CASE("rtl8139: the ring wraps, in the middle of a frame or beyond the end as the driver wants",
          "[devices]") {
    for (const bool beyond : {false, true}) {
        Card pc;
        pc.start(beyond ? 0x8A : 0x0A);
        unsigned read = 0;
        for (unsigned i = 0; i < 40; ++i) {
            Frame frame = frame_to(kMac, 1000 + i, static_cast<uint8_t>(i));
            pc.arrive(frame);
            REQUIRE((pc.get(0x37, 1) & 1) == 0);
            CHECK(pc.memory->read<uint32_t>(kRing + read) == ((1004 + i) << 16 | 0x4001));
            for (unsigned at = 0; at < frame.size(); ++at) {
                const unsigned place = beyond ? read + 4 + at : (read + 4 + at) % 8192;
                REQUIRE(pc.memory->read<uint8_t>(kRing + place) == frame[at]);
            }
            read = (read + 4 + 1004 + i + 3) / 4 * 4 % 8192;
            pc.put(0x38, 2, read - 16);
            CHECK(pc.get(0x3A, 2) == read);
        }
    }
}

TEST_CASE("rtl8139: the far end waits while the ring is full; a loopback overflows it", "[devices]") {
    Card pc;
    pc.start();
    for (unsigned i = 0; i < 20; ++i)
        pc.arrive(frame_to(kMac, 1514));
    CHECK(pc.cable->waiting.size() == 15); // five of 1522 bytes and five headers fit 8 KiB
    CHECK((pc.get(0x3E, 2) & kOverflow) == 0);
    CHECK(pc.get(0x4C, 4) == 0);
    pc.put(0x38, 2, pc.get(0x3A, 2) - 16);
    CHECK(pc.cable->waiting.size() == 10);

    pc.put(0x40, 4, 3u << 17);
    for (unsigned i = 0; i < 8; ++i)
        pc.transmit(i % 4, frame_to(kMac, 1000));
    CHECK(pc.cable->sent.empty());
    CHECK((pc.get(0x3E, 2) & kOverflow) != 0);
    CHECK(pc.get(0x4C, 4) > 0);
    pc.put(0x4C, 4, 0);
    CHECK(pc.get(0x4C, 4) == 0);
}

TEST_CASE("rtl8139: loopback brings back what was sent", "[devices]") {
    Card pc;
    pc.start();
    pc.put(0x40, 4, 3u << 17);
    const Frame frame = frame_to(kMac, 100, 0x3C);
    pc.transmit(0, frame);
    CHECK(pc.get(0x3E, 2) == (kRxOk | kTxOk));
    Frame got(100);
    pc.memory->read(kRing + 4, got.data(), got.size());
    CHECK(got == frame);
}

TEST_CASE("rtl8139: a receiver that is off or loses its frames does not keep the far end waiting",
          "[devices]") {
    Card pc;
    for (unsigned i = 0; i < 200; ++i)
        pc.cable->waiting.push_back(frame_to(kMac, 60));
    pc.cable->ready();
    for (unsigned i = 0; i < 5; ++i)
        pc.platform.events.run_all();
    CHECK(pc.cable->waiting.empty());
    CHECK(pc.get(0x3E, 2) == 0);
}

TEST_CASE("rtl8139: interrupts follow mask and status", "[devices]") {
    Card pc;
    pc.start();
    pc.put(0x3C, 2, kTxOk);
    pc.arrive(frame_to(kMac, 60));
    CHECK(pc.get(0x3E, 2) == kRxOk);
    CHECK_FALSE(pc.irq.is_high(11));
    pc.put(0x3C, 2, kRxOk);
    CHECK(pc.irq.is_high(11));
    pc.put(0x3C, 2, 0);
    CHECK_FALSE(pc.irq.is_high(11));
    pc.put(0x3C, 4, 0xFFFFFFFF); // both halves at once: ones clear the status
    CHECK(pc.get(0x3E, 2) == 0);
    CHECK(pc.get(0x3C, 2) == 0xE07F);
}

TEST_CASE("rtl8139: frames whose interrupt was cleared before they were read are brought to mind",
          "[devices]") {
    Card pc;
    pc.start();
    for (unsigned i = 0; i < 20; ++i)
        pc.arrive(frame_to(kMac, 1514));
    pc.put(0x3E, 2, 0xFFFF);
    CHECK_FALSE(pc.irq.is_high(11));
    pc.advance(1'000'000);
    CHECK(pc.get(0x3E, 2) == kRxOk);
    CHECK(pc.irq.is_high(11));
    while (!pc.cable->waiting.empty() || (pc.get(0x37, 1) & 1) == 0)
        pc.put(0x38, 2, pc.get(0x3A, 2) - 16);
    pc.put(0x3E, 2, 0xFFFF);
    CHECK(pc.platform.clock.next_deadline() == kNever);
}

TEST_CASE("rtl8139: the counter runs at the PCI clock and interrupts where it is told to", "[devices]") {
    Card pc;
    pc.start();
    pc.put(0x48, 4, 0);
    pc.put(0x54, 4, 33'000); // a millisecond
    pc.advance(500'000);
    CHECK(pc.get(0x48, 4) == 16'500);
    CHECK(pc.get(0x3E, 2) == 0);
    pc.advance(600'000);
    CHECK(pc.get(0x3E, 2) == kTimeOut);
    pc.put(0x54, 4, 0);
    CHECK(pc.platform.clock.next_deadline() == kNever); // nothing wakes the machine
}

TEST_CASE("rtl8139: a loaded state finds the cable out, then in again, and every connection closed",
          "[devices]") {
    Card pc, other;
    pc.start();
    pc.transmit(0, frame_to(kAll, 60));
    pc.arrive(frame_to(kMac, 100));
    pc.put(0x3E, 2, 0xFFFF);
    const auto state = saved(*pc.card);
    other.cable->waiting.push_back(frame_to(kMac, 60));
    load(*other.card, state);
    CHECK(other.cable->disconnects == 1);
    CHECK(other.cable->waiting.empty());
    CHECK((other.get(0x64, 2) & 4) == 0);
    CHECK((other.get(0x74, 2) & 0x0800) != 0);
    CHECK(other.get(0x3E, 2) == kLinkChanged);
    CHECK(other.irq.is_high(11));
    other.put(0x3E, 2, kLinkChanged);
    const auto unplugged = saved(*other.card);
    other.advance(3 * kNanosPerSecond);
    CHECK((other.get(0x64, 2) & 4) != 0);
    CHECK(other.get(0x3E, 2) == (kLinkChanged | kRxOk)); // and a frame waits
    CHECK(other.get(0x3A, 2) == 108);
    other.arrive(frame_to(kMac, 60)); // it goes on where it was
    CHECK(other.memory->read<uint32_t>(kRing + 108) == (64u << 16 | 0x4001));
    // The same state, loaded twice, is the same: receipts depend on it.
    load(*other.card, state);
    other.put(0x3E, 2, kLinkChanged);
    CHECK((saved(*other.card) == unplugged));
}

TEST_CASE("rtl8139: a frame that waits for room is sent after loading, once", "[devices]") {
    Card pc, other;
    pc.start();
    pc.cable->room = 0;
    pc.transmit(0, frame_to(kAll, 77));
    other.memory->write(kBuffers, frame_to(kAll, 77).data(), 77);
    load(*other.card, saved(*pc.card));
    other.cable->ready();
    other.platform.events.run_all();
    CHECK((other.get(0x10, 4) & (kOwn | kSent | kCarrierLost)) == (kOwn | kSent | kCarrierLost));
    CHECK(other.cable->sent.empty()); // the cable was out
}

TEST_CASE("rtl8139: another identity reaches the EEPROM; a driver that runs keeps its address", "[devices]") {
    constexpr std::array<uint8_t, 6> kNew{0x06, 1, 2, 3, 4, 5};
    Card idle;
    idle.platform.config.identity.mac = kNew;
    idle.platform.outputs.identity_changed();
    CHECK(idle.get(0x00, 4) == 0x03020106);
    CHECK(idle.word_of_eeprom(7) == 0x0106);
    Card pc;
    pc.start();
    pc.platform.config.identity.mac = kNew;
    pc.platform.outputs.identity_changed();
    CHECK(pc.get(0x00, 4) == 0x33221102);
    CHECK(pc.word_of_eeprom(7) == 0x0106);
    pc.arrive(frame_to(kMac, 60));
    CHECK((pc.get(0x3E, 2) & kRxOk) != 0);
    pc.card->reset();
    pc.config(3, 0x10, kPorts);
    pc.config(3, 0x04, 7);
    CHECK(pc.get(0x00, 4) == 0x03020106);
}

TEST_CASE("rtl8139: hostile registers and forged states end in nothing worse than lost frames", "[devices]") {
    for (const uint32_t base : {0xFFFFFFFFu, 0xFFFFFFF0u, 0x000A0000u, 0x01000000u - 8, kMemoryBase, 0u}) {
        Card pc;
        for (const uint32_t receive : {0x8Fu, 0x0Fu, 0x188Fu, 0xFFFFFFFFu}) {
            pc.start(receive);
            pc.put(0x30, 4, base);
            pc.put(0x40, 4, 0xFFFFFFFF);
            for (const uint16_t capr : {0, 1, 0x7FFF, 0xFFF0, 0xFFFF, 0x2000}) {
                pc.put(0x38, 2, capr);
                for (unsigned i = 0; i < 4; ++i) {
                    pc.put(0x20 + 4 * i, 4, base);
                    pc.put(0x10 + 4 * i, 4, 1514);
                    pc.put(0x10 + 4 * i, 4, i);
                }
                pc.put(0x40, 4, 0);
                pc.arrive(frame_to(kMac, 1514));
                pc.put(0x40, 4, 0xFFFFFFFF);
            }
        }
        // Every register, at every width.
        for (unsigned offset = 0; offset < 256; ++offset)
            for (const unsigned size : {1u, 2u, 4u}) {
                pc.get(offset, size);
                pc.put(offset, size, 0xFFFFFFFF);
                pc.put(offset, size, 0x0C0C0C0C);
                pc.memory->write(kMemoryBase + offset, &base, size);
            }
        CHECK((pc.get(0x64, 2) & 4) != 0);
    }
    for (const uint8_t byte : {0xFF, 0x00, 0x01, 0x80, 0x7F, 0x55}) {
        Card victim;
        load_forged(*victim.card, byte);
        victim.advance(1000 * kNanosPerSecond);
        victim.config(3, 0x10, kPorts);
        victim.config(3, 0x04, 7);
        victim.arrive(frame_to(kMac, 1514));
        victim.transmit(0, frame_to(kMac, 1514));
        victim.word_of_eeprom(63);
        CHECK(victim.get(0x5E, 1) == 0x10);
    }
}
