#include "tests/vmm/cpu/call_out_fixture.h"

#include <vector>

using namespace vmm;
using namespace vmm::testing;

namespace {

// A data port that counts up on reads and keeps what is written.
struct CountingPort final : IoHandler {
    uint32_t io_read(uint16_t, unsigned) override { return next++; }
    void io_write(uint16_t, unsigned, uint32_t value) override { written.push_back(value); }
    uint32_t next = 1;
    std::vector<uint32_t> written;
};

struct Strings : CallOuts {
    static constexpr uint16_t kPort = 0x1F0;
    Strings() {
        io.add(kPort, 4, &port, "test", 4);
        state.reg(Reg::Edx) = kPort;
        state.eip = 0x100;
    }
    ~Strings() { io.remove(kPort, 4); }
    GuestResult<bool> run(StringOp op, Repeat repeat, Width width, unsigned address_bits = 32) {
        return cpu.string_instruction(op, repeat, width, address_bits, SegReg::Ds, 0x102, stop);
    }
    CountingPort port;
    uint32_t stop = 0;
};

} // namespace

TEST_CASE("strings: REP INSW fills memory across a page in port order", "[cpu]") {
    Strings t;
    t.state.reg(Reg::Edi) = 0x1F80;
    t.state.reg(Reg::Ecx) = 256;
    REQUIRE(t.run(StringOp::Ins, Repeat::RepOrRepe, Width::Word).value());
    for (uint32_t i = 0; i < 256; ++i)
        REQUIRE(t.ram->read<uint16_t>(0x1F80 + 2 * i) == i + 1);
    CHECK(t.state.reg(Reg::Ecx) == 0);
    CHECK(t.state.reg(Reg::Edi) == 0x1F80 + 512);
    CHECK(t.state.eip == 0x102);
}

TEST_CASE("strings: OUTSB goes down with DF set", "[cpu]") {
    Strings t;
    t.ram->write<uint32_t>(0x3000, 0x44332211);
    t.state.reg(Reg::Esi) = 0x3003;
    t.state.reg(Reg::Ecx) = 4;
    t.state.eflags |= eflags::kDf;
    REQUIRE(t.run(StringOp::Outs, Repeat::RepOrRepe, Width::Byte).value());
    CHECK(t.port.written == std::vector<uint32_t>{0x44, 0x33, 0x22, 0x11});
    CHECK(t.state.reg(Reg::Esi) == 0x2FFF);
}

TEST_CASE("strings: a segment limit met half way leaves the rest to do, and the port unread beyond it",
          "[cpu]") {
    Strings t;
    t.state.segment(SegReg::Es).limit = 0x4005;
    t.state.segment(SegReg::Es).set_attributes(0x00409300);
    t.state.reg(Reg::Edi) = 0x4000;
    t.state.reg(Reg::Ecx) = 8;
    const auto result = t.run(StringOp::Ins, Repeat::RepOrRepe, Width::Word);
    CHECK(faults_with(result, Vector::GeneralProtection));
    CHECK(t.state.reg(Reg::Ecx) == 5);
    CHECK(t.state.reg(Reg::Edi) == 0x4006);
    CHECK(t.port.next == 4);
    CHECK(t.state.eip == 0x100);
}

TEST_CASE("strings: 16-bit addressing wraps its index and keeps the upper halves", "[cpu]") {
    Strings t;
    t.state.reg(Reg::Esi) = 0xAAAAFFFE;
    t.state.reg(Reg::Edi) = 0xBBBB1000;
    t.state.reg(Reg::Ecx) = 0xCCCC0002;
    t.ram->write<uint16_t>(0xFFFE, 0x1111);
    t.ram->write<uint16_t>(0x0000, 0x2222);
    REQUIRE(t.run(StringOp::Movs, Repeat::RepOrRepe, Width::Word, 16).value());
    CHECK(t.ram->read<uint32_t>(0x1000) == 0x22221111);
    CHECK(t.state.reg(Reg::Esi) == 0xAAAA0002);
    CHECK(t.state.reg(Reg::Edi) == 0xBBBB1004);
    CHECK(t.state.reg(Reg::Ecx) == 0xCCCC0000);
}

