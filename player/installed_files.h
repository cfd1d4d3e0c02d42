// Where the other parts of Encore are. Wherever it runs there is one folder, the prefix, with the programs
// below it and data in its share/: /usr for the packages, a portable folder's player/, the build folder. The
// first two have them in bin/ (/usr: in lib/encore/ those that only programs start), the build folder in ones
// named like their sources'.
#pragma once
#include <array>
#include <string>
#include <string_view>

namespace player {

// The folder of the running program, and the one above it.
[[nodiscard]] std::string program_folder();
[[nodiscard]] std::string prefix_folder();

// Where a program in a portable folder looks for libraries first. All our programs hold these bytes, and
// program_image.h lets their copies use them.
extern "C" const std::array<char, 15> encore_portable_run_path;

// Whether the running program is a portable folder's copy: it is told by its own image, not by files around
// it.
[[nodiscard]] bool is_portable_copy();

// The path of one of Encore's programs. Empty: it is not installed with this one.
[[nodiscard]] std::string find_program(std::string_view name);

// A data file or folder by its path below share/, such as "seabios/bios-256k.bin": from the prefix, or else
// from the system; where neither has it, the system's place, for messages to name.
[[nodiscard]] std::string find_data(std::string_view path);

} // namespace player
