#include "appliance-format/read_exactly.h"

#include "appliance-format/format.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>

namespace appliance_format {

base::Result<> read_exactly(int fd, uint64_t offset, uint8_t* to, size_t size) {
    while (size > 0) {
        ssize_t n = ::pread(fd, to, size, static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return base::fail(fmt::format("cannot be read: {}", std::strerror(errno)), kIo);
        if (n == 0)
            return base::fail(fmt::format("the file is cut short at byte {}", offset), kDamaged);
        to += n;
        offset += static_cast<uint64_t>(n);
        size -= static_cast<size_t>(n);
    }
    return {};
}

} // namespace appliance_format
