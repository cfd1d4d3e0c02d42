// Words for advice that is to be pasted into a shell, and for scripts.
#pragma once
#include <string>
#include <string_view>

namespace base {

// `text` as one word of sh (POSIX.1-2017, Shell Command Language, 2.2.2): quoted where it has to be.
[[nodiscard]] std::string shell_word(std::string_view text);

} // namespace base
