// From a machine at rest to a scene in its bundle. What the bundle holds already is referred to, not read:
// RAM that was not written since the machine was opened at a scene, and disk chunks the session did not
// write.
#pragma once
#include "appliance-format/bundle_writer.h"
#include "player/bundle_machine.h"
#include "player/machine/client.h"

#include <memory>
#include <string>
#include <vector>

namespace player {

// A machine and where it came from. All of it stays still meanwhile.
struct CaptureSubject {
    machine::Client& machine;
    const appliance_format::Scene* origin = nullptr; // it was opened at; null: booted
    OpenBlob open_blob;                              // the origin's blobs
};

// Memory or a disk as it was: the units that differ from `origin` are in a file at their own offsets. Without
// an origin, all others are zero.
class FrozenImage final : public appliance_format::BlobSource {
  public:
    // The first `shared_packs` packs that the origin refers to are also the target's.
    FrozenImage(uint64_t size, uint64_t unit, base::UniqueFd file,
                std::optional<appliance_format::BlobReader> origin, size_t shared_packs = 0)
        : size_(size), unit_(unit), shared_packs_(shared_packs), file_(std::move(file)),
          origin_(std::move(origin)), kept_((size + unit - 1) / unit) {}

    [[nodiscard]] int file() const { return file_.get(); }
    // That these are in the file now. False: there are no such units.
    [[nodiscard]] bool kept(const std::vector<uint32_t>& units);
    [[nodiscard]] uint64_t size() const override { return size_; }
    base::Result<> read(uint64_t offset, std::span<uint8_t> out) override;
    base::Result<std::optional<appliance_format::ObjectRef>> stored(uint64_t offset, size_t length) override;

  private:
    uint64_t size_, unit_;
    size_t shared_packs_;
    base::UniqueFd file_;
    std::optional<appliance_format::BlobReader> origin_;
    std::vector<bool> kept_; // by unit
};

struct FrozenMachine {
    std::vector<uint8_t> state;
    std::optional<FrozenImage> ram, video;
    std::vector<std::string> below;                // the media's blobs
    std::vector<std::optional<FrozenImage>> disks; // by medium; none: as in `below`
    vmm::Picture picture;
    uint32_t tsc_khz = 0;
};

// `make_file`: an empty file of the session's own. `bundle` is what will be extended by it: the one the
// machine runs from or an extension of it.
base::Result<FrozenMachine> freeze(const appliance_format::Bundle& bundle, const CaptureSubject& subject,
                                   const std::function<base::Result<base::UniqueFd>()>& make_file);

struct SceneLabel {
    std::string name, title;
    bool start = false; // sessions begin here from now on
};

// Errors: the name is taken or not allowed.
base::Result<void> check_scene_name(const appliance_format::Bundle& bundle, const std::string& name);

// Scenes are the publisher's: whoever `signer` is in what follows, it has to be who signed the bundle.

// Adds the blobs of a frozen machine and the scene that names them to what is being written.
base::Result<void> add_frozen(appliance_format::BundleWriter& writer, FrozenMachine frozen,
                              const SceneLabel& label);

// Writes `bundle` anew, with the scene in it, under its own name; the old file is replaced at the very end.
// `bundle` is authenticated, and the one the machine runs from or an extension of it. Errors: those of
// check_scene_name and BundleWriter.
base::Result<void> add_scene(const appliance_format::Bundle& bundle, FrozenMachine frozen,
                             const SceneLabel& label, const signing::Signer& signer,
                             appliance_format::WriterOptions options);

// The pages a scene's first seconds need, in the order of their first touch.
base::Result<void> set_hot_pages(const appliance_format::Bundle& bundle, const std::string& scene,
                                 const std::vector<uint32_t>& pages, const signing::Signer& signer);

// Changes the list of scenes in `change` and writes the bundle anew, without what no scene needs any more.
base::Result<void> edit_scenes(const appliance_format::Bundle& bundle, const signing::Signer& signer,
                               const std::function<base::Result<void>(appliance_format::Manifest&)>& change,
                               appliance_format::WriterOptions options = {});

} // namespace player
