// encore present: a bundle on the projector, its scenes and notes in front of the presenter.
#include "player/commands/command.h"
#include "player/commands/shell_program.h"

#include <memory>

namespace player {
namespace {

struct Options {
    std::string bundle, theme, language;
};

} // namespace

Command present_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand(
        "present", "Present a bundle: the guest on the other display, scenes, notes and a clock on this one. "
                   "N next scene, P back, B black screen, R start over, 1 to 9 a scene; with Ctrl+Alt in the "
                   "guest's window");
    app->add_option("bundle", options->bundle, "The bundle")->required()->type_name("X.encore");
    app->add_option("--theme", options->theme, "light or dark instead of the desktop's")
        ->check(cli::one_of({"light", "dark"}));
    app->add_option("--language", options->language, "en, de or ar instead of the system's")
        ->type_name("CODE");
    return {app, [options]() -> base::Result<> {
                std::vector<std::string> arguments = {"--present", options->bundle};
                if (!options->theme.empty())
                    arguments.insert(arguments.end(), {"--theme", options->theme});
                if (!options->language.empty())
                    arguments.insert(arguments.end(), {"--language", options->language});
                return become_shell(arguments);
            }};
}

} // namespace player
