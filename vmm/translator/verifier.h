// The containment verifier: decodes an emitted block and proves that every memory operand is a window access
// (gs: with a 32-bit address), the biased guest stack, a slot of Runtime, the jump table, the shadow stack or
// a string operation biased by the window; and that every branch stays in the cache. VERIFYs, with a listing,
// otherwise.
#pragma once
#include "vmm/code_cache/code_cache.h"
#include "vmm/translator/runtime.h"

namespace vmm {

void verify_block(CodeCache& cache, const Block& block, const Runtime& rt);

} // namespace vmm
