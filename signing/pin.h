// Short secrets that people type (a kiosk's staff PIN), kept as a salted hash of a slow key derivation,
// scrypt (RFC 7914), so that whoever reads the record has to pay dearly for every guess.
#pragma once
#include "vmm/base/result.h"

#include <string>
#include <string_view>

namespace signing {

inline constexpr size_t kMinPin = 4, kMaxPin = 64; // bytes

// "$scrypt$ln=15,r=8,p=1$SALT$HASH", salt and hash in hexadecimal. About 0.1 s and 32 MiB. Errors: a PIN that
// is too short or too long, or has control characters.
base::Result<std::string> hash_pin(std::string_view pin);

// Whether `pin` is the one the record was made of. Errors: the record is malformed or asks for more memory or
// time than any this program writes.
base::Result<bool> pin_matches(std::string_view pin, std::string_view record);

} // namespace signing
