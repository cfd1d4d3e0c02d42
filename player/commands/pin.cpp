// encore pin: the PIN by which staff leave a kiosk.
#include "player/commands/ask_pin.h"
#include "player/commands/command.h"
#include "player/staff_pin.h"

#include <fmt/format.h>

namespace player {
namespace {

base::Result<> set() {
    StaffPin staff = TRY(StaffPin::standard());
    TRY(staff.set(TRY(ask_new_pin())));
    fmt::print("the staff PIN is set, in {}\n", staff.places().own);
    return {};
}

base::Result<> remove() {
    StaffPin staff = TRY(StaffPin::standard());
    TRY(staff.remove());
    fmt::print("the staff PIN is removed{}\n",
               staff.is_set() ? fmt::format("; the one in {} holds now", staff.places().system) : "");
    return {};
}

base::Result<> check() {
    StaffPin staff = TRY(StaffPin::standard());
    if (!staff.is_set())
        return base::fail("no staff PIN is set; set one with: encore pin set");
    const StaffPin::Answer answer = TRY(staff.check(TRY(ask_pin("Staff PIN: "))));
    switch (answer.verdict) {
    case StaffPin::Verdict::Right:
        fmt::print("that is the staff PIN\n");
        return {};
    case StaffPin::Verdict::Wait:
        return base::fail(fmt::format("too many wrong tries: wait {} s", answer.wait.count()));
    case StaffPin::Verdict::Wrong:
    case StaffPin::Verdict::NotSet:
        break;
    }
    return base::fail(
        answer.wait.count() != 0
            ? fmt::format("that is not the staff PIN; the next try counts in {} s", answer.wait.count())
            : "that is not the staff PIN");
}

} // namespace

Command pin_command(cli::App& root) {
    cli::App* app = root.add_subcommand(
        "pin",
        "The PIN by which staff leave a kiosk. Forgotten: set a new one from a terminal of the account "
        "that runs the kiosk; there is no other way in");
    app->require_subcommand(1);
    app->add_subcommand("set", "Set it: asked on the terminal, unseen, or read from standard input");
    cli::App* remove_app = app->add_subcommand("remove", "Remove it; then nobody can leave a kiosk by a PIN");
    cli::App* check_app = app->add_subcommand("check", "Try it; wrong tries count as they do at the kiosk");
    return {app, [=] { return remove_app->parsed() ? remove() : check_app->parsed() ? check() : set(); }};
}

} // namespace player
