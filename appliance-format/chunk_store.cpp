#include "appliance-format/chunk_store.h"

#include "appliance-format/crc32c.h"
#include "appliance-format/format.h"
#include "appliance-format/read_exactly.h"

#include <algorithm>
#include <fmt/format.h>
#include <zstd.h>

namespace appliance_format {

namespace {

struct DecompressorDeleter {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

// One frame into a buffer of exactly its content's length: memory is bounded by `out` whatever the frame
// claims.
bool decompress(std::span<const uint8_t> stored, std::span<uint8_t> out) {
    thread_local std::unique_ptr<ZSTD_DCtx, DecompressorDeleter> context{ZSTD_createDCtx()};
    if (!context || ZSTD_findFrameCompressedSize(stored.data(), stored.size()) != stored.size())
        return false;
    size_t n = ZSTD_decompressDCtx(context.get(), out.data(), out.size(), stored.data(), stored.size());
    return !ZSTD_isError(n) && n == out.size();
}

} // namespace

ChunkStore::ChunkStore(std::vector<Pack> packs, size_t cache_bytes)
    : packs_(std::move(packs)), cache_bytes_(cache_bytes) {}

base::Result<> ChunkStore::load(const ObjectRef& ref, unsigned level, std::span<uint8_t> out,
                                const std::string& what, std::vector<uint8_t>* as_stored) const {
    if (ref.is_zero()) {
        std::fill(out.begin(), out.end(), uint8_t{0});
        return {};
    }
    if (ref.pack >= packs_.size() || ref.stored == 0 || ref.stored > out.size() ||
        ref.offset > packs_[ref.pack].size || ref.stored > packs_[ref.pack].size - ref.offset)
        return base::fail(fmt::format("{} points outside the file", what), kDamaged);
    const Pack& pack = packs_[ref.pack];
    const auto damaged = [&](const char* why) {
        return base::fail(
            fmt::format("member {}: {} was changed or is damaged ({} at byte {} of the member); get "
                        "a fresh copy of the bundle",
                        pack.member, what, why, ref.offset),
            kDamaged);
    };
    thread_local std::vector<uint8_t> buffer;
    const bool compressed = ref.stored < out.size();
    std::span<uint8_t> stored = out;
    if (compressed) {
        if (buffer.size() < ref.stored)
            buffer.resize(ref.stored);
        stored = {buffer.data(), ref.stored};
    }
    auto fail_closed = [&](const char* why) { // never leave unverified bytes in the caller's hands
        std::fill(out.begin(), out.end(), uint8_t{0});
        return damaged(why);
    };
    if (auto read = read_exactly(pack.fd, pack.base + ref.offset, stored.data(), stored.size()); !read) {
        std::fill(out.begin(), out.end(), uint8_t{0});
        return base::fail(fmt::format("member {}: {}: {}", pack.member, what, read.error().message),
                          read.error().code);
    }
    if (crc32c(stored) != ref.crc)
        return fail_closed("stored bytes differ");
    if (compressed && !decompress(stored, out))
        return fail_closed("cannot be decompressed");
    if (object_hash(level, out) != ref.hash)
        return fail_closed("content does not match its signed hash");
    if (compressed && as_stored != nullptr)
        as_stored->assign(stored.begin(), stored.end());
    return {};
}

base::Result<ChunkStore::Content> ChunkStore::fetch(const ObjectRef& ref, unsigned level, size_t size,
                                                    const std::string& what) const {
    Key key{ref, level, size};
    {
        std::lock_guard lock{mutex_};
        if (auto it = found_.find(key); it != found_.end()) {
            recent_.splice(recent_.begin(), recent_, it->second);
            return it->second->content;
        }
    }
    auto content = std::make_shared<std::vector<uint8_t>>(size);
    TRY(load(ref, level, *content, what));
    std::lock_guard lock{mutex_};
    if (found_.count(key)) // another thread was faster
        return Content{content};
    recent_.push_front({key, content});
    found_[key] = recent_.begin();
    cached_ += size;
    while (cached_ > cache_bytes_ && recent_.size() > 1) {
        cached_ -= recent_.back().key.size;
        found_.erase(recent_.back().key);
        recent_.pop_back();
    }
    return Content{content};
}

} // namespace appliance_format
