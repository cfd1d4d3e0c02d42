// encore pack: recipe -> signed bundle.
#include "appliance-format/pack_recipe.h"
#include "player/commands/command.h"
#include "player/commands/key_options.h"
#include "player/commands/portable.h"
#include "player/commands/progress.h"
#include "player/high_water_clock.h"
#include "player/keyboard_layout.h"
#include "player/png_reader.h"
#include "player/time_stamp_client.h"
#include "signing/small_file.h"
#include "vmm/base/shell_word.h"

#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <optional>

namespace player {

namespace format = appliance_format;

namespace {

struct Options : KeyOptions {
    std::string recipe, output, time_stamp, with_player;
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

// A kiosk would show an empty tile without a word of explanation.
base::Result<> check_picture(const format::Recipe& recipe, const std::string& path) {
    if (recipe.picture.path.empty())
        return {};
    constexpr size_t kMost = size_t{16} << 20; // as much as the kiosk reads
    const auto bytes = signing::read_small_file(recipe.picture.path, kMost);
    const auto where = [&](const std::string& text) {
        return base::fail(fmt::format("{}:{}: {}", path, recipe.picture.line, text), format::kBadRecipe);
    };
    if (!bytes)
        return where(bytes.error().message);
    if (const auto picture = decode_png({reinterpret_cast<const uint8_t*>(bytes->data()), bytes->size()});
        !picture)
        return where(fmt::format("{}: {}; make a PNG of it", recipe.picture.path, picture.error().message));
    return {};
}

base::Result<> pack(const Options& options) {
    if (options.unsigned_bundle == options.given())
        return base::fail(kKeyOrUnsigned, kExitUsage);
    std::optional<signing::Signer> signer;
    if (options.given())
        signer = TRY(options.load_signer());
    if (!options.time_stamp.empty() && !is_web_address(options.time_stamp))
        return base::fail(
            "pack asks an authority at a web address for the time stamp; for one that comes as a file, "
            "pack without and go on with: encore sign X.encore --timestamp-query FILE.tsq",
            kExitUsage);
    if (!options.time_stamp.empty())
        signer->stamp_by(TRY(time_stamp_client(options.time_stamp)));
    auto recipe = TRY(format::load_recipe(options.recipe));
    TRY(check_keyboard(recipe, options.recipe));
    TRY(check_picture(recipe, options.recipe));
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
    const auto& scenes = recipe.policy.scenes;
    if (!scenes.empty() && std::ranges::find(scenes, format::kPowerOn) == scenes.end())
        fmt::print("Its rules allow sessions only at scenes, which it does not have yet: {}. Add them: "
                   "encore scene add {} --name {} --key {} {}{}{}\n",
                   fmt::join(scenes, ", "), base::shell_word(options.output), scenes.front(),
                   signer ? base::shell_word(options.key) : "KEY",
                   options.certificate.empty() ? "" : "--cert ",
                   options.certificate.empty() ? "" : base::shell_word(options.certificate) + " ",
                   "--after SECONDS");
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
    options->declare_keys(*app);
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
