#include "tests/vmm/devices/apic_fixture.h"

using namespace vmm;

TEST_CASE("local apic: a reset leaves it enabled in its register, disabled by software and masked",
          "[apic]") {
    ApicFixture pc;
    CHECK(pc.platform.apic->read_msr(0x1B).value() == 0xFEE00900);
    CHECK(pc.platform.apic->enabled());
    CHECK(pc.reg(pc.kId) == 0);
    CHECK(pc.reg(pc.kVersion) == 0x00050014);
    CHECK(pc.reg(pc.kSvr) == 0xFF);
    CHECK(pc.reg(pc.kDfr) == 0xFFFFFFFF);
    for (uint32_t lvt = pc.kLvtTimer; lvt <= pc.kLvtError; lvt += 0x10)
        CHECK(pc.reg(lvt) == pc.kMasked);
    for (const uint32_t zero : {pc.kTpr, pc.kPpr, pc.kLdr, pc.kEsr, pc.kIcr, pc.kIcrHigh, pc.kInitial,
                                pc.kCurrent, pc.kDivide, pc.kIrr, pc.kIsr, pc.kTmr})
        CHECK(pc.reg(zero) == 0);
    CHECK(pc.errors() == 0);
}

TEST_CASE("local apic: reserved bits stay as they are, whatever is written", "[apic]") {
    ApicFixture pc;
    pc.enable();
    const std::pair<uint32_t, uint32_t> kBits[] = {
        {pc.kId, 0xFF000000},       {pc.kTpr, 0xFF},
        {pc.kLdr, 0xFF000000},      {pc.kSvr, 0x3FF},
        {pc.kIcrHigh, 0xFF000000},  {pc.kLvtTimer, 0x000300FF},
        {0x330, 0x000107FF},        {0x340, 0x000107FF},
        {pc.kLint0, 0x0001A7FF},    {pc.kLint1, 0x0001A7FF},
        {pc.kLvtError, 0x000100FF}, {pc.kDivide, 0x0B},
    };
    for (const auto& [at, bits] : kBits) {
        INFO(std::hex << at);
        pc.set(at, 0xFFFFFFFF);
        CHECK(pc.reg(at) == bits);
    }
    pc.set(pc.kDfr, 0);
    CHECK(pc.reg(pc.kDfr) == 0x0FFFFFFF);
    for (const uint32_t fixed : {pc.kVersion, pc.kPpr, pc.kApr, pc.kIsr, pc.kTmr + 0x10, pc.kIrr + 0x70}) {
        const uint32_t before = pc.reg(fixed);
        pc.set(fixed, ~before);
        CHECK(pc.reg(fixed) == before);
    }
    CHECK(pc.errors() == 0);
}

TEST_CASE("local apic: only aligned doublewords write; what is read between registers is zero", "[apic]") {
    ApicFixture pc;
    pc.set(pc.kTpr, 0x55);
    GuestMemory& memory = *pc.memory;
    memory.write<uint8_t>(pc.kLocal + pc.kTpr, 0x77);
    memory.write<uint16_t>(pc.kLocal + pc.kTpr, 0x77);
    memory.write<uint32_t>(pc.kLocal + pc.kTpr + 4, 0x77);
    memory.write<uint32_t>(pc.kLocal + pc.kTpr + 2, 0x77777777); // unaligned: the bus makes pieces of it
    memory.write<uint32_t>(pc.kLocal + pc.kTpr - 1, 0x77777777);
    CHECK(pc.reg(pc.kTpr) == 0x55);
    CHECK(memory.read<uint8_t>(pc.kLocal + pc.kVersion + 2) == 5);
    CHECK(memory.read<uint16_t>(pc.kLocal + pc.kVersion) == 0x14);
    CHECK(memory.read<uint16_t>(pc.kLocal + pc.kVersion + 1) == 0x0500); // unaligned
    CHECK(memory.read<uint64_t>(pc.kLocal + pc.kVersion) == 0x00050014);
    CHECK(memory.read<uint32_t>(pc.kLocal + pc.kVersion + 8) == 0);
    CHECK(pc.errors() == 0);
}

