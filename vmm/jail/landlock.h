// Landlock: names of files stop leading anywhere. Needs no_new_privs, is for good, and allocates nothing, so
// that it can be called between fork and exec. False: the kernel has none.
#pragma once

namespace jail {

// From now on this thread reads what lies in the system's folders of libraries, runs the program of this
// descriptor (-1: none), and touches no other name.
[[nodiscard]] bool read_only_libraries(int program);

// From now on no name leads anywhere. `connects`: TCP connections are still made.
[[nodiscard]] bool no_names(bool connects);

} // namespace jail
