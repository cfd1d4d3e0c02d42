// Appending little-endian fields to a table under construction.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace vmm {

using Bytes = std::vector<uint8_t>;

void put(Bytes& out, uint64_t value, unsigned bytes);
void put(Bytes& out, std::string_view text); // without a terminator
void put(Bytes& out, const Bytes& more);

} // namespace vmm