TEST_CASE("local apic: a register that does not exist is an error, told once until ESR is written",
          "[apic]") {
    ApicFixture pc;
    pc.enable();
    pc.set(pc.kLvtError, 0xE0);
    for (const uint32_t absent : {0x000u, 0x040u, 0x290u, 0x2F0u, 0x3A0u, 0x3F0u, 0x400u, 0xFF0u}) {
        INFO(std::hex << absent);
        CHECK(pc.reg(absent) == 0);
        CHECK(pc.take() == 0xE0);
        pc.set(absent, 1);
        CHECK_FALSE(pc.pending()); // not told again
        CHECK(pc.reg(pc.kEsr) == 0);
        CHECK(pc.errors() == 0x80);
        CHECK(pc.errors() == 0);
    }
}

TEST_CASE("local apic: the highest class is served first, and only above TPR and what is in service",
          "[apic]") {
    ApicFixture pc;
    pc.enable();
    for (const uint32_t vector : {0x31u, 0x52u, 0x43u, 0x58u})
        pc.set(pc.kIcr, pc.kSelf | vector);
    CHECK(pc.requested(0x43));
    REQUIRE(pc.pending());
    CHECK(pc.ack() == 0x58);
    CHECK(pc.reg(pc.kPpr) == 0x50);
    CHECK_FALSE(pc.pending()); // 52h is of the same class
    pc.set(pc.kIcr, pc.kSelf | 0x60);
    CHECK(pc.ack() == 0x60);
    pc.set(pc.kEoi, 0); // 60h, the highest in service
    CHECK_FALSE(pc.pending());
    pc.set(pc.kEoi, 0);
    CHECK(pc.ack() == 0x52);
    pc.set(pc.kTpr, 0x41);
    pc.set(pc.kEoi, 0);
    CHECK(pc.reg(pc.kPpr) == 0x41);
    CHECK_FALSE(pc.pending()); // 43h
    CHECK(pc.reg(pc.kApr) == 0x41);
    pc.set(pc.kTpr, 0x3F);
    CHECK(pc.take() == 0x43);
    CHECK_FALSE(pc.pending());
    pc.set(pc.kTpr, 0x2F);
    CHECK(pc.take() == 0x31);
    CHECK_FALSE(pc.pending());
    CHECK(pc.ack() == 0xFF); // nothing: the spurious vector, not in service
    CHECK(pc.reg(pc.kIsr + 0x70) == 0);
    pc.set(pc.kEoi, 0); // of nothing
}

TEST_CASE("local apic: vectors below 16 are errors, where they are sent and where they arrive", "[apic]") {
    ApicFixture pc;
    pc.enable();
    pc.set(pc.kIcr, pc.kSelf | 0x0F);
    CHECK(pc.errors() == 0x20);
    pc.set(pc.kLvtTimer, 0x0F);
    pc.set(pc.kInitial, 1);
    pc.advance(pc.kMs);
    CHECK(pc.errors() == 0x40);
    pc.set(pc.kLvtError, 0x0F); // the error's own vector
    (void)pc.reg(0);
    CHECK(pc.errors() == 0x80);
    CHECK_FALSE(pc.pending());
}

TEST_CASE("local apic: the 8259 pair is heard through LINT0, or past an APIC that is disabled", "[apic]") {
    ApicFixture pc;
    pc.line(1, true);
    CHECK_FALSE(pc.pending()); // masked after a reset
    pc.set(pc.kLint0, pc.kExtInt);
    CHECK_FALSE(pc.pending()); // and cannot be opened while it is disabled by software
    pc.enable();
    CHECK_FALSE(pc.pending());
    const unsigned before = pc.changes;
    pc.set(pc.kLint0, pc.kExtInt | pc.kLevel);
    CHECK(pc.pending());
    CHECK(pc.changes > before);
    pc.set(pc.kTpr, 0xFF); // no priority stands in the way of ExtINT
    CHECK(pc.ack() == 0x09);
    CHECK(pc.reg(pc.kIsr) == 0);
    CHECK_FALSE(pc.pending());
    pc.out(0x20, 0x20);
    pc.pulse(1);
    CHECK(pc.pending());
    pc.set(pc.kSvr, 0xFF);
    CHECK(pc.reg(pc.kLint0) == (pc.kMasked | pc.kExtInt | pc.kLevel));
    CHECK_FALSE(pc.pending());
    REQUIRE(pc.platform.apic->write_msr(0x1B, 0xFEE00100));
    CHECK(pc.pending());
    CHECK(pc.ack() == 0x09);
}

