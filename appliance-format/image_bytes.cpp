#include "appliance-format/image_bytes.h"

#include "appliance-format/format.h"
#include "appliance-format/tar_layout.h"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

namespace appliance_format {

base::Result<ImageBytes> ImageBytes::open(const std::string& path) {
    base::UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    struct stat info;
    if (!fd.valid() || ::fstat(fd.get(), &info) != 0)
        return base::fail(fmt::format("cannot open {}: {}", path, std::strerror(errno)), kIo);
    if (!S_ISREG(info.st_mode))
        return base::fail(fmt::format("{} is not a file", path), kIo);
    return ImageBytes{std::move(fd), 0, static_cast<uint64_t>(info.st_size)};
}

base::Result<ImageBytes> ImageBytes::part(uint64_t offset, uint64_t size) const {
    if (offset > size_ || size > size_ - offset)
        return base::fail("is cut short", kIo);
    base::UniqueFd fd{::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0)};
    if (!fd.valid())
        return base::fail(std::strerror(errno), kIo);
    return ImageBytes{std::move(fd), offset_ + offset, size};
}

base::Result<> ImageBytes::read(uint64_t at, std::span<uint8_t> out) const {
    if (at > size_ || out.size() > size_ - at)
        return base::fail("is cut short", kIo);
    return read_exactly(fd_.get(), offset_ + at, out.data(), out.size());
}

std::string ImageBytes::read(uint64_t at, size_t length) const {
    if (at > size_ || length > size_ - at)
        return {};
    std::string bytes(length, '\0');
    if (!read(at, {reinterpret_cast<uint8_t*>(bytes.data()), length}))
        return {};
    return bytes;
}

} // namespace appliance_format
