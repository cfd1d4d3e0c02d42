// Certificates that lead from a publisher's to one that is trusted. Private to this folder.
#pragma once
#include "signing/openssl_ptr.h"
#include "signing/trusted_time.h"
#include "signing/verify.h"

#include <span>
#include <string>

namespace signing {

inline constexpr size_t kMaxIssuers = 6; // in a signature, between its publisher's and a root

struct IssuerPath {
    std::vector<X509*> issuers; // nearest first
    std::vector<X509*> strays;  // what leads nowhere
};
// Sorts `others`: who issued the certificate, who issued that one, and so on, by name and by signature.
IssuerPath issuer_path(X509* certificate, std::vector<X509*> others);
[[nodiscard]] bool is_self_signed(X509* certificate);

// Whether one of the trusted certificates vouches for the signature's, through those that it brings along, at
// `time`, and for signing such things (RFC 5280 section 6). Errors: kUntrusted, kExpired.
base::Result<> check_chain(const Signature& signature, std::span<const std::string> trusted,
                           const TrustedTime& time);

} // namespace signing
