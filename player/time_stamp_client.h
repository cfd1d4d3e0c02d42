// Asking a time-stamp authority over HTTP (RFC 3161 section 3.4), through libcurl, which is loaded when
// somebody asks.
#pragma once
#include "signing/sign.h"

#include <string>

namespace player {

// "http://..." or "https://..."; anything else is a file's name.
[[nodiscard]] bool is_web_address(const std::string& text);

// For Signer::stamp_by. Errors: libcurl is not installed, the authority does not answer as one does.
base::Result<signing::Signer::AskAuthority> time_stamp_client(const std::string& address);

} // namespace player
