#include "appliance-format/blob_source.h"

#include "appliance-format/format.h"
#include "appliance-format/tar_layout.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

namespace appliance_format {

base::Result<std::unique_ptr<FileSource>> FileSource::open(const std::string& path) {
    base::UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    struct stat info;
    if (!fd.valid() || ::fstat(fd.get(), &info) != 0)
        return base::fail(fmt::format("cannot open {}: {}", path, std::strerror(errno)), kIo);
    if (!S_ISREG(info.st_mode))
        return base::fail(fmt::format("{} is not a file", path), kIo);
    auto size = static_cast<uint64_t>(info.st_size);
    return std::unique_ptr<FileSource>(new FileSource(std::move(fd), size, path));
}

base::Result<> FileSource::read(uint64_t offset, std::span<uint8_t> out) {
    if (auto read = read_exactly(fd_.get(), offset, out.data(), out.size()); !read)
        return base::fail(
            fmt::format("{} cannot be read or changed meanwhile: {}", path_, read.error().message), kIo);
    return {};
}

uint64_t FileSource::next_data(uint64_t offset) {
    if (offset >= data_from_ && offset < data_until_)
        return offset;
    if (offset >= hole_from_ && offset < data_from_)
        return data_from_;
    off_t data = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 && errno != ENXIO)
        return offset; // holes are not supported here
    hole_from_ = offset;
    if (data < 0) { // ENXIO: only a hole follows
        data_from_ = data_until_ = size_;
        return size_;
    }
    off_t hole = ::lseek(fd_.get(), data, SEEK_HOLE);
    data_from_ = static_cast<uint64_t>(data);
    data_until_ = hole < 0 ? size_ : static_cast<uint64_t>(hole);
    return data_from_;
}

base::Result<> MemorySource::read(uint64_t offset, std::span<uint8_t> out) {
    std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(offset), out.size(), out.begin());
    return {};
}

} // namespace appliance_format
