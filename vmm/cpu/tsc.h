// The frequency of the virtual time-stamp counter, which is the host's: RDTSC is offset, never scaled.
// Published to guests through CPUID leaf 40000010h and by the VMware backdoor port (command GETHZ).
#pragma once
#include <cstdint>

namespace vmm {

// kHz. From the host's CPUID leaf 15h, or measured once against CLOCK_MONOTONIC; thread-safe.
[[nodiscard]] uint32_t tsc_khz();

// What the timing leaf reports as the local APIC's bus clock, in kHz.
inline constexpr uint32_t kApicBusKhz = 66'000;

} // namespace vmm
