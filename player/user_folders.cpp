#include "player/user_folders.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <sstream>
#include <sys/stat.h>

namespace player {
namespace {

constexpr const char* kAdministrators = "/etc/xdg";

base::Result<std::string> folder(const char* variable, const char* below_home) {
    if (const char* xdg = std::getenv(variable); xdg != nullptr && xdg[0] == '/')
        return std::string(xdg) + "/encore";
    if (const char* home = std::getenv("HOME"); home != nullptr && home[0] == '/')
        return fmt::format("{}/{}/encore", home, below_home);
    return base::fail(fmt::format("no folder for settings and state: set {} or HOME", variable));
}

} // namespace

base::Result<std::string> data_folder() { return folder("XDG_DATA_HOME", ".local/share"); }
base::Result<std::string> config_folder() { return folder("XDG_CONFIG_HOME", ".config"); }
base::Result<std::string> state_folder() { return folder("XDG_STATE_HOME", ".local/state"); }

std::vector<std::string> system_config_folders() {
    std::vector<std::string> folders{std::string(kAdministrators) + "/encore"};
    const char* variable = std::getenv("XDG_CONFIG_DIRS");
    std::istringstream list(variable != nullptr ? variable : "");
    for (std::string entry; std::getline(list, entry, ':');) {
        while (entry.size() > 1 && entry.back() == '/')
            entry.pop_back();
        entry += "/encore";
        if (entry[0] == '/' && std::ranges::find(folders, entry) == folders.end())
            folders.push_back(std::move(entry));
    }
    return folders;
}

base::Result<void> make_private_folder(const std::string& folder) {
    namespace fs = std::filesystem;
    std::error_code failed;
    fs::create_directories(fs::path(folder).parent_path(), failed);
    if (!failed && ::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
        failed = std::error_code(errno, std::generic_category());
    if (failed)
        return base::fail(fmt::format("cannot make {}: {}", folder, failed.message()));
    return {};
}

} // namespace player
