#include "signing/pin.h"

#include "signing/openssl_ptr.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <vector>

namespace signing {
namespace {

constexpr size_t kSaltBytes = 16, kHashBytes = 32;
constexpr unsigned kCost = 15, kBlock = 8, kParallel = 1; // RFC 7914 section 2: N = 2^15, r, p
constexpr unsigned kMaxCost = 17;                         // of a record in a file: 128 MiB

using Hash = std::array<uint8_t, kHashBytes>;

base::Result<Hash> derive(std::string_view pin, const std::array<uint8_t, kSaltBytes>& salt, unsigned cost) {
    const uint64_t n = uint64_t{1} << cost;
    Hash hash{};
    // RFC 7914 section 2: 128 * N * r bytes for the mixing, and some for OpenSSL's own blocks.
    const uint64_t memory = 128 * n * kBlock + (1u << 20);
    if (EVP_PBE_scrypt(pin.data(), pin.size(), salt.data(), salt.size(), n, kBlock, kParallel, memory,
                       hash.data(), hash.size()) != 1)
        return base::fail(fmt::format("the PIN cannot be hashed: {}", openssl_reason()));
    return hash;
}

template <size_t N> std::string to_hex(const std::array<uint8_t, N>& bytes) {
    return fmt::format("{:02x}", fmt::join(bytes, ""));
}

template <size_t N> bool from_hex(std::string_view text, std::array<uint8_t, N>& bytes) {
    if (text.size() != 2 * N)
        return false;
    for (size_t i = 0; i < N; ++i) {
        unsigned value = 0;
        for (const char c : text.substr(2 * i, 2)) {
            const bool digit = c >= '0' && c <= '9', letter = c >= 'a' && c <= 'f';
            if (!digit && !letter)
                return false;
            value = value << 4 | static_cast<unsigned>(digit ? c - '0' : c - 'a' + 10);
        }
        bytes[i] = static_cast<uint8_t>(value);
    }
    return true;
}

} // namespace

base::Result<std::string> hash_pin(std::string_view pin) {
    const bool printable =
        std::ranges::none_of(pin, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
    if (pin.size() < kMinPin || pin.size() > kMaxPin || !printable)
        return base::fail(fmt::format("a PIN has {} to {} letters or digits", kMinPin, kMaxPin), 2);
    std::array<uint8_t, kSaltBytes> salt{};
    if (RAND_bytes(salt.data(), static_cast<int>(salt.size())) != 1)
        return base::fail(fmt::format("no random numbers to be had: {}", openssl_reason()));
    const Hash hash = TRY(derive(pin, salt, kCost));
    return fmt::format("$scrypt$ln={},r={},p={}${}${}", kCost, kBlock, kParallel, to_hex(salt), to_hex(hash));
}

base::Result<bool> pin_matches(std::string_view pin, std::string_view record) {
    const std::string text(record);
    unsigned cost = 0, block = 0, parallel = 0;
    char salt_text[2 * kSaltBytes + 1] = {}, hash_text[2 * kHashBytes + 1] = {};
    int end = 0;
    std::array<uint8_t, kSaltBytes> salt{};
    Hash stored{};
    const bool read = std::sscanf(text.c_str(), "$scrypt$ln=%2u,r=%1u,p=%1u$%32[0-9a-f]$%64[0-9a-f]%n", &cost,
                                  &block, &parallel, salt_text, hash_text, &end) == 5;
    if (!read || static_cast<size_t>(end) != text.size() || cost < 10 || cost > kMaxCost || block != kBlock ||
        parallel != kParallel || !from_hex(salt_text, salt) || !from_hex(hash_text, stored))
        return base::fail("the stored PIN is damaged; set it anew");
    if (pin.size() > kMaxPin)
        return false;
    const Hash hash = TRY(derive(pin, salt, cost));
    return CRYPTO_memcmp(hash.data(), stored.data(), hash.size()) == 0;
}

} // namespace signing