TEST_CASE("local apic: IA32_APIC_BASE moves and disables it, and reserved bits are refused", "[apic]") {
    ApicFixture pc;
    ApicMsrs& msrs = *pc.platform.apic;
    for (const uint64_t wrong : {0xFEE00901ull, 0xFEE00D00ull, 0xFEE00A00ull, 0x100'FEE0'0900ull})
        CHECK_FALSE(msrs.write_msr(0x1B, wrong));
    CHECK_FALSE(msrs.write_msr(0x800, 0));
    CHECK_FALSE(msrs.read_msr(0x802));
    pc.enable();
    REQUIRE(msrs.write_msr(0x1B, 0xE0000900));
    CHECK(pc.reg(pc.kVersion) == 0xFFFFFFFF);
    CHECK(pc.memory->read<uint32_t>(0xE0000000 + pc.kSvr) == 0x1FF); // it has only moved
    pc.memory->write<uint32_t>(0x5030, 0x12345678);
    REQUIRE(msrs.write_msr(0x1B, 0x00005900));
    CHECK(pc.memory->read<uint32_t>(0x5030) == 0x12345678); // RAM stays RAM
    REQUIRE(msrs.write_msr(0x1B, 0xFEE00100));
    CHECK_FALSE(msrs.enabled());
    CHECK(pc.reg(pc.kVersion) == 0xFFFFFFFF);
    CHECK_FALSE(pc.platform.apics.send({.vector = 0x40, .destination = 0xFF}));
    REQUIRE(msrs.write_msr(0x1B, 0xFEE00900));
    CHECK(pc.reg(pc.kSvr) == 0xFF); // as after a reset
    CHECK(msrs.read_msr(0x1B).value() == 0xFEE00900);
}

TEST_CASE("local apic: a message reaches it by ID, broadcast, or in either logical model", "[apic]") {
    ApicFixture pc;
    pc.enable();
    const auto reaches = [&](uint32_t destination, uint32_t flags) {
        pc.set(pc.kIcrHigh, destination << 24);
        pc.set(pc.kIcr, flags | 0x40);
        return pc.take() == 0x40;
    };
    CHECK(reaches(0, 0));
    CHECK_FALSE(reaches(1, 0));
    CHECK(reaches(0xFF, 0));
    CHECK_FALSE(reaches(0xFF, pc.kLogical)); // no logical ID bit is set
    pc.set(pc.kLdr, 0x24000000);
    CHECK(reaches(0x04, pc.kLogical));
    CHECK(reaches(0x20, pc.kLogical));
    CHECK_FALSE(reaches(0xDB, pc.kLogical));
    pc.set(pc.kDfr, 0x0FFFFFFF); // clusters: 2, member 4
    CHECK(reaches(0x2C, pc.kLogical));
    CHECK(reaches(0xF4, pc.kLogical));
    CHECK_FALSE(reaches(0x2B, pc.kLogical));
    CHECK_FALSE(reaches(0x34, pc.kLogical));
    CHECK(reaches(0xF4, pc.kLogical | 1u << 8)); // lowest priority, of one
    CHECK(reaches(7, 2u << 18));                 // all, itself included
    CHECK_FALSE(reaches(0, 3u << 18));           // all others
    pc.set(pc.kId, 0x05000000);
    CHECK(reaches(5, 0));
    CHECK_FALSE(reaches(0, 0));
}

TEST_CASE("local apic: NMI waits for the processor, INIT begins the machine again, start-up is for others",
          "[apic]") {
    ApicFixture pc;
    pc.enable();
    pc.set(pc.kIcr, 0xC4600 | 0x9F); // as firmware wakes other processors
    pc.set(pc.kIcr, 0xC4500);
    pc.set(pc.kIcr, 0x0600 | 0x9F);
    pc.set(pc.kIcr, 0x8500); // INIT level de-assert
    CHECK_FALSE(pc.pending());
    CHECK(pc.control.resets == 0);
    pc.set(pc.kIcr, 0x4500);
    CHECK(pc.control.resets == 1);
    CHECK_FALSE(pc.platform.interrupts->nmi_pending());
    pc.set(pc.kIcr, pc.kSelf | pc.kNmi); // no such shorthand
    CHECK_FALSE(pc.platform.interrupts->nmi_pending());
    pc.set(pc.kIcr, pc.kNmi);
    CHECK(pc.platform.interrupts->nmi_pending());
    CHECK_FALSE(pc.pending());
    pc.platform.interrupts->acknowledge_nmi();
    CHECK_FALSE(pc.platform.interrupts->nmi_pending());
    CHECK(pc.errors() == 0);
}

