// encore-network: started by a session with a network, never by hand. A program of its own rather than a verb
// of encore: what is not in it (keys, certificates, archives, a window) nobody can turn against its user.
#include "player/network_process.h"

#include <unistd.h>

int main() { ::_exit(player::run_network_process()); }
