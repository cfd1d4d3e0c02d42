// The mode key: everything outside the instruction bytes that a translation was specialised for. Blocks made
// under one key run only under it, so translated code carries no checks for what the key says.
#pragma once
#include "vmm/arch/state.h"

#include <cstdint>

namespace vmm {

// What a memory access through a segment register needs.
enum class SegmentClass : uint8_t {
    Flat,    // base 0, 4 GiB: nothing
    Based,   // 4 GiB limit: base added. FS and GS are never Flat and may be null here (see Runtime)
    Limited, // expand-up with a limit: inline check
    Checked, // anything else: a call-out decides
};

struct ModeKey {
    static constexpr uint32_t kCode32 = 1u << 0, kStack32 = 1u << 1, kProtected = 1u << 2, kV86 = 1u << 3,
                              kUser = 1u << 4, // CPL 3
        kRing0 = 1u << 5,                      // CPL 0
        kIoplOk = 1u << 6,                     // CPL <= IOPL (and not v86)
        kTrapFlag = 1u << 7,                   // EFLAGS.TF
        kTaskSwitched = 1u << 8, kEmulateFpu = 1u << 9, kMonitorFpu = 1u << 10,
                              kSse = 1u << 11, // CR4.OSFXSR
        kWatched = 1u << 12,                   // near a data breakpoint: see breakpoints.h
        kAlignCheck = 1u << 13,                // AC, AM and CPL 3
        kOneInstruction = 1u << 14,            // interrupt shadow: run exactly one
        kSharedSupervisor = 1u << 15;          // ring 0 with global pages: see contexts.h
    static constexpr unsigned kSegmentShift = 16;
    static constexpr uint32_t kBreakpoints = 1u << 28; // DR7 enables one on instructions
    // Blocks of one instruction, entered and left by the dispatcher.
    static constexpr uint32_t kAlone = kTrapFlag | kOneInstruction | kWatched;

    uint32_t bits = 0;
    uint32_t cs_limit = 0xFFFFFFFF;

    [[nodiscard]] bool has(uint32_t flag) const { return (bits & flag) != 0; }
    [[nodiscard]] SegmentClass segment(unsigned reg) const {
        return static_cast<SegmentClass>((bits >> (kSegmentShift + 2 * reg)) & 3);
    }
    bool operator==(const ModeKey&) const = default;
};

ModeKey compute_mode_key(const CpuState& cpu);
SegmentClass classify_segment(const CpuState& cpu, unsigned reg);

} // namespace vmm
