// The walls around the machine's process, and closer ones around each of its threads.
#pragma once
#include "player/machine/messages.h"
#include "vmm/jail/walls.h"

namespace machine {

// By main, before anything of a guest's is looked at; descriptor 3 is the player's socket, and it is one of
// `descriptors` from 3 on that stay open. From now on each thread that begins_work (vmm/base/thread_work.h)
// keeps what that work takes; whoever cannot be given its wall ends the process.
base::Result<jail::Walls> wall_in(int descriptors);

// By the thread that reads the socket, when the machine is put together: what only that took is given up.
// `largest`: the largest file that is written from now on; `memory`: the guest's.
void close_walls(uint64_t largest, uint64_t memory);

} // namespace machine