TEST_CASE("local apic: LINT0 can make an NMI of the 8259 pair's INTR, or a vector of its own", "[apic]") {
    ApicFixture pc;
    pc.enable();
    CHECK_FALSE(pc.platform.interrupts->nmi_possible());
    pc.set(pc.kLint1, pc.kNmi); // where nothing is wired
    CHECK_FALSE(pc.platform.interrupts->nmi_possible());
    pc.set(pc.kLint0, pc.kNmi);
    CHECK(pc.platform.interrupts->nmi_possible());
    pc.line(1, true);
    CHECK(pc.platform.interrupts->nmi_pending());
    CHECK_FALSE(pc.pending());
    pc.platform.interrupts->acknowledge_nmi();
    pc.set(pc.kLint0, pc.kLevel | 0x45);
    CHECK(pc.reg(pc.kLint0) == (pc.kLevel | pc.kRemoteIrr | 0x45));
    CHECK(pc.ack() == 0x45);
    CHECK((pc.reg(pc.kTmr + 0x20) & 1u << 5) != 0);
    CHECK_FALSE(pc.pending());
    pc.set(pc.kEoi, 0); // INTR is still up
    CHECK(pc.ack() == 0x45);
    pc.out(0x21, 0xFF);
    pc.set(pc.kEoi, 0);
    CHECK_FALSE(pc.pending());
    pc.set(pc.kLint0, 0x46);
    pc.out(0x21, 0x00); // an edge
    CHECK(pc.take() == 0x46);
    CHECK_FALSE(pc.pending());
}

TEST_CASE("local apic timer: it counts at the bus frequency that the machine tells, divided", "[apic]") {
    const std::pair<uint32_t, unsigned> kDivisors[] = {{0xB, 1}, {0, 2},  {1, 4},  {2, 8},
                                                       {3, 16},  {8, 32}, {9, 64}, {0xA, 128}};
    for (const auto& [code, divisor] : kDivisors) {
        INFO("divided by " << divisor);
        ApicFixture pc;
        pc.enable();
        pc.set(pc.kLvtTimer, 0x40);
        pc.set(pc.kDivide, code);
        pc.set(pc.kInitial, 66'000'000 / divisor); // a second
        pc.advance(250 * pc.kMs);
        CHECK(pc.reg(pc.kCurrent) == 66'000'000 / divisor - 16'500'000 / divisor);
        pc.advance(750 * pc.kMs - 1000);
        CHECK_FALSE(pc.pending());
        pc.advance(1000 + divisor * 16);
        CHECK(pc.reg(pc.kCurrent) == 0);
        CHECK(pc.take() == 0x40);
        pc.advance(3000 * pc.kMs);
        CHECK_FALSE(pc.pending());
        CHECK(pc.reg(pc.kInitial) == 66'000'000 / divisor);
    }
}

