// Checking a detached CMS signature: is it whole, and whose is it. Whether that publisher is trusted and the
// certificate in date is TrustStore::check's answer.
#pragma once
#include "signing/publisher.h"
#include "vmm/base/result.h"

#include <cstdint>
#include <span>

namespace signing {

// Who made this signature over `content`. Errors: kUnsigned (`cms` is empty) or kTampered.
base::Result<Publisher> verify_signature(std::span<const uint8_t> content, std::span<const uint8_t> cms);

} // namespace signing
