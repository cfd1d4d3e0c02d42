// Making the detached CMS signature (RFC 5652) of a manifest.
#pragma once
#include "signing/publisher.h"
#include "signing/trusted_time.h"
#include "vmm/base/result.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace signing {

// A publisher's key and certificate. The key has proven that it is the certificate's: what it signs, the
// certificate verifies.
class Signer {
  public:
    // Reads both PEM files; an encrypted key whose passphrase is not given asks for it on the terminal, if
    // there is one. Errors: kExpired: what it signs at the time `now` nobody would open.
    static base::Result<Signer> load(const std::string& key_path, const std::string& certificate_path,
                                     const TrustedTime& now,
                                     const std::optional<std::string>& passphrase = std::nullopt);
    static base::Result<Signer> from_pem(const std::string& key_pem, const std::string& certificate_pem,
                                         const std::optional<std::string>& passphrase = std::nullopt);

    Signer(Signer&&) noexcept;
    Signer& operator=(Signer&&) noexcept;
    ~Signer();

    // DER of a detached CMS SignedData over `content`, with the certificate and a signing time inside.
    base::Result<std::vector<uint8_t>> sign(std::span<const uint8_t> content) const;

    // From now on signatures get a time stamp (time_stamp.h) of the authority that this asks: a query goes
    // in, its answer comes out.
    using AskAuthority = std::function<base::Result<std::vector<uint8_t>>(std::span<const uint8_t> query)>;
    void stamp_by(AskAuthority ask) { ask_authority_ = std::move(ask); }

    [[nodiscard]] const Publisher& publisher() const { return publisher_; }

  private:
    struct Keys;
    Signer(std::unique_ptr<Keys> keys, Publisher publisher);
    std::unique_ptr<Keys> keys_;
    Publisher publisher_;
    AskAuthority ask_authority_;
};

} // namespace signing
