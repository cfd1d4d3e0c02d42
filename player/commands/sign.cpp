// encore sign: a publisher's name on content that is there already, be it unsigned, signed by another trusted
// publisher, or under a certificate that has run out.
#include "appliance-format/bundle_writer.h"
#include "player/commands/command.h"
#include "player/commands/progress.h"

#include <fmt/format.h>
#include <memory>

namespace player {

namespace format = appliance_format;

namespace {

struct Options {
    std::string bundle, output, key, certificate;
};

base::Result<> sign(const Options& options) {
    const auto signer = TRY(signing::Signer::load(options.key, options.certificate));
    auto bundle = TRY(format::Bundle::open(options.bundle));
    const auto before = TRY(bundle->accept_for_signing(signing::TrustStore::standard()));
    const std::string& output = options.output.empty() ? options.bundle : options.output;
    Progress progress;
    // Who signs vouches for every byte, so every byte is looked at first.
    TRY(bundle->verify_content(
        [&](uint64_t done, uint64_t total) { return progress.update("checking", done, total); }));
    format::WriterOptions writer;
    writer.progress = [&](format::WriterOptions::Phase, uint64_t done, uint64_t total) {
        return progress.update("writing", done, total);
    };
    TRY(format::BundleWriter::sign_again(*bundle, output, signer, std::move(writer)));
    const auto publisher = TRY(TRY(format::Bundle::open(output))->signer());
    progress.clear();
    fmt::print("{}: signed by {}, {}\n", output, signing::describe(publisher),
               before ? fmt::format("until now by {}", signing::describe(*before)) : "until now by nobody");
    return {};
}

} // namespace

Command sign_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand(
        "sign",
        "Sign a bundle that is there already, after checking every byte of it: one packed with --unsigned, "
        "or one that a publisher trusted here has signed. Its content stays as it is");
    app->add_option("bundle", options->bundle, "The bundle; replaced at the very end")
        ->required()
        ->type_name("X.encore");
    app->add_option("--key", options->key, "Publisher's private key (PEM)")->required()->type_name("FILE");
    app->add_option("--cert", options->certificate, "Publisher's certificate (PEM)")
        ->required()
        ->type_name("FILE");
    app->add_option("-o,--output", options->output, "Write the signed bundle here instead")
        ->type_name("Y.encore");
    return {app, [options] { return sign(*options); }};
}

} // namespace player
