// Making the detached CMS signature (RFC 5652) of a manifest.
#pragma once
#include "vmm/base/result.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace signing {

// A publisher's key and certificate, checked to belong together.
class Signer {
  public:
    // Reads both PEM files; an encrypted key asks for its passphrase on the terminal.
    static base::Result<Signer> load(const std::string& key_path, const std::string& certificate_path);
    static base::Result<Signer> from_pem(const std::string& key_pem, const std::string& certificate_pem);

    Signer(Signer&&) noexcept;
    Signer& operator=(Signer&&) noexcept;
    ~Signer();

    // DER of a detached CMS SignedData over `content`, with the certificate and a signing time inside.
    base::Result<std::vector<uint8_t>> sign(std::span<const uint8_t> content) const;

  private:
    struct Keys;
    explicit Signer(std::unique_ptr<Keys> keys);
    std::unique_ptr<Keys> keys_;
};

} // namespace signing
