// SHA-256 (FIPS 180-4), the one hash of the project: chunks, Merkle nodes, certificates.
#pragma once
#include "vmm/base/result.h"

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace signing {

using Hash = std::array<uint8_t, 32>;

// Reusable hashing context; one per thread. Feed pieces, then finish() returns the digest and starts anew.
class Sha256 {
  public:
    Sha256();
    ~Sha256();
    Sha256(const Sha256&) = delete;
    Sha256& operator=(const Sha256&) = delete;

    void update(std::span<const uint8_t> bytes);
    [[nodiscard]] Hash finish();

  private:
    struct Context;
    std::unique_ptr<Context> context_;
};

[[nodiscard]] Hash sha256(std::span<const uint8_t> bytes);

// Lower-case hexadecimal and back; from_hex accepts exactly 64 lower-case digits.
[[nodiscard]] std::string to_hex(const Hash& hash);
[[nodiscard]] bool from_hex(std::string_view text, Hash& hash);

} // namespace signing
