#include "vmm/arch/tsc.h"

#include "vmm/arch/state.h"
#include "vmm/base/log.h"

#include <cpuid.h>
#include <ctime>

namespace vmm {

namespace {

// Taken when the program starts, so that by the first question the interval is usually long enough.
const ClockSample kProgramStart = sample_clocks();
// A sample is good to 0.1 us: 20 ppm of the first, 2 of the second.
constexpr uint64_t kGlanceNanoseconds = 5'000'000, kMeasureNanoseconds = 50'000'000;

uint32_t tsc_khz_of_cpuid() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    // SDM Vol. 2A "CPUID", leaf 15h: TSC Hz = crystal Hz (ECX) * EBX / EAX.
    if (__get_cpuid_count(0x15, 0, &eax, &ebx, &ecx, &edx) != 0 && eax != 0 && ebx != 0 && ecx != 0)
        return static_cast<uint32_t>(uint64_t{ecx} * ebx / eax / 1000);
    return 0;
}

// Over at least `nanoseconds` since the program's start.
uint32_t measure_tsc_khz(uint64_t nanoseconds) {
    if (const uint32_t khz = tsc_khz_of_cpuid(); khz != 0)
        return khz;
    ClockSample end = sample_clocks();
    while (end.nanoseconds - kProgramStart.nanoseconds < nanoseconds) {
        const uint64_t left = nanoseconds - (end.nanoseconds - kProgramStart.nanoseconds);
        const timespec pause{0, static_cast<long>(left)};
        nanosleep(&pause, nullptr);
        end = sample_clocks();
    }
    const auto ticks = static_cast<double>(end.tsc - kProgramStart.tsc);
    const auto elapsed = static_cast<double>(end.nanoseconds - kProgramStart.nanoseconds);
    return static_cast<uint32_t>(ticks * 1e6 / elapsed + 0.5);
}

// `value` * ratio, where `ratio` counts in 2^-32 and 0 stands for one.
uint64_t scale(uint64_t value, uint64_t ratio) {
    return ratio == 0 ? value : static_cast<uint64_t>(static_cast<unsigned __int128>(value) * ratio >> 32);
}

bool about_equal(uint32_t one, uint32_t other) {
    const uint64_t apart = one > other ? one - other : other - one;
    return apart * 1'000'000 <= uint64_t{other} * kTscTolerancePpm;
}

} // namespace

// Of several readings, the one with the least time between its two TSC reads.
ClockSample sample_clocks() {
    ClockSample best;
    uint64_t best_gap = UINT64_MAX;
    for (int i = 0; i < 8; ++i) {
        timespec time{};
        const uint64_t before = __builtin_ia32_rdtsc();
        clock_gettime(CLOCK_MONOTONIC, &time);
        const uint64_t gap = __builtin_ia32_rdtsc() - before;
        if (gap < best_gap) {
            best_gap = gap;
            best = {before + gap / 2,
                    static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec)};
        }
    }
    return best;
}

uint32_t tsc_khz() {
    static const uint32_t khz = measure_tsc_khz(kMeasureNanoseconds);
    return khz;
}

uint64_t guest_tsc(const CpuState& state, uint64_t host_tsc) {
    return scale(host_tsc, state.tsc_ratio) + state.tsc_offset;
}
uint64_t guest_tsc(const CpuState& state) { return guest_tsc(state, __builtin_ia32_rdtsc()); }

void set_guest_tsc(CpuState& state, uint64_t value, uint64_t host_tsc) {
    state.tsc_offset = value - scale(host_tsc, state.tsc_ratio);
}
void set_guest_tsc(CpuState& state, uint64_t value) { set_guest_tsc(state, value, __builtin_ia32_rdtsc()); }

uint32_t guest_tsc_khz(const CpuState& state) { return state.tsc_khz != 0 ? state.tsc_khz : tsc_khz(); }

void promise_tsc_khz(CpuState& state, uint32_t khz) {
    if (khz == state.tsc_khz)
        return;
    state.tsc_khz = khz;
    state.tsc_ratio = 0;
    if (khz == 0 || about_equal(measure_tsc_khz(kGlanceNanoseconds), khz) || about_equal(tsc_khz(), khz))
        return;
    state.tsc_ratio = (uint64_t{khz} << 32) / tsc_khz();
    base::log(base::LogLevel::Info,
              "the guest's time-stamp counter runs at {} kHz, this host's at {}: scaled", khz, tsc_khz());
}

} // namespace vmm
