// The publisher's key and certificate on the command line, of every verb that signs.
#pragma once
#include "player/cli/app.h"
#include "signing/sign.h"

namespace player {

struct KeyOptions {
    std::string key, certificate, passphrase_file;

    struct Declared {
        cli::Option* key;
        cli::Option* certificate;
    };
    Declared declare_keys(cli::App& app);
    // As they are now; errors: as Signer::load.
    [[nodiscard]] base::Result<signing::Signer> load_signer() const;
};

} // namespace player
