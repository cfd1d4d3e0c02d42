#include "appliance-format/crc32c.h"

#include <array>
#include <cstring>

namespace appliance_format {

namespace {

constexpr uint32_t kPolynomial = 0x82F63B78; // 0x1EDC6F41 reflected

constexpr std::array<uint32_t, 256> make_table() {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < table.size(); ++i) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; ++bit)
            value = value & 1 ? value >> 1 ^ kPolynomial : value >> 1;
        table[i] = value;
    }
    return table;
}

uint32_t by_table(std::span<const uint8_t> bytes) {
    static constexpr auto kTable = make_table();
    uint32_t crc = ~0u;
    for (uint8_t byte : bytes)
        crc = crc >> 8 ^ kTable[(crc ^ byte) & 0xFF];
    return ~crc;
}

// SDM Vol. 2A "CRC32": the instruction computes this very polynomial.
__attribute__((target("sse4.2"))) uint32_t by_instruction(std::span<const uint8_t> bytes) {
    uint64_t crc = ~0u;
    size_t at = 0;
    for (; at + 8 <= bytes.size(); at += 8) {
        uint64_t word;
        std::memcpy(&word, bytes.data() + at, 8);
        crc = __builtin_ia32_crc32di(crc, word);
    }
    for (; at < bytes.size(); ++at)
        crc = __builtin_ia32_crc32qi(static_cast<uint32_t>(crc), bytes[at]);
    return ~static_cast<uint32_t>(crc);
}

} // namespace

uint32_t crc32c(std::span<const uint8_t> bytes) {
    static const bool has_instruction = __builtin_cpu_supports("sse4.2");
    return has_instruction ? by_instruction(bytes) : by_table(bytes);
}

} // namespace appliance_format
