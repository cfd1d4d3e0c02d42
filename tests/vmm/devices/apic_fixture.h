// The interrupt controllers of a PC, wired as in the machine: the 8259 pair initialised with vectors 08h and
// 70h and all its lines open, the APICs as they come out of a reset.
#pragma once
#include "tests/vmm/devices/legacy_fixture.h"

namespace vmm {

struct ApicFixture : LegacyFixture {
    static constexpr uint32_t kLocal = 0xFEE00000, kIo = 0xFEC00000;
    static constexpr uint32_t kId = 0x20, kVersion = 0x30, kTpr = 0x80, kApr = 0x90, kPpr = 0xA0, kEoi = 0xB0,
                              kLdr = 0xD0, kDfr = 0xE0, kSvr = 0xF0, kIsr = 0x100, kTmr = 0x180, kIrr = 0x200,
                              kEsr = 0x280, kIcr = 0x300, kIcrHigh = 0x310, kLvtTimer = 0x320, kLint0 = 0x350,
                              kLint1 = 0x360, kLvtError = 0x370, kInitial = 0x380, kCurrent = 0x390,
                              kDivide = 0x3E0;
    static constexpr uint32_t kMasked = 1u << 16, kSelf = 1u << 18, kPeriodic = 1u << 17, kNmi = 4u << 8,
                              kExtInt = 7u << 8, kLevel = 1u << 15, kActiveLow = 1u << 13,
                              kRemoteIrr = 1u << 14, kLogical = 1u << 11;
    static constexpr uint64_t kUs = 1000, kMs = 1'000'000;

    ApicFixture() {
        platform.interrupt_line_changed = [this] { ++changes; };
        out(0x20, 0x11), out(0x21, 0x08), out(0x21, 0x04), out(0x21, 0x01);
        out(0xA0, 0x11), out(0xA1, 0x70), out(0xA1, 0x02), out(0xA1, 0x01);
    }
    uint32_t reg(uint32_t offset) { return memory->read<uint32_t>(kLocal + offset); }
    void set(uint32_t offset, uint32_t value) { memory->write<uint32_t>(kLocal + offset, value); }
    void enable() { set(kSvr, 0x1FF); }
    uint32_t io_reg(uint8_t index) {
        memory->write<uint32_t>(kIo, index);
        return memory->read<uint32_t>(kIo + 0x10);
    }
    void set_io(uint8_t index, uint32_t value) {
        memory->write<uint32_t>(kIo, index);
        memory->write<uint32_t>(kIo + 0x10, value);
    }
    uint32_t entry(unsigned pin) { return io_reg(static_cast<uint8_t>(0x10 + 2 * pin)); }
    void set_entry(unsigned pin, uint32_t low) { set_io(static_cast<uint8_t>(0x10 + 2 * pin), low); }
    void line(unsigned number, bool level) { platform.irq->set_irq(number, level); }
    void pulse(unsigned number) { line(number, false), line(number, true); }
    bool pending() { return platform.interrupts->interrupt_pending(); }
    unsigned ack() { return platform.interrupts->acknowledge_interrupt(); }
    // The vector of the interrupt that is taken now, ended at once; 0: none is waiting.
    unsigned take() {
        if (!pending())
            return 0;
        const unsigned vector = ack();
        set(kEoi, 0);
        return vector;
    }
    unsigned errors() { return set(kEsr, 0), reg(kEsr); }
    bool requested(uint8_t vector) { return (reg(kIrr + 0x10 * (vector / 32u)) >> (vector % 32) & 1) != 0; }

    unsigned changes = 0;
    std::unique_ptr<Device> pic = make_pic8259(platform), local = make_local_apic(platform),
                            io = make_io_apic(platform);
};

} // namespace vmm
