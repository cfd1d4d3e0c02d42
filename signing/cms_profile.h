// The one shape of CMS SignedData a bundle may carry, so that no byte of the signature file is without
// meaning.
//
// OpenSSL reads CMS liberally: version numbers, unsigned attributes, extra certificates and trailing bytes
// may change without the signature failing. Here the structure is rebuilt from its verified parts (RFC 5652
// section 5) and must equal the file byte for byte: one SHA-256 signer identified by issuer and serial
// number, exactly that signer's certificate, detached data, signed attributes, nothing else.
#pragma once
#include "signing/openssl_ptr.h"

#include <cstdint>
#include <span>

namespace signing {

// True when `der` is exactly the canonical encoding of `cms` in the profile.
[[nodiscard]] bool matches_profile(CMS_ContentInfo* cms, std::span<const uint8_t> der);

} // namespace signing
