// encore-machine: the process in which a guest runs. Only the player starts it, and talks to it on descriptor
// 3.
#include "player/machine/host.h"
#include "player/machine/walls.h"
#include "signing/sha256.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <sys/prctl.h>

namespace {

constexpr int kSocket = 3, kErrors = 4;

// What libraries read of the system when they are first used.
void wake_libraries() {
    ::tzset();
    (void)signing::sha256({});
}

} // namespace

int main(int argc, char** argv) {
    if (argc > 2 || ::fcntl(kSocket, F_GETFD) < 0 || ::dup2(kErrors, STDERR_FILENO) < 0) {
        std::fputs("encore-machine is started by encore run\n", stderr);
        return 2;
    }
    if (argc == 2)
        ::setenv("ENCORE_LOG", argv[1], 1);
    ::prctl(PR_SET_NAME, "encore-machine", 0, 0, 0); // the kernel names it by the descriptor it was run by
    ::signal(SIGXFSZ, SIG_IGN); // a file at its limit is an error code, as a full disk is
    wake_libraries();
    const auto walls = machine::wall_in(1);
    if (!walls) {
        std::fprintf(stderr, "%s\n", walls.error().message.c_str());
        return 1;
    }
    machine::Host host{base::UniqueFd(kSocket), *walls, machine::close_walls};
    const auto done = host.serve();
    if (!done)
        std::fprintf(stderr, "%s\n", done.error().message.c_str());
    // At once: what the guest wrote is of no further use, and a write that waits for room need not be waited
    // for.
    ::_exit(done ? 0 : 1);
}
