// One stored object, as a damaged or hostile file holds it: whatever the bytes are, what comes out is what
// the reference's hash says, or nothing.
//
// Input: u8 level (two bits) and form, u16 length of the content, then the stored bytes.
#include "appliance-format/chunk_store.h"
#include "appliance-format/crc32c.h"
#include "appliance-format/format.h"
#include "vmm/base/unique_fd.h"
#include "vmm/base/verify.h"

#include <algorithm>
#include <sys/mman.h>
#include <unistd.h>

using namespace appliance_format;

namespace {

base::UniqueFd file_of(std::span<const uint8_t> bytes) {
    base::UniqueFd fd{::memfd_create("pack", MFD_CLOEXEC)};
    VERIFY(fd.valid() && ::write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    return fd;
}

// The content, or nothing; never something else.
std::vector<uint8_t> load(const ChunkStore& store, const ObjectRef& ref, unsigned level, size_t size) {
    std::vector<uint8_t> out(size, 0xAA), compressed;
    auto loaded = store.load(ref, level, out, "chunk 0 of disk0", &compressed);
    if (!loaded) {
        VERIFY(!loaded.error().message.empty());
        VERIFY(ref.stored > size ||
               std::ranges::all_of(out, [](uint8_t byte) { return byte == 0 || byte == 0xAA; }));
        return {};
    }
    VERIFY(ref.is_zero() || object_hash(level, out) == ref.hash);
    VERIFY(compressed.size() == (ref.stored < size ? ref.stored : 0));
    return out;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 4)
        return 0;
    const unsigned level = data[0] & 3;
    const size_t length = static_cast<size_t>(data[1] | data[2] << 8) + 1;
    const std::span<const uint8_t> stored{data + 3, size - 3};
    const base::UniqueFd fd = file_of(stored);
    const ChunkStore store({{"blobs/chunks.0", 0, stored.size(), fd.get()}}, 1 << 16);
    ObjectRef ref;
    ref.stored = static_cast<uint32_t>(stored.size());
    ref.crc = crc32c(stored);
    // As it is: its hash is known, so this must succeed.
    ref.hash = object_hash(level, stored);
    VERIFY(load(store, ref, level, stored.size()).size() == stored.size());
    // Taken for a compressed object of a length it may or may not have; the wrong hash never comes through.
    VERIFY(load(store, ref, level, length).empty() || length == stored.size());
    // Again as whoever signs it would: by the hash of what it decompresses to, when that is all zeros.
    ref.hash = object_hash(level, std::vector<uint8_t>(length));
    const auto zeros = load(store, ref, level, length);
    VERIFY(std::ranges::all_of(zeros, [](uint8_t byte) { return byte == 0; }));
    // Through the cache, and with every number wrong.
    ref.crc ^= data[0] & 4;
    ref.offset = data[0] & 8;
    ref.pack = static_cast<uint16_t>(data[0] >> 7);
    for (int i = 0; i < 2; ++i)
        if (auto fetched = store.fetch(ref, level, length, "chunk 0 of disk0"))
            VERIFY((*fetched)->size() == length && object_hash(level, **fetched) == ref.hash);
    return 0;
}
