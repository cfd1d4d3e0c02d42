// The options by which a person says beforehand what to do at the guest's screen: --expect..., --type,
// --keys, repeated and in order. Shared by the verbs that run a machine.
#pragma once
#include "player/cli/app.h"
#include "player/run_script.h"

namespace player {

struct ScriptOptions {
    std::vector<std::string> expect, expect_screen, expect_picture, type, keys;
    double timeout = 0, type_after = 0;
    std::string keyboard_layout; // empty: the bundle's

    [[nodiscard]] bool expecting() const {
        return !expect.empty() || !expect_screen.empty() || !expect_picture.empty();
    }
    void add_to(cli::App& app);
    // The layout of that name; null: the bundle's.
    [[nodiscard]] base::Result<std::shared_ptr<const KeyboardLayout>> layout() const;
    // After parsing: the steps in the order they were given on the command line.
    [[nodiscard]] base::Result<std::vector<ScriptStep>> steps(const cli::App& app) const;
};

} // namespace player
