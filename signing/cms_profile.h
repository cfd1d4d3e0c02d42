// The one shape of CMS SignedData that is accepted, so that no byte of the signature file is without meaning.
//
// OpenSSL reads CMS liberally: version numbers, unsigned attributes, extra certificates and trailing bytes
// may change without the signature failing. Here the structure is rebuilt from its verified parts (RFC 5652
// section 5) and must equal the file byte for byte: one signer identified by issuer and serial number, signed
// attributes, and
//   - in a bundle's signature: SHA-256, detached data, the signer's certificate and none besides but those
//   that
//     lead from it upwards, each by its issuer's signature, and no unsigned attribute but one time-stamp
//     token (RFC 3161 appendix A), which is held to the following itself;
//   - in such a token: the TSTInfo inside, the signer's certificate and those above it, nothing unsigned.
#pragma once
#include "signing/openssl_ptr.h"

#include <cstdint>
#include <span>

namespace signing {

enum class CmsKind : uint8_t { Signature, TimeStampToken };

// True when `der` is exactly the canonical encoding of `cms` in the profile.
[[nodiscard]] bool matches_profile(CMS_ContentInfo* cms, std::span<const uint8_t> der, CmsKind kind);

} // namespace signing
