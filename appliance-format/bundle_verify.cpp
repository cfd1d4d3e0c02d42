// The complete check behind `encore verify`: every member's digest, then every object of every blob.
//
// The layout, manifest and signature were checked at open and authenticate(); what is left are the packs.
// Their digests cover every byte, also such as no blob refers to; reading every object then proves that the
// blobs themselves can be read, and names the chunk where one cannot.
#include "appliance-format/bundle_reader.h"

#include "appliance-format/format.h"
#include "vmm/base/verify.h"

#include <algorithm>
#include <fmt/format.h>
#include <unordered_set>

namespace appliance_format {

namespace {
constexpr size_t kReadBytes = 1 << 20;
constexpr size_t kMaxObjects = size_t{1}
                               << 25; // distinct objects remembered; 16 TiB of disk chunks have 2^28

tl::unexpected<base::Error> cancelled() { return base::fail("stopped", kCancelled); }
} // namespace

base::Result<> Bundle::verify_packs(const Progress& progress, uint64_t& done, uint64_t total) const {
    std::vector<uint8_t> buffer(kReadBytes);
    for (size_t i = 0; i < manifest_.packs.size(); ++i) {
        const PackInfo& pack = manifest_.packs[i];
        const RawPack raw = raw_pack(i);
        signing::Sha256 hash;
        for (uint64_t at = 0; at < pack.size;) {
            size_t n = std::min<uint64_t>(buffer.size(), pack.size - at);
            if (auto read = read_exactly(raw.fd, raw.offset + at, buffer.data(), n); !read)
                return tl::make_unexpected(located(read.error()));
            hash.update({buffer.data(), n});
            at += n;
            done += n;
            if (progress && !progress(done, total))
                return cancelled();
        }
        if (hash.finish() != pack.sha256)
            return base::fail(
                fmt::format("{}: member {} was changed or is damaged; get a fresh copy of the bundle", path_,
                            pack.member),
                kDamaged);
    }
    return {};
}

base::Result<> Bundle::verify_blobs(const Progress& progress, uint64_t& done, uint64_t total) const {
    // An object shared by many blobs is read once: work is bounded by the file, not by what the trees unfold
    // to.
    std::unordered_set<uint64_t> seen;
    std::vector<uint8_t> buffer;
    const uint64_t before = done;
    for (const BlobInfo& blob : manifest_.blobs) {
        BlobReader reader = TRY(open_blob(blob.name));
        TRY(reader.walk([&](const BlobReader::Visit& visit) -> base::Result<bool> {
            // The key mixes in what else is checked, so that one good reading does not vouch for a different
            // claim.
            uint64_t key = visit.ref.place();
            for (uint64_t part : {uint64_t{visit.level}, uint64_t{visit.size}, uint64_t{visit.ref.stored},
                                  uint64_t{visit.ref.crc}, uint64_t{visit.ref.hash[0]}})
                key = (key ^ part) * 0x9E3779B97F4A7C15u + 1;
            if (!seen.insert(key).second)
                return false;
            if (seen.size() > kMaxObjects)
                return base::fail(fmt::format("{}: has too many chunks to check", path_), kDamaged);
            done = std::min(total, done + visit.ref.stored);
            if (progress && !progress(done, total))
                return cancelled();
            if (visit.level > 0)
                return true; // walk() loads and checks nodes itself
            buffer.resize(visit.size);
            auto loaded = file_->store->load(visit.ref, 0, buffer, reader.describe(0, visit.index));
            if (!loaded)
                return tl::make_unexpected(located(loaded.error()));
            return true;
        }));
    }
    VERIFY(done >= before);
    return {};
}

base::Result<> Bundle::verify_content(const Progress& progress) const {
    uint64_t bytes = 0;
    for (const PackInfo& pack : manifest_.packs)
        bytes += pack.size;
    uint64_t done = 0;
    // Blobs first: their error names the chunk, a digest's only the member.
    TRY(verify_blobs(progress, done, 2 * bytes));
    done = bytes;
    TRY(verify_packs(progress, done, 2 * bytes));
    if (progress && !progress(2 * bytes, 2 * bytes))
        return cancelled();
    return {};
}

} // namespace appliance_format
