// Writes a bundle: blobs are cut into chunks, hashed and compressed on all cores, deduplicated, and put into
// packs; then manifest, signature and packs become one archive that appears under its name whole or not at
// all. Equal input gives equal output, apart from the signature.
#pragma once
#include "appliance-format/blob_source.h"
#include "appliance-format/bundle_reader.h"
#include "appliance-format/format.h"
#include "appliance-format/pack_spool.h"
#include "signing/sign.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

namespace appliance_format {

struct WriterOptions {
    int level = 3;        // of zstd
    unsigned threads = 0; // 0: one per core
    uint64_t pack_limit = kMaxPackSize;
    // Bytes of input (Packing) or output (Writing) done so far; false stops with kCancelled.
    enum class Phase { Packing, Writing };
    std::function<bool(Phase phase, uint64_t done, uint64_t total)> progress;
    uint64_t total_input = 0; // for progress only
};

// A small member in front of the packs.
struct FrontMember {
    std::string name, content;
};

class BundleWriter {
  public:
    // `path` is where finish() puts the bundle.
    static base::Result<BundleWriter> create(const std::string& path, WriterOptions options);
    // Starts from an authenticated bundle: its manifest and blobs are kept, and new blobs share its chunks.
    // `old` outlives the writer; `path` may be its own.
    static base::Result<BundleWriter> extend(const Bundle& old, const std::string& path,
                                             WriterOptions options);

    // The same with only the blobs that `keep` wants, and without what only the others needed: packs with
    // much of that are written anew, chunk by chunk as they are stored, each checked.
    static base::Result<BundleWriter> rewrite(const Bundle& old, const std::string& path,
                                              WriterOptions options,
                                              const std::function<bool(const BlobInfo&)>& keep);

    // Drops a blob nothing names any more. Its chunks stay in the packs they are in.
    void remove_blob(const std::string& name);
    // `chunk` is a power of two, kMinChunk..kMaxChunk (kDiskChunk, kMemoryChunk). Names are used once.
    base::Result<> add_blob(const std::string& name, BlobSource& source, uint32_t chunk);

    // Writes `old` to `path` with another signature and not a byte else changed, so that its identity, and
    // with it saved sessions, stay what they are. `path` may be its own.
    static base::Result<> sign_again(const Bundle& old, const std::string& path,
                                     const signing::Signer& signer, WriterOptions options);
    // The same with a signature that is there already, such as the old one with a time stamp added.
    static base::Result<> replace_signature(const Bundle& old, const std::string& path,
                                            std::span<const uint8_t> cms, WriterOptions options);

    // Everything but blobs and packs is the caller's to fill in.
    [[nodiscard]] Manifest& manifest() { return manifest_; }

    // Signs (null: leaves unsigned), writes, re-reads and publishes the bundle.
    base::Result<> finish(const signing::Signer* signer);

    // Writes a file that refers to the bundle this writer extends: of the packs only the new ones are in it.
    // `front` makes its first members, given the whole manifest; `check` opens it again before it is
    // published. Only its owner may read it.
    using Front = std::function<std::vector<FrontMember>(const std::string& manifest_json)>;
    using Check = std::function<base::Result<>(base::UniqueFd fd, const std::string& path)>;
    base::Result<> finish_beside(const Front& front, const Check& check);

  private:
    struct Job; // one object on its way into the store
    class Tree; // references of the blob being added, level by level
    struct Key {
        signing::Hash hash;
        unsigned level;
        bool operator==(const Key&) const = default;
    };
    struct KeyHash {
        size_t operator()(const Key& key) const;
    };

    BundleWriter(std::string path, WriterOptions options);
    void prepare(Job& job) const;
    base::Result<ObjectRef> store(const Job& job);
    void prepare_all(std::vector<Job>& jobs) const;
    base::Result<> report(WriterOptions::Phase phase, uint64_t done, uint64_t total) const;
    base::Result<> publish(const std::string& json, std::span<const PackSpool::Pack> packs,
                           std::span<const uint8_t> cms) const;
    base::Result<std::string> close_manifest(const std::vector<PackSpool::Pack>& packs);
    base::Result<> write_archive(int fd, const std::vector<FrontMember>& front,
                                 std::span<const PackSpool::Pack> packs) const;

    std::string path_;
    WriterOptions options_;
    Manifest manifest_;
    PackSpool spool_;
    std::unordered_map<Key, ObjectRef, KeyHash> known_;
    size_t adopted_packs_ = 0; // of the bundle this one extends
    uint64_t input_done_ = 0;
};

} // namespace appliance_format
