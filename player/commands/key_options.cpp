#include "player/commands/key_options.h"

#include "player/high_water_clock.h"
#include "signing/keys.h"

namespace player {

KeyOptions::Declared KeyOptions::declare_keys(cli::App& app) {
    cli::Option* key_option =
        app.add_option("--key", key, "Publisher's private key (PEM)")->type_name("FILE");
    cli::Option* certificate_option =
        app.add_option("--cert", certificate, "Publisher's certificate (PEM)")->type_name("FILE");
    app.add_option("--passphrase-file", passphrase_file,
                   "The key's passphrase is this file's first line (/dev/fd/N: of an open file); not given: "
                   "it is asked for "
                   "on the terminal")
        ->type_name("FILE")
        ->needs(key_option);
    return {key_option, certificate_option};
}

base::Result<signing::Signer> KeyOptions::load_signer() const {
    std::optional<std::string> passphrase;
    if (!passphrase_file.empty())
        passphrase = TRY(signing::read_passphrase(passphrase_file));
    return signing::Signer::load(key, certificate, trusted_now(), passphrase);
}

} // namespace player
