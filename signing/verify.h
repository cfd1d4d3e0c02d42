// Checking a detached CMS signature: is it whole, and whose is it. Whether that publisher is trusted and the
// certificate in date is TrustStore::check's answer.
#pragma once
#include "signing/publisher.h"
#include "vmm/base/result.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace signing {

struct Signature {
    Publisher publisher;
    std::vector<std::string>
        issuers{};                // certificates (PEM) that lead from the publisher's upwards, nearest first
    std::vector<uint8_t> value{}; // the signature itself: what a time stamp is about (RFC 3161 appendix A)
    std::vector<uint8_t> time_stamp{}; // a token about it (time_stamp.h); empty: none
};

// Who made this signature over `content`. Errors: kUnsigned (`cms` is empty) or kTampered, also for a time
// stamp that is not about this signature or does not carry its authority's own.
base::Result<Signature> verify_signature(std::span<const uint8_t> content, std::span<const uint8_t> cms);

} // namespace signing
