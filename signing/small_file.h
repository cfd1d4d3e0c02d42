// Reads a small text file (keys, certificates) with a bound on its size.
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <string>

namespace signing {

inline base::Result<std::string> read_small_file(const std::string& path, size_t limit = 1 << 20) {
    base::UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (!fd.valid())
        return base::fail(fmt::format("cannot open {}: {}", path, std::strerror(errno)));
    std::string text;
    char buffer[8192];
    for (;;) {
        ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return base::fail(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
        if (n == 0)
            return text;
        text.append(buffer, static_cast<size_t>(n));
        if (text.size() > limit)
            return base::fail(fmt::format("{} is too large to be a key, certificate or text file", path));
    }
}

} // namespace signing
