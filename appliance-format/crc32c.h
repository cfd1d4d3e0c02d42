// CRC-32C (RFC 3720 appendix B.4) of stored bytes. It is not security (the signed SHA-256 of the content is):
// it makes a changed bit in a compressed chunk an error even where decompression would give the same content.
#pragma once
#include <cstdint>
#include <span>

namespace appliance_format {

[[nodiscard]] uint32_t crc32c(std::span<const uint8_t> bytes);

} // namespace appliance_format
