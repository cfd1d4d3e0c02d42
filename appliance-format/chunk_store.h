// Fetches stored objects (chunks and tree nodes) from a bundle's packs: read, check, decompress, check again.
// Keeps a bounded cache of verified content. Thread-safe.
#pragma once
#include "appliance-format/merkle.h"
#include "vmm/base/result.h"

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace appliance_format {

class ChunkStore {
  public:
    // Where a pack lies, in which file.
    struct Pack {
        std::string member;
        uint64_t base = 0;
        uint64_t size = 0;
        int fd = -1; // outlives the store
    };
    using Content = std::shared_ptr<const std::vector<uint8_t>>;

    // `cache_bytes` bounds the content kept.
    ChunkStore(std::vector<Pack> packs, size_t cache_bytes);
    [[nodiscard]] const std::vector<Pack>& packs() const { return packs_; }

    // Fills `out`, whose size is the object's length, with the content of `ref`; not cached.
    // `what` ("chunk 7 of disk0") goes into the error, which also names the member. Errors: kDamaged, kIo.
    // `compressed` (if given) gets the object as it is stored; nothing when it is stored as it is.
    base::Result<> load(const ObjectRef& ref, unsigned level, std::span<uint8_t> out, const std::string& what,
                        std::vector<uint8_t>* compressed = nullptr) const;

    // The same through the cache.
    base::Result<Content> fetch(const ObjectRef& ref, unsigned level, size_t size,
                                const std::string& what) const;

  private:
    // Content is only shared between references that agree in everything that is checked.
    struct Key {
        ObjectRef ref;
        unsigned level;
        size_t size;
        bool operator==(const Key&) const = default;
    };
    struct KeyHash {
        size_t operator()(const Key& key) const { return key.ref.place() * 0x9E3779B97F4A7C15u + key.size; }
    };
    struct Entry {
        Key key;
        Content content;
    };

    std::vector<Pack> packs_;
    size_t cache_bytes_;
    mutable std::mutex mutex_;        // guards what follows
    mutable std::list<Entry> recent_; // front: most recently used
    mutable std::unordered_map<Key, std::list<Entry>::iterator, KeyHash> found_;
    mutable size_t cached_ = 0;
};

} // namespace appliance_format
