// encore keygen: a publisher's key and self-signed certificate.
#include "player/commands/command.h"
#include "signing/certificate.h"
#include "signing/fingerprint_words.h"
#include "signing/keys.h"

#include <fmt/format.h>
#include <memory>

namespace player {

Command keygen_command(cli::App& root) {
    struct Options {
        signing::KeyRequest request;
        std::string prefix, passphrase_file;
        bool rsa = false;
    };
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand("keygen", "Make a publisher's key and certificate");
    app->add_option("--name", options->request.name,
                    "Publisher's name, shown to everybody who opens a bundle")
        ->required();
    app->add_option("--organisation", options->request.organisation,
                    "Organisation, if it differs from the name");
    app->add_option("--out", options->prefix,
                    "Writes PREFIX.key (keep it secret) and PREFIX.crt (hand it out)")
        ->required()
        ->type_name("PREFIX");
    app->add_option("--days", options->request.valid_days, "Days the certificate is valid")
        ->capture_default_str();
    app->add_option("--passphrase-file", options->passphrase_file,
                    "Encrypt the key with a passphrase: this file's first line (/dev/fd/N: of an open file)")
        ->type_name("FILE");
    app->add_flag("--rsa", options->rsa, "RSA-3072 instead of ECDSA P-256");
    return {
        app, [options]() -> base::Result<> {
            options->request.kind = options->rsa ? signing::KeyKind::Rsa3072 : signing::KeyKind::EcdsaP256;
            if (!options->passphrase_file.empty())
                options->request.passphrase = TRY(signing::read_passphrase(options->passphrase_file));
            auto pair = TRY(signing::generate_key_pair(options->request));
            TRY(signing::write_key_pair(pair, options->prefix));
            auto publisher = TRY(signing::parse_certificate(pair.certificate_pem, options->prefix + ".crt"));
            fmt::print("{0}.key: private key, keep it secret\n{0}.crt: certificate of {1}\nfingerprint {2}\n"
                       "in words     {3}\n",
                       options->prefix, publisher.common_name, publisher.fingerprint,
                       signing::fingerprint_words(publisher.fingerprint));
            return {};
        }};
}

} // namespace player
