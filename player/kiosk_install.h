// What makes a computer a kiosk besides the kiosk itself: a session script for a bare X server, a unit for
// systemd's user manager, and, for a whole computer, a choice at the log-in screen and the X server's own
// locks. A client of an X server cannot keep every key to itself; a session with nothing else in it can.
#pragma once
#include "vmm/base/result.h"

#include <string>
#include <vector>

namespace player {

struct KioskPlan {
    bool system = false;   // for the computer (root) instead of this user
    bool packaged = false; // what a package brings, below `root`: a choice at the log-in screen
    std::string root{};    // put before every path: packagers' staging folder, tests
    std::string program{}; // absolute path of encore-kiosk
    std::vector<std::string> arguments{}; // handed to it
    std::string account{};                // of a computer: that is nothing but a kiosk
    bool has_pin = false;                 // nothing is to be said of that
};

struct KioskFile {
    std::string path, text;
    bool executable = false;
};

// The files of a plan, in the order they are written; not those that a package has put in the same place
// already, which lead to the same script. Errors: no HOME.
base::Result<std::vector<KioskFile>> kiosk_files(const KioskPlan& plan);
// What to do next, for the person who installed it: a few lines.
[[nodiscard]] std::string kiosk_next_steps(const KioskPlan& plan, const std::vector<KioskFile>& files);

// Writes all files or says which one could not be. A file that is there and was not written by us is left
// alone and an error, unless `force`.
base::Result<void> install_kiosk(const std::vector<KioskFile>& files, bool force);
// Removes those that were written by us; answers their paths.
base::Result<std::vector<std::string>> remove_kiosk(const std::vector<KioskFile>& files);

} // namespace player
