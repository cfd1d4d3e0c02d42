#include "signing/sign.h"

#include "signing/certificate_internal.h"
#include "signing/small_file.h"

namespace signing {

struct Signer::Keys {
    KeyPtr key;
    CertificatePtr certificate;
};

Signer::Signer(std::unique_ptr<Keys> keys) : keys_(std::move(keys)) {}
Signer::Signer(Signer&&) noexcept = default;
Signer& Signer::operator=(Signer&&) noexcept = default;
Signer::~Signer() = default;

base::Result<Signer> Signer::load(const std::string& key_path, const std::string& certificate_path) {
    std::string key = TRY(read_small_file(key_path));
    std::string certificate = TRY(read_small_file(certificate_path));
    auto signer = from_pem(key, certificate);
    if (!signer)
        return base::fail(fmt::format("{} and {}: {}", key_path, certificate_path, signer.error().message));
    return signer;
}

base::Result<Signer> Signer::from_pem(const std::string& key_pem, const std::string& certificate_pem) {
    auto keys = std::make_unique<Keys>();
    BioPtr bio{BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size()))};
    keys->key.reset(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr) : nullptr);
    if (!keys->key)
        return base::fail("no usable PEM private key (" + openssl_reason() + ")");
    int kind = EVP_PKEY_get_base_id(keys->key.get());
    if (kind != EVP_PKEY_EC && kind != EVP_PKEY_RSA)
        return base::fail("the key must be ECDSA or RSA; make one with: encore keygen");
    keys->certificate = TRY(read_certificate_pem(certificate_pem, "the certificate"));
    if (X509_check_private_key(keys->certificate.get(), keys->key.get()) != 1) {
        ERR_clear_error();
        return base::fail("the key and the certificate do not belong together");
    }
    return Signer{std::move(keys)};
}

base::Result<std::vector<uint8_t>> Signer::sign(std::span<const uint8_t> content) const {
    BioPtr bio{BIO_new_mem_buf(content.data(), static_cast<int>(content.size()))};
    constexpr unsigned kFlags = CMS_DETACHED | CMS_BINARY | CMS_PARTIAL | CMS_NOSMIMECAP;
    CmsPtr cms{bio ? CMS_sign(nullptr, nullptr, nullptr, bio.get(), kFlags) : nullptr};
    // CMS_add1_signer adds the certificate and the signed attributes content type, signing time and digest.
    if (!cms ||
        !CMS_add1_signer(cms.get(), keys_->certificate.get(), keys_->key.get(), EVP_sha256(), kFlags) ||
        CMS_final(cms.get(), bio.get(), nullptr, kFlags) != 1)
        return base::fail("signing failed: " + openssl_reason());
    std::string der = to_der(cms.get(), i2d_CMS_ContentInfo);
    if (der.empty())
        return base::fail("signing failed: " + openssl_reason());
    return std::vector<uint8_t>(der.begin(), der.end());
}

} // namespace signing
