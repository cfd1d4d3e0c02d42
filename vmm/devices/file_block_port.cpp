#include "vmm/devices/file_block_port.h"

#include "vmm/base/file_io.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

namespace vmm {

base::Result<std::shared_ptr<FileBlockPort>> FileBlockPort::open(const std::string& path, FileAccess access) {
    const bool writable = access == FileAccess::ReadWrite;
    base::UniqueFd fd(::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK));
    if (!fd.valid())
        return base::fail(fmt::format("cannot open disk image '{}': {}", path, std::strerror(errno)));
    return adopt(std::move(fd), path, access);
}

base::Result<std::shared_ptr<FileBlockPort>> FileBlockPort::adopt(base::UniqueFd fd, const std::string& path,
                                                                  FileAccess access) {
    const bool writable = access == FileAccess::ReadWrite;
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0)
        return base::fail(fmt::format("cannot examine disk image '{}': {}", path, std::strerror(errno)));
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return base::fail(fmt::format("'{}' is not a disk image: give a file or a block device", path));
    const off_t size = ::lseek(fd.get(), 0, SEEK_END);
    if (size < 0)
        return base::fail(fmt::format("cannot size disk image '{}': {}", path, std::strerror(errno)));
    if (writable && ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
        return base::fail(
            fmt::format("disk image '{}' is in use by another machine; close that machine first", path));
    return std::shared_ptr<FileBlockPort>(
        new FileBlockPort(std::move(fd), path, static_cast<uint64_t>(size), access));
}

base::Result<void> FileBlockPort::check_range(uint64_t offset, size_t length) const {
    if (offset > size_ || length > size_ - offset)
        return base::fail(fmt::format("access beyond the end of disk image '{}'", path_));
    return {};
}

base::Result<void> FileBlockPort::read(uint64_t offset, std::span<uint8_t> to) {
    TRY(check_range(offset, to.size()));
    const ssize_t got = base::read_at(fd_.get(), to, offset);
    if (got < 0)
        return base::fail(fmt::format("cannot read disk image '{}': {}", path_, std::strerror(errno)));
    if (static_cast<size_t>(got) != to.size())
        return base::fail(fmt::format("disk image '{}' has become shorter while in use", path_));
    return {};
}

base::Result<void> FileBlockPort::write(uint64_t offset, std::span<const uint8_t> from) {
    if (read_only())
        return base::fail(fmt::format("disk image '{}' is read-only", path_));
    TRY(check_range(offset, from.size()));
    if (!base::write_at(fd_.get(), from, offset))
        return base::fail(fmt::format("cannot write disk image '{}': {}", path_, std::strerror(errno)));
    return {};
}

base::Result<void> FileBlockPort::flush() {
    if (!read_only() && ::fdatasync(fd_.get()) != 0)
        return base::fail(fmt::format("cannot flush disk image '{}': {}", path_, std::strerror(errno)));
    return {};
}

} // namespace vmm
