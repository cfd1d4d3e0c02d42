// Opens a bundle: the archive's layout, the manifest and the signature are read and checked, nothing else, so
// the cost does not depend on the bundle's size. Blob content is reachable only after authenticate()
// succeeded.
#pragma once
#include "appliance-format/blob_reader.h"
#include "appliance-format/manifest.h"
#include "appliance-format/tar_layout.h"
#include "signing/sign.h"
#include "signing/trust_store.h"
#include "vmm/base/unique_fd.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>

namespace appliance_format {

class Bundle {
  public:
    // Error codes: kIo, kNotABundle, kDamaged, kUnsupported, signing::kUnsigned (no signature member).
    static base::Result<std::unique_ptr<Bundle>> open(const std::string& path);
    // The same on an open file, for readers of something that is not a path; `name` begins error messages.
    static base::Result<std::unique_ptr<Bundle>> open_fd(base::UniqueFd fd, const std::string& name);

    // Whose signature the manifest carries. Errors: kUnsigned, kTampered, then kUntrusted, kExpired.
    base::Result<signing::Publisher> authenticate(const signing::TrustStore& trust);
    // For whoever is about to sign this content in their own name: also opens the blobs of a bundle that
    // nobody has signed (no publisher), or whose trusted publisher's certificate has expired. Errors
    // otherwise as above.
    base::Result<std::optional<signing::Publisher>> accept_for_signing(const signing::TrustStore& trust);
    // authenticate() without asking for trust: who claims to have signed, the signature itself being good.
    // Opens no blobs. For inspect and `trust add`.
    base::Result<signing::Signature> signature() const;
    // Whether this key is its publisher's: no one else may change the bundle, or play it without
    // its rules. Errors: kNotYours.
    base::Result<> check_author(const signing::Signer& signer) const;

    // Not to be acted on before authenticate() succeeded.
    [[nodiscard]] const Manifest& manifest() const { return manifest_; }
    [[nodiscard]] const std::string& manifest_json() const { return json_; }
    // SHA-256 of the manifest: names this exact bundle content (overlays and saved sessions refer to it).
    [[nodiscard]] signing::Hash identity() const;
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] uint64_t file_size() const;
    [[nodiscard]] bool has_signature() const { return !cms_.empty(); }
    [[nodiscard]] std::span<const uint8_t> signature_bytes() const { return cms_; }

    // A reader that stays valid for as long as it lives. Fails before authenticate() succeeded.
    base::Result<BlobReader> open_blob(std::string_view name) const;

    // Reads and checks every byte of the file; progress(done, total) bytes, false stops with kCancelled.
    using Progress = std::function<bool(uint64_t done, uint64_t total)>;
    base::Result<> verify_content(const Progress& progress) const;

    // The data of a pack as it lies in the file, for the writer that reuses it.
    struct RawPack {
        int fd;
        uint64_t offset;
    };
    [[nodiscard]] RawPack raw_pack(size_t index) const;

  private:
    // Shared with the readers: closes the file when the last of them is gone.
    struct File {
        base::UniqueFd fd;
        std::unique_ptr<ChunkStore> store;
    };
    Bundle() = default;
    base::Result<> load();
    base::Error located(base::Error error) const;
    base::Result<> verify_packs(const Progress& progress, uint64_t& done, uint64_t total) const;
    base::Result<> verify_blobs(const Progress& progress, uint64_t& done, uint64_t total) const;

    std::string path_;
    std::shared_ptr<File> file_;
    std::vector<TarMember> members_;
    std::string json_;
    std::vector<uint8_t> cms_;
    Manifest manifest_;
    std::atomic<bool> authenticated_ = false;
};

} // namespace appliance_format
