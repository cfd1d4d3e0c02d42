#include "signing/certificate_chain.h"

#include "signing/certificate_internal.h"
#include "signing/outcome.h"
#include "signing/trust_store.h"

#include <algorithm>
#include <fmt/format.h>
#include <openssl/x509v3.h>

namespace signing {

namespace {

using StoreCheckPtr = OpensslPtr<X509_STORE_CTX, X509_STORE_CTX_free>;

constexpr int kSecurityLevel = 2; // 112 bits: no SHA-1, no RSA below 2048 (SSL_CTX_set_security_level(3))

bool issued(X509* issuer, X509* certificate) {
    const bool is = X509_check_issued(issuer, certificate) == X509_V_OK &&
                    X509_verify(certificate, X509_get0_pubkey(issuer)) == 1;
    ERR_clear_error();
    return is;
}

// RFC 5280 4.2.1.3 and 4.2.1.12; both answer all bits where nothing is said. Who issues certificates gives
// some to web servers, too, and these may not sign software.
bool may_sign_code(X509* certificate) {
    return (X509_get_key_usage(certificate) & KU_DIGITAL_SIGNATURE) != 0 &&
           (X509_get_extended_key_usage(certificate) & (XKU_CODE_SIGN | XKU_ANYEKU)) != 0;
}

} // namespace

bool is_self_signed(X509* certificate) { return issued(certificate, certificate); }

IssuerPath issuer_path(X509* certificate, std::vector<X509*> others) {
    IssuerPath path;
    X509* last = certificate;
    for (;;) {
        const auto next = std::ranges::find_if(others, [&](X509* each) { return issued(each, last); });
        if (next == others.end())
            break;
        last = *next;
        path.issuers.push_back(last);
        others.erase(next);
    }
    path.strays = std::move(others);
    return path;
}

base::Result<> check_chain(const Signature& signature, std::span<const std::string> trusted,
                           const TrustedTime& time) {
    const auto untrusted = [](const std::string& why) { return base::fail(why, kUntrusted); };
    if (trusted.empty())
        return untrusted("no issuer is trusted here");
    const CertificatePtr certificate =
        TRY(read_certificate_pem(signature.publisher.certificate_pem, "the publisher"));
    const StorePtr store{X509_STORE_new()};
    const StoreCheckPtr check{X509_STORE_CTX_new()};
    const CertificateStackPtr between{sk_X509_new_null()};
    for (const std::string& pem : signature.issuers)
        if (auto issuer = read_certificate_pem(pem, "an issuer");
            issuer && sk_X509_push(between.get(), issuer->get()) > 0)
            issuer->release(); // the stack's now
    for (const std::string& pem : trusted)
        if (auto issuer = read_certificate_pem(pem, "an issuer"); issuer && store)
            X509_STORE_add_cert(store.get(), issuer->get());
    const bool ready = store && check &&
                       X509_STORE_CTX_init(check.get(), store.get(), certificate.get(), between.get()) == 1;
    bool good = false;
    if (ready) {
        X509_VERIFY_PARAM* rules = X509_STORE_CTX_get0_param(check.get());
        X509_VERIFY_PARAM_set_time(rules, time.latest);
        X509_VERIFY_PARAM_set_auth_level(rules, kSecurityLevel);
        // Whatever is trusted ends the path, be it a root or below one.
        X509_VERIFY_PARAM_set_flags(rules, X509_V_FLAG_PARTIAL_CHAIN);
        good = X509_verify_cert(check.get()) == 1;
    }
    ERR_clear_error();
    if (!ready)
        return untrusted("out of memory");
    const int error = X509_STORE_CTX_get_error(check.get());
    if (!good && (error == X509_V_ERR_CERT_HAS_EXPIRED || error == X509_V_ERR_CERT_NOT_YET_VALID)) {
        TRY(check_dates(TRY(publisher_of(X509_STORE_CTX_get_current_cert(check.get()))), time));
        return base::fail("a certificate is out of date", kExpired);
    }
    if (!good)
        return untrusted(X509_verify_cert_error_string(error));
    if (!may_sign_code(certificate.get()))
        return untrusted("its certificate is for other uses than signing code");
    // Old forms of certificates pass for issuers there, too.
    STACK_OF(X509)* path = X509_STORE_CTX_get0_chain(check.get());
    for (int i = 1; i < sk_X509_num(path); ++i)
        if (X509_check_ca(sk_X509_value(path, i)) != 1)
            return untrusted("one of its issuers may not issue certificates");
    return {};
}

} // namespace signing
