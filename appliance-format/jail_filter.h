// The two layers of a jail that a process puts on itself, for good: Landlock and a seccomp filter. Both need
// no_new_privs and allocate nothing, so that they can be called between fork and exec.
#pragma once

namespace appliance_format {

// From now on this process reads and runs what lies in the system's folders of libraries, and touches no
// other name. False: the kernel has no Landlock.
[[nodiscard]] bool read_only_libraries();

// From now on no sockets are made or connected, no processes looked into, no file systems changed.
[[nodiscard]] bool filter_calls();

} // namespace appliance_format
