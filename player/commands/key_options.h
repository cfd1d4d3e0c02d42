// The publisher's key and certificate on the command line, of every verb that signs.
#pragma once
#include "player/cli/app.h"
#include "signing/sign.h"

namespace player {

inline constexpr const char* kKeyOrUnsigned = "a bundle is signed with --key and --cert, or made with "
                                              "--unsigned; to make yourself a key: encore keygen "
                                              "--name NAME --out PREFIX";

struct KeyOptions {
    std::string key, certificate, passphrase_file;

    // What was declared: the key's option.
    cli::Option* declare_keys(cli::App& app);
    [[nodiscard]] bool given() const { return !key.empty(); }
    // As they are now; errors: as Signer::load.
    [[nodiscard]] base::Result<signing::Signer> load_signer() const;
};

} // namespace player
