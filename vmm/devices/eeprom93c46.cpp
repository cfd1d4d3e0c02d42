#include "vmm/devices/eeprom93c46.h"

namespace vmm {
namespace {

constexpr unsigned kCommandBits = 8; // after the start bit: two of operation, six of address
constexpr uint16_t kRead = 2;        // 10b
constexpr uint16_t kAddressMask = 0x3F;

} // namespace

void Eeprom93c46::set_pins(bool select, bool clock, bool data) {
    const bool rises = clock && state_.clock == 0;
    state_.clock = clock ? 1 : 0;
    if (!select) { // ends any command; data out floats high
        const uint8_t level = state_.clock;
        state_ = {};
        state_.clock = level;
    } else if (rises) {
        rising_edge(data);
    }
}

void Eeprom93c46::rising_edge(bool data) {
    switch (static_cast<Phase>(state_.phase)) {
    case Phase::Idle: // until the start bit
        if (data)
            state_.phase = static_cast<uint8_t>(Phase::Command);
        return;
    case Phase::Command:
        state_.shift = static_cast<uint16_t>(state_.shift << 1 | (data ? 1 : 0));
        if (++state_.bits < kCommandBits)
            return;
        state_.bits = 0;
        state_.address = state_.shift & kAddressMask;
        if (state_.shift >> 6 != kRead) {
            state_.phase = static_cast<uint8_t>(Phase::Done);
            return; // data out stays high: ready
        }
        state_.phase = static_cast<uint8_t>(Phase::Reading);
        state_.out = 0; // a zero goes before the first word
        state_.shift = words_[state_.address];
        return;
    case Phase::Reading: // the next word follows for as long as the clock goes on
        state_.out = static_cast<uint8_t>(state_.shift >> 15);
        state_.shift = static_cast<uint16_t>(state_.shift << 1);
        if (++state_.bits == 16) {
            state_.bits = 0;
            state_.address = (state_.address + 1) & kAddressMask;
            state_.shift = words_[state_.address];
        }
        return;
    case Phase::Done:
        return;
    }
}

void Eeprom93c46::serialize(base::StateArchive& archive) {
    archive.field("eeprom", state_);
    if (!archive.loading())
        return;
    state_.clock &= 1;
    state_.out &= 1;
    state_.phase &= 3;
    state_.bits &= static_cast<Phase>(state_.phase) == Phase::Command ? kCommandBits - 1 : 15;
    state_.address &= kAddressMask;
    state_.unused = 0;
}

} // namespace vmm
