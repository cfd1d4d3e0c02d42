// What Intel's processors leave in flags that the SDM calls undefined, for hosts of another maker's. Measured
// over random operands; tests/guest/maker_test.cpp has the values.
#pragma once
#include <cstdint>

namespace vmm {

struct CpuState;
struct GuestInstruction;

// The flags of this instruction that makers may leave differently: 0 for most.
uint32_t maker_dependent_flags(const GuestInstruction& instruction);

// How an instruction is named to the call-out.
struct PinnedInstruction {
    uint32_t packed = 0, immediate = 0;
    static PinnedInstruction of(const GuestInstruction& instruction);
};

// Of the flags above those that have a value of their own whatever the host leaves, with these values.
struct PinnedFlags {
    uint32_t mask = 0, values = 0;
};

// `state` is that before the instruction; `memory` its operand when that lies in memory.
PinnedFlags intel_flags(PinnedInstruction instruction, const CpuState& state, uint32_t memory);

} // namespace vmm
