// Leveled log lines on stderr. Quiet by default; ENCORE_LOG=debug|info|warn chooses the level.
#pragma once
#include <fmt/format.h>
#include <string_view>

namespace base {

enum class LogLevel { Debug, Info, Warn };

[[nodiscard]] bool log_enabled(LogLevel level);
void log_line(LogLevel level, std::string_view text);

template <class... Args> void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
    if (log_enabled(level))
        log_line(level, fmt::format(format, std::forward<Args>(args)...));
}

} // namespace base
