#include "signing/key_source.h"

#include "signing/certificate_internal.h"
#include "signing/key_material.h"
#include "signing/small_file.h"

#include <array>
#include <cstring>
#include <fmt/format.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>

namespace signing {

namespace {

constexpr size_t kMostCertificates = 16; // in one file
constexpr std::string_view kTokenScheme = "pkcs11:";

using Pkcs12Ptr = OpensslPtr<PKCS12, PKCS12_free>;

base::Error not_the_keys(const std::string& where) {
    ERR_clear_error();
    return {1, fmt::format("the passphrase is not the key's ({})", where)};
}

// Everything of a PKCS #12 file whose integrity `passphrase` proved.
bool unpack(PKCS12* file, const char* passphrase, KeyMaterial& into) {
    EVP_PKEY* key = nullptr;
    X509* certificate = nullptr;
    STACK_OF(X509)* others = nullptr;
    if (PKCS12_parse(file, passphrase, &key, &certificate, &others) != 1)
        return false;
    into.key.reset(key);
    const CertificateStackPtr owned(others);
    if (certificate)
        into.certificates.emplace_back(certificate);
    for (int i = 0; certificate && i < sk_X509_num(others); ++i) {
        X509* other = sk_X509_value(others, i);
        X509_up_ref(other);
        into.certificates.emplace_back(other);
    }
    return true;
}

} // namespace

base::Result<std::string> ask_on_terminal(const std::string& what) {
    if (!base::UniqueFd{::open("/dev/tty", O_RDWR | O_CLOEXEC)}.valid())
        return base::fail(fmt::format(
            "the {} is needed, and there is no terminal to ask for it; use --passphrase-file", what));
    std::array<char, 1024> typed{};
    const std::string prompt = fmt::format("The {}: ", what);
    const int failed = EVP_read_pw_string(typed.data(), static_cast<int>(typed.size()), prompt.c_str(), 0);
    std::string text = typed.data();
    OPENSSL_cleanse(typed.data(), typed.size());
    if (failed != 0) {
        ERR_clear_error();
        return base::fail(fmt::format("the {} was not given", what));
    }
    return text;
}

int give_secret(char* to, int room, int /*for_writing*/, void* data) {
    Secret& secret = *static_cast<Secret*>(data);
    if (!secret.given && !secret.refused) {
        auto answer = secret.ask(secret.what);
        if (answer)
            secret.given = std::move(*answer);
        else
            secret.refused = answer.error();
    }
    if (!secret.given || secret.given->size() > static_cast<size_t>(room))
        return -1;
    std::memcpy(to, secret.given->data(), secret.given->size());
    return static_cast<int>(secret.given->size());
}

bool names_token(const std::string& from) { return from.starts_with(kTokenScheme); }

std::string shown(const std::string& from) {
    return names_token(from) ? from.substr(0, from.find('?')) : from; // RFC 7512 2.3: pin-value, pin-source
}

base::Result<KeyMaterial> key_from_pem(std::string_view pem, const std::string& where, const AskSecret& ask) {
    KeyMaterial material;
    material.secret = std::make_unique<Secret>(Secret{ask, "passphrase of " + where});
    const BioPtr bio{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
    material.key.reset(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, give_secret, material.secret.get())
                           : nullptr);
    if (!material.key && material.secret->refused) {
        ERR_clear_error();
        return tl::make_unexpected(*material.secret->refused);
    }
    if (!material.key && material.secret->given)
        return tl::make_unexpected(not_the_keys(where));
    if (!material.key)
        return base::fail(fmt::format("{}: no usable PEM private key ({})", where, openssl_reason()));
    if (pem.find("-----BEGIN CERTIFICATE-----") != std::string_view::npos)
        material.certificates = TRY(certificates_from_pem(pem, where));
    return material;
}

base::Result<std::vector<CertificatePtr>> certificates_from_pem(std::string_view pem,
                                                                const std::string& where) {
    std::vector<CertificatePtr> found;
    const BioPtr bio{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
    while (bio && found.size() <= kMostCertificates) {
        CertificatePtr certificate{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)};
        if (!certificate)
            break;
        found.push_back(std::move(certificate));
    }
    const bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (found.empty() || !ended)
        return base::fail(found.size() > kMostCertificates
                              ? fmt::format("{}: more than {} certificates", where, kMostCertificates)
                              : fmt::format("{}: {} PEM certificate found ({})", where,
                                            found.empty() ? "no" : "no further", openssl_reason()));
    ERR_clear_error();
    return found;
}

base::Result<KeyMaterial> key_from_pkcs12(std::string_view der, const std::string& where,
                                          const AskSecret& ask) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
    const Pkcs12Ptr file{d2i_PKCS12(nullptr, &bytes, static_cast<long>(der.size()))};
    ERR_clear_error();
    if (!file)
        return base::fail(fmt::format("{}: neither a PEM private key nor PKCS #12", where));
    if (PKCS12_mac_present(file.get()) != 1)
        return base::fail(
            fmt::format("{}: it has no MAC, without which OpenSSL opens none; export it with one", where));
    KeyMaterial material;
    const char* passphrase = nullptr;
    // No passphrase is written as an empty one or as none (RFC 7292 B.1).
    if (PKCS12_verify_mac(file.get(), "", 0) == 1) {
        passphrase = "";
    } else if (PKCS12_verify_mac(file.get(), nullptr, 0) != 1) {
        const std::string what = "passphrase of " + where;
        const std::string given =
            TRY(ask(what)); // by itself: an early return out of an expression leaks what it has made
        material.secret = std::make_unique<Secret>(Secret{ask, what, given});
        passphrase = material.secret->given->c_str();
        if (PKCS12_verify_mac(file.get(), passphrase, -1) != 1)
            return tl::make_unexpected(not_the_keys(where));
    }
    ERR_clear_error();
    bool unpacked = unpack(file.get(), passphrase, material);
    // As Windows writes them still: RC2 and RC4, which OpenSSL 3 keeps in a place of their own.
    if (!unpacked && ERR_GET_REASON(ERR_peek_error()) == ERR_R_UNSUPPORTED) {
        const std::unique_ptr<OSSL_PROVIDER, decltype(&OSSL_PROVIDER_unload)> legacy(
            OSSL_PROVIDER_try_load(nullptr, "legacy", 1), OSSL_PROVIDER_unload);
        unpacked = legacy && unpack(file.get(), passphrase, material);
    }
    if (!unpacked)
        return base::fail(fmt::format("{}: cannot be unpacked ({})", where, openssl_reason()));
    if (!material.key)
        return base::fail(fmt::format("{}: there is no private key in it", where));
    return material;
}

base::Result<KeyMaterial> load_key(const std::string& from, const AskSecret& ask) {
    if (names_token(from))
        return key_in_token(from, ask);
    const std::string text = TRY(read_small_file(from));
    return text.find("-----BEGIN ") != std::string::npos ? key_from_pem(text, from, ask)
                                                         : key_from_pkcs12(text, from, ask);
}

base::Result<std::vector<CertificatePtr>> load_certificates(const std::string& from) {
    if (!names_token(from))
        return certificates_from_pem(TRY(read_small_file(from)), from);
    std::vector<CertificatePtr> found;
    found.push_back(TRY(certificate_in_token(from)));
    return found;
}

} // namespace signing
