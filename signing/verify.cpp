#include "signing/verify.h"

#include "signing/certificate_chain.h"
#include "signing/certificate_internal.h"
#include "signing/cms_profile.h"
#include "signing/outcome.h"
#include "signing/time_stamp.h"

namespace signing {

namespace {

constexpr size_t kMaxSignature = 1 << 16;
constexpr int kMinRsaBits = 2048;

base::Result<> check_key(const X509* certificate) {
    EVP_PKEY* key = X509_get0_pubkey(certificate);
    int kind = key ? EVP_PKEY_get_base_id(key) : 0;
    if (kind == EVP_PKEY_EC || (kind == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) >= kMinRsaBits))
        return {};
    return base::fail("the signature uses a key that is too weak or of an unknown kind", kTampered);
}

} // namespace

base::Result<Signature> verify_signature(std::span<const uint8_t> content, std::span<const uint8_t> cms_der) {
    if (cms_der.empty())
        return base::fail("is not signed; ask the publisher for a signed copy", kUnsigned);
    const auto damaged = [](const char* why) {
        ERR_clear_error();
        return base::fail(why, kTampered);
    };
    if (cms_der.size() > kMaxSignature)
        return damaged("the signature is malformed");
    const unsigned char* cursor = cms_der.data();
    CmsPtr cms{d2i_CMS_ContentInfo(nullptr, &cursor, static_cast<long>(cms_der.size()))};
    if (!cms || cursor != cms_der.data() + cms_der.size() ||
        OBJ_obj2nid(CMS_get0_type(cms.get())) != NID_pkcs7_signed)
        return damaged("the signature is malformed");

    // Whom to trust is TrustStore's affair, so no chain is followed to its end here.
    // The content is behind a filter: CMS_verify makes itself a copy of a bare memory BIO, which OpenSSL 3.0
    // loses when the signature names a digest it cannot set up.
    BioPtr memory{BIO_new_mem_buf(content.data(), static_cast<int>(content.size()))};
    BioPtr data{memory ? BIO_new(BIO_f_null()) : nullptr};
    constexpr unsigned kFlags = CMS_DETACHED | CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY;
    if (data)
        BIO_push(data.get(), memory.release()); // freed with it
    if (!data || CMS_verify(cms.get(), nullptr, nullptr, data.get(), nullptr, kFlags) != 1)
        return damaged("the content does not match the publisher's signature");
    if (!matches_profile(cms.get(), cms_der, CmsKind::Signature))
        return damaged("the signature was altered or is not of the form bundles use");

    STACK_OF(X509)* signers = CMS_get0_signers(cms.get()); // frees the stack only, not the certificates
    X509* certificate = signers && sk_X509_num(signers) == 1 ? sk_X509_value(signers, 0) : nullptr;
    sk_X509_free(signers);
    if (!certificate)
        return damaged("the signature is malformed");
    TRY(check_key(certificate));
    Signature signature{TRY(publisher_of(certificate))};
    const CertificateStackPtr brought{CMS_get1_certs(cms.get())};
    std::vector<X509*> others;
    for (int i = 0; i < sk_X509_num(brought.get()); ++i)
        if (X509* other = sk_X509_value(brought.get(), i); X509_cmp(other, certificate) != 0)
            others.push_back(other);
    for (const X509* issuer : issuer_path(certificate, std::move(others)).issuers)
        signature.issuers.push_back(TRY(publisher_of(issuer)).certificate_pem);
    CMS_SignerInfo* signer = sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms.get()), 0);
    signature.value = octets_of(CMS_SignerInfo_get0_signature(signer));
    if (CMS_unsigned_get_attr_count(signer) == 1) { // the profile says which
        const void* token =
            X509_ATTRIBUTE_get0_data(CMS_unsigned_get_attr(signer, 0), 0, V_ASN1_SEQUENCE, nullptr);
        if (!token)
            return damaged("the signature's time stamp is malformed");
        signature.time_stamp = octets_of(static_cast<const ASN1_STRING*>(token));
        TRY(read_time_stamp(signature.time_stamp, signature.value));
    }
    return signature;
}

} // namespace signing
