// Owners for OpenSSL objects, and its error queue as one line. Private to this folder.
#pragma once
#include <cstdint>
#include <memory>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ts.h>
#include <openssl/x509.h>
#include <string>
#include <vector>

namespace signing {

template <auto Free> struct OpensslDeleter {
    template <class T> void operator()(T* object) const { Free(object); }
};
template <class T, auto Free> using OpensslPtr = std::unique_ptr<T, OpensslDeleter<Free>>;

inline void free_certificates(STACK_OF(X509) * stack) { sk_X509_pop_free(stack, X509_free); }

using BioPtr = OpensslPtr<BIO, BIO_free_all>;
using CertificateStackPtr = OpensslPtr<STACK_OF(X509), free_certificates>;
using CmsPtr = OpensslPtr<CMS_ContentInfo, CMS_ContentInfo_free>;
using CertificatePtr = OpensslPtr<X509, X509_free>;
using ExtensionPtr = OpensslPtr<X509_EXTENSION, X509_EXTENSION_free>;
using KeyPtr = OpensslPtr<EVP_PKEY, EVP_PKEY_free>;
using MdContextPtr = OpensslPtr<EVP_MD_CTX, EVP_MD_CTX_free>;
using NumberPtr = OpensslPtr<BIGNUM, BN_free>;
// of time stamps
using StampQueryPtr = OpensslPtr<TS_REQ, TS_REQ_free>;
using StampAnswerPtr = OpensslPtr<TS_RESP, TS_RESP_free>;
using StampInfoPtr = OpensslPtr<TS_TST_INFO, TS_TST_INFO_free>;
using StampImprintPtr = OpensslPtr<TS_MSG_IMPRINT, TS_MSG_IMPRINT_free>;
using AlgorithmPtr = OpensslPtr<X509_ALGOR, X509_ALGOR_free>;
using TokenPtr = OpensslPtr<PKCS7, PKCS7_free>;
using StorePtr = OpensslPtr<X509_STORE, X509_STORE_free>;
using StampCheckPtr = OpensslPtr<TS_VERIFY_CTX, TS_VERIFY_CTX_free>;

// The oldest queued OpenSSL error in words; empties the queue.
inline std::string openssl_reason() {
    const char* reason = ERR_reason_error_string(ERR_peek_error());
    std::string text = reason ? reason : "unknown reason";
    ERR_clear_error();
    return text;
}

inline std::vector<uint8_t> octets_of(const ASN1_STRING* text) {
    const unsigned char* bytes = ASN1_STRING_get0_data(text);
    return {bytes, bytes + ASN1_STRING_length(text)};
}

// i2d-style encoders into a string of bytes; empty on failure.
template <class T, class Encode> std::string to_der(const T* object, Encode encode) {
    unsigned char* buffer = nullptr;
    int length = encode(object, &buffer);
    if (length <= 0)
        return {};
    std::string bytes(reinterpret_cast<char*>(buffer), static_cast<size_t>(length));
    OPENSSL_free(buffer);
    return bytes;
}

} // namespace signing
