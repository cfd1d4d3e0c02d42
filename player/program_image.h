// Programs and libraries as files: what they need, and where a copy of a program is to look for it.
#pragma once
#include "vmm/base/result.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace player {

// What a program prints, run with these arguments and nothing in its environment but `variable`
// ("NAME=value"); none: in the environment of this one. Errors: it cannot be run, or fails.
base::Result<std::string> output_of(const char* program, const std::vector<std::string>& arguments,
                                    const std::optional<std::string>& variable = "LC_ALL=C");

// Every library that a program or library needs, by soname, with the file that the dynamic linker of this
// system takes for it. Errors: the linker does not know one.
base::Result<std::map<std::string, std::string>> needed_libraries(const std::string& file);

// Makes a program of ours, in memory, look for libraries at encore_portable_run_path before it looks anywhere
// else; so do the libraries that it loads. Errors: not a program of ours.
base::Result<void> set_run_path(std::string& image);

} // namespace player
