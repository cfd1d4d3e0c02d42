#include "appliance-format/bundle_reader.h"

#include "appliance-format/format.h"
#include "signing/outcome.h"
#include "signing/verify.h"
#include "vmm/base/shell_word.h"
#include "vmm/base/verify.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

namespace appliance_format {

namespace {
constexpr size_t kCacheBytes = 16 << 20; // verified chunks and nodes kept per open bundle
constexpr size_t kFirstPack = 2;         // members before the packs: manifest and signature

std::span<const uint8_t> bytes_of(const std::string& text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
} // namespace

base::Error Bundle::located(base::Error error) const {
    error.message = path_ + ": " + error.message;
    if (error.code == signing::kUntrusted)
        error.message +=
            fmt::format("; if you know that fingerprint to be theirs, add it with: encore trust add {}",
                        base::shell_word(path_));
    return error;
}

base::Result<std::unique_ptr<Bundle>> Bundle::open(const std::string& path) {
    base::UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (!fd.valid())
        return base::fail(fmt::format("cannot open {}: {}", path, std::strerror(errno)), kIo);
    return open_fd(std::move(fd), path);
}

base::Result<std::unique_ptr<Bundle>> Bundle::open_fd(base::UniqueFd fd, const std::string& name) {
    std::unique_ptr<Bundle> bundle{new Bundle};
    bundle->path_ = name;
    bundle->file_ = std::make_shared<File>();
    bundle->file_->fd = std::move(fd);
    if (auto loaded = bundle->load(); !loaded)
        return tl::make_unexpected(bundle->located(loaded.error()));
    return bundle;
}

base::Result<> Bundle::load() {
    const int fd = file_->fd.get();
    members_ = TRY(read_layout(fd, {"an Encore bundle", kManifestMember, true}));
    if (members_.empty() || members_[0].name != kManifestMember)
        return base::fail("does not begin with a manifest", kNotABundle);
    if (members_.size() < 2 || members_[1].name != kSignatureMember)
        return base::fail("is not signed; ask the publisher for a signed copy", signing::kUnsigned);
    if (members_[0].size > kMaxManifest || members_[1].size > kMaxSignature)
        return base::fail("the manifest or the signature is too large", kDamaged);
    json_.resize(members_[0].size);
    cms_.resize(members_[1].size);
    TRY(read_exactly(fd, members_[0].offset, reinterpret_cast<uint8_t*>(json_.data()), json_.size()));
    TRY(read_exactly(fd, members_[1].offset, cms_.data(), cms_.size()));
    auto parsed = parse_manifest(json_);
    if (!parsed) {
        // A manifest that fails its signature is tampered with, whatever else is wrong with it.
        if (!cms_.empty())
            TRY(signing::verify_signature(bytes_of(json_), cms_));
        return tl::make_unexpected(parsed.error());
    }
    manifest_ = std::move(*parsed);

    if (members_.size() != kFirstPack + manifest_.packs.size())
        return base::fail("has members its manifest does not name, or lacks some", kDamaged);
    std::vector<ChunkStore::Pack> packs;
    for (size_t i = 0; i < manifest_.packs.size(); ++i) {
        const PackInfo& pack = manifest_.packs[i];
        const TarMember& member = members_[kFirstPack + i];
        if (member.name != pack.member || member.size != pack.size)
            return base::fail(
                fmt::format("member {} is not the one the manifest names ({})", member.name, pack.member),
                kDamaged);
        packs.push_back({pack.member, member.offset, member.size, fd});
    }
    file_->store = std::make_unique<ChunkStore>(std::move(packs), kCacheBytes);
    return {};
}

base::Result<signing::Signature> Bundle::signature() const {
    auto signature = signing::verify_signature(bytes_of(json_), cms_);
    if (!signature)
        return tl::make_unexpected(located(signature.error()));
    return signature;
}

base::Result<> Bundle::check_author(const signing::Signer& signer) const {
    const signing::Publisher owner = TRY(signature()).publisher;
    if (owner.fingerprint == signer.publisher().fingerprint)
        return {};
    return base::fail(
        fmt::format("{}: only its publisher, {}, may do that, and this is the key of {}; to publish "
                    "it under your own name first: encore sign {} --key KEY --cert CERT",
                    path_, signing::describe(owner), signing::describe(signer.publisher()),
                    base::shell_word(path_)),
        kNotYours);
}

base::Result<signing::Publisher> Bundle::authenticate(const signing::TrustStore& trust) {
    auto checked = trust.check(TRY(signature()));
    if (!checked)
        return tl::make_unexpected(located(checked.error()));
    authenticated_ = true;
    return checked;
}

base::Result<std::optional<signing::Publisher>> Bundle::accept_for_signing(const signing::TrustStore& trust) {
    std::optional<signing::Publisher> publisher;
    if (has_signature()) {
        const signing::Signature found = TRY(signature());
        publisher = found.publisher;
        if (auto known = trust.check(found); !known && known.error().code != signing::kExpired)
            return tl::make_unexpected(located(known.error()));
    }
    authenticated_ = true;
    return publisher;
}

signing::Hash Bundle::identity() const { return signing::sha256(bytes_of(json_)); }

uint64_t Bundle::file_size() const {
    const TarMember& last = members_.back();
    return last.offset - kTarBlock + member_span(last.size) + kTarEnd;
}

base::Result<BlobReader> Bundle::open_blob(std::string_view name) const {
    if (!authenticated_)
        return base::fail(fmt::format("{}: the publisher has not been checked yet", path_),
                          signing::kUntrusted);
    const BlobInfo* blob = manifest_.find_blob(name);
    if (!blob)
        return base::fail(fmt::format("{}: there is no {} in this bundle", path_, name), kDamaged);
    return BlobReader{std::shared_ptr<const ChunkStore>(file_, file_->store.get()), *blob, path_};
}

Bundle::RawPack Bundle::raw_pack(size_t index) const {
    VERIFY(kFirstPack + index < members_.size());
    return {file_->fd.get(), members_[kFirstPack + index].offset};
}

} // namespace appliance_format
