#include "appliance-format/blob_reader.h"

#include "appliance-format/format.h"

#include <algorithm>
#include <fmt/format.h>

namespace appliance_format {

BlobReader::BlobReader(std::shared_ptr<const ChunkStore> store, BlobInfo blob, std::string where)
    : store_(std::move(store)), blob_(std::move(blob)), shape_(blob_.size, blob_.chunk),
      where_(std::move(where)) {}

std::string BlobReader::describe(unsigned level, uint64_t index) const {
    return level == 0 ? fmt::format("chunk {} of {}", index, blob_.name)
                      : fmt::format("index node {}.{} of {}", level, index, blob_.name);
}

base::Error BlobReader::located(base::Error error) const {
    error.message = where_ + ": " + error.message;
    return error;
}

base::Result<ObjectRef> BlobReader::chunk_ref(uint64_t index) const {
    if (index >= shape_.chunks())
        return base::fail(fmt::format("{}: chunk {} is past the end of {}", where_, index, blob_.name));
    ObjectRef ref = blob_.root;
    for (unsigned level = shape_.height(); level > 0 && !ref.is_zero(); --level) {
        uint64_t node = index >> (6 * level); // 2^6 = kFanout
        static_assert(kFanout == 1 << 6);
        auto content = store_->fetch(ref, level, shape_.object_size(level, node), describe(level, node));
        if (!content)
            return tl::make_unexpected(located(content.error()));
        uint64_t child = (index >> (6 * (level - 1))) % kFanout; // < node's entries, as index < chunks()
        ref = decode_ref(
            std::span<const uint8_t, kRefBytes>((*content)->data() + child * kRefBytes, kRefBytes));
    }
    return ref;
}

base::Result<> BlobReader::read(uint64_t offset, std::span<uint8_t> out) const {
    if (offset > blob_.size || out.size() > blob_.size - offset)
        return base::fail(fmt::format("{}: read past the end of {}", where_, blob_.name));
    while (!out.empty()) {
        const uint64_t index = offset / blob_.chunk, within = offset % blob_.chunk;
        const size_t length = shape_.object_size(0, index);
        const size_t take = std::min<uint64_t>(out.size(), length - within);
        ObjectRef ref = TRY(chunk_ref(index));
        if (take == length || ref.is_zero()) {
            if (auto loaded = store_->load(ref, 0, out.first(take), ref.is_zero() ? "" : describe(0, index));
                !loaded)
                return tl::make_unexpected(located(loaded.error()));
        } else {
            auto content = store_->fetch(ref, 0, length, describe(0, index));
            if (!content)
                return tl::make_unexpected(located(content.error()));
            std::copy_n((*content)->begin() + static_cast<ptrdiff_t>(within), take, out.begin());
        }
        offset += take;
        out = out.subspan(take);
    }
    return {};
}

base::Result<> BlobReader::read_chunk(uint64_t index, std::span<uint8_t> out,
                                      std::vector<uint8_t>& compressed) const {
    const ObjectRef ref = TRY(chunk_ref(index));
    if (auto loaded = store_->load(ref, 0, out, describe(0, index), &compressed); !loaded)
        return tl::make_unexpected(located(loaded.error()));
    return {};
}

base::Result<std::vector<uint8_t>> BlobReader::read_all(uint64_t limit) const {
    if (blob_.size > limit)
        return base::fail(
            fmt::format("{}: {} is larger than the {} bytes allowed", where_, blob_.name, limit));
    std::vector<uint8_t> bytes(blob_.size);
    TRY(read(0, bytes));
    return bytes;
}

base::Result<bool> BlobReader::is_zero(uint64_t offset, uint64_t length) const {
    if (offset > blob_.size || length > blob_.size - offset)
        return base::fail(fmt::format("{}: range past the end of {}", where_, blob_.name));
    if (length == 0 || blob_.root.is_zero())
        return true;
    for (uint64_t index = offset / blob_.chunk; index <= (offset + length - 1) / blob_.chunk; ++index)
        if (!TRY(chunk_ref(index)).is_zero())
            return false;
    return true;
}

base::Result<> BlobReader::walk(const std::function<base::Result<bool>(const Visit&)>& enter) const {
    if (shape_.chunks() == 0)
        return {};
    return walk_from(blob_.root, shape_.height(), 0, enter);
}

base::Result<> BlobReader::walk_from(const ObjectRef& ref, unsigned level, uint64_t index,
                                     const std::function<base::Result<bool>(const Visit&)>& enter) const {
    if (ref.is_zero())
        return {};
    const size_t size = shape_.object_size(level, index);
    if (!TRY(enter({ref, level, index, size})) || level == 0)
        return {};
    std::vector<uint8_t> node(size);
    if (auto loaded = store_->load(ref, level, node, describe(level, index)); !loaded)
        return tl::make_unexpected(located(loaded.error()));
    for (size_t child = 0; child < size / kRefBytes; ++child) {
        ObjectRef next =
            decode_ref(std::span<const uint8_t, kRefBytes>(node.data() + child * kRefBytes, kRefBytes));
        TRY(walk_from(next, level - 1, index * kFanout + child, enter));
    }
    return {};
}

} // namespace appliance_format
