// What `portable` and `pack --with-player` have in common.
#pragma once
#include "player/portable_folder.h"

namespace player {

// Makes the folder and says what is in it.
base::Result<> make_portable(const std::string& folder, const std::vector<PortableBundle>& bundles);

} // namespace player
