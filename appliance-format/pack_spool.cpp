#include "appliance-format/pack_spool.h"

#include "appliance-format/format.h"
#include "appliance-format/output_file.h"

#include <algorithm>
#include <fmt/format.h>

namespace appliance_format {

namespace {
constexpr size_t kPendingBytes = 1 << 20;
}

PackSpool::PackSpool(std::string folder, uint64_t pack_limit)
    : folder_(std::move(folder)), pack_limit_(std::min(pack_limit, kMaxPackSize)) {}

void PackSpool::adopt(PackInfo info, int fd, uint64_t offset) {
    packs_.push_back({std::move(info), fd, offset});
}

base::Result<> PackSpool::start(Kind kind) {
    if (packs_.size() >= kMaxPacks)
        return base::fail("the appliance is too large for one bundle", kIo);
    Open& open = open_[static_cast<size_t>(kind)];
    open.fd = TRY(scratch_file(folder_));
    open.hash = std::make_unique<signing::Sha256>();
    open.pack = packs_.size();
    open.active = true;
    PackInfo info;
    const char* stem = kind == Kind::Chunks ? "chunks" : "index";
    auto taken = [&] {
        return std::any_of(packs_.begin(), packs_.end(),
                           [&](const Pack& pack) { return pack.info.member == info.member; });
    };
    for (size_t number = 0; info.member.empty() || taken(); ++number)
        info.member = fmt::format("blobs/{}.{}", stem, number);
    packs_.push_back({std::move(info), open.fd.get(), 0});
    return {};
}

base::Result<> PackSpool::flush(Open& open) {
    TRY(write_all(open.fd.get(), open.pending, "to the folder " + folder_));
    open.pending.clear();
    return {};
}

base::Result<> PackSpool::close(Open& open) {
    TRY(flush(open));
    packs_[open.pack].info.sha256 = open.hash->finish();
    files_.push_back(std::move(open.fd));
    open.active = false;
    return {};
}

base::Result<PackSpool::Place> PackSpool::append(Kind kind, std::span<const uint8_t> stored) {
    Open& open = open_[static_cast<size_t>(kind)];
    if (open.active && packs_[open.pack].info.size + stored.size() > pack_limit_)
        TRY(close(open));
    if (!open.active)
        TRY(start(kind));
    PackInfo& info = packs_[open.pack].info;
    Place place{static_cast<uint16_t>(open.pack), info.size};
    open.hash->update(stored);
    open.pending.insert(open.pending.end(), stored.begin(), stored.end());
    info.size += stored.size();
    if (open.pending.size() >= kPendingBytes)
        TRY(flush(open));
    return place;
}

base::Result<std::vector<PackSpool::Pack>> PackSpool::finish() {
    for (Open& open : open_)
        if (open.active)
            TRY(close(open));
    return packs_;
}

} // namespace appliance_format
