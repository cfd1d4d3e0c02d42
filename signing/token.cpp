// Keys in tokens and HSMs, through PKCS #11. Debian 12's OpenSSL reaches those by libp11's engine
// (libengine-pkcs11-openssl); there is no provider for them in it. The engine finds tokens through p11-kit,
// or in the module that PKCS11_MODULE_PATH names.
#define OPENSSL_SUPPRESS_DEPRECATED // engines are, in favour of what Debian 12 lacks
#include "signing/key_material.h"

#include <fmt/format.h>
#include <openssl/engine.h>
#include <openssl/ui.h>

namespace signing {

namespace {

using UiMethodPtr = OpensslPtr<UI_METHOD, UI_destroy_method>;

// Kept to the process's end: keys that came from it are its.
ENGINE* token_engine() {
    static ENGINE* const engine = [] {
        ENGINE_load_builtin_engines();
        ENGINE* found = ENGINE_by_id("pkcs11");
        if (found)
            ENGINE_ctrl_cmd_string(found, "QUIET", nullptr, 1); // what it would print, we say
        return found && ENGINE_init(found) == 1 ? found : nullptr;
    }();
    return engine;
}

// A certificate has its key's name, but for what it is (RFC 7512 2.3).
std::string without_type(std::string uri) {
    constexpr std::string_view kType = "type=private";
    if (const size_t at = uri.find(kType); at != std::string::npos) {
        const bool more = at + kType.size() < uri.size() && uri[at + kType.size()] == ';';
        uri.erase(at, kType.size() + (more ? 1 : 0));
    }
    return uri;
}

base::Error no_engine() {
    return {1, fmt::format("OpenSSL has no way to tokens here ({}); install the package "
                           "libengine-pkcs11-openssl",
                           openssl_reason())};
}

} // namespace

base::Result<KeyMaterial> key_in_token(const std::string& uri, const AskSecret& ask) {
    ENGINE* engine = token_engine();
    if (!engine)
        return tl::make_unexpected(no_engine());
    // Lasts as long as the engine, which asks through it for every signature where the token wants that.
    static const UiMethodPtr method{UI_UTIL_wrap_read_pem_callback(give_secret, 0)};
    KeyMaterial material;
    material.secret = std::make_unique<Secret>(Secret{ask, fmt::format("PIN of {}", shown(uri))});
    material.key.reset(ENGINE_load_private_key(engine, uri.c_str(), method.get(), material.secret.get()));
    if (material.key) {
        if (auto certificate = certificate_in_token(without_type(uri)))
            material.certificates.push_back(std::move(*certificate));
        return material;
    }
    const std::string reason = openssl_reason();
    if (material.secret->refused)
        return tl::make_unexpected(*material.secret->refused);
    return base::fail(fmt::format("{}: no key to sign with ({})", shown(uri), reason));
}

base::Result<CertificatePtr> certificate_in_token(const std::string& uri) {
    ENGINE* engine = token_engine();
    if (!engine)
        return tl::make_unexpected(no_engine());
    struct {
        const char* uri;
        X509* certificate;
    } wanted{uri.c_str(), nullptr};
    if (ENGINE_ctrl_cmd(engine, "LOAD_CERT_CTRL", 0, &wanted, nullptr, 0) != 1 || !wanted.certificate)
        return base::fail(fmt::format("{}: no certificate there ({})", shown(uri), openssl_reason()));
    return CertificatePtr{wanted.certificate};
}

} // namespace signing
