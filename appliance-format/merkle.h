// The hash tree over a blob's chunks. Nodes are themselves objects in the chunk store, fetched and verified
// one by one on the way to a chunk, so opening costs nothing and equal subtrees of several scenes are stored
// once.
//
// A reference (48 bytes, little endian): SHA-256 of the content, u64 place (pack << 48 | offset), u32 stored
// length, u32 CRC-32C of the stored bytes. All zero bytes: the subtree is all zero and nothing is stored.
// A node of level n >= 1 is the array of references of its children (level n-1; level 0 are chunks), at most
// kFanout, exactly as many as the blob's size needs. Its hash is SHA-256(u8 level, node bytes); a chunk's is
// SHA-256.
#pragma once
#include "signing/sha256.h"

#include <cstdint>
#include <span>

namespace appliance_format {

inline constexpr uint32_t kFanout = 64;
inline constexpr size_t kRefBytes = 48;

struct ObjectRef {
    signing::Hash hash{};
    uint16_t pack = 0;
    uint64_t offset = 0; // within the pack, < 2^48
    uint32_t stored = 0; // bytes in the pack; equal to the content's length when not compressed
    uint32_t crc = 0;

    [[nodiscard]] bool is_zero() const { return *this == ObjectRef{}; }
    [[nodiscard]] uint64_t place() const { return uint64_t{pack} << 48 | offset; }
    bool operator==(const ObjectRef&) const = default;
};

void encode_ref(const ObjectRef& ref, std::span<uint8_t, kRefBytes> out);
[[nodiscard]] ObjectRef decode_ref(std::span<const uint8_t, kRefBytes> bytes);

// Hash of an object: level 0 is a chunk.
[[nodiscard]] signing::Hash object_hash(unsigned level, std::span<const uint8_t> content);

// The shape of the tree of a blob of `size` bytes in chunks of `chunk` bytes.
class TreeShape {
  public:
    TreeShape(uint64_t size, uint32_t chunk);
    [[nodiscard]] uint64_t chunks() const { return chunks_; }
    // Level of the root: 0 when there is at most one chunk.
    [[nodiscard]] unsigned height() const { return height_; }
    // How many objects level `level` has.
    [[nodiscard]] uint64_t count(unsigned level) const;
    // Length in bytes of object `index` of `level`: a node, or (level 0) a chunk, the last of which may be
    // short.
    [[nodiscard]] uint64_t object_size(unsigned level, uint64_t index) const;

  private:
    uint64_t size_;
    uint32_t chunk_;
    uint64_t chunks_;
    unsigned height_ = 0;
};

} // namespace appliance_format
