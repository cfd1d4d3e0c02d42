#include "vmm/base/file_io.h"

#include <cerrno>
#include <unistd.h>

namespace base {

ssize_t read_at(int fd, std::span<uint8_t> to, uint64_t offset) {
    size_t done = 0;
    while (done < to.size()) {
        const ssize_t got =
            ::pread(fd, to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += static_cast<size_t>(got);
    }
    return static_cast<ssize_t>(done);
}

bool write_at(int fd, std::span<const uint8_t> from, uint64_t offset) {
    while (!from.empty()) {
        const ssize_t put = ::pwrite(fd, from.data(), from.size(), static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            errno = put == 0 ? ENOSPC : errno;
            return false;
        }
        from = from.subspan(static_cast<size_t>(put));
        offset += static_cast<uint64_t>(put);
    }
    return true;
}

} // namespace base
