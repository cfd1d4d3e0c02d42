// Reading publisher certificates. The OpenSSL-typed half is private to this folder.
#pragma once
#include "signing/publisher.h"
#include "vmm/base/result.h"

#include <string_view>

namespace signing {

// The first certificate of a PEM text; `where` names the file in errors.
base::Result<Publisher> parse_certificate(std::string_view pem, const std::string& where);

// Whether it is one that may issue others (RFC 5280 4.2.1.9).
[[nodiscard]] bool may_issue(const Publisher& certificate);

} // namespace signing
