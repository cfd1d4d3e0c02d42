#include "player/scene_capture.h"

#include "appliance-format/format.h"
#include "appliance-format/safe_path.h"
#include "player/host_features.h"
#include "player/machine/overlay_port.h"
#include "player/png_writer.h"
#include "vmm/base/file_io.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <set>
#include <unistd.h>

namespace player {
namespace {

namespace format = appliance_format;

// A folder of blobs that no scene has used, so that scenes can be renamed and removed freely.
std::string unused_folder(const format::Manifest& manifest) {
    for (size_t number = 1;; ++number) {
        std::string folder = fmt::format("scenes/{}/", number);
        if (std::ranges::none_of(manifest.blobs,
                                 [&](const format::BlobInfo& blob) { return blob.name.starts_with(folder); }))
            return folder;
    }
}

base::Result<void> add_bytes(format::BundleWriter& writer, const std::string& name,
                             std::span<const uint8_t> bytes, uint32_t chunk) {
    format::MemorySource source{bytes};
    return writer.add_blob(name, source, chunk);
}

std::set<std::string> used_blobs(const format::Manifest& manifest) {
    std::set<std::string> used{manifest.appliance.picture, manifest.boot.kernel, manifest.boot.initrd};
    for (const format::Medium& medium : manifest.media)
        used.insert(medium.blob);
    for (const format::Scene& scene : manifest.scenes) {
        used.insert({scene.ram, scene.devices, scene.video, scene.picture, scene.hot_pages});
        used.insert(scene.media.begin(), scene.media.end());
    }
    return used;
}

} // namespace

// ------------------------------------------------------------------------------------------------ frozen

bool FrozenImage::kept(const std::vector<uint32_t>& units) {
    for (const uint32_t unit : units) {
        if (unit >= kept_.size())
            return false;
        kept_[unit] = true;
    }
    return true;
}

base::Result<> FrozenImage::read(uint64_t offset, std::span<uint8_t> out) {
    if (!kept_.at(offset / unit_)) // a chunk below that has another size
        return origin_->read(offset, out);
    const ssize_t got = base::read_at(file_.get(), out, offset);
    if (got != static_cast<ssize_t>(out.size()))
        return base::fail(fmt::format("cannot read session data: {}", std::strerror(got < 0 ? errno : EIO)));
    return {};
}

base::Result<std::optional<format::ObjectRef>> FrozenImage::stored(uint64_t offset, size_t) {
    if (kept_.at(offset / unit_))
        return std::nullopt;
    if (!origin_)
        return format::ObjectRef{}; // zero
    if (origin_->chunk_size() != unit_)
        return std::nullopt;
    const format::ObjectRef ref = TRY(origin_->chunk_ref(offset / unit_));
    // What a saved session keeps in packs of its own is read and stored like anything else.
    return ref.is_zero() || ref.pack < shared_packs_ ? std::optional(ref) : std::nullopt;
}

// The machine's process writes into the files; what it says is in them is all that will be read.
base::Result<FrozenMachine> freeze(const format::Bundle& bundle, const CaptureSubject& subject,
                                   const std::function<base::Result<base::UniqueFd>()>& make_file) {
    FrozenMachine frozen;
    const size_t shared_packs = bundle.manifest().packs.size();
    std::optional<format::BlobReader> origin;
    if (subject.origin != nullptr)
        origin = TRY(subject.open_blob(subject.origin->ram));
    frozen.ram.emplace(bundle.manifest().machine.memory, vmm::kPageSize, TRY(make_file()), std::move(origin),
                       shared_packs);
    base::UniqueFd video = TRY(make_file());
    std::vector<int> files{frozen.ram->file(), video.get()};
    const auto& media = bundle.manifest().media;
    for (size_t i = 0; i < media.size(); ++i) {
        frozen.below.push_back(subject.origin != nullptr ? subject.origin->media[i] : media[i].blob);
        frozen.disks.emplace_back();
        if (media[i].kind == format::MediaKind::Cdrom)
            continue;
        format::BlobReader below = TRY(subject.open_blob(frozen.below.back()));
        const uint64_t size = below.size();
        frozen.disks.back().emplace(size, machine::kOverlayChunk, TRY(make_file()), std::move(below),
                                    shared_packs);
        files.push_back(frozen.disks.back()->file());
    }
    machine::Frozen said = TRY(subject.machine.freeze(files));
    const auto wrong = [] { return base::fail("the machine's process does not answer as it should"); };
    if (uint64_t{said.video_pages} << vmm::kPageShift > vmm::kMaxAddedBackingBytes ||
        said.disks.size() != media.size() || !frozen.ram->kept(said.ram))
        return wrong();
    frozen.video.emplace(uint64_t{said.video_pages} << vmm::kPageShift, vmm::kPageSize, std::move(video),
                         std::nullopt);
    if (!frozen.video->kept(said.video))
        return wrong();
    for (size_t i = 0; i < media.size(); ++i) {
        auto& disk = frozen.disks[i];
        const std::vector<uint32_t>& chunks = said.disks[i].chunks;
        if (disk ? !disk->kept(chunks) : !chunks.empty())
            return wrong();
        if (chunks.empty() && bundle.manifest().find_blob(frozen.below[i]) != nullptr)
            disk.reset(); // as it is there
    }
    frozen.state = std::move(said.state);
    frozen.tsc_khz = said.tsc_khz;
    frozen.picture = subject.machine.picture();
    return frozen;
}

// ------------------------------------------------------------------------------------------------ bundles

base::Result<void> check_scene_name(const format::Bundle& bundle, const std::string& name) {
    if (!format::is_simple_name(name))
        return base::fail(fmt::format("a scene's name has lower-case letters, digits and -, not '{}'", name),
                          2);
    if (bundle.manifest().find_scene(name) != nullptr)
        return base::fail(fmt::format("{}: there is a scene {} already", bundle.path(), name), 2);
    return {};
}

base::Result<void> add_frozen(format::BundleWriter& writer, FrozenMachine frozen, const SceneLabel& label) {
    const std::string folder = unused_folder(writer.manifest());
    format::Scene scene;
    scene.name = label.name;
    scene.title = label.title.empty() ? label.name : label.title;
    scene.cpu_features = promised_cpu_features();
    scene.tsc_khz = frozen.tsc_khz;
    scene.ram = folder + "ram";
    TRY(writer.add_blob(scene.ram, *frozen.ram, format::kMemoryChunk));
    scene.video = folder + "video";
    TRY(writer.add_blob(scene.video, *frozen.video, format::kMemoryChunk));
    scene.devices = folder + "devices";
    TRY(add_bytes(writer, scene.devices, frozen.state, format::kMemoryChunk));
    if (const auto png = encode_png(frozen.picture)) {
        scene.picture = folder + "screen.png";
        TRY(add_bytes(writer, scene.picture, *png, format::kDiskChunk));
    }
    for (size_t i = 0; i < frozen.disks.size(); ++i) {
        scene.media.push_back(frozen.below[i]);
        if (!frozen.disks[i])
            continue;
        scene.media.back() = fmt::format("{}disk{}", folder, i);
        TRY(writer.add_blob(scene.media.back(), *frozen.disks[i], format::kDiskChunk));
    }
    writer.manifest().scenes.push_back(std::move(scene));
    if (label.start)
        writer.manifest().start = label.name;
    return {};
}

base::Result<void> add_scene(const format::Bundle& bundle, FrozenMachine frozen, const SceneLabel& label,
                             const signing::Signer& signer, format::WriterOptions options) {
    TRY(bundle.check_author(signer));
    TRY(check_scene_name(bundle, label.name));
    options.total_input = frozen.ram->size();
    auto writer = TRY(format::BundleWriter::extend(bundle, bundle.path(), std::move(options)));
    TRY(add_frozen(writer, std::move(frozen), label));
    return writer.finish(&signer);
}

base::Result<void> set_hot_pages(const format::Bundle& bundle, const std::string& scene,
                                 const std::vector<uint32_t>& pages, const signing::Signer& signer) {
    TRY(bundle.check_author(signer));
    auto writer = TRY(format::BundleWriter::extend(bundle, bundle.path(), {.progress = {}}));
    auto& scenes = writer.manifest().scenes;
    const auto found = std::ranges::find(scenes, scene, &format::Scene::name);
    if (found == scenes.end())
        return base::fail(fmt::format("{}: there is no scene {}", bundle.path(), scene), 2);
    const std::string name = found->ram.substr(0, found->ram.rfind('/') + 1) + "hot";
    writer.remove_blob(name);
    TRY(add_bytes(writer, name,
                  {reinterpret_cast<const uint8_t*>(pages.data()), pages.size() * sizeof(uint32_t)},
                  format::kDiskChunk));
    found->hot_pages = name;
    return writer.finish(&signer);
}

base::Result<void> edit_scenes(const format::Bundle& bundle, const signing::Signer& signer,
                               const std::function<base::Result<void>(format::Manifest&)>& change,
                               format::WriterOptions options) {
    TRY(bundle.check_author(signer));
    format::Manifest changed = bundle.manifest();
    TRY(change(changed));
    const std::set<std::string> used = used_blobs(changed);
    auto writer = TRY(format::BundleWriter::rewrite(
        bundle, bundle.path(), std::move(options),
        [&](const format::BlobInfo& blob) { return used.contains(blob.name); }));
    changed.blobs = writer.manifest().blobs;
    writer.manifest() = std::move(changed);
    return writer.finish(&signer);
}

} // namespace player
