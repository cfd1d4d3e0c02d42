// The answers a signature check can give, kept apart so that a person is told exactly one of them.
// They travel in base::Error::code; the player turns each into its own exit status.
#pragma once

namespace signing {

enum Outcome : int {
    kFailed = 1,    // the check could not be carried out (file missing, bad key...)
    kMissing = 2,   // something has to be named besides what was
    kUnsigned = 3,  // no signature at all
    kTampered = 4,  // the signature does not fit the content
    kUntrusted = 5, // a good signature by somebody this computer does not trust
    kExpired = 6,   // a trusted publisher's certificate outside its period of validity
};

} // namespace signing
