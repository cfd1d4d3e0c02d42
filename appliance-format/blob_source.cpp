#include "appliance-format/blob_source.h"

#include "appliance-format/format.h"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>

namespace appliance_format {

base::Result<std::unique_ptr<FileSource>> FileSource::open(const std::string& path) {
    return std::make_unique<FileSource>(std::make_shared<ImageBytes>(TRY(ImageBytes::open(path))), path);
}

base::Result<> FileSource::read(uint64_t offset, std::span<uint8_t> out) {
    if (auto read = bytes_->read(offset, out); !read)
        return base::fail(
            fmt::format("{} cannot be read or changed meanwhile: {}", path_, read.error().message), kIo);
    return {};
}

uint64_t FileSource::next_data(uint64_t offset) {
    if (offset >= data_from_ && offset < data_until_)
        return offset;
    if (offset >= hole_from_ && offset < data_from_)
        return data_from_;
    const auto start = static_cast<off_t>(bytes_->offset());
    off_t data = ::lseek(bytes_->fd(), start + static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 && errno != ENXIO)
        return offset; // holes are not supported here
    hole_from_ = offset;
    if (data < 0 || static_cast<uint64_t>(data - start) >= size_) { // ENXIO: only a hole follows
        data_from_ = data_until_ = size_;
        return size_;
    }
    off_t hole = ::lseek(bytes_->fd(), data, SEEK_HOLE);
    data_from_ = static_cast<uint64_t>(data - start);
    data_until_ = hole < 0 ? size_ : std::min(size_, static_cast<uint64_t>(hole - start));
    return data_from_;
}

base::Result<> MemorySource::read(uint64_t offset, std::span<uint8_t> out) {
    std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(offset), out.size(), out.begin());
    return {};
}

} // namespace appliance_format
