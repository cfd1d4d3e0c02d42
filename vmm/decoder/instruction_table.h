// The instruction table: one row per mnemonic says how it is lowered, in 16- and 32-bit code and in 64-bit
// code. A mnemonic without a row is #UD, but for the sets that the second table names.
#pragma once
#include "vmm/decoder/decoder.h"
#include "vmm/decoder/long_decoder.h"

namespace vmm {

Lowering lowering_of(uint16_t mnemonic);

// `isa_set` is a ZydisISASet, `features` are those of long_decoder.h.
LongLowering long_lowering_of(uint16_t mnemonic, unsigned isa_set, uint32_t features);

} // namespace vmm
