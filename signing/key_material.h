// A publisher's key and certificates as they were read. Private to this folder.
#pragma once
#include "signing/key_source.h"
#include "signing/openssl_ptr.h"

#include <memory>
#include <optional>
#include <string_view>

namespace signing {

// What OpenSSL asks for, from whoever is to be asked; remembered, because a token may want it for every
// signature.
struct Secret {
    AskSecret ask;
    std::string what;
    std::optional<std::string> given{};
    std::optional<base::Error> refused{};
};
// A pem_password_cb (PEM_read_bio_PrivateKey(3)) whose data is a Secret.
int give_secret(char* to, int room, int for_writing, void* secret);

struct KeyMaterial {
    std::unique_ptr<Secret> secret; // tokens ask it for as long as there is the key
    KeyPtr key;
    std::vector<CertificatePtr> certificates; // beside the key; the one that belongs to it is the first
};

// By name. Errors begin with it.
base::Result<KeyMaterial> load_key(const std::string& from, const AskSecret& ask);
base::Result<std::vector<CertificatePtr>> load_certificates(const std::string& from);

// All of a text; there may be none beside a key. `where` names it in errors and questions.
base::Result<KeyMaterial> key_from_pem(std::string_view pem, const std::string& where, const AskSecret& ask);
base::Result<std::vector<CertificatePtr>> certificates_from_pem(std::string_view pem,
                                                                const std::string& where);
base::Result<KeyMaterial> key_from_pkcs12(std::string_view der, const std::string& where,
                                          const AskSecret& ask);

// In a token or HSM, by URI.
[[nodiscard]] bool names_token(const std::string& from);
base::Result<KeyMaterial> key_in_token(const std::string& uri, const AskSecret& ask);
base::Result<CertificatePtr> certificate_in_token(const std::string& uri);

// A key's name for people: of a URI, not the part that may hold a PIN.
[[nodiscard]] std::string shown(const std::string& from);

} // namespace signing
