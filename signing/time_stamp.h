// Time stamps (RFC 3161): an authority's word that a signature was there at a certain moment. With one, a
// bundle stays good after its publisher's certificate has run out, because it was signed before.
//
// The token lies in the signature's only unsigned attribute, id-aa-timeStampToken (RFC 3161 appendix A),
// where stock tools look for it. What a token says is believed only when the authority is trusted
// (TrustStore).
#pragma once
#include "vmm/base/result.h"

#include <cstdint>
#include <ctime>
#include <span>
#include <string>
#include <vector>

namespace signing {

struct TimeStamp {
    std::time_t time = 0;
    std::string authority; // its certificate's name
};

using Der = std::vector<uint8_t>;

// The question to an authority about a signature (Signature::value); `openssl ts -reply` answers it, too.
base::Result<Der> time_stamp_query(std::span<const uint8_t> signature);

// The token of an authority's answer. Errors: it refused, or the answer is about something else.
base::Result<Der> time_stamp_token(std::span<const uint8_t> answer, std::span<const uint8_t> signature);

// What a token says; not yet to be believed. Errors: kTampered: it is not about this signature, its own
// signature does not fit, or it has bytes without meaning.
base::Result<TimeStamp> read_time_stamp(std::span<const uint8_t> token, std::span<const uint8_t> signature);

// Whether one of these certificates (PEM: the authority's own, or one above it) stands behind the token.
[[nodiscard]] bool is_vouched_for(std::span<const uint8_t> token, std::span<const uint8_t> signature,
                                  std::span<const std::string> authorities);

// The CMS signature with this token in it, in the place of an older one.
base::Result<Der> with_time_stamp(std::span<const uint8_t> cms, std::span<const uint8_t> token);

} // namespace signing
