// encore sign: a publisher's name on content that is there already, be it unsigned, signed by another trusted
// publisher, or under a certificate that has run out; and an authority's time stamp on a signature.
#include "appliance-format/bundle_writer.h"
#include "appliance-format/output_file.h"
#include "player/commands/command.h"
#include "player/commands/key_options.h"
#include "player/commands/progress.h"
#include "player/high_water_clock.h"
#include "player/time_stamp_client.h"
#include "signing/small_file.h"
#include "signing/time_stamp.h"
#include "vmm/base/shell_word.h"

#include <fmt/format.h>
#include <memory>

namespace player {

namespace format = appliance_format;

namespace {

struct Options : KeyOptions {
    std::string bundle, output, time_stamp, query;
};

base::Result<> write_file(const std::string& path, std::span<const uint8_t> bytes) {
    auto file = TRY(format::OutputFile::create(path));
    TRY(format::write_all(file.fd(), bytes, path));
    return file.commit();
}

// The signature that is there, with a time stamp from an authority or from its answer in a file.
base::Result<std::vector<uint8_t>> stamped(const format::Bundle& bundle, const std::string& from) {
    const signing::Der value = TRY(bundle.signature()).value;
    signing::Der answer;
    if (is_web_address(from)) {
        answer = TRY(TRY(time_stamp_client(from))(TRY(signing::time_stamp_query(value))));
    } else {
        const std::string text = TRY(signing::read_small_file(from));
        answer.assign(text.begin(), text.end());
    }
    auto token = signing::time_stamp_token(answer, value);
    if (!token)
        return base::fail(fmt::format("{}: {}", from, token.error().message));
    return signing::with_time_stamp(bundle.signature_bytes(), *token);
}

base::Result<std::string> put_signature(const Options& options, const std::string& output,
                                        Progress& progress) {
    auto bundle = TRY(format::Bundle::open(options.bundle));
    format::WriterOptions writer;
    writer.progress = [&](format::WriterOptions::Phase, uint64_t done, uint64_t total) {
        return progress.update("writing", done, total);
    };
    if (!options.given()) {
        const auto owner = TRY(bundle->signature()).publisher;
        const auto cms = TRY(stamped(*bundle, options.time_stamp));
        TRY(format::BundleWriter::replace_signature(*bundle, output, cms, std::move(writer)));
        return fmt::format("time-stamped, signed by {}", signing::describe(owner));
    }
    auto signer = TRY(options.load_signer());
    if (!options.time_stamp.empty())
        signer.stamp_by(TRY(time_stamp_client(options.time_stamp)));
    const auto before = TRY(bundle->accept_for_signing(trust_store()));
    // Who signs vouches for every byte, so every byte is looked at first.
    TRY(bundle->verify_content(
        [&](uint64_t done, uint64_t total) { return progress.update("checking", done, total); }));
    TRY(format::BundleWriter::sign_again(*bundle, output, signer, std::move(writer)));
    return fmt::format("signed by {}, {}", signing::describe(signer.publisher()),
                       before ? fmt::format("until now by {}", signing::describe(*before))
                              : "until now by nobody");
}

base::Result<> sign(const Options& options) {
    if (!options.given() && options.time_stamp.empty() && options.query.empty())
        return base::fail("sign needs --key, or what to do about a time stamp", kExitUsage);
    if (options.given() && !options.time_stamp.empty() && !is_web_address(options.time_stamp))
        return base::fail(fmt::format("{} is about a signature that is there already, so sign first, with "
                                      "--timestamp-query, and put it in then",
                                      options.time_stamp),
                          kExitUsage);
    const bool writes = options.given() || !options.time_stamp.empty();
    const std::string& output = options.output.empty() || !writes ? options.bundle : options.output;
    Progress progress;
    if (writes) {
        const std::string said = TRY(put_signature(options, output, progress));
        progress.clear();
        fmt::print("{}: {}\n", output, said);
    }
    if (options.query.empty())
        return {};
    const auto bundle = TRY(format::Bundle::open(output));
    TRY(write_file(options.query, TRY(signing::time_stamp_query(TRY(bundle->signature()).value))));
    fmt::print("{}: send it to a time-stamp authority and put the answer in with: encore sign {} --timestamp "
               "ANSWER.tsr\n",
               options.query, base::shell_word(output));
    return {};
}

} // namespace

Command sign_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand(
        "sign",
        "Sign a bundle that is there already, after checking every byte of it: one packed with --unsigned, "
        "or one that a publisher trusted here has signed. Its content stays as it is. Without a key, the "
        "signature that is there gets a time stamp");
    app->add_option("bundle", options->bundle, "The bundle; replaced at the very end")
        ->required()
        ->type_name("X.encore");
    options->declare_keys(*app);
    app->add_option(
           "--timestamp", options->time_stamp,
           "Have an authority (RFC 3161) say when it was signed: it stays good when the certificate has "
           "expired. Its address, or, without --key, its answer to --timestamp-query")
        ->type_name("URL|ANSWER.tsr");
    app->add_option("--timestamp-query", options->query,
                    "Write the question about the signature, for an authority that is asked by other means")
        ->type_name("FILE.tsq");
    app->add_option("-o,--output", options->output, "Write the signed bundle here instead")
        ->type_name("Y.encore");
    return {app, [options] { return sign(*options); }};
}

} // namespace player
