// The virtual time-stamp counter. A guest learns its frequency once (CPUID leaf 40000010h, the VMware
// backdoor's GETHZ, or by measuring) and keeps it with its memory, so a machine saved on one host must find
// that frequency on another: the promise is saved with the machine, and kept by scaling where the host's
// counter runs at another rate. RDTSC is a call-out, so the multiplication costs nothing that is felt.
#pragma once
#include <cstdint>

namespace vmm {

struct CpuState;

// One reading of both of the host's clocks, as close together as can be had: whoever lets guest time and the
// counter run or stand takes this, or each pause would move one against the other.
struct ClockSample {
    uint64_t tsc = 0, nanoseconds = 0; // the latter of CLOCK_MONOTONIC
};
[[nodiscard]] ClockSample sample_clocks();

// kHz of the host's counter. From the host's CPUID leaf 15h, or measured once against CLOCK_MONOTONIC over 50
// ms; thread-safe.
[[nodiscard]] uint32_t tsc_khz();

// Frequencies closer than this are taken for the same: what a kernel's own measurement is worth, and what its
// clock discipline makes up for.
inline constexpr uint32_t kTscTolerancePpm = 200;

// What the guest's counter says when the host's is `host_tsc`, and a change of what it says.
[[nodiscard]] uint64_t guest_tsc(const CpuState& state, uint64_t host_tsc);
void set_guest_tsc(CpuState& state, uint64_t value, uint64_t host_tsc);
[[nodiscard]] uint64_t guest_tsc(const CpuState& state); // now
void set_guest_tsc(CpuState& state, uint64_t value);

// What the guest is told: the promise, or the host's frequency while nothing was promised.
[[nodiscard]] uint32_t guest_tsc_khz(const CpuState& state);
// From now on the guest's counter runs at `khz` (0: at the host's rate, nothing promised). The caller sets
// the counter anew. Takes some milliseconds right after the program's start, or 50 when the host's frequency
// turns out to be another.
void promise_tsc_khz(CpuState& state, uint32_t khz);

// What the timing leaf reports as the local APIC's bus clock, in kHz.
inline constexpr uint32_t kApicBusKhz = 66'000;

} // namespace vmm
