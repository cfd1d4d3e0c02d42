// encore kiosk: makes this user's session, or this computer, a kiosk, and takes that back.
#include "player/commands/ask_pin.h"
#include "player/commands/command.h"
#include "player/commands/shell_program.h"
#include "player/kiosk_install.h"
#include "player/operator_settings.h"
#include "player/staff_pin.h"
#include "player/user_folders.h"
#include "vmm/base/shell_word.h"

#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <pwd.h>
#include <unistd.h>

namespace player {
namespace {

struct Options {
    KioskPlan plan;
    std::string catalog;
    bool dry_run = false, force = false;
};

base::Result<> check_catalog(const Options& options) {
    std::string folder = options.catalog;
    if (folder.empty())
        for (const auto& file : TRY(load_operator_files()))
            if (const auto said = file.kiosk_texts.find("catalog"); said != file.kiosk_texts.end())
                folder = said->second;
    if (folder.empty() && options.plan.system)
        return base::fail("--system needs --catalog FOLDER, or a catalog under [kiosk] in "
                          "/etc/xdg/encore/operator.toml",
                          kExitUsage);
    if (folder.empty())
        folder = TRY(data_folder()) + "/catalog";
    std::error_code error;
    if (std::filesystem::is_directory(folder, error))
        return {};
    return base::fail(
        fmt::format("there is no folder {}, whose bundles the kiosk is to show; name another with "
                    "--catalog, or make it: mkdir -p {}",
                    folder, base::shell_word(folder)));
}

// Who reads the PIN of a computer's kiosk.
base::Result<gid_t> group_of(const std::string& account) {
    if (const passwd* user = ::getpwnam(account.c_str()); user != nullptr)
        return user->pw_gid;
    return base::fail(
        fmt::format("there is no account {0}; make it: sudo useradd --create-home --shell /bin/sh {0}",
                    base::shell_word(account)));
}

// Asks for a PIN where none is set and somebody is there to ask.
base::Result<> see_to_pin(KioskPlan& plan) {
    const bool for_account = plan.system && !plan.account.empty();
    const gid_t readers = for_account ? TRY(group_of(plan.account)) : 0;
    if (plan.system && !for_account)
        return {};
    StaffPin staff = TRY(StaffPin::standard());
    plan.has_pin = for_account ? ::access(staff.places().system.c_str(), F_OK) == 0 : staff.is_set();
    if (plan.has_pin || ::isatty(STDIN_FILENO) == 0)
        return {};
    fmt::print(stderr, "Staff leave the kiosk by a PIN (Ctrl+Alt+Shift+X).\n");
    const std::string pin = TRY(ask_new_pin());
    TRY(for_account ? staff.set_for(pin, readers) : staff.set(pin));
    plan.has_pin = true;
    return {};
}

base::Result<> install(Options& options) {
    if (options.plan.packaged && options.plan.root.empty())
        return base::fail("--packaged is for the folder that a package is made from; name it with --root",
                          kExitUsage);
    if (options.plan.root.empty()) // else it is about another computer's files
        TRY(check_catalog(options));
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
    if (options.plan.root.empty())
        TRY(see_to_pin(options.plan));
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
    cli::Option* system_flag = nullptr;
    for (cli::App* verb : {remove_app, install_app}) {
        system_flag =
            verb->add_flag("--system", options->plan.system,
                           "For this computer (as root): a choice at the log-in screen, console keys off");
        verb->add_option("--root", options->plan.root, "Put this before every path (for packages)")
            ->type_name("FOLDER");
    }
    install_app->add_option("--catalog", options->catalog, "The folder of bundles the kiosk shows")
        ->type_name("FOLDER");
    install_app
        ->add_option(
            "--account", options->plan.account,
            "With --system: an account that is nothing but a kiosk; the PIN that is asked for is its")
        ->type_name("NAME")
        ->needs(system_flag);
    install_app->add_flag(
        "--packaged", options->plan.packaged,
        "Below --root, what the package encore-kiosk has of it: a choice at the log-in screen");
    install_app->add_flag("--dry-run", options->dry_run, "Print the files instead of writing them");
    install_app->add_flag("--force", options->force, "Replace files that were not written by install");
    return {app, [=] { return install_app->parsed() ? install(*options) : remove(*options); }};
}

} // namespace player
