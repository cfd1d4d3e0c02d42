// encore-network: started by a session with a network, never by hand. A program of its own rather than a verb
// of encore: what is not in it (keys, certificates, archives, a window) nobody can turn against its user.
#include "player/network_process.h"

#include <sys/syscall.h>
#include <unistd.h>

int main() {
    // By itself: nothing is left to be done, and what _exit(2) does where sanitizers have a hand in it is not
    // allowed.
    ::syscall(SYS_exit_group, player::run_network_process());
}
