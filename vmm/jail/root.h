// The root folder of a process with a mount namespace of its own: read-only, and next to nothing in it.
// Nothing here allocates, so that it can be called between clone and exec.
#pragma once

namespace jail {

// Nothing.
[[nodiscard]] bool make_empty_root();
// The system's libraries, until they are taken away; for a program that has still to be loaded.
[[nodiscard]] bool make_root_of_libraries();
[[nodiscard]] bool take_libraries_away();

} // namespace jail
