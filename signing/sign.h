// Making the detached CMS signature (RFC 5652) of a manifest.
#pragma once
#include "signing/key_source.h"
#include "signing/publisher.h"
#include "signing/trusted_time.h"
#include "vmm/base/result.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace signing {

struct KeyMaterial;

// A publisher's key and certificate, and those certificates that lead from it to a root. The key has proven
// that it is the certificate's: what it signs, the certificate verifies.
class Signer {
  public:
    // `key` and `certificate` as key_source.h says. No certificate named: it is where the key is. The first
    // is the publisher's; further ones are its issuers', in any order, and go into signatures, all but a
    // root: who trusts one has it. Errors: kExpired: what it signs at the time `now` nobody would open.
    static base::Result<Signer> load(const std::string& key, const std::string& certificate,
                                     const TrustedTime& now, const AskSecret& ask = ask_on_terminal);
    static base::Result<Signer> from_pem(const std::string& key_pem, const std::string& certificate_pem);

    Signer(Signer&&) noexcept;
    Signer& operator=(Signer&&) noexcept;
    ~Signer();

    // DER of a detached CMS SignedData over `content`, with the certificates and a signing time inside.
    base::Result<std::vector<uint8_t>> sign(std::span<const uint8_t> content) const;

    // From now on signatures get a time stamp (time_stamp.h) of the authority that this asks: a query goes
    // in, its answer comes out.
    using AskAuthority = std::function<base::Result<std::vector<uint8_t>>(std::span<const uint8_t> query)>;
    void stamp_by(AskAuthority ask) { ask_authority_ = std::move(ask); }

    [[nodiscard]] const Publisher& publisher() const { return publisher_; }

  private:
    struct Keys;
    static base::Result<Signer> put_together(KeyMaterial material);
    Signer(std::unique_ptr<Keys> keys, Publisher publisher);
    std::unique_ptr<Keys> keys_;
    Publisher publisher_;
    AskAuthority ask_authority_;
};

} // namespace signing
