// encore portable: a folder that plays bundles anywhere, for a stick.
#include "player/commands/portable.h"
#include "appliance-format/bundle_reader.h"
#include "player/commands/command.h"
#include "player/commands/progress.h"
#include "player/high_water_clock.h"

#include <fmt/format.h>
#include <memory>

namespace player {
namespace {

struct Options {
    std::string folder;
    std::vector<std::string> bundles;
};

base::Result<> portable(const Options& options) {
    std::vector<PortableBundle> bundles;
    for (const std::string& path : options.bundles) {
        const auto bundle = TRY(appliance_format::Bundle::open(path));
        const auto publisher = TRY(bundle->authenticate(trust_store()));
        bundles.push_back({path, publisher.certificate_pem, publisher.fingerprint});
    }
    return make_portable(options.folder, bundles);
}

} // namespace

base::Result<> make_portable(const std::string& folder, const std::vector<PortableBundle>& bundles) {
    Progress progress;
    const auto made = TRY(write_portable(folder, bundles, [&](uint64_t done, uint64_t total) {
        return progress.update("copying", done, total);
    }));
    progress.clear();
    fmt::print("{}: a player to carry along, with {} libraries, {} MiB in all{}\n", folder, made.libraries,
               made.bytes >> 20,
               made.with_kiosk ? "" : "; without encore-kiosk, which is not installed here");
    if (!made.with_licences)
        fmt::print("The libraries' licences are not in it: this system has no dpkg to find them by. Add them "
                   "before you give "
                   "it away.\n");
    return {};
}

Command portable_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand(
        "portable",
        "Make a folder that plays bundles on any desktop (glibc 2.36 or newer) without being installed: for "
        "a stick. It trusts the publishers of the bundles that are put into it");
    app->add_option("folder", options->folder, "The folder to make, or to bring up to date")
        ->required()
        ->type_name("FOLDER");
    app->add_option("bundles", options->bundles, "Bundles to put into it, of publishers trusted here")
        ->type_name("X.encore");
    return {app, [options] { return portable(*options); }};
}

} // namespace player
