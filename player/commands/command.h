// A verb of the command line: its options, declared on a subcommand, and what it does.
#pragma once
#include "player/cli/app.h"
#include "vmm/base/result.h"

#include <functional>

namespace player {

// Exit statuses of every verb. base::Error::code of signing and appliance-format uses the same numbers.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr const char* kExitStatusHelp =
    "Exit status: 0 done; 1 failed; 2 wrong usage; 3 not signed; 4 changed or damaged; 5 publisher not "
    "trusted;\n"
    "6 certificate expired; 7 needs a newer Encore; 8 not a bundle; 9 error in a recipe or operator file;\n"
    "10 this computer lacks something; 11 not allowed by the policy; 124 timed out; 130 stopped by the user.";

struct Command {
    cli::App* app; // the subcommand; parsed() tells whether it was given
    std::function<base::Result<>()> run;
};

// One a file under commands/, listed in main.cpp. Options live in a structure the returned function shares.
Command doctor_command(cli::App& root);
Command export_command(cli::App& root);
Command import_command(cli::App& root);
Command inspect_command(cli::App& root);
Command keygen_command(cli::App& root);
Command kiosk_command(cli::App& root);
Command pack_command(cli::App& root);
Command pin_command(cli::App& root);
Command policy_command(cli::App& root);
Command portable_command(cli::App& root);
Command present_command(cli::App& root);
Command run_command(cli::App& root);
Command scene_command(cli::App& root);
Command session_command(cli::App& root);
Command sign_command(cli::App& root);
Command trust_command(cli::App& root);
Command verify_command(cli::App& root);

} // namespace player
