#include "vmm/devices/pit8254_channel.h"

#include <algorithm>

namespace vmm {
namespace {

constexpr uint8_t kAccessLow = 1, kAccessHigh = 2, kAccessBoth = 3;
constexpr uint8_t kStatusOut = 0x80, kStatusNullCount = 0x40;

int64_t from_bcd(uint16_t value) {
    return (value >> 12) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 + (value & 15);
}
uint16_t to_bcd(int64_t value) {
    return static_cast<uint16_t>(value / 1000 % 10 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 |
                                 value % 10);
}

} // namespace

void Pit8254Channel::write_control(uint8_t control) {
    mode_ = control >> 1 & 7;
    if (mode_ > 5) // bit 2 of the mode is "don't care" for modes 2 and 3
        mode_ &= 3;
    access_ = control >> 4 & 3;
    bcd_ = control & 1;
    loaded_ = write_high_ = read_high_ = latched_bytes_ = status_latched_ = 0;
    null_count_ = 1;
    switch_at_ = kNoEdge;
}

int64_t Pit8254Channel::programmed_period() const {
    int64_t count = bcd_ != 0 ? from_bcd(count_register_) : count_register_;
    if (count == 0)
        count = modulus();
    // "A COUNT of 1 is illegal in mode 2"; in mode 3 it would have no low half.
    return periodic() ? std::max<int64_t>(count, 2) : count;
}

void Pit8254Channel::load(int64_t origin) {
    period_ = programmed_period();
    origin_ = origin;
    frozen_ = 0;
    loaded_ = 1;
    null_count_ = 0;
    switch_at_ = kNoEdge;
}

void Pit8254Channel::write_count(uint8_t byte, int64_t now) {
    take_over(now);
    const bool high = access_ == kAccessHigh || (access_ == kAccessBoth && write_high_ != 0);
    if (access_ == kAccessBoth && !high) {
        count_register_ = static_cast<uint16_t>((count_register_ & 0xFF00) | byte);
        write_high_ = 1;
        if (mode_ == 0) // "writing the first byte disables counting; OUT is set low immediately"
            loaded_ = 0;
        return;
    }
    write_high_ = 0;
    if (access_ == kAccessLow)
        count_register_ = byte;
    else if (access_ == kAccessHigh)
        count_register_ = static_cast<uint16_t>(byte << 8);
    else
        count_register_ = static_cast<uint16_t>((count_register_ & 0x00FF) | byte << 8);

    null_count_ = 1;
    if (triggered_by_gate())
        return; // used from the next trigger on
    if (!periodic() || loaded_ == 0 || gate_ == 0) {
        load(now + 1); // on the next CLK pulse
        return;
    }
    // Modes 2 and 3 finish the current cycle, or half-cycle, with the old count.
    const int64_t position = elapsed(now) % period_;
    const int64_t high_half = (period_ + 1) / 2;
    const int64_t end = mode_ == 3 && position < high_half ? high_half : period_;
    switch_at_ = std::max(now, origin_) + (end - position);
}

void Pit8254Channel::take_over(int64_t now) {
    if (switch_at_ > now)
        return;
    const int64_t at = switch_at_;
    // In mode 3 a new count that begins at the end of the high half begins with its own low half.
    const bool low_half_first = mode_ == 3 && (at - origin_) % period_ != 0;
    load(at);
    if (low_half_first)
        origin_ = at - (period_ + 1) / 2;
}

int64_t Pit8254Channel::elapsed(int64_t now) const {
    if (gate_ == 0 && !triggered_by_gate())
        return frozen_;
    return std::max<int64_t>(now - origin_, 0);
}

void Pit8254Channel::set_gate(bool high, int64_t now) {
    if (high == gate())
        return;
    take_over(now);
    if (!high) {
        frozen_ = periodic() ? 0 : elapsed(now);
        gate_ = 0;
        return;
    }
    gate_ = 1;
    if (triggered_by_gate())
        load(now + 1);
    else if (loaded_ != 0 && periodic())
        load(now + 1); // GATE reloads and synchronizes the counter
    else
        origin_ = now - frozen_;
}

uint16_t Pit8254Channel::counter(int64_t now) {
    take_over(now);
    const int64_t past = elapsed(now);
    int64_t value = 0;
    if (loaded_ == 0) {
        value = 0;
    } else if (mode_ == 3) {
        // Counts down by two, twice per cycle; an odd count spends one CLK more in the high half.
        const int64_t position = past % period_, high_half = (period_ + 1) / 2;
        value = (period_ & ~int64_t{1}) - 2 * (position < high_half ? position : position - high_half);
    } else if (mode_ == 2) {
        value = period_ - past % period_;
    } else {
        value = period_ - past % modulus(); // keeps counting past zero
    }
    value = (value % modulus() + modulus()) % modulus();
    return bcd_ != 0 ? to_bcd(value) : static_cast<uint16_t>(value);
}

bool Pit8254Channel::out(int64_t now) {
    take_over(now);
    const int64_t past = elapsed(now);
    if (loaded_ == 0)
        return mode_ != 0;
    switch (mode_) {
    case 0:
        return past >= period_;
    case 1:
        return now < origin_ || past >= period_;
    case 2:
        return gate_ == 0 || past % period_ != period_ - 1;
    case 3:
        return gate_ == 0 || past % period_ < (period_ + 1) / 2;
    default:
        return past != period_; // 4, 5: low for one CLK at zero
    }
}

int64_t Pit8254Channel::next_rise(int64_t now) {
    take_over(now);
    if (!running())
        return kNoEdge;
    if (periodic()) {
        const int64_t next = origin_ + (elapsed(now) / period_ + 1) * period_;
        return std::min(next, switch_at_);
    }
    const int64_t rise = origin_ + period_ + (mode_ >= 4 ? 1 : 0);
    return rise > now ? rise : kNoEdge;
}

int64_t Pit8254Channel::rises_between(int64_t since, int64_t now) {
    int64_t rises = 0;
    if (switch_at_ <= now) {
        // Up to the switch the old count ruled. A switch is itself a rise unless a low half follows it.
        rises = switch_at_ > since ? rises_between(since, switch_at_ - 1) : 0;
        const bool rises_there = (switch_at_ - origin_) % period_ == 0;
        since = std::max(since, switch_at_);
        take_over(now);
        rises += rises_there ? 1 : 0;
    }
    if (!running() || now <= since)
        return rises;
    if (periodic())
        return rises + elapsed(now) / period_ - elapsed(since) / period_;
    const int64_t rise = origin_ + period_ + (mode_ >= 4 ? 1 : 0);
    return rises + (rise > since && rise <= now ? 1 : 0);
}

void Pit8254Channel::latch_count(int64_t now) {
    if (latched_bytes_ != 0)
        return; // the first latch stands until it is read
    latched_count_ = counter(now);
    latched_bytes_ = access_ == kAccessBoth ? 2 : 1;
}

void Pit8254Channel::latch_status(int64_t now) {
    if (status_latched_ != 0)
        return;
    const bool high = out(now);
    // A count loaded "on the next CLK" is still null before that.
    const bool null = null_count_ != 0 || (loaded_ != 0 && !triggered_by_gate() && now < origin_);
    latched_status_ = static_cast<uint8_t>((high ? kStatusOut : 0) | (null ? kStatusNullCount : 0) |
                                           access_ << 4 | mode_ << 1 | bcd_);
    status_latched_ = 1;
}

uint8_t Pit8254Channel::read_count(int64_t now) {
    if (status_latched_ != 0) {
        status_latched_ = 0;
        return latched_status_;
    }
    bool high = access_ == kAccessHigh;
    uint16_t value = 0;
    if (latched_bytes_ != 0) {
        high |= access_ == kAccessBoth && latched_bytes_ == 1;
        value = latched_count_;
        --latched_bytes_;
    } else {
        value = counter(now);
        if (access_ == kAccessBoth) {
            high = read_high_ != 0;
            read_high_ ^= 1;
        }
    }
    return static_cast<uint8_t>(high ? value >> 8 : value);
}

void Pit8254Channel::serialize(base::StateArchive& archive, const std::string& prefix, int64_t now) {
    archive.field(prefix + "mode", mode_);
    archive.field(prefix + "access", access_);
    archive.field(prefix + "bcd", bcd_);
    archive.field(prefix + "gate", gate_);
    archive.field(prefix + "loaded", loaded_);
    archive.field(prefix + "null_count", null_count_);
    archive.field(prefix + "write_high", write_high_);
    archive.field(prefix + "read_high", read_high_);
    archive.field(prefix + "latched_bytes", latched_bytes_);
    archive.field(prefix + "status_latched", status_latched_);
    archive.field(prefix + "latched_status", latched_status_);
    archive.field(prefix + "count_register", count_register_);
    archive.field(prefix + "latched_count", latched_count_);
    archive.field(prefix + "period", period_);
    archive.field(prefix + "origin", origin_);
    archive.field(prefix + "frozen", frozen_);
    archive.field(prefix + "switch_at", switch_at_);
    if (!archive.loading())
        return;
    // Saved state is hostile: keep the arithmetic within range.
    constexpr int64_t kLongest = int64_t{1} << 50; // 30 years
    mode_ = mode_ > 5 ? 0 : mode_;
    access_ = access_ == 0 || access_ > 3 ? kAccessBoth : access_;
    bcd_ &= 1;
    latched_bytes_ = std::min<uint8_t>(latched_bytes_, 2);
    read_high_ &= 1;
    period_ = std::clamp<int64_t>(period_, periodic() ? 2 : 1, 0x10000);
    origin_ = std::clamp(origin_, now - kLongest, now + 1);
    frozen_ = std::clamp<int64_t>(frozen_, 0, kLongest);
    if (switch_at_ != kNoEdge)
        switch_at_ = periodic() ? std::clamp(switch_at_, now, now + 0x10000) : kNoEdge;
}

} // namespace vmm
