#include "appliance-format/bundle_writer.h"

#include "appliance-format/crc32c.h"
#include "appliance-format/output_file.h"
#include "appliance-format/safe_path.h"
#include "signing/verify.h"
#include "vmm/base/verify.h"

#include <algorithm>
#include <archive.h>
#include <archive_entry.h>
#include <atomic>
#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <thread>
#include <unistd.h>
#include <zstd.h>

namespace appliance_format {

namespace {

constexpr size_t kBatchBytes = 16 << 20; // input in flight at once
constexpr size_t kCopyBytes = 1 << 20;

struct CompressorDeleter {
    void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
struct ArchiveWriteDeleter {
    void operator()(archive* a) const { archive_write_free(a); }
};
struct EntryDeleter {
    void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};

std::span<const uint8_t> bytes_of(const std::string& text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

bool is_zero(std::span<const uint8_t> bytes) {
    return bytes.empty() ||
           (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

} // namespace

struct BundleWriter::Job {
    std::span<const uint8_t> content;
    unsigned level = 0;
    bool zero = false;
    std::optional<ObjectRef> stored; // known before reading
    signing::Hash hash{};
    std::vector<uint8_t> compressed; // empty: not yet, stored as it is, or known already
};

// Gathers references; every kFanout of a level become a node of the next. Holds at most kFanout a level.
class BundleWriter::Tree {
  public:
    Tree(BundleWriter& writer, TreeShape shape) : writer_(writer), levels_(shape.height() + 1) {}

    base::Result<> push(const ObjectRef& ref, unsigned level = 0) {
        levels_[level].push_back(ref);
        if (level + 1 < levels_.size() && levels_[level].size() == kFanout)
            return make_node(level);
        return {};
    }

    base::Result<ObjectRef> finish() {
        for (unsigned level = 0; level + 1 < levels_.size(); ++level)
            if (!levels_[level].empty())
                TRY(make_node(level));
        VERIFY(levels_.back().size() <= 1);
        return levels_.back().empty() ? ObjectRef{} : levels_.back()[0];
    }

  private:
    base::Result<> make_node(unsigned level) {
        auto& children = levels_[level];
        std::vector<uint8_t> node(children.size() * kRefBytes);
        for (size_t i = 0; i < children.size(); ++i)
            encode_ref(children[i], std::span<uint8_t, kRefBytes>(node.data() + i * kRefBytes, kRefBytes));
        children.clear();
        Job job{.content = node, .level = level + 1, .stored = {}, .compressed = {}};
        writer_.prepare(job);
        return push(TRY(writer_.store(job)), level + 1);
    }

    BundleWriter& writer_;
    std::vector<std::vector<ObjectRef>> levels_;
};

size_t BundleWriter::KeyHash::operator()(const Key& key) const {
    size_t value; // a SHA-256 is as good a hash as any
    std::memcpy(&value, key.hash.data(), sizeof value);
    return value + key.level;
}

BundleWriter::BundleWriter(std::string path, WriterOptions options)
    : path_(std::move(path)), options_(std::move(options)), spool_(folder_of(path_), options_.pack_limit) {
    if (options_.threads == 0)
        options_.threads = std::max(1u, std::thread::hardware_concurrency());
}

base::Result<BundleWriter> BundleWriter::create(const std::string& path, WriterOptions options) {
    TRY(scratch_file(
        folder_of(path))); // says early, before hours of packing, that the folder cannot be written
    return BundleWriter{path, std::move(options)};
}

base::Result<BundleWriter> BundleWriter::extend(const Bundle& old, const std::string& path,
                                                WriterOptions options) {
    BundleWriter writer = TRY(create(path, std::move(options)));
    writer.manifest_ = old.manifest();
    for (size_t i = 0; i < old.manifest().packs.size(); ++i) {
        Bundle::RawPack raw = old.raw_pack(i);
        writer.spool_.adopt(old.manifest().packs[i], raw.fd, raw.offset);
    }
    writer.adopted_packs_ = old.manifest().packs.size();
    for (const BlobInfo& blob : old.manifest().blobs) {
        BlobReader reader = TRY(old.open_blob(blob.name));
        TRY(reader.walk([&](const BlobReader::Visit& visit) -> base::Result<bool> {
            // A subtree met before has nothing new below it.
            return writer.known_.emplace(Key{visit.ref.hash, visit.level}, visit.ref).second;
        }));
    }
    return writer;
}

namespace {

constexpr uint64_t kMuchWaste = 16u << 20; // in one pack; less is worth it from an eighth of the pack on
constexpr uint16_t kNoPack = 0xFFFF;

// A blob of the old bundle, whose packs have other numbers now.
class CarriedBlob final : public BlobSource {
  public:
    CarriedBlob(BlobReader reader, const std::vector<uint16_t>& numbers)
        : reader_(std::move(reader)), numbers_(numbers) {}
    [[nodiscard]] uint64_t size() const override { return reader_.size(); }
    base::Result<> read(uint64_t offset, std::span<uint8_t> out) override {
        return reader_.read(offset, out);
    }
    base::Result<> read_chunk(uint64_t offset, std::span<uint8_t> out,
                              std::vector<uint8_t>& compressed) override {
        return reader_.read_chunk(offset / reader_.chunk_size(), out, compressed);
    }
    base::Result<std::optional<ObjectRef>> stored(uint64_t offset, size_t) override {
        ObjectRef ref = TRY(reader_.chunk_ref(offset / reader_.chunk_size()));
        if (ref.is_zero())
            return ref;
        if (numbers_.at(ref.pack) == kNoPack)
            return std::nullopt;
        ref.pack = numbers_[ref.pack];
        return ref;
    }

  private:
    BlobReader reader_;
    const std::vector<uint16_t>& numbers_; // by old number
};

} // namespace

base::Result<BundleWriter> BundleWriter::rewrite(const Bundle& old, const std::string& path,
                                                 WriterOptions options,
                                                 const std::function<bool(const BlobInfo&)>& keep) {
    BundleWriter writer = TRY(create(path, std::move(options)));
    writer.manifest_ = old.manifest();
    writer.manifest_.blobs.clear();
    // What is needed of each pack. `known_` begins with the old places of it.
    std::vector<uint64_t> needed(old.manifest().packs.size());
    uint64_t total = 0;
    for (const BlobInfo& blob : old.manifest().blobs) {
        if (!keep(blob))
            continue;
        total += blob.size;
        TRY(TRY(old.open_blob(blob.name)).walk([&](const BlobReader::Visit& visit) -> base::Result<bool> {
            if (!writer.known_.emplace(Key{visit.ref.hash, visit.level}, visit.ref).second)
                return false;
            needed.at(visit.ref.pack) += visit.ref.stored;
            return true;
        }));
    }
    std::vector<uint16_t> numbers(needed.size(), kNoPack);
    const auto is_wasteful = [&](size_t i) {
        const uint64_t size = old.manifest().packs[i].size, waste = size - std::min(size, needed[i]);
        return waste >= kMuchWaste || (waste > 0 && waste >= size / 8);
    };
    bool moves = false;
    for (size_t i = 0; i < needed.size(); ++i)
        moves = moves || is_wasteful(i);
    uint16_t next = 0;
    for (size_t i = 0; i < needed.size(); ++i) {
        const PackInfo& pack = old.manifest().packs[i];
        // A node says where its chunks are, so when chunks move most nodes change, too.
        if (moves && (pack.member.starts_with("blobs/index.") || is_wasteful(i)))
            continue;
        const Bundle::RawPack raw = old.raw_pack(i);
        writer.spool_.adopt(pack, raw.fd, raw.offset);
        numbers[i] = next++;
    }
    for (auto& [key, ref] : writer.known_)
        ref.pack = numbers[ref.pack];
    std::erase_if(writer.known_, [](const auto& entry) { return entry.second.pack == kNoPack; });
    writer.options_.total_input = total;
    for (const BlobInfo& blob : old.manifest().blobs) {
        if (!keep(blob))
            continue;
        CarriedBlob source(TRY(old.open_blob(blob.name)), numbers);
        TRY(writer.add_blob(blob.name, source, blob.chunk));
    }
    return writer;
}

base::Result<> BundleWriter::report(WriterOptions::Phase phase, uint64_t done, uint64_t total) const {
    if (options_.progress && !options_.progress(phase, done, std::max(done, total)))
        return base::fail("stopped; nothing was written", kCancelled);
    return {};
}

// Runs on any thread: only reads `known_`.
void BundleWriter::prepare(Job& job) const {
    if (job.stored)
        return;
    job.zero = is_zero(job.content);
    if (job.zero)
        return;
    job.hash = object_hash(job.level, job.content);
    if (known_.count({job.hash, job.level}) || !job.compressed.empty())
        return;
    thread_local std::unique_ptr<ZSTD_CCtx, CompressorDeleter> context{ZSTD_createCCtx()};
    VERIFY(context);
    job.compressed.resize(ZSTD_compressBound(job.content.size()));
    size_t n = ZSTD_compressCCtx(context.get(), job.compressed.data(), job.compressed.size(),
                                 job.content.data(), job.content.size(), options_.level);
    job.compressed.resize(ZSTD_isError(n) || n >= job.content.size() ? 0 : n);
}

void BundleWriter::prepare_all(std::vector<Job>& jobs) const {
    std::atomic<size_t> next = 0;
    auto work = [&] {
        for (size_t i; (i = next.fetch_add(1)) < jobs.size();)
            prepare(jobs[i]);
    };
    std::vector<std::jthread> helpers;
    for (unsigned i = 1; i < options_.threads && i < jobs.size(); ++i)
        helpers.emplace_back(work);
    work();
}

base::Result<ObjectRef> BundleWriter::store(const Job& job) {
    if (job.stored)
        return *job.stored;
    if (job.zero)
        return ObjectRef{};
    Key key{job.hash, job.level};
    if (auto it = known_.find(key); it != known_.end())
        return it->second;
    std::span<const uint8_t> stored = job.compressed.empty() ? job.content : job.compressed;
    auto place = TRY(spool_.append(job.level ? PackSpool::Kind::Index : PackSpool::Kind::Chunks, stored));
    ObjectRef ref{job.hash, place.pack, place.offset, static_cast<uint32_t>(stored.size()), crc32c(stored)};
    known_.emplace(key, ref);
    return ref;
}

base::Result<> BundleWriter::add_blob(const std::string& name, BlobSource& source, uint32_t chunk) {
    VERIFY(std::has_single_bit(chunk) && chunk >= kMinChunk && chunk <= kMaxChunk);
    if (!is_safe_path(name) || manifest_.find_blob(name) || manifest_.blobs.size() >= kMaxBlobs)
        return base::fail(fmt::format("the blob name {} is not allowed or used twice", name));
    if (source.size() > kMaxBlobSize)
        return base::fail(fmt::format("{} is too large for a bundle", name));
    const TreeShape shape{source.size(), chunk};
    Tree tree{*this, shape};
    std::vector<uint8_t> buffer(
        std::min<uint64_t>(std::max<size_t>(kBatchBytes, chunk), shape.chunks() * chunk));
    std::vector<Job> jobs;
    for (uint64_t index = 0; index < shape.chunks();) {
        jobs.clear();
        size_t used = 0;
        for (; index < shape.chunks() && used + chunk <= buffer.size(); ++index) {
            const uint64_t offset = index * chunk;
            const size_t size = shape.object_size(0, index);
            Job job{.content = {buffer.data() + used, size}, .level = 0, .stored = {}, .compressed = {}};
            job.stored = TRY(source.stored(offset, size));
            if (job.stored || source.next_data(offset) >= offset + size)
                job.content = {}; // a hole: zero without reading
            else
                TRY(source.read_chunk(offset, {buffer.data() + used, size}, job.compressed));
            jobs.push_back(std::move(job));
            used += chunk;
            input_done_ += size;
        }
        prepare_all(jobs);
        for (const Job& job : jobs)
            TRY(tree.push(TRY(store(job))));
        TRY(report(WriterOptions::Phase::Packing, input_done_, options_.total_input));
    }
    manifest_.blobs.push_back({name, source.size(), chunk, TRY(tree.finish())});
    return {};
}

void BundleWriter::remove_blob(const std::string& name) {
    std::erase_if(manifest_.blobs, [&](const BlobInfo& blob) { return blob.name == name; });
}

base::Result<> BundleWriter::write_archive(int fd, const std::vector<FrontMember>& front,
                                           std::span<const PackSpool::Pack> packs) const {
    struct Sink {
        int fd;
        const std::string& path;
        base::Result<> result;
    } sink{fd, path_, {}};
    auto write = [](archive* a, void* data, const void* bytes, size_t size) -> la_ssize_t {
        auto& to = *static_cast<Sink*>(data);
        to.result = write_all(to.fd, {static_cast<const uint8_t*>(bytes), size}, to.path);
        if (to.result)
            return static_cast<la_ssize_t>(size);
        archive_set_error(a, EIO, "write");
        return ARCHIVE_FATAL;
    };
    std::unique_ptr<archive, ArchiveWriteDeleter> out{archive_write_new()};
    VERIFY(out);
    archive_write_set_format_pax_restricted(out.get());
    archive_write_set_bytes_in_last_block(out.get(), 1); // ends after the two zero blocks
    auto failed = [&]() -> base::Result<> {
        const char* why = archive_error_string(out.get());
        if (!sink.result)
            return sink.result;
        return base::fail(fmt::format("cannot write {}: {}", path_, why ? why : "unknown reason"), kIo);
    };
    if (archive_write_open(out.get(), &sink, nullptr, write, nullptr) != ARCHIVE_OK)
        return failed();
    auto begin = [&](const char* name, uint64_t size) {
        std::unique_ptr<archive_entry, EntryDeleter> entry{archive_entry_new()};
        archive_entry_set_pathname(entry.get(), name);
        archive_entry_set_filetype(entry.get(), AE_IFREG);
        archive_entry_set_perm(entry.get(), 0644);
        archive_entry_set_size(entry.get(), static_cast<la_int64_t>(size));
        archive_entry_set_mtime(entry.get(), 0, 0);
        return archive_write_header(out.get(), entry.get()) == ARCHIVE_OK;
    };
    auto put = [&](const void* bytes, size_t size) {
        return size == 0 || archive_write_data(out.get(), bytes, size) == static_cast<la_ssize_t>(size);
    };
    for (const FrontMember& member : front)
        if (!begin(member.name.c_str(), member.content.size()) ||
            !put(member.content.data(), member.content.size()))
            return failed();
    uint64_t done = 0, total = 0;
    for (const PackSpool::Pack& pack : packs)
        total += pack.info.size;
    std::vector<uint8_t> buffer(kCopyBytes);
    for (const PackSpool::Pack& pack : packs) {
        if (!begin(pack.info.member.c_str(), pack.info.size))
            return failed();
        for (uint64_t at = 0; at < pack.info.size;) {
            size_t n = std::min<uint64_t>(buffer.size(), pack.info.size - at);
            TRY(read_exactly(pack.fd, pack.offset + at, buffer.data(), n));
            if (!put(buffer.data(), n))
                return failed();
            at += n;
            done += n;
            TRY(report(WriterOptions::Phase::Writing, done, total));
        }
    }
    if (archive_write_close(out.get()) != ARCHIVE_OK)
        return failed();
    return {};
}

base::Result<std::string> BundleWriter::close_manifest(const std::vector<PackSpool::Pack>& packs) {
    manifest_.format = kFormatVersion;
    manifest_.packs.clear();
    for (const PackSpool::Pack& pack : packs)
        manifest_.packs.push_back(pack.info);
    TRY(check_manifest(manifest_));
    std::string json = write_manifest(manifest_);
    if (json.size() > kMaxManifest)
        return base::fail("the appliance has too many parts for one bundle");
    return json;
}

base::Result<> BundleWriter::finish(const signing::Signer* signer) {
    const auto packs = TRY(spool_.finish());
    const std::string json = TRY(close_manifest(packs));
    return publish(json, packs, signer ? TRY(signer->sign(bytes_of(json))) : std::vector<uint8_t>());
}

base::Result<> BundleWriter::sign_again(const Bundle& old, const std::string& path,
                                        const signing::Signer& signer, WriterOptions options) {
    return replace_signature(old, path, TRY(signer.sign(bytes_of(old.manifest_json()))), std::move(options));
}

base::Result<> BundleWriter::replace_signature(const Bundle& old, const std::string& path,
                                               std::span<const uint8_t> cms, WriterOptions options) {
    BundleWriter writer = TRY(create(path, std::move(options)));
    writer.manifest_ = old.manifest();
    std::vector<PackSpool::Pack> packs;
    for (size_t i = 0; i < old.manifest().packs.size(); ++i) {
        const Bundle::RawPack raw = old.raw_pack(i);
        packs.push_back({old.manifest().packs[i], raw.fd, raw.offset});
    }
    return writer.publish(old.manifest_json(), packs, cms);
}

base::Result<> BundleWriter::publish(const std::string& json, std::span<const PackSpool::Pack> packs,
                                     std::span<const uint8_t> cms) const {
    OutputFile output = TRY(OutputFile::create(path_));
    TRY(write_all(output.fd(), bundle_marker(), path_));
    TRY(write_archive(output.fd(),
                      {{kManifestMember, json}, {kSignatureMember, std::string(cms.begin(), cms.end())}},
                      packs));
    // What cannot be opened again is not published; this also holds libarchive to the canonical header form.
    auto check = TRY(Bundle::open_fd(base::UniqueFd{::dup(output.fd())}, path_));
    if (check->manifest() != manifest_)
        return base::fail(fmt::format("{} did not read back as written", path_));
    if (!cms.empty())
        TRY(check->signature());
    return output.commit();
}

base::Result<> BundleWriter::finish_beside(const Front& front, const Check& check) {
    const auto packs = TRY(spool_.finish());
    const std::string json = TRY(close_manifest(packs));
    OutputFile output = TRY(OutputFile::create(path_, Audience::Owner)); // a session's memory
    TRY(write_archive(output.fd(), front(json), std::span(packs).subspan(adopted_packs_)));
    TRY(check(base::UniqueFd{::dup(output.fd())}, path_));
    return output.commit();
}

} // namespace appliance_format
