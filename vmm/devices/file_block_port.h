// A raw disk, CD or floppy image in a host file, read-only or read-write.
#pragma once
#include "vmm/base/unique_fd.h"
#include "vmm/bus/ports.h"

#include <string>

namespace vmm {

enum class FileAccess : uint8_t { ReadOnly, ReadWrite };

class FileBlockPort final : public BlockPort {
  public:
    // Opens `path`: a regular file or a block device. Read-write takes an exclusive advisory lock, so that
    // two machines cannot write one image.
    static base::Result<std::shared_ptr<FileBlockPort>> open(const std::string& path, FileAccess access);
    // The same of an open file; `path` is for messages.
    static base::Result<std::shared_ptr<FileBlockPort>> adopt(base::UniqueFd fd, const std::string& path,
                                                              FileAccess access);

    [[nodiscard]] uint64_t size_bytes() const override { return size_; }
    [[nodiscard]] bool read_only() const override { return access_ == FileAccess::ReadOnly; }
    base::Result<void> read(uint64_t offset, std::span<uint8_t> to) override;
    base::Result<void> write(uint64_t offset, std::span<const uint8_t> from) override;
    base::Result<void> flush() override;

  private:
    FileBlockPort(base::UniqueFd fd, std::string path, uint64_t size, FileAccess access)
        : fd_(std::move(fd)), path_(std::move(path)), size_(size), access_(access) {}
    [[nodiscard]] base::Result<void> check_range(uint64_t offset, size_t length) const;

    base::UniqueFd fd_;
    std::string path_;
    uint64_t size_;
    FileAccess access_;
};

} // namespace vmm
