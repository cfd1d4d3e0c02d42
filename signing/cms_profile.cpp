#include "signing/cms_profile.h"

#include <cstring>
#include <openssl/objects.h>

namespace signing {

namespace {

// X.690 tags used below.
constexpr unsigned char kInteger = 0x02, kOctetString = 0x04, kSequence = 0x30, kSet = 0x31, kContext0 = 0xA0;

// X.690 8.1.3: definite length, shortest form.
std::string tagged(unsigned char tag, const std::string& body) {
    std::string out(1, static_cast<char>(tag));
    size_t length = body.size();
    if (length < 0x80) {
        out += static_cast<char>(length);
    } else {
        std::string digits;
        for (; length; length >>= 8)
            digits.insert(digits.begin(), static_cast<char>(length & 0xFF));
        out += static_cast<char>(0x80 | digits.size());
        out += digits;
    }
    return out + body;
}

std::string object(int nid) { return to_der(OBJ_nid2obj(nid), i2d_ASN1_OBJECT); }

// DER of an algorithm identifier whose parameters are absent or NULL; empty for any other.
std::string plain_algorithm(const X509_ALGOR* algorithm, std::initializer_list<int> allowed) {
    const ASN1_OBJECT* id = nullptr;
    const void* value = nullptr;
    int parameter = V_ASN1_UNDEF;
    X509_ALGOR_get0(&id, &parameter, &value, algorithm);
    if (parameter != V_ASN1_UNDEF && parameter != V_ASN1_NULL)
        return {};
    for (int nid : allowed)
        if (OBJ_obj2nid(id) == nid)
            return to_der(algorithm, i2d_X509_ALGOR);
    return {};
}

} // namespace

bool matches_profile(CMS_ContentInfo* cms, std::span<const uint8_t> der) {
    if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed ||
        OBJ_obj2nid(CMS_get0_eContentType(cms)) != NID_pkcs7_data || CMS_is_detached(cms) != 1)
        return false;
    STACK_OF(CMS_SignerInfo)* signers = CMS_get0_SignerInfos(cms);
    if (!signers || sk_CMS_SignerInfo_num(signers) != 1)
        return false;
    CMS_SignerInfo* signer = sk_CMS_SignerInfo_value(signers, 0);

    STACK_OF(X509)* certificates = CMS_get1_certs(cms);
    std::string certificate, issuer, serial;
    bool identified = false;
    if (certificates && sk_X509_num(certificates) == 1) {
        X509* x509 = sk_X509_value(certificates, 0);
        certificate = to_der(x509, i2d_X509);
        issuer = to_der(X509_get_issuer_name(x509), i2d_X509_NAME);
        serial = to_der(X509_get0_serialNumber(x509), i2d_ASN1_INTEGER);
        ASN1_OCTET_STRING* key_id = nullptr;
        X509_NAME* issuer_id = nullptr;
        ASN1_INTEGER* serial_id = nullptr;
        identified = CMS_SignerInfo_get0_signer_id(signer, &key_id, &issuer_id, &serial_id) == 1 && !key_id &&
                     CMS_SignerInfo_cert_cmp(signer, x509) == 0;
    }
    sk_X509_pop_free(certificates, X509_free);
    if (!identified)
        return false;

    X509_ALGOR *digest = nullptr, *algorithm = nullptr;
    EVP_PKEY* key = nullptr;
    X509* signer_certificate = nullptr;
    CMS_SignerInfo_get0_algs(signer, &key, &signer_certificate, &digest, &algorithm);
    std::string digest_der = plain_algorithm(digest, {NID_sha256});
    std::string algorithm_der =
        plain_algorithm(algorithm, {NID_ecdsa_with_SHA256, NID_rsaEncryption, NID_sha256WithRSAEncryption});
    const ASN1_OCTET_STRING* signature = CMS_SignerInfo_get0_signature(signer);
    if (digest_der.empty() || algorithm_der.empty() || !signature)
        return false;

    std::string attributes;
    for (int i = 0; i < CMS_signed_get_attr_count(signer); ++i)
        attributes += to_der(CMS_signed_get_attr(signer, i), i2d_X509_ATTRIBUTE);
    if (attributes.empty())
        return false;

    // RFC 5652 5.3 SignerInfo, version 1 (issuerAndSerialNumber); no unsignedAttrs.
    const std::string version_1 = tagged(kInteger, std::string(1, '\1'));
    std::string signature_bytes(reinterpret_cast<const char*>(ASN1_STRING_get0_data(signature)),
                                static_cast<size_t>(ASN1_STRING_length(signature)));
    std::string signer_info = tagged(kSequence, version_1 + tagged(kSequence, issuer + serial) + digest_der +
                                                    tagged(kContext0, attributes) + algorithm_der +
                                                    tagged(kOctetString, signature_bytes));
    // 5.1 SignedData, version 1 (id-data, no attribute certificates); eContent absent.
    std::string signed_data =
        tagged(kSequence, version_1 + tagged(kSet, digest_der) + tagged(kSequence, object(NID_pkcs7_data)) +
                              tagged(kContext0, certificate) + tagged(kSet, signer_info));
    std::string expected = tagged(kSequence, object(NID_pkcs7_signed) + tagged(kContext0, signed_data));
    return expected.size() == der.size() && std::memcmp(expected.data(), der.data(), der.size()) == 0;
}

} // namespace signing
