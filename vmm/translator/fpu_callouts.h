// x87 environment and FXSAVE images. The host unit holds host instruction and window addresses in its FIP and
// FDP: what the guest sees is translated back to its own EIP and offsets.
#pragma once
#include "vmm/translator/runtime.h"

namespace vmm {

// a: offset; b: kind (0 environment, 1 whole, 2 FXSAVE) | segment << 4 | operand bytes << 8.
uint32_t fpu_store(Runtime& rt, uint32_t offset, uint32_t packed);
uint32_t fpu_load(Runtime& rt, uint32_t offset, uint32_t packed);
uint32_t load_mxcsr(Runtime& rt, uint32_t, uint32_t);
// MASKMOVQ / MASKMOVDQU through a segment that is not flat.
uint32_t masked_move(Runtime& rt, uint32_t registers, uint32_t packed);

} // namespace vmm
