// Publisher keys: making a key pair with its self-signed certificate, and keeping it on disk.
#pragma once
#include "vmm/base/result.h"

#include <string>

namespace signing {

enum class KeyKind { EcdsaP256, Rsa3072 };

struct KeyRequest {
    std::string name;         // common name, 1..64 characters (RFC 5280 ub-common-name)
    std::string organisation; // optional
    KeyKind kind = KeyKind::EcdsaP256;
    int valid_days = 3650;
    std::string passphrase{}; // of the key; empty: none
    int starts_in_days = 0;   // negative: valid since then. Lets tests make expired certificates.
};

struct KeyPair {
    std::string key_pem;         // PKCS #8
    std::string certificate_pem; // X.509 v3, self-signed
};

base::Result<KeyPair> generate_key_pair(const KeyRequest& request);

// Writes PREFIX.key (mode 0600) and PREFIX.crt; refuses to overwrite either.
base::Result<> write_key_pair(const KeyPair& pair, const std::string& prefix);

// The first line of a file, or of a pipe by its /dev/fd/N. Errors: it is empty, or too long for one.
base::Result<std::string> read_passphrase(const std::string& path);

} // namespace signing
