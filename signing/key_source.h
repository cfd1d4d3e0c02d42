// Where a publisher's key and certificates come from, and who is asked for what opens them.
//
// A key is named by a file, PEM or PKCS #12, or by a URI of RFC 7512, "pkcs11:token=acme;object=signing", for
// a key in a token or HSM, which never leaves it. Certificates: PEM, several of them where there are issuers
// between the publisher and a root, or such a URI.
#pragma once
#include "vmm/base/result.h"

#include <functional>
#include <string>

namespace signing {

// Called once for a key, and only if something is needed: a passphrase, a token's PIN. `what` says which:
// "passphrase of acme.key".
using AskSecret = std::function<base::Result<std::string>(const std::string& what)>;

// On this process's terminal, unseen. Errors: there is none, or nobody answers.
base::Result<std::string> ask_on_terminal(const std::string& what);

} // namespace signing
