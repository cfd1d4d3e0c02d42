// The containment verifier: decodes an emitted block and proves that every memory operand is a window access,
// a slot of Runtime, the jump table, the shadow stack or a string operation biased by the window; and that
// every branch stays in the cache. A window access is gs: with a 32-bit address, or starts from the window's
// base and adds what WindowSpace has guards for: for that it follows which registers hold 32 bits,
// zero-extended, and which the base and such.
#pragma once
#include "vmm/code_cache/code_cache.h"
#include "vmm/translator/runtime.h"

#include <string>

namespace vmm {

// What a block does that it must not, with a listing; empty: it keeps to its window.
std::string containment_breach(CodeCache& cache, const Block& block, const Runtime& rt);
// Ends the process with that.
void verify_block(CodeCache& cache, const Block& block, const Runtime& rt);

} // namespace vmm
