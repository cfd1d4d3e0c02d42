#include "vmm/base/log.h"

#include <cstdio>
#include <cstdlib>

namespace base {

static LogLevel threshold() {
    const char* text = std::getenv("ENCORE_LOG");
    const std::string_view value = text != nullptr ? text : "warn";
    if (value == "debug")
        return LogLevel::Debug;
    return value == "info" ? LogLevel::Info : LogLevel::Warn;
}

bool log_enabled(LogLevel level) {
    static const LogLevel minimum = threshold();
    return level >= minimum;
}

void log_line(LogLevel level, std::string_view text) {
    static constexpr const char* kNames[] = {"debug", "info", "warning"};
    std::fprintf(stderr, "encore: %s: %.*s\n", kNames[static_cast<int>(level)], static_cast<int>(text.size()),
                 text.data());
}

} // namespace base
