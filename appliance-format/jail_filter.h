// The two layers of a jail that a process puts on itself, for good: Landlock and a seccomp filter. Both need
// no_new_privs and allocate nothing, so that they can be called between fork and exec.
#pragma once

namespace appliance_format {

// From now on this process reads what lies in the system's folders of libraries, runs the program of this
// descriptor (-1: none), and touches no other name. False: the kernel has no Landlock.
[[nodiscard]] bool read_only_libraries(int program);

// From now on no sockets are made or connected, no files written, moved or marked, no processes made, looked
// into or signalled; threads are. What may be read, and run in this process' place, is Landlock's affair.
[[nodiscard]] bool filter_calls();

} // namespace appliance_format
