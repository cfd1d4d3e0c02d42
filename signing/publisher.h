// Who signed a bundle, as read from the X.509 certificate inside its signature.
#pragma once
#include <cstdint>
#include <ctime>
#include <string>

namespace signing {

struct Publisher {
    std::string common_name;  // printable UTF-8; control characters replaced
    std::string organisation; // may be empty
    std::string fingerprint;  // SHA-256 of the DER certificate, 64 lower-case hexadecimal digits
    std::time_t not_before = 0;
    std::time_t not_after = 0;
    std::string certificate_pem;
};

// A person-readable "Acme Ltd (fingerprint 0123456789abcdef..., in words: bahaf higis ...)".
[[nodiscard]] std::string describe(const Publisher& publisher);

} // namespace signing
