// The lock in $XDG_RUNTIME_DIR that makes a kiosk the only one of its user.
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

#include <string>

namespace kiosk {

// $XDG_RUNTIME_DIR, or where there is none the folder for temporary files.
[[nodiscard]] std::string runtime_place();

// One kiosk a user: a second one would fight for the keyboard. Held as long as the descriptor is open.
base::Result<base::UniqueFd> take_seat(const std::string& place);

} // namespace kiosk
