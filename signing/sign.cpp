#include "signing/sign.h"

#include "signing/certificate_internal.h"
#include "signing/small_file.h"
#include "signing/time_stamp.h"
#include "signing/trust_store.h"
#include "signing/verify.h"

#include <cstring>
#include <unistd.h>

namespace signing {

struct Signer::Keys {
    KeyPtr key;
    CertificatePtr certificate;
};

namespace {

// The public halves alone prove nothing: a key's file may name any.
bool proves(EVP_PKEY* key, X509* certificate) {
    constexpr unsigned char kContent[] = "Whoever signs this holds the certificate's private key.";
    const MdContextPtr signing{EVP_MD_CTX_new()}, verifying{EVP_MD_CTX_new()};
    size_t length = 0;
    if (!signing || !verifying ||
        EVP_DigestSignInit(signing.get(), nullptr, EVP_sha256(), nullptr, key) != 1 ||
        EVP_DigestSign(signing.get(), nullptr, &length, kContent, sizeof kContent) != 1)
        return false;
    std::vector<unsigned char> signature(length);
    return EVP_DigestSign(signing.get(), signature.data(), &length, kContent, sizeof kContent) == 1 &&
           EVP_DigestVerifyInit(verifying.get(), nullptr, EVP_sha256(), nullptr,
                                X509_get0_pubkey(certificate)) == 1 &&
           EVP_DigestVerify(verifying.get(), signature.data(), length, kContent, sizeof kContent) == 1;
}

// What pem_password_cb is given (PEM_read_bio_PrivateKey(3)).
struct Asked {
    const std::optional<std::string>& passphrase;
    bool answered = false, in_vain = false;
};

int give_passphrase(char* to, int room, int, void* data) {
    Asked& asked = *static_cast<Asked*>(data);
    asked.answered = asked.passphrase || base::UniqueFd{::open("/dev/tty", O_RDWR | O_CLOEXEC)}.valid();
    asked.in_vain = !asked.answered;
    if (asked.in_vain)
        return -1;
    if (!asked.passphrase)
        return PEM_def_callback(to, room, 0, nullptr);
    const size_t size = asked.passphrase->size();
    if (size > static_cast<size_t>(room))
        return -1;
    std::memcpy(to, asked.passphrase->data(), size);
    return static_cast<int>(size);
}

} // namespace

Signer::Signer(std::unique_ptr<Keys> keys, Publisher publisher)
    : keys_(std::move(keys)), publisher_(std::move(publisher)) {}
Signer::Signer(Signer&&) noexcept = default;
Signer& Signer::operator=(Signer&&) noexcept = default;
Signer::~Signer() = default;

base::Result<Signer> Signer::load(const std::string& key_path, const std::string& certificate_path,
                                  const TrustedTime& now, const std::optional<std::string>& passphrase) {
    std::string key = TRY(read_small_file(key_path));
    std::string certificate = TRY(read_small_file(certificate_path));
    auto signer = from_pem(key, certificate, passphrase);
    if (!signer)
        return base::fail(fmt::format("{} and {}: {}", key_path, certificate_path, signer.error().message));
    if (auto dates = check_dates(signer->publisher(), now); !dates)
        return base::fail(fmt::format("{}: {}; make a new one with: encore keygen", certificate_path,
                                      dates.error().message),
                          dates.error().code);
    return signer;
}

base::Result<Signer> Signer::from_pem(const std::string& key_pem, const std::string& certificate_pem,
                                      const std::optional<std::string>& passphrase) {
    auto keys = std::make_unique<Keys>();
    BioPtr bio{BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size()))};
    Asked asked{passphrase};
    keys->key.reset(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, give_passphrase, &asked) : nullptr);
    if (!keys->key && asked.in_vain) {
        ERR_clear_error();
        return base::fail(
            "the key has a passphrase, and there is no terminal to ask for it; use --passphrase-file");
    }
    if (!keys->key && asked.answered) {
        ERR_clear_error();
        return base::fail("the passphrase is not the key's");
    }
    if (!keys->key)
        return base::fail("no usable PEM private key (" + openssl_reason() + ")");
    int kind = EVP_PKEY_get_base_id(keys->key.get());
    if (kind != EVP_PKEY_EC && kind != EVP_PKEY_RSA)
        return base::fail("the key must be ECDSA or RSA; make one with: encore keygen");
    keys->certificate = TRY(read_certificate_pem(certificate_pem, "the certificate"));
    if (!proves(keys->key.get(), keys->certificate.get())) {
        ERR_clear_error();
        return base::fail("the key and the certificate do not belong together");
    }
    Publisher publisher = TRY(publisher_of(keys->certificate.get()));
    return Signer{std::move(keys), std::move(publisher)};
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
    Der signature(der.begin(), der.end());
    if (!ask_authority_)
        return signature;
    const Der value = TRY(verify_signature(content, signature)).value;
    auto token = time_stamp_token(TRY(ask_authority_(TRY(time_stamp_query(value)))), value);
    if (!token)
        return base::fail("the time-stamp authority's answer " + token.error().message);
    return with_time_stamp(signature, *token);
}

} // namespace signing
