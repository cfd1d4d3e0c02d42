#include "signing/cms_profile.h"

#include "signing/certificate_chain.h"

#include <algorithm>
#include <cstring>
#include <openssl/objects.h>

namespace signing {

namespace {

// X.690 tags used below.
constexpr unsigned char kInteger = 0x02, kOctetString = 0x04, kSequence = 0x30, kSet = 0x31, kContext0 = 0xA0,
                        kContext1 = 0xA1;

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

std::string bytes_of(const ASN1_OCTET_STRING* text) {
    return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
            static_cast<size_t>(ASN1_STRING_length(text))};
}

struct Certificates {
    std::string der;            // all of them
    std::string issuer, serial; // of the signer's
    bool has_signer = false;
    bool sorted = true; // X.690 11.6, SET OF, and no two alike
    bool a_path = true; // all others lead from the signer's upwards
};

Certificates certificates_of(CMS_ContentInfo* cms, CMS_SignerInfo* signer) {
    Certificates found;
    STACK_OF(X509)* certificates = CMS_get1_certs(cms);
    const int count = certificates ? sk_X509_num(certificates) : 0;
    X509* signers = nullptr;
    std::vector<X509*> others;
    std::string before;
    ASN1_OCTET_STRING* key_id = nullptr;
    X509_NAME* issuer_id = nullptr;
    ASN1_INTEGER* serial_id = nullptr;
    const bool by_issuer =
        CMS_SignerInfo_get0_signer_id(signer, &key_id, &issuer_id, &serial_id) == 1 && !key_id;
    for (int i = 0; i < count; ++i) {
        X509* x509 = sk_X509_value(certificates, i);
        const std::string der = to_der(x509, i2d_X509);
        found.sorted = found.sorted && before < der;
        found.der += before = der;
        if (!by_issuer || CMS_SignerInfo_cert_cmp(signer, x509) != 0) {
            others.push_back(x509);
            continue;
        }
        found.has_signer = true;
        signers = x509;
        found.issuer = to_der(X509_get_issuer_name(x509), i2d_X509_NAME);
        found.serial = to_der(X509_get0_serialNumber(x509), i2d_ASN1_INTEGER);
    }
    found.a_path = others.empty() || (signers && others.size() <= kMaxIssuers &&
                                      issuer_path(signers, std::move(others)).strays.empty());
    sk_X509_pop_free(certificates, X509_free);
    return found;
}

// The attributes that nothing protects. False: there are some that may not be.
bool unsigned_attributes(CMS_SignerInfo* signer, CmsKind kind, std::string& out) {
    const int count = CMS_unsigned_get_attr_count(signer);
    if (count <= 0)
        return true;
    X509_ATTRIBUTE* attribute = CMS_unsigned_get_attr(signer, 0);
    if (count != 1 || kind != CmsKind::Signature || X509_ATTRIBUTE_count(attribute) != 1 ||
        OBJ_obj2nid(X509_ATTRIBUTE_get0_object(attribute)) != NID_id_smime_aa_timeStampToken)
        return false;
    out = tagged(kContext1, to_der(attribute, i2d_X509_ATTRIBUTE));
    return true;
}

// What signs says which digest it takes, if it is said twice, alike.
bool agree(const X509_ALGOR* digest, const X509_ALGOR* algorithm) {
    const ASN1_OBJECT *digest_id = nullptr, *algorithm_id = nullptr;
    X509_ALGOR_get0(&digest_id, nullptr, nullptr, digest);
    X509_ALGOR_get0(&algorithm_id, nullptr, nullptr, algorithm);
    int named = NID_undef, key = NID_undef;
    return OBJ_find_sigid_algs(OBJ_obj2nid(algorithm_id), &named, &key) != 1 ||
           named == OBJ_obj2nid(digest_id);
}

} // namespace

bool matches_profile(CMS_ContentInfo* cms, std::span<const uint8_t> der, CmsKind kind) {
    const bool token = kind == CmsKind::TimeStampToken;
    const int content_type = token ? NID_id_smime_ct_TSTInfo : NID_pkcs7_data;
    if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed ||
        OBJ_obj2nid(CMS_get0_eContentType(cms)) != content_type || (CMS_is_detached(cms) == 1) == token)
        return false;
    STACK_OF(CMS_SignerInfo)* signers = CMS_get0_SignerInfos(cms);
    if (!signers || sk_CMS_SignerInfo_num(signers) != 1)
        return false;
    CMS_SignerInfo* signer = sk_CMS_SignerInfo_value(signers, 0);
    const Certificates certificates = certificates_of(cms, signer);
    if (!certificates.has_signer || (!token && !(certificates.sorted && certificates.a_path)))
        return false;

    X509_ALGOR *digest = nullptr, *algorithm = nullptr;
    EVP_PKEY* key = nullptr;
    X509* signer_certificate = nullptr;
    CMS_SignerInfo_get0_algs(signer, &key, &signer_certificate, &digest, &algorithm);
    const std::string digest_der = token ? plain_algorithm(digest, {NID_sha256, NID_sha384, NID_sha512})
                                         : plain_algorithm(digest, {NID_sha256});
    const std::string algorithm_der =
        token
            ? plain_algorithm(algorithm, {NID_ecdsa_with_SHA256, NID_ecdsa_with_SHA384, NID_ecdsa_with_SHA512,
                                          NID_rsaEncryption, NID_sha256WithRSAEncryption,
                                          NID_sha384WithRSAEncryption, NID_sha512WithRSAEncryption})
            : plain_algorithm(algorithm,
                              {NID_ecdsa_with_SHA256, NID_rsaEncryption, NID_sha256WithRSAEncryption});
    const ASN1_OCTET_STRING* signature = CMS_SignerInfo_get0_signature(signer);
    if (digest_der.empty() || algorithm_der.empty() || !agree(digest, algorithm) || !signature)
        return false;

    std::string attributes, unprotected;
    for (int i = 0; i < CMS_signed_get_attr_count(signer); ++i)
        attributes += to_der(CMS_signed_get_attr(signer, i), i2d_X509_ATTRIBUTE);
    if (attributes.empty() || !unsigned_attributes(signer, kind, unprotected))
        return false;

    // RFC 5652 5.3 SignerInfo, version 1 (issuerAndSerialNumber).
    const std::string version_1 = tagged(kInteger, std::string(1, '\1'));
    const std::string signer_info =
        tagged(kSequence, version_1 + tagged(kSequence, certificates.issuer + certificates.serial) +
                              digest_der + tagged(kContext0, attributes) + algorithm_der +
                              tagged(kOctetString, bytes_of(signature)) + unprotected);
    // 5.1 SignedData: version 1 for id-data, whose eContent is absent; version 3 for others.
    std::string content = object(content_type);
    if (token)
        content += tagged(kContext0, tagged(kOctetString, bytes_of(*CMS_get0_content(cms))));
    const std::string version = token ? tagged(kInteger, std::string(1, '\3')) : version_1;
    const std::string signed_data =
        tagged(kSequence, version + tagged(kSet, digest_der) + tagged(kSequence, content) +
                              tagged(kContext0, certificates.der) + tagged(kSet, signer_info));
    const std::string expected = tagged(kSequence, object(NID_pkcs7_signed) + tagged(kContext0, signed_data));
    return expected.size() == der.size() && std::memcmp(expected.data(), der.data(), der.size()) == 0;
}

} // namespace signing
