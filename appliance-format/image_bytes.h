// Bytes of a disk image as they lie in a file, for looking at and for serving: a whole file, or a stretch of
// one (a member of an archive).
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace appliance_format {

class ImageBytes {
  public:
    // The whole file. Errors (kIo) name it.
    static base::Result<ImageBytes> open(const std::string& path);
    // A stretch of an open file.
    ImageBytes(base::UniqueFd fd, uint64_t offset, uint64_t size)
        : fd_(std::move(fd)), offset_(offset), size_(size) {}

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] uint64_t offset() const { return offset_; }
    [[nodiscard]] uint64_t size() const { return size_; }
    // The stretch of this one; it must lie within.
    [[nodiscard]] base::Result<ImageBytes> part(uint64_t offset, uint64_t size) const;

    [[nodiscard]] base::Result<> read(uint64_t at, std::span<uint8_t> out) const;
    // Empty when there are fewer.
    [[nodiscard]] std::string read(uint64_t at, size_t length) const;
    [[nodiscard]] bool holds(uint64_t at, std::string_view magic) const {
        return read(at, magic.size()) == magic;
    }
    // 0 where there are fewer bytes.
    template <class T> [[nodiscard]] T little(uint64_t at) const {
        T value = 0;
        if (const std::string bytes = read(at, sizeof value); !bytes.empty())
            std::memcpy(&value, bytes.data(), sizeof value);
        return value;
    }
    [[nodiscard]] uint64_t big64(uint64_t at) const { return __builtin_bswap64(little<uint64_t>(at)); }
    [[nodiscard]] uint32_t big32(uint64_t at) const { return __builtin_bswap32(little<uint32_t>(at)); }

  private:
    base::UniqueFd fd_;
    uint64_t offset_ = 0, size_ = 0;
};

} // namespace appliance_format
