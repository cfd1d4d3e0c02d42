// Where this user's settings and state live (XDG Base Directory Specification 0.8: relative paths in its
// variables are ignored). None of the folders has to exist yet.
#pragma once
#include "vmm/base/result.h"

#include <string>
#include <vector>

namespace player {

// $XDG_DATA_HOME/encore, $XDG_CONFIG_HOME/encore, $XDG_STATE_HOME/encore. Errors: no HOME.
base::Result<std::string> data_folder();
base::Result<std::string> config_folder();
base::Result<std::string> state_folder();

// /etc/xdg/encore, always, and the other folders of $XDG_CONFIG_DIRS: whoever starts a session may add
// folders but not take the administrator's away.
[[nodiscard]] std::vector<std::string> system_config_folders();

// Makes the folder, for its owner only, with what is missing above it.
base::Result<void> make_private_folder(const std::string& folder);

} // namespace player
