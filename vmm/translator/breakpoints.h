// What DR0-3 and DR7 ask for (SDM Vol. 3B 17.2), and what the engine arranges so that only code that comes
// near pays for it.
//
// Data breakpoints: their pages are guarded, that is, mapped in no window for the accesses that matter. Who
// touches one faults, and is carried out alone with its memory by call-outs (ModeKey::kWatched), which
// compare addresses exactly. A call-out of ordinary code that would meet a breakpoint asks for the same,
// before it has done anything.
//
// Instruction breakpoints: under ModeKey::kBreakpoints no block runs over one, and the block that begins at
// one is entered by the dispatcher only, which looks.
#pragma once
#include "vmm/arch/mode_key.h"
#include "vmm/arch/state.h"
#include "vmm/memory/windows.h"

#include <array>
#include <cstdint>

namespace vmm {

class Breakpoints {
  public:
    static constexpr unsigned kCount = 4;
    // How long code runs alone after a guarded access: a host fault costs as much as so many instructions.
    static constexpr unsigned kAlone = 24;

    // Brings itself up to date; true when something changed.
    bool follow(const CpuState& cpu);
    [[nodiscard]] bool any() const { return (registers_[kCount] & kEnables) != 0; }

    // -- data ------------------------------------------------------------------------------------------
    [[nodiscard]] bool watching() const { return watches_ != 0; }
    // DR6 bits of those that an access to [linear, linear+bytes) meets.
    [[nodiscard]] uint32_t met(uint32_t linear, uint64_t bytes, bool write) const;
    // Does it touch a guarded page?
    [[nodiscard]] bool near(uint32_t linear, uint32_t bytes, bool write) const;
    [[nodiscard]] const Windows::Guards& guards() const { return guards_; }

    // -- instructions ----------------------------------------------------------------------------------
    struct Stops {
        std::array<uint32_t, kCount> linear{};
        unsigned count = 0;
        bool operator==(const Stops&) const = default;
        [[nodiscard]] bool contains(uint32_t address) const;
        // Does one lie within [eip, eip+bytes)? Where CS has a base, code that other bases share is not told
        // apart: the place in the page decides, too often rather than too seldom.
        [[nodiscard]] bool within(const ModeKey& key, uint32_t eip, uint32_t page_offset,
                                  uint32_t bytes) const;
    };
    [[nodiscard]] const Stops& stops() const { return stops_; }
    // DR6 bits of those on the instruction at a linear address.
    [[nodiscard]] uint32_t at(uint32_t linear) const;

  private:
    static constexpr uint32_t kEnables = 0xFF;
    struct Watch {
        uint32_t first = 0, bytes = 0, hit = 0;
        bool reads = false;
    };
    struct Instruction {
        uint32_t linear = 0, hit = 0;
    };

    std::array<uint64_t, kCount + 1> registers_{}; // DR0-3, DR7 as they were looked at
    std::array<Watch, kCount> watched_{};
    std::array<Instruction, kCount> instructions_{};
    unsigned watches_ = 0;
    Stops stops_; // in the order of instructions_
    Windows::Guards guards_;
};

} // namespace vmm
