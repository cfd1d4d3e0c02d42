// The instruction table: one row per mnemonic says how it is lowered. A mnemonic without a row is #UD.
#pragma once
#include "vmm/decoder/decoder.h"

namespace vmm {

Lowering lowering_of(uint16_t mnemonic);

} // namespace vmm
