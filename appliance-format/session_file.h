// A running session in one file, to go on elsewhere: what the machine holds that its bundle does not.
//
// The archive is a bundle's (tar_layout.h) with other members in front: `session.json` (which bundle, by its
// root), `session.sha256` (its digest, in the form sha256sum reads) and `delta.json`, the bundle's manifest
// with one scene more, whose digest session.json holds. Chunks the bundle has are referred to in the bundle's
// packs; the file's own packs follow theirs. So every page is found and checked through a Merkle tree as in a
// bundle, and only what differs takes room.
//
// Nobody signs it: the digests tell damage, not malice. What it carries is therefore only ever given to the
// guest (memory, disks, device state); machine, boot, policy and publisher come from the signed bundle.
#pragma once
#include "appliance-format/bundle_writer.h"

namespace appliance_format {

struct SessionInfo {
    std::string bundle_file; // its name without folders, where to look for it first
    signing::Hash bundle_root{};
    std::string title, publisher;
    std::string scene;  // of the bundle, where a revert leads; empty: power-on
    std::string moment; // the scene of the delta that is the machine as it was
    uint64_t elapsed_seconds = 0;
    uint64_t saved_at = 0; // Unix time
    bool operator==(const SessionInfo&) const = default;
};

class SessionFile {
  public:
    // Error codes: kIo, kNotABundle, kDamaged, kUnsupported.
    static base::Result<std::unique_ptr<SessionFile>> open(const std::string& path);
    static base::Result<std::unique_ptr<SessionFile>> open_fd(base::UniqueFd fd, const std::string& name);
    // Whether the file begins like one; for a better word to people who take it for a bundle.
    [[nodiscard]] static bool is_one(const std::string& path);

    [[nodiscard]] const SessionInfo& info() const { return info_; }
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] uint64_t file_size() const;

    // Brings it together with the bundle it was saved from, which is authenticated. Errors: it is another one
    // (the message has both roots), kDamaged when the delta is not one of that bundle.
    base::Result<> join(const Bundle& bundle);
    // After join(): the machine as it was, and its blobs. Readers stay valid for as long as they live.
    [[nodiscard]] const Scene& scene() const;
    base::Result<BlobReader> open_blob(std::string_view name) const;

  private:
    struct Files { // shared with the readers
        base::UniqueFd own, bundle;
        std::unique_ptr<ChunkStore> store;
    };
    SessionFile() = default;
    base::Result<> load();
    base::Result<> check_delta(const Manifest& bundle) const;
    base::Error located(base::Error error) const;

    std::string path_;
    std::shared_ptr<Files> files_;
    std::vector<TarMember> members_;
    SessionInfo info_;
    Manifest delta_;
};

// Writes a session: `writer` extends its bundle, and has the blobs of the scene `info.moment` in it.
base::Result<> write_session(BundleWriter& writer, const Bundle& bundle, const SessionInfo& info);

} // namespace appliance_format
