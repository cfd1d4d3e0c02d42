// A mismatch as text, and its reduction to the fewest instructions that still show it.
#pragma once
#include "tests/vmm/translator/differential/layout.h"

#include <functional>
#include <string>

namespace differential {

// Bytes, disassembly, initial state and differences.
std::string describe(const Case& test, const Outcome& expected, const std::vector<std::string>& differences);

// Removes atoms as long as `fails` holds.
Case shrink(Case test, const std::function<bool(const Case&)>& fails);

// Size of the memory operand of the instruction at `eip`; 0 if it has none or no instruction starts there.
uint32_t memory_operand_bytes(const Case& test, uint32_t eip);

// The last instruction's mnemonic, to count failures by.
// The whole instruction there, prefixes included; empty when none begins there.
std::string text_at(const Case& test, uint32_t eip);
std::string mnemonic_at(const Case& test, uint32_t eip);

// Whether the bytes at `eip` are an instruction of an extension beyond SSE2.
bool is_extension(const Case& test, uint32_t eip);

} // namespace differential
