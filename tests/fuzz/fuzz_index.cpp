// A signed index with arbitrary content: the input is a tree node that is made to pass its own hash, and at
// the same time the pack every reference points into.
//
// Input: u8 log2 of the chunk size - 12, u24 blob size / 16, then the node.
#include "appliance-format/blob_reader.h"
#include "appliance-format/crc32c.h"
#include "appliance-format/format.h"
#include "vmm/base/unique_fd.h"
#include "vmm/base/verify.h"

#include <algorithm>
#include <sys/mman.h>

using namespace appliance_format;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 5)
        return 0;
    BlobInfo blob{"disk0", 0, kMinChunk << data[0] % 9, {}};
    blob.size = uint64_t{16} * (data[1] | data[2] << 8 | data[3] << 16);
    TreeShape shape{blob.size, blob.chunk};
    std::span<const uint8_t> pack{data + 4, size - 4};
    size_t root_size = shape.chunks() ? shape.object_size(shape.height(), 0) : 0;
    if (root_size == 0 || root_size > pack.size())
        return 0;
    auto node = pack.first(root_size);
    blob.root = {object_hash(shape.height(), node), 0, 0, static_cast<uint32_t>(root_size), crc32c(node)};

    base::UniqueFd fd{::memfd_create("pack", MFD_CLOEXEC)};
    VERIFY(fd.valid() && ::write(fd.get(), pack.data(), pack.size()) == static_cast<ssize_t>(pack.size()));
    auto store = std::make_shared<ChunkStore>(
        std::vector<ChunkStore::Pack>{{"blobs/chunks.0", 0, pack.size(), fd.get()}}, 1 << 20);
    BlobReader reader{store, blob, "x.encore"};
    std::vector<uint8_t> out(std::min<uint64_t>(blob.size, 2 * blob.chunk));
    uint64_t step = std::max<uint64_t>(blob.size / 8, 1);
    for (uint64_t offset = 0; offset < blob.size; offset += step) {
        auto part = std::span(out).first(std::min<uint64_t>(out.size(), blob.size - offset));
        auto read = reader.read(offset, part);
        VERIFY(read || !read.error().message.empty());
    }
    size_t visits = 0;
    (void)reader.walk([&](const BlobReader::Visit&) -> base::Result<bool> { return ++visits < 1000; });
    return 0;
}
