// Verbs whose screens are the kiosk's: they hand over to encore-kiosk, so that no toolkit is linked here.
#pragma once
#include "vmm/base/result.h"

#include <string>
#include <vector>

namespace player {

// Becomes encore-kiosk with these arguments. Returns only if that is not possible: it is not installed.
base::Result<> become_shell(const std::vector<std::string>& arguments);

// Its path. Errors: it is not beside this program.
base::Result<std::string> find_shell();

} // namespace player
