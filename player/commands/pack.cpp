// encore pack: recipe -> signed bundle.
#include "appliance-format/pack_recipe.h"
#include "player/commands/command.h"
#include "player/commands/portable.h"
#include "player/commands/progress.h"
#include "player/high_water_clock.h"
#include "player/keyboard_layout.h"
#include "player/time_stamp_client.h"

#include <fmt/format.h>
#include <memory>
#include <optional>

namespace player {

namespace format = appliance_format;

namespace {

struct Options {
    std::string recipe, output, key, certificate, time_stamp, with_player;
    bool unsigned_bundle = false;
    int level = 3;
};

// Nothing could be typed in a bundle whose keyboard layout is unknown.
base::Result<> check_keyboard(const format::Recipe& recipe, const std::string& path) {
    if (recipe.machine.keyboard.empty())
        return {};
    if (const auto layout = KeyboardLayout::by_name(recipe.machine.keyboard); !layout)
        return base::fail(fmt::format("{}:{}: {}", path, recipe.keyboard_line, layout.error().message),
                          layout.error().code == kExitUsage ? format::kBadRecipe : kExitFailed);
    return {};
}

base::Result<> pack(const Options& options) {
    if (options.unsigned_bundle != (options.key.empty() && options.certificate.empty()) ||
        options.key.empty() != options.certificate.empty())
        return base::fail(
            "pack needs --key and --cert together (make them with: encore keygen), or --unsigned",
            kExitUsage);
    std::optional<signing::Signer> signer;
    if (!options.unsigned_bundle)
        signer = TRY(signing::Signer::load(options.key, options.certificate, trusted_now()));
    if (!options.time_stamp.empty() && !is_web_address(options.time_stamp))
        return base::fail(
            "pack asks an authority at a web address for the time stamp; for one that comes as a file, "
            "pack without and go on with: encore sign --timestamp-query",
            kExitUsage);
    if (!options.time_stamp.empty())
        signer->stamp_by(TRY(time_stamp_client(options.time_stamp)));
    auto recipe = TRY(format::load_recipe(options.recipe));
    TRY(check_keyboard(recipe, options.recipe));
    Progress progress;
    format::WriterOptions writer;
    writer.level = options.level;
    writer.progress = [&](format::WriterOptions::Phase phase, uint64_t done, uint64_t total) {
        bool packing = phase == format::WriterOptions::Phase::Packing;
        return progress.update(packing ? "packing" : "writing", done, total);
    };
    TRY(format::pack_recipe(recipe, options.recipe, options.output, signer ? &*signer : nullptr,
                            std::move(writer)));
    progress.clear();
    fmt::print("{}: {}\n", options.output, signer ? "packed and signed" : "packed, not signed");
    if (options.with_player.empty())
        return {};
    const signing::Publisher& publisher = signer->publisher();
    return make_portable(options.with_player,
                         {{options.output, publisher.certificate_pem, publisher.fingerprint}});
}

} // namespace

Command pack_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand("pack", "Make a bundle from a recipe");
    app->add_option("recipe", options->recipe, "The recipe (TOML)")->required()->type_name("RECIPE.toml");
    app->add_option("-o,--output", options->output,
                    "The bundle to write; an old one is replaced at the very end")
        ->required()
        ->type_name("X.encore");
    app->add_option("--key", options->key, "Publisher's private key (PEM)")->type_name("FILE");
    app->add_option("--cert", options->certificate, "Publisher's certificate (PEM)")->type_name("FILE");
    auto* unsigned_bundle = app->add_flag("--unsigned", options->unsigned_bundle,
                                          "Leave it unsigned; nobody can open it until it is signed");
    app->add_option(
           "--timestamp", options->time_stamp,
           "Have this authority (RFC 3161) say when it was signed: it stays good when the certificate "
           "has expired")
        ->type_name("URL")
        ->excludes(unsigned_bundle);
    app->add_option("--with-player", options->with_player,
                    "Also make this folder, which plays the bundle on any desktop without being installed "
                    "(encore portable)")
        ->type_name("FOLDER")
        ->excludes(unsigned_bundle);
    app->add_option("--level", options->level, "Compression, 1 (fast) to 19 (small)")
        ->check(cli::range(1, 19))
        ->capture_default_str();
    return {app, [options] { return pack(*options); }};
}

} // namespace player
