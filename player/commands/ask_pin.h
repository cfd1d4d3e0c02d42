// Reads a PIN from the terminal without echo, or from standard input.
#pragma once
#include "vmm/base/result.h"

#include <string>

namespace player {

base::Result<std::string> ask_pin(const char* prompt);
// A new one, which a person types twice.
base::Result<std::string> ask_new_pin();

} // namespace player
