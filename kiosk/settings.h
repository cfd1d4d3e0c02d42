// How this kiosk is set up: the command line over [kiosk] of the operator's files.
#pragma once
#include "kiosk/theme.h"
#include "vmm/base/result.h"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace kiosk {

struct Settings {
    std::vector<std::string> folders;
    bool removable_media = true;
    std::string encore;   // the player's executable
    std::string language; // "de"; empty: the system's
    Theme theme = Theme::Automatic;
    std::string headline;
    std::chrono::seconds attract{90}; // 0: never
    std::chrono::seconds warning{30}; // before a session ends
    std::chrono::minutes extension{15};
    std::optional<std::pair<int, int>> window; // a window of this size for trying it out, nothing locked
    std::string present;                       // the presenter's bundle; empty: a kiosk
};

} // namespace kiosk
