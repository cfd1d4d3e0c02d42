// encore: arguments -> command. The only place the process ends.
#include "player/commands/command.h"

#include <csignal>
#include <cstdio>
#include <fmt/format.h>

namespace {

constexpr player::Command (*kCommands[])(cli::App&) = {
    player::doctor_command, player::export_command,   player::import_command,  player::inspect_command,
    player::keygen_command, player::kiosk_command,    player::pack_command,    player::pin_command,
    player::policy_command, player::portable_command, player::present_command, player::run_command,
    player::scene_command,  player::session_command,  player::sign_command,    player::trust_command,
    player::verify_command,
};

int run(int argc, char** argv) {
    cli::App app("encore", "Plays software demos: signed bundles that hold a whole prepared computer.");
    app.footer(player::kExitStatusHelp);
    app.version("encore " ENCORE_VERSION);
    app.require_subcommand(1);
    std::vector<player::Command> commands;
    for (auto* make : kCommands) {
        commands.push_back(make(app));
        commands.back().app->footer(player::kExitStatusHelp);
    }
    const cli::Parsed parsed = app.parse(argc, argv);
    if (parsed.what == cli::Parsed::What::HelpShown)
        return player::kExitOk;
    if (parsed.what == cli::Parsed::What::WrongUsage) {
        const std::string verb = app.verb().empty() ? std::string() : fmt::format(" {}", app.verb());
        fmt::print(stderr, "encore{}: {}; see: encore{} --help\n", verb, parsed.message, verb);
        return player::kExitUsage;
    }
    for (const player::Command& command : commands) {
        if (!command.app->parsed())
            continue;
        auto done = command.run();
        bool flushed = std::fflush(stdout) == 0 && !std::ferror(stdout);
        if (!done) {
            if (!done.error().message.empty())
                fmt::print(stderr, "encore: {}\n", done.error().message);
            return done.error().code ? done.error().code : player::kExitFailed;
        }
        if (!flushed) {
            fmt::print(stderr, "encore: the output could not be written\n");
            return player::kExitFailed;
        }
    }
    return player::kExitOk;
}

} // namespace

int main(int argc, char** argv) {
    std::signal(SIGXFSZ, SIG_IGN); // a file at its `ulimit -f` is an error code, as a full disk is
    return run(argc, argv);
}
