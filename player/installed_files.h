// Where the other parts of Encore are: beside the running program where it is installed, in the folders
// around it where it is built.
#pragma once
#include <filesystem>
#include <initializer_list>
#include <string>

namespace player {

// The first of these that exists; relative ones begin at the folder of the running program. Empty: none does.
[[nodiscard]] std::string find_installed(std::initializer_list<std::filesystem::path> places);

} // namespace player