TEST_CASE("local apic timer: a periodic one keeps its time to the tick", "[apic]") {
    ApicFixture pc;
    pc.enable();
    pc.set(pc.kDivide, 0xB);
    pc.set(pc.kLvtTimer, pc.kPeriodic | 0x40);
    pc.set(pc.kInitial, 66'001); // a tick of the bus more than a millisecond
    unsigned ticks = 0;
    for (unsigned step = 0; step < 1000; ++step) {
        pc.advance(10 * pc.kMs);
        ticks += pc.take() == 0x40;
        for (unsigned more = 0; more < 20; ++more)
            pc.advance(500 * pc.kUs), ticks += pc.take() == 0x40;
    }
    CHECK(ticks == 20'000 * 66'000ull / 66'001);
    pc.set(pc.kInitial, 0);
    pc.advance(10 * pc.kMs);
    CHECK(pc.reg(pc.kCurrent) == 0);
    CHECK_FALSE(pc.pending());
    CHECK(pc.platform.clock.next_deadline() == kNever);
}

TEST_CASE("local apic timer: ticks that a busy guest missed are made up for, at twice the rate", "[apic]") {
    ApicFixture pc;
    pc.enable();
    pc.set(pc.kDivide, 0xB);
    pc.set(pc.kLvtTimer, pc.kPeriodic | 0x40);
    pc.set(pc.kInitial, 66'000);
    pc.platform.clock.set_manual(10 * pc.kMs); // descheduled for ten ticks
    pc.platform.clock.run_due();
    unsigned ticks = pc.take() == 0x40;
    for (unsigned half = 0; half < 60; ++half)
        pc.advance(500 * pc.kUs), ticks += pc.take() == 0x40;
    CHECK(ticks == 40); // and by then it is up to date
    pc.platform.clock.set_manual(60 * pc.kMs);
    pc.platform.clock.run_due();
    pc.set(pc.kLvtTimer, pc.kPeriodic | pc.kMasked | 0x40); // ticks are lost while it is masked
    CHECK(pc.take() == 0x40);
    pc.advance(20 * pc.kMs);
    CHECK_FALSE(pc.pending());
    CHECK(pc.platform.clock.next_deadline() == kNever);
    pc.set(pc.kLvtTimer, pc.kPeriodic | 0x40);
    CHECK_FALSE(pc.pending());
    pc.advance(pc.kMs);
    CHECK(pc.take() == 0x40);
    CHECK_FALSE(pc.pending());
}

TEST_CASE("local apic timer: mode and divisor change in the middle of a count", "[apic]") {
    ApicFixture pc;
    pc.enable();
    pc.set(pc.kDivide, 0xB);
    pc.set(pc.kLvtTimer, 0x40);
    pc.set(pc.kInitial, 66'000);
    pc.advance(500 * pc.kUs);
    pc.set(pc.kDivide, 0); // half as fast
    CHECK(pc.reg(pc.kCurrent) == 33'000);
    pc.advance(500 * pc.kUs);
    CHECK(pc.reg(pc.kCurrent) == 16'500);
    pc.set(pc.kLvtTimer, pc.kPeriodic | 0x40);
    CHECK(pc.reg(pc.kCurrent) == 16'500);
    pc.advance(500 * pc.kUs);
    CHECK(pc.take() == 0x40);
    CHECK(pc.reg(pc.kCurrent) == 66'000);
    pc.advance(2 * pc.kMs);
    CHECK(pc.take() == 0x40);
    pc.set(pc.kLvtTimer, 0x40);
    pc.advance(2 * pc.kMs);
    CHECK(pc.take() == 0x40);
    pc.advance(20 * pc.kMs);
    CHECK_FALSE(pc.pending());
    pc.set(pc.kInitial, 1); // as short as can be: due, and a host that sleeps no worse
    pc.advance(1);
    pc.advance(pc.kUs);
    CHECK(pc.take() == 0x40);
}

TEST_CASE("local apic: its state goes on where it was saved, also a tick that was due", "[apic]") {
    ApicFixture from, to;
    from.enable();
    from.set(from.kLint0, from.kExtInt);
    from.set(from.kTpr, 0x20);
    from.set(from.kDivide, 0xB);
    from.set(from.kLvtTimer, from.kPeriodic | 0x40);
    from.set(from.kInitial, 66'000);
    for (const uint32_t vector : {0x61u, 0x72u})
        from.set(from.kIcr, from.kSelf | vector);
    CHECK(from.ack() == 0x72);
    from.platform.clock.set_manual(1'500'000);
    REQUIRE(from.platform.apic->write_msr(0x1B, 0xE0000900));
    to.platform.clock.set_manual(1'500'000);
    require_round_trip(*from.local, *to.local);
    CHECK(to.memory->read<uint32_t>(0xE0000000 + to.kTpr) == 0x20);
    REQUIRE(to.platform.apic->write_msr(0x1B, 0xFEE00900));
    CHECK(to.platform.clock.next_deadline() <= 1'500'000);
    to.platform.clock.run_due();
    CHECK(to.requested(0x40));
    to.set(to.kEoi, 0);
    CHECK(to.take() == 0x61);
    CHECK(to.take() == 0x40);
    to.advance(500 * to.kUs);
    CHECK(to.take() == 0x40);
    for (const unsigned byte : {0x00u, 0x5Au, 0xFFu}) {
        load_forged(*to.local, static_cast<uint8_t>(byte));
        to.advance(to.kMs);
        while (to.take() != 0) {
        }
    }
}

TEST_CASE("local apic: for a guest saved before there was one it is disabled, until a reset", "[apic]") {
    ApicFixture pc;
    pc.enable();
    pc.set(pc.kIcr, pc.kSelf | 0x40);
    load(*pc.local, saved(*pc.pic)); // a state without its section
    CHECK_FALSE(pc.platform.apic->enabled());
    CHECK(pc.reg(pc.kVersion) == 0xFFFFFFFF);
    CHECK_FALSE(pc.pending());
    pc.line(1, true);
    CHECK(pc.ack() == 0x09);
    pc.local->reset();
    CHECK(pc.platform.apic->enabled());
    CHECK(pc.reg(pc.kSvr) == 0xFF);
}
