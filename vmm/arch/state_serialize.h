// Saved form of the processor state: named fields in one section, checked on load.
#pragma once
#include "vmm/arch/state.h"
#include "vmm/base/state_archive.h"

namespace vmm {

// Both directions. A loaded state is hostile: values that no processor could hold are normalised where
// the architecture fixes them, and otherwise reported through archive.set_error(), in which case
// `state` must not be run. The TSC offset is saved as the guest's TSC, so that it goes on from there.
void serialize(CpuState& state, base::StateArchive& archive);
// The same for a processor at rest, whose time-stamp counter stands at `tsc` (set when loading).
void serialize(CpuState& state, base::StateArchive& archive, uint64_t& tsc);

} // namespace vmm
