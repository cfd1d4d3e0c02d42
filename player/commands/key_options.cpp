#include "player/commands/key_options.h"

#include "player/high_water_clock.h"
#include "player/program_image.h"
#include "signing/keys.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>

namespace player {

namespace {

// As ssh(1) asks by SSH_ASKPASS: the program is told what for, and prints the answer.
base::Result<std::string> ask_by_program(const char* program, const std::string& what) {
    std::string answer = TRY(output_of(program, {"The " + what}, std::nullopt));
    answer.resize(std::min(answer.find_first_of("\r\n"), answer.size()));
    if (answer.empty())
        return base::fail(fmt::format("{} (ENCORE_ASKPASS) gave no {}", program, what));
    return answer;
}

} // namespace

cli::Option* KeyOptions::declare_keys(cli::App& app) {
    cli::Option* key_option =
        app.add_option(
               "--key", key,
               "Publisher's private key: PEM or PKCS #12, or the URI (RFC 7512) of one in a token or HSM")
            ->type_name("FILE|pkcs11:...");
    app.add_option(
           "--cert", certificate,
           "Publisher's certificate (PEM), and after it those that lead from it to a root; not given: "
           "it is in the key's file")
        ->type_name("FILE|pkcs11:...")
        ->needs(key_option);
    app.add_option(
           "--passphrase-file", passphrase_file,
           "The key's passphrase, or the token's PIN, is this file's first line (/dev/fd/N: of an open "
           "file); not given: the program that ENCORE_ASKPASS names is asked, or the terminal")
        ->type_name("FILE")
        ->needs(key_option);
    return key_option;
}

base::Result<signing::Signer> KeyOptions::load_signer() const {
    signing::AskSecret ask = signing::ask_on_terminal;
    if (!passphrase_file.empty())
        ask = [path = passphrase_file](const std::string&) { return signing::read_passphrase(path); };
    else if (const char* program = std::getenv("ENCORE_ASKPASS"); program != nullptr && *program != 0)
        ask = [program](const std::string& what) { return ask_by_program(program, what); };
    return signing::Signer::load(key, certificate, trusted_now(), ask);
}

} // namespace player
