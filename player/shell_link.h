// The connection over which the shell around a session (encore-kiosk) asks, which is also what gives it a say
// over the session's limits of time: it keeps them itself, and lets staff extend them. That say is inherited:
// a socket that the shell made before it started this process. One that anybody can open by its name, such as
// the control socket, does not have it, and neither has another parent.
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace player {

struct ShellLink {
    base::UniqueFd socket; // not valid: there is no shell
    bool is_shell = false; // the other end is encore-kiosk, which started this process
};

// `fd`: what the command line names; -1: nothing. Errors: it is no socket.
base::Result<ShellLink> adopt_shell(int fd);

} // namespace player
