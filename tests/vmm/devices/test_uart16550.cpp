#include "tests/vmm/devices/legacy_fixture.h"

#include <string>

using namespace vmm;

namespace {
struct Line : CharPort {
    std::string sent;
    void send(uint8_t byte) override { sent.push_back(static_cast<char>(byte)); }
};
struct Uart : LegacyFixture {
    std::shared_ptr<Line> line = std::make_shared<Line>();
    std::unique_ptr<Device> device;
    Uart() {
        platform.config.serial = line;
        device = make_uart16550(platform);
        out(kMcr, 0x08);
    }
    void receive(std::string_view text) {
        for (char c : text)
            platform.outputs.serial_input(static_cast<uint8_t>(c));
    }
    static constexpr uint16_t kData = 0x3F8, kIer = 0x3F9, kIir = 0x3FA, kLcr = 0x3FB, kMcr = 0x3FC,
                              kLsr = 0x3FD, kMsr = 0x3FE, kScr = 0x3FF;
};
} // namespace

TEST_CASE("uart16550: sends at once and is always ready for more", "[devices]") {
    Uart uart;
    for (char c : std::string("boot"))
        uart.out(uart.kData, static_cast<unsigned>(c));
    CHECK(uart.line->sent == "boot");
    CHECK(uart.in(uart.kLsr) == 0x60);
}

TEST_CASE("uart16550: divisor latch hides the data and interrupt enable registers", "[devices]") {
    Uart uart;
    uart.out(uart.kLcr, 0x83);
    uart.out(uart.kData, 0x0C), uart.out(uart.kIer, 0x01);
    CHECK((uart.in(uart.kData) == 0x0C && uart.in(uart.kIer) == 0x01));
    uart.out(uart.kLcr, 0x03);
    CHECK(uart.in(uart.kIer) == 0);
    CHECK(uart.line->sent.empty());
    uart.out(uart.kScr, 0x5A);
    CHECK(uart.in(uart.kScr) == 0x5A);
}

TEST_CASE("uart16550: the empty transmitter interrupts on enable and after each byte, until IIR is read",
          "[devices]") {
    Uart uart;
    uart.out(uart.kIer, 0x02);
    CHECK(uart.irq.is_high(4));
    CHECK(uart.in(uart.kIir) == 0x02);
    CHECK_FALSE(uart.irq.is_high(4));
    CHECK(uart.in(uart.kIir) == 0x01);
    uart.out(uart.kData, 'x');
    CHECK(uart.irq.is_high(4));
    uart.out(uart.kMcr, 0x00); // OUT2 disconnects the line
    CHECK_FALSE(uart.irq.is_high(4));
}

TEST_CASE("uart16550: received bytes interrupt, as data or as timeout below the trigger level", "[devices]") {
    Uart uart;
    uart.out(uart.kIir, 0x81); // FIFOs, trigger at 8
    uart.out(uart.kIer, 0x01);
    uart.receive("abc");
    CHECK(uart.irq.is_high(4));
    CHECK(uart.in(uart.kIir) == 0xCC);
    uart.receive("defgh");
    CHECK(uart.in(uart.kIir) == 0xC4);
    CHECK((uart.in(uart.kLsr) & 1) == 1);
    std::string read;
    while ((uart.in(uart.kLsr) & 1) != 0)
        read.push_back(static_cast<char>(uart.in(uart.kData)));
    CHECK(read == "abcdefgh");
    CHECK_FALSE(uart.irq.is_high(4));
}

TEST_CASE("uart16550: more than the FIFO holds waits and nothing is lost", "[devices]") {
    Uart uart;
    const bool fifo = GENERATE(false, true);
    uart.out(uart.kIir, fifo ? 0x01 : 0x00);
    std::string sent;
    for (int i = 0; i < 1000; ++i)
        sent.push_back(static_cast<char>('a' + i % 26));
    uart.receive(sent);
    std::string read;
    while ((uart.in(uart.kLsr) & 1) != 0)
        read.push_back(static_cast<char>(uart.in(uart.kData)));
    CHECK(read == sent);
    uart.receive(std::string(200'000, 'x')); // bounded
    CHECK(saved(*uart.device).size() < 70'000);
}

TEST_CASE("uart16550: loopback connects transmitter to receiver and modem outputs to inputs", "[devices]") {
    Uart uart;
    CHECK((uart.in(uart.kMsr) & 0xF0) == 0xB0);
    uart.in(uart.kMsr);
    uart.out(uart.kMcr, 0x1A);
    CHECK((uart.in(uart.kMsr) & 0xF0) == 0x90);
    uart.out(uart.kData, 0x77);
    CHECK(uart.in(uart.kData) == 0x77);
    CHECK(uart.line->sent.empty());
    uart.out(uart.kData, 1), uart.out(uart.kData, 2); // no FIFO: the second overruns
    CHECK((uart.in(uart.kLsr) & 0x03) == 0x03);
    CHECK((uart.in(uart.kLsr) & 0x02) == 0);
    CHECK(uart.in(uart.kData) == 2);
}

TEST_CASE("uart16550: modem changes are reported once", "[devices]") {
    Uart uart;
    uart.out(uart.kMcr, 0x10);
    CHECK((uart.in(uart.kMsr) & 0x0F) == 0x0B); // CTS, DSR and DCD fell
    CHECK((uart.in(uart.kMsr) & 0x0F) == 0);
    uart.out(uart.kMcr, 0x14), uart.out(uart.kMcr, 0x10);
    CHECK((uart.in(uart.kMsr) & 0x0F) == 0x04); // trailing edge of RI
}

TEST_CASE("uart16550: FIFO control: identification, clearing, and off means off", "[devices]") {
    Uart uart;
    CHECK(uart.in(uart.kIir) == 0x01);
    uart.out(uart.kIir, 0x01);
    CHECK(uart.in(uart.kIir) == 0xC1);
    uart.receive("abc");
    uart.out(uart.kIir, 0x03);
    CHECK((uart.in(uart.kLsr) & 1) == 0);
    uart.out(uart.kIir, 0x00);
    CHECK(uart.in(uart.kIir) == 0x01);
}

TEST_CASE("uart16550: without a far end it still works", "[devices]") {
    LegacyFixture machine;
    auto uart = make_uart16550(machine.platform);
    machine.out(0x3F8, 'x');
    CHECK((machine.in(0x3FE) & 0xF0) == 0);
}

TEST_CASE("uart16550: state survives a save and a forged one is harmless", "[devices]") {
    Uart uart, other;
    uart.out(uart.kIir, 0xC1), uart.out(uart.kIer, 0x0F), uart.out(uart.kScr, 9);
    uart.receive("twenty bytes and some");
    require_round_trip(*uart.device, *other.device);
    CHECK(other.irq.is_high(4));
    std::string read;
    while ((other.in(other.kLsr) & 1) != 0)
        read.push_back(static_cast<char>(other.in(other.kData)));
    CHECK(read == "twenty bytes and some");
    for (unsigned byte : {0xFFu, 0x80u, 0x7Fu, 0x01u}) {
        load_forged(*other.device, static_cast<uint8_t>(byte));
        other.receive("abc");
        for (int i = 0; i < 100; ++i)
            other.out(other.kData, 1), other.in(other.kData);
    }
}
