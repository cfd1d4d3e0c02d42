// encore kiosk: makes this user's session, or this computer, a kiosk, and takes that back.
#include "player/commands/command.h"
#include "player/commands/shell_program.h"
#include "player/kiosk_install.h"

#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <unistd.h>

namespace player {
namespace {

struct Options {
    KioskPlan plan;
    std::string catalog;
    bool dry_run = false, force = false;
};

base::Result<> install(Options& options) {
    if (options.plan.packaged && options.plan.root.empty())
        return base::fail("--packaged is for the folder that a package is made from; name it with --root",
                          kExitUsage);
    options.plan.program = options.plan.packaged ? "/usr/bin/encore-kiosk" : TRY(find_shell());
    if (!options.catalog.empty()) {
        options.plan.arguments.emplace_back("--catalog");
        options.plan.arguments.push_back(std::filesystem::absolute(options.catalog));
    }
    const auto files = TRY(kiosk_files(options.plan));
    if (options.dry_run) {
        for (const KioskFile& file : files)
            fmt::print("== {}{}\n{}\n", file.path, file.executable ? " (executable)" : "", file.text);
        return {};
    }
    TRY(install_kiosk(files, options.force));
    for (const KioskFile& file : files)
        fmt::print("written: {}\n", file.path);
    if (!options.plan.packaged)
        fmt::print("{}To take it back: encore kiosk remove{}\n", kiosk_next_steps(options.plan, files),
                   options.plan.system ? " --system" : "");
    return {};
}

base::Result<> remove(const Options& options) {
    const auto removed = TRY(remove_kiosk(TRY(kiosk_files(options.plan))));
    for (const std::string& path : removed)
        fmt::print("removed: {}\n", path);
    if (removed.empty())
        fmt::print("nothing of a kiosk was installed{}\n",
                   options.plan.system ? ""
                                       : " for this user; for the computer: encore kiosk remove --system");
    return {};
}

} // namespace

Command kiosk_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand("kiosk", "Set up the kiosk (encore-kiosk) as a session of its own");
    app->require_subcommand(1);
    cli::App* install_app = app->add_subcommand(
        "install", "Write a session script and a unit that start the kiosk and start it again if it dies");
    cli::App* remove_app = app->add_subcommand("remove", "Remove what install wrote");
    for (cli::App* verb : {install_app, remove_app}) {
        verb->add_flag("--system", options->plan.system,
                       "For this computer (as root): a choice at the log-in screen, console keys off");
        verb->add_option("--root", options->plan.root, "Put this before every path (for packages)")
            ->type_name("FOLDER");
    }
    install_app->add_option("--catalog", options->catalog, "The folder of bundles the kiosk shows")
        ->type_name("FOLDER");
    install_app->add_flag(
        "--packaged", options->plan.packaged,
        "Below --root, what the package encore-kiosk has of it: a choice at the log-in screen");
    install_app->add_flag("--dry-run", options->dry_run, "Print the files instead of writing them");
    install_app->add_flag("--force", options->force, "Replace files that were not written by install");
    return {app, [=] { return install_app->parsed() ? install(*options) : remove(*options); }};
}

} // namespace player