TEST_CASE("strings: a count of zero does nothing and keeps the flags", "[cpu]") {
    Strings t;
    t.state.eflags = eflags::kFixed1 | eflags::kCf | eflags::kOf;
    t.state.reg(Reg::Ecx) = 0x10000; // CX is zero
    REQUIRE(t.run(StringOp::Scas, Repeat::Repne, Width::Byte, 16).value());
    CHECK(t.state.eflags == (eflags::kFixed1 | eflags::kCf | eflags::kOf));
    CHECK(t.state.eip == 0x102);
}

TEST_CASE("strings: REPNE SCASB stops at the match with ZF, REPE CMPSB at the difference", "[cpu]") {
    Strings t;
    t.ram->write(0x5000, "abcdef", 6);
    t.ram->write(0x6000, "abcxef", 6);
    t.state.reg(Reg::Eax) = 'd';
    t.state.reg(Reg::Edi) = 0x5000;
    t.state.reg(Reg::Ecx) = 100;
    REQUIRE(t.run(StringOp::Scas, Repeat::Repne, Width::Byte).value());
    CHECK(t.state.reg(Reg::Edi) == 0x5004);
    CHECK((t.state.eflags & eflags::kZf) != 0);
    t.state.reg(Reg::Esi) = 0x5000;
    t.state.reg(Reg::Edi) = 0x6000;
    t.state.reg(Reg::Ecx) = 6;
    REQUIRE(t.run(StringOp::Cmps, Repeat::RepOrRepe, Width::Byte).value());
    CHECK(t.state.reg(Reg::Ecx) == 2);
    // 'd' - 'x' is negative, borrows, and has an odd number of ones.
    CHECK((t.state.eflags & eflags::kArithmetic) == (eflags::kCf | eflags::kSf | eflags::kAf));
}

TEST_CASE("strings: a stop request or 4096 elements end the call between elements", "[cpu]") {
    Strings t;
    t.state.reg(Reg::Edi) = 0x10000;
    t.state.reg(Reg::Ecx) = 10000;
    CHECK_FALSE(t.run(StringOp::Stos, Repeat::RepOrRepe, Width::Byte).value());
    CHECK(t.state.reg(Reg::Ecx) == 10000 - 4096);
    CHECK(t.state.eip == 0x100);
    t.stop = 1;
    CHECK_FALSE(t.run(StringOp::Stos, Repeat::RepOrRepe, Width::Byte).value());
    CHECK(t.state.reg(Reg::Ecx) == 10000 - 4097); // progress is made all the same
}

TEST_CASE("port_io: ring 3 above IOPL needs clear bits in the TSS bitmap, both bytes within the limit",
          "[cpu]") {
    Strings t;
    t.user(0);
    CHECK(faults_with(t.cpu.port_in(Strings::kPort, Width::Byte), Vector::GeneralProtection)); // no TSS
    Segment& tr = t.state.tr;
    tr.usable = 1;
    tr.base = 0x8000;
    tr.set_attributes(0x8B00);
    tr.limit = 0x68 + 0x1F0 / 8 + 1;
    t.ram->write<uint16_t>(0x8000 + 102, 0x68);
    CHECK(t.cpu.port_in(Strings::kPort, Width::Byte).has_value());
    t.ram->write<uint8_t>(0x8068 + 0x1F0 / 8, 0x04);
    CHECK(t.cpu.port_in(Strings::kPort, Width::Word).has_value());
    CHECK(faults_with(t.cpu.port_out(Strings::kPort, Width::Dword, 0), Vector::GeneralProtection));
    CHECK(t.port.written.empty());
    --tr.limit;
    CHECK(faults_with(t.cpu.port_in(Strings::kPort, Width::Byte), Vector::GeneralProtection));
    t.user(3);
    CHECK(t.cpu.port_in(Strings::kPort, Width::Dword).has_value());
    t.v86(3); // IOPL does not help in v86 mode
    CHECK(faults_with(t.cpu.port_in(Strings::kPort, Width::Byte), Vector::GeneralProtection));
}
