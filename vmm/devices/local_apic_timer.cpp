#include "vmm/devices/local_apic_timer.h"

#include "vmm/arch/tsc.h"
#include "vmm/bus/clock.h"

#include <algorithm>

namespace vmm {

namespace {

constexpr uint64_t kNanosPerMilli = 1'000'000;
constexpr uint8_t kDivideWritable = 0x0B;

// Ticks of the bus up to a time, and the first nanosecond at which there are so many.
uint64_t bus_ticks(uint64_t ns) {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(ns) * kApicBusKhz / kNanosPerMilli);
}
uint64_t to_nanos(unsigned __int128 ticks) {
    const unsigned __int128 ns = (ticks * kNanosPerMilli + kApicBusKhz - 1) / kApicBusKhz;
    return ns >= kNever ? kNever - 1 : static_cast<uint64_t>(ns);
}

} // namespace

// SDM Vol. 3A figure 11-10: bits 3, 1 and 0; 111b divides by 1, the others by 2 and up.
unsigned LocalApicTimer::divisor() const {
    const unsigned code = (divide_ & 3u) | (divide_ >> 1 & 4u);
    return code == 7 ? 1 : 2u << code;
}

// Counts since `start_`.
uint64_t LocalApicTimer::counted(uint64_t now) const {
    const uint64_t ticks = bus_ticks(now);
    return ticks < start_ ? 0 : (ticks - start_) / divisor();
}

uint32_t LocalApicTimer::current_count(uint64_t now) const {
    const uint64_t done = counted(now);
    if (done < from_)
        return from_ - static_cast<uint32_t>(done);
    if (from_ == 0 || !periodic_)
        return 0;
    return initial_ - static_cast<uint32_t>((done - from_) % initial_);
}

// What it says now is where it counts on from.
void LocalApicTimer::rebase(uint64_t now) {
    from_ = current_count(now);
    start_ = bus_ticks(now);
}

void LocalApicTimer::set_initial_count(uint32_t count, uint64_t now) {
    initial_ = from_ = count;
    start_ = bus_ticks(now);
}

void LocalApicTimer::set_divide(uint8_t configuration, uint64_t now) {
    rebase(now);
    divide_ = configuration & kDivideWritable;
}

void LocalApicTimer::set_periodic(bool periodic, uint64_t now) {
    if (periodic == periodic_)
        return;
    rebase(now);
    periodic_ = periodic;
}

uint64_t LocalApicTimer::expiries(uint64_t now) {
    const uint64_t done = counted(now);
    if (from_ == 0 || done < from_)
        return 0;
    if (!periodic_) {
        from_ = 0;
        return 1;
    }
    const uint64_t more = (done - from_) / initial_;
    start_ += (from_ + more * initial_) * divisor();
    from_ = initial_;
    return 1 + more;
}

uint64_t LocalApicTimer::next_expiry() const {
    return from_ == 0 ? kNever : to_nanos(start_ + static_cast<unsigned __int128>(from_) * divisor());
}

uint64_t LocalApicTimer::period() const {
    return to_nanos(static_cast<unsigned __int128>(initial_) * divisor());
}

void LocalApicTimer::serialize(base::StateArchive& archive, uint64_t now) {
    archive.field("timer.initial", initial_);
    archive.field("timer.divide", divide_);
    archive.field("timer.periodic", periodic_);
    archive.field("timer.from", from_);
    archive.field("timer.start", start_);
    if (!archive.loading())
        return;
    divide_ &= kDivideWritable;
    start_ = std::min(start_, bus_ticks(now));
    from_ = std::min(from_, initial_);
}

} // namespace vmm
