#include "appliance-format/session_file.h"

#include "appliance-format/format.h"
#include "appliance-format/json_text.h"
#include "appliance-format/safe_path.h"
#include "vmm/base/verify.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace appliance_format {

using nlohmann::json;

namespace {

constexpr size_t kFront = 3; // session.json, session.sha256, delta.json
constexpr size_t kCacheBytes = 16 << 20;

tl::unexpected<base::Error> bad(std::string text) { return base::fail(std::move(text), kDamaged); }

std::span<const uint8_t> bytes_of(const std::string& text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string sum_line(const std::string& info) {
    return fmt::format("{}  {}\n", signing::to_hex(signing::sha256(bytes_of(info))), kSessionMember);
}

std::string to_text(const SessionInfo& info, const std::string& delta) {
    const json root = {{"format", kSessionFormat},
                       {"bundle",
                        {{"file", info.bundle_file},
                         {"publisher", info.publisher},
                         {"root", signing::to_hex(info.bundle_root)},
                         {"title", info.title}}},
                       {"delta", signing::to_hex(signing::sha256(bytes_of(delta)))},
                       {"elapsed_seconds", info.elapsed_seconds},
                       {"moment", info.moment},
                       {"saved_at", info.saved_at},
                       {"scene", info.scene}};
    return json_text(root);
}

base::Result<std::string> text(const json& object, const char* key) {
    const auto found = object.is_object() ? object.find(key) : object.end();
    if (!object.is_object() || found == object.end() || !found->is_string() ||
        !is_plain_text(found->get_ref<const std::string&>(), kMaxSessionText, Lines::One))
        return bad(fmt::format("the session's \"{}\" is not a short text", key));
    return found->get<std::string>();
}

base::Result<uint64_t> number(const json& object, const char* key) {
    constexpr uint64_t kMost = uint64_t{1} << 40; // seconds; far from any overflow
    const auto found = object.is_object() ? object.find(key) : object.end();
    if (!object.is_object() || found == object.end() || !found->is_number_unsigned() ||
        found->get<uint64_t>() > kMost)
        return bad(fmt::format("the session's \"{}\" is not a number in range", key));
    return found->get<uint64_t>();
}

base::Result<signing::Hash> hash(const json& object, const char* key) {
    signing::Hash value;
    if (!signing::from_hex(TRY(text(object, key)), value))
        return bad(fmt::format("the session's \"{}\" is not a SHA-256", key));
    return value;
}

struct Parsed {
    SessionInfo info;
    signing::Hash delta{};
};

// kMaxSessionInfo also bounds how deep the text can nest.
base::Result<Parsed> parse(const std::string& source) {
    const json root = parse_json(source);
    if (root.is_discarded() || !root.is_object() || json_text(root) != source)
        return bad("its description is not canonical JSON");
    if (const uint64_t format = TRY(number(root, "format")); format != kSessionFormat)
        return base::fail(fmt::format("needs a newer Encore (session format {}, this one reads {})", format,
                                      kSessionFormat),
                          kUnsupported);
    const auto bundle = root.find("bundle");
    if (bundle == root.end())
        return bad("it does not name its bundle");
    Parsed parsed;
    parsed.delta = TRY(hash(root, "delta"));
    SessionInfo& info = parsed.info;
    info.bundle_file = TRY(text(*bundle, "file"));
    info.publisher = TRY(text(*bundle, "publisher"));
    info.title = TRY(text(*bundle, "title"));
    info.bundle_root = TRY(hash(*bundle, "root"));
    info.elapsed_seconds = TRY(number(root, "elapsed_seconds"));
    info.saved_at = TRY(number(root, "saved_at"));
    info.moment = TRY(text(root, "moment"));
    info.scene = TRY(text(root, "scene"));
    if (info.bundle_file.find('/') != std::string::npos || info.bundle_file == "..")
        return bad("the name of its bundle is not a file name");
    return parsed;
}

} // namespace

// ------------------------------------------------------------------------------------------------ reading

base::Error SessionFile::located(base::Error error) const {
    error.message = path_ + ": " + error.message;
    return error;
}

bool SessionFile::is_one(const std::string& path) {
    const base::UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    const auto wanted = canonical_header(kSessionMember, 0);
    char name[100];
    return fd.valid() && ::pread(fd.get(), name, sizeof name, 0) == sizeof name &&
           std::memcmp(name, wanted.data(), sizeof name) == 0;
}

base::Result<std::unique_ptr<SessionFile>> SessionFile::open(const std::string& path) {
    base::UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (!fd.valid())
        return base::fail(fmt::format("cannot open {}: {}", path, std::strerror(errno)), kIo);
    return open_fd(std::move(fd), path);
}

base::Result<std::unique_ptr<SessionFile>> SessionFile::open_fd(base::UniqueFd fd, const std::string& name) {
    std::unique_ptr<SessionFile> file{new SessionFile};
    file->path_ = name;
    file->files_ = std::make_shared<Files>();
    file->files_->own = std::move(fd);
    if (auto loaded = file->load(); !loaded)
        return tl::make_unexpected(file->located(loaded.error()));
    return file;
}

base::Result<> SessionFile::load() {
    const int fd = files_->own.get();
    members_ = TRY(read_layout(fd, {"a saved session", kSessionMember}));
    if (members_.size() < kFront || members_[1].name != kSessionSumMember || members_[2].name != kDeltaMember)
        return bad("lacks parts that every saved session has");
    std::string texts[kFront];
    const uint64_t limits[kFront] = {kMaxSessionInfo, kMaxSessionInfo, kMaxManifest};
    for (size_t i = 0; i < kFront; ++i) {
        if (members_[i].size > limits[i])
            return bad(fmt::format("member {} is too large", members_[i].name));
        texts[i].resize(members_[i].size);
        TRY(read_exactly(fd, members_[i].offset, reinterpret_cast<uint8_t*>(texts[i].data()),
                         texts[i].size()));
    }
    if (texts[1] != sum_line(texts[0]))
        return bad("was changed or is damaged (its description does not match its digest); save it again");
    Parsed parsed = TRY(parse(texts[0]));
    info_ = std::move(parsed.info);
    if (signing::sha256(bytes_of(texts[2])) != parsed.delta)
        return bad("was changed or is damaged (member delta.json); save it again");
    delta_ = TRY(parse_manifest(texts[2]));
    const size_t own = members_.size() - kFront;
    if (own > delta_.packs.size())
        return bad("has members that nothing names");
    for (size_t i = 0; i < own; ++i) {
        const PackInfo& pack = delta_.packs[delta_.packs.size() - own + i];
        if (members_[kFront + i].name != pack.member || members_[kFront + i].size != pack.size)
            return bad(fmt::format("member {} is not the one it should be ({})", members_[kFront + i].name,
                                   pack.member));
    }
    if (delta_.find_scene(info_.moment) == nullptr)
        return bad("the machine it should hold is missing");
    return {};
}

uint64_t SessionFile::file_size() const {
    const TarMember& last = members_.back();
    return last.offset - kTarBlock + member_span(last.size) + kTarEnd;
}

// The delta adds to the bundle and changes nothing of it.
base::Result<> SessionFile::check_delta(const Manifest& bundle) const {
    const size_t shared = delta_.packs.size() - (members_.size() - kFront);
    if (shared != bundle.packs.size() ||
        !std::equal(bundle.packs.begin(), bundle.packs.end(), delta_.packs.begin()))
        return bad("does not build on the parts of its bundle");
    if (delta_.machine != bundle.machine || delta_.media != bundle.media)
        return bad("is of another machine than its bundle's");
    if (!std::ranges::all_of(bundle.blobs, [&](const BlobInfo& blob) {
            const BlobInfo* same = delta_.find_blob(blob.name);
            return same != nullptr && *same == blob;
        }))
        return bad("changes parts of its bundle");
    const Scene* base = info_.scene.empty() ? nullptr : bundle.find_scene(info_.scene);
    if (!info_.scene.empty() && base == nullptr)
        return bad(fmt::format("began at scene {}, which its bundle does not have", info_.scene));
    for (size_t i = 0; i < bundle.media.size(); ++i)
        if (bundle.media[i].kind == MediaKind::Cdrom &&
            scene().media[i] != (base != nullptr ? base->media[i] : bundle.media[i].blob))
            return bad("holds another CD than its bundle");
    return {};
}

base::Result<> SessionFile::join(const Bundle& bundle) {
    if (bundle.identity() != info_.bundle_root)
        return base::fail(fmt::format(
            "{} was saved from a bundle with root {}, but the root of {} is {}; give the bundle "
            "it was saved from: encore run --session FILE X.encore",
            path_, signing::to_hex(info_.bundle_root), bundle.path(), signing::to_hex(bundle.identity())));
    if (auto checked = check_delta(bundle.manifest()); !checked)
        return tl::make_unexpected(located(checked.error()));
    // Also the proof that somebody authenticated the bundle.
    for (const BlobInfo& blob : bundle.manifest().blobs)
        TRY(bundle.open_blob(blob.name));
    auto files = std::make_shared<Files>();
    std::vector<ChunkStore::Pack> packs;
    const size_t shared = bundle.manifest().packs.size();
    for (size_t i = 0; i < delta_.packs.size(); ++i) {
        const PackInfo& pack = delta_.packs[i];
        if (i < shared) {
            const Bundle::RawPack raw = bundle.raw_pack(i);
            if (!files->bundle.valid())
                files->bundle = base::UniqueFd{::fcntl(raw.fd, F_DUPFD_CLOEXEC, 3)};
            packs.push_back({pack.member, raw.offset, pack.size, files->bundle.get()});
        } else {
            packs.push_back(
                {pack.member, members_[kFront + i - shared].offset, pack.size, files_->own.get()});
        }
    }
    files->own = std::move(files_->own);
    files->store = std::make_unique<ChunkStore>(std::move(packs), kCacheBytes);
    files_ = std::move(files);
    return {};
}

const Scene& SessionFile::scene() const {
    const Scene* scene = delta_.find_scene(info_.moment);
    VERIFY(scene != nullptr);
    return *scene;
}

base::Result<BlobReader> SessionFile::open_blob(std::string_view name) const {
    const BlobInfo* blob = delta_.find_blob(name);
    if (!files_->store || blob == nullptr)
        return base::fail(fmt::format("{}: there is no {} in this session", path_, name), kDamaged);
    return BlobReader{std::shared_ptr<const ChunkStore>(files_, files_->store.get()), *blob, path_};
}

// ------------------------------------------------------------------------------------------------ writing

base::Result<> write_session(BundleWriter& writer, const Bundle& bundle, const SessionInfo& info) {
    return writer.finish_beside(
        [&](const std::string& delta) -> std::vector<FrontMember> {
            const std::string text = to_text(info, delta);
            return {{kSessionMember, text}, {kSessionSumMember, sum_line(text)}, {kDeltaMember, delta}};
        },
        // What cannot be opened again is not published.
        [&](base::UniqueFd fd, const std::string& path) -> base::Result<> {
            const auto check = TRY(SessionFile::open_fd(std::move(fd), path));
            TRY(check->join(bundle));
            if (check->info() != info)
                return base::fail(fmt::format("{} did not read back as written", path));
            return {};
        });
}

} // namespace appliance_format
