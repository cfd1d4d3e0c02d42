#include "signing/sign.h"

#include "signing/certificate_chain.h"
#include "signing/certificate_internal.h"
#include "signing/key_material.h"
#include "signing/outcome.h"
#include "signing/time_stamp.h"
#include "signing/trust_store.h"
#include "signing/verify.h"

#include <fmt/format.h>

namespace signing {

struct Signer::Keys {
    KeyMaterial material;
    std::vector<X509*> issuers; // of material.certificates, nearest first, without a root

    [[nodiscard]] EVP_PKEY* key() const { return material.key.get(); }
    [[nodiscard]] X509* certificate() const { return material.certificates.front().get(); }
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

} // namespace

Signer::Signer(std::unique_ptr<Keys> keys, Publisher publisher)
    : keys_(std::move(keys)), publisher_(std::move(publisher)) {}
Signer::Signer(Signer&&) noexcept = default;
Signer& Signer::operator=(Signer&&) noexcept = default;
Signer::~Signer() = default;

base::Result<Signer> Signer::load(const std::string& key, const std::string& certificate,
                                  const TrustedTime& now, const AskSecret& ask) {
    KeyMaterial material = TRY(load_key(key, ask));
    const std::string& with = certificate.empty() ? key : certificate;
    if (!certificate.empty()) {
        auto named = TRY(load_certificates(certificate));
        // Those beside the key may lead from the named one to a root.
        for (CertificatePtr& beside : material.certificates)
            named.push_back(std::move(beside));
        material.certificates = std::move(named);
    }
    if (material.certificates.empty())
        return base::fail(
            fmt::format("{} has no certificate beside the key; name it with --cert", shown(key)), kMissing);
    const std::string where =
        certificate.empty() ? shown(key) : fmt::format("{} and {}", shown(key), shown(certificate));
    auto signer = put_together(std::move(material));
    if (!signer)
        return base::fail(fmt::format("{}: {}", where, signer.error().message));
    if (auto dates = check_dates(signer->publisher(), now); !dates)
        return base::fail(fmt::format("{}: {}; make a new one with: encore keygen --name NAME --out PREFIX",
                                      shown(with), dates.error().message),
                          dates.error().code);
    for (const X509* issuer : signer->keys_->issuers)
        if (auto dates = check_dates(TRY(publisher_of(issuer)), now); !dates)
            return base::fail(fmt::format("{}: {}; ask who issued yours for the one in use now", shown(with),
                                          dates.error().message),
                              dates.error().code);
    return signer;
}

base::Result<Signer> Signer::from_pem(const std::string& key_pem, const std::string& certificate_pem) {
    KeyMaterial material = TRY(key_from_pem(key_pem, "the key", ask_on_terminal));
    material.certificates = TRY(certificates_from_pem(certificate_pem, "the certificate"));
    return put_together(std::move(material));
}

base::Result<Signer> Signer::put_together(KeyMaterial material) {
    const int kind = EVP_PKEY_get_base_id(material.key.get());
    if (kind != EVP_PKEY_EC && kind != EVP_PKEY_RSA)
        return base::fail(
            "the key must be ECDSA or RSA; make one with: encore keygen --name NAME --out PREFIX");
    auto keys = std::make_unique<Keys>();
    keys->material = std::move(material);
    if (!proves(keys->key(), keys->certificate())) {
        ERR_clear_error();
        return base::fail("the key and the certificate do not belong together");
    }
    std::vector<X509*> others;
    for (size_t i = 1; i < keys->material.certificates.size(); ++i)
        if (X509* other = keys->material.certificates[i].get(); X509_cmp(other, keys->certificate()) != 0)
            others.push_back(other);
    IssuerPath path = issuer_path(keys->certificate(), std::move(others));
    if (!path.strays.empty())
        return base::fail(fmt::format("{} is no issuer of {}; leave it out",
                                      TRY(publisher_of(path.strays[0])).common_name,
                                      TRY(publisher_of(keys->certificate())).common_name));
    if (!path.issuers.empty() && is_self_signed(path.issuers.back()))
        path.issuers.pop_back();
    if (path.issuers.size() > kMaxIssuers)
        return base::fail(fmt::format("more than {} certificates lead to a root", kMaxIssuers));
    keys->issuers = std::move(path.issuers);
    Publisher publisher = TRY(publisher_of(keys->certificate()));
    return Signer{std::move(keys), std::move(publisher)};
}

base::Result<std::vector<uint8_t>> Signer::sign(std::span<const uint8_t> content) const {
    BioPtr bio{BIO_new_mem_buf(content.data(), static_cast<int>(content.size()))};
    constexpr unsigned kFlags = CMS_DETACHED | CMS_BINARY | CMS_PARTIAL | CMS_NOSMIMECAP;
    CmsPtr cms{bio ? CMS_sign(nullptr, nullptr, nullptr, bio.get(), kFlags) : nullptr};
    // CMS_add1_signer adds the certificate and the signed attributes content type, signing time and digest.
    bool made = cms && CMS_add1_signer(cms.get(), keys_->certificate(), keys_->key(), EVP_sha256(), kFlags);
    for (X509* issuer : keys_->issuers)
        made = made && CMS_add1_cert(cms.get(), issuer) == 1;
    if (!made || CMS_final(cms.get(), bio.get(), nullptr, kFlags) != 1)
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
