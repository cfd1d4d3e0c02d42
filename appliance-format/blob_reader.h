// Random access to one blob; every byte handed out has been checked against the signed root. Thread-safe;
// cheap to copy; keeps the open bundle alive.
#pragma once
#include "appliance-format/chunk_store.h"
#include "appliance-format/manifest.h"

#include <functional>
#include <memory>
#include <string>

namespace appliance_format {

class BlobReader {
  public:
    // `where` (the bundle's path) begins error messages.
    BlobReader(std::shared_ptr<const ChunkStore> store, BlobInfo blob, std::string where);

    [[nodiscard]] uint64_t size() const { return blob_.size; }
    [[nodiscard]] uint32_t chunk_size() const { return blob_.chunk; }
    [[nodiscard]] const std::string& name() const { return blob_.name; }
    // What it was made of, for a reader of the same elsewhere.
    [[nodiscard]] const BlobInfo& info() const { return blob_; }
    [[nodiscard]] const ChunkStore& store() const { return *store_; }
    [[nodiscard]] const std::string& where() const { return where_; }

    // Bytes [offset, offset + out.size()), which must lie within the blob. On error (kDamaged, kIo) nothing
    // unverified is left in `out`. Whole chunks are unpacked straight into `out` and are not cached.
    base::Result<> read(uint64_t offset, std::span<uint8_t> out) const;

    // One chunk, and how it is stored if it is compressed; for carrying it to another bundle as it is.
    base::Result<> read_chunk(uint64_t index, std::span<uint8_t> out, std::vector<uint8_t>& compressed) const;

    // The whole of a small blob (kernel, picture, device state).
    base::Result<std::vector<uint8_t>> read_all(uint64_t limit) const;

    // The signed reference (content hash) of a chunk, found through verified tree nodes; zero for a zero
    // chunk.
    base::Result<ObjectRef> chunk_ref(uint64_t index) const;

    // Whether the range is known to be zero without reading chunks (stored chunks count as not zero).
    base::Result<bool> is_zero(uint64_t offset, uint64_t length) const;

    // Visits all objects that are not zero, parents first, leaves only announced, not loaded. Returning false
    // from `enter` skips the subtree below a node.
    struct Visit {
        ObjectRef ref;
        unsigned level;
        uint64_t index;
        size_t size;
    };
    base::Result<> walk(const std::function<base::Result<bool>(const Visit&)>& enter) const;

    // "chunk 7 of disk0", "index node 1.3 of disk0".
    [[nodiscard]] std::string describe(unsigned level, uint64_t index) const;

  private:
    base::Result<> walk_from(const ObjectRef& ref, unsigned level, uint64_t index,
                             const std::function<base::Result<bool>(const Visit&)>& enter) const;
    base::Error located(base::Error error) const;

    std::shared_ptr<const ChunkStore> store_;
    BlobInfo blob_;
    TreeShape shape_;
    std::string where_;
};

} // namespace appliance_format
