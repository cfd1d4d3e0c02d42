// Makes random cases: one to eight instructions whose memory operands mostly hit the data or stack pages (any
// alignment, across pages, sometimes a hole or a read-only page), from a random but mostly sane initial
// state.
#pragma once
#include "tests/vmm/translator/differential/forms.h"
#include "tests/vmm/translator/differential/layout.h"

namespace differential {

// The case with this seed and index, always the same one. `only`: no forms but those of one group (Count:
// all).
Case generate(uint64_t seed, uint64_t index, Group only = Group::Count);

} // namespace differential
