// The x87 unit is the guest's while run() is active; XMM registers and MXCSR pass through CpuState::fx on
// every exit to C++ (the compiler uses them, but never the x87 unit).
#pragma once
#include "vmm/arch/state.h"

#include <cstring>

namespace vmm {

// Bytes of an FXSAVE image that belong to the x87 unit: all before XMM0 except MXCSR and its mask.
inline constexpr unsigned kFxMxcsrOffset = 24, kFxXmmOffset = 160;

inline void load_x87(const FxArea& from) {
    FxArea image;
    asm volatile("fxsave64 %0" : "=m"(image));
    std::memcpy(image.bytes.data(), from.bytes.data(), kFxMxcsrOffset);
    std::memcpy(image.bytes.data() + 32, from.bytes.data() + 32, kFxXmmOffset - 32);
    asm volatile("fxrstor64 %0" : : "m"(image));
}

inline void store_x87(FxArea& to) {
    FxArea image;
    asm volatile("fxsave64 %0" : "=m"(image));
    std::memcpy(to.bytes.data(), image.bytes.data(), kFxMxcsrOffset);
    std::memcpy(to.bytes.data() + 32, image.bytes.data() + 32, kFxXmmOffset - 32);
}

class GuestFpu {
  public:
    explicit GuestFpu(FxArea& area) : area_(area) { load_x87(area); }
    ~GuestFpu() {
        store_x87(area_);
        // Host instruction addresses must not stay in guest-visible state.
        std::memset(area_.bytes.data() + 8, 0, 16);
        asm volatile("fninit");
    }
    GuestFpu(const GuestFpu&) = delete;
    GuestFpu& operator=(const GuestFpu&) = delete;

  private:
    FxArea& area_;
};

} // namespace vmm
