// Where the writer takes a blob's content from: a file, memory, later disk importers and a running machine.
#pragma once
#include "appliance-format/image_bytes.h"
#include "appliance-format/merkle.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace appliance_format {

class BlobSource {
  public:
    virtual ~BlobSource() = default;
    [[nodiscard]] virtual uint64_t size() const = 0;
    // Exactly out.size() bytes; the range lies within size().
    virtual base::Result<> read(uint64_t offset, std::span<uint8_t> out) = 0;
    // The same for one whole chunk of a source whose chunks are compressed already: `compressed` gets that
    // form.
    virtual base::Result<> read_chunk(uint64_t offset, std::span<uint8_t> out,
                                      std::vector<uint8_t>& /*compressed*/) {
        return read(offset, out);
    }
    // The first offset >= `offset` that may not be zero; size() when only zeros follow.
    virtual uint64_t next_data(uint64_t offset) { return offset; }
    // Where the bundle that the writer extends stores this chunk already, if it is known to: then it is
    // neither read nor hashed. Zero chunks have a zero reference.
    virtual base::Result<std::optional<ObjectRef>> stored(uint64_t /*offset*/, size_t /*length*/) {
        return std::nullopt;
    }
};

class FileSource final : public BlobSource {
  public:
    static base::Result<std::unique_ptr<FileSource>> open(const std::string& path);
    // Bytes of an open file; `name` is what errors call it.
    FileSource(std::shared_ptr<const ImageBytes> bytes, std::string name)
        : bytes_(std::move(bytes)), size_(bytes_->size()), path_(std::move(name)) {}
    [[nodiscard]] uint64_t size() const override { return size_; }
    base::Result<> read(uint64_t offset, std::span<uint8_t> out) override;
    uint64_t next_data(uint64_t offset) override;

  private:
    std::shared_ptr<const ImageBytes> bytes_;
    uint64_t size_;
    std::string path_;
    // What the last look at the file's map said; asking for every chunk would walk long holes again and
    // again.
    uint64_t hole_from_ = 0, data_from_ = 0, data_until_ = 0;
};

// Memory owned by the caller.
class MemorySource final : public BlobSource {
  public:
    explicit MemorySource(std::span<const uint8_t> bytes) : bytes_(bytes) {}
    [[nodiscard]] uint64_t size() const override { return bytes_.size(); }
    base::Result<> read(uint64_t offset, std::span<uint8_t> out) override;

  private:
    std::span<const uint8_t> bytes_;
};

} // namespace appliance_format
