#include "player/scene_capture.h"

#include "appliance-format/format.h"
#include "appliance-format/safe_path.h"
#include "player/host_features.h"
#include "player/png_writer.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <set>
#include <unistd.h>

namespace player {
namespace {

namespace format = appliance_format;

base::Result<void> for_each_resident(const vmm::GuestMemory& memory, uint32_t first, uint32_t count,
                                     const std::function<base::Result<void>(uint32_t page)>& visit) {
    for (const vmm::GuestMemory::Run& run : memory.resident(first, count))
        for (uint32_t page = run.first; page < run.first + run.count; ++page)
            TRY(visit(page));
    return {};
}

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

base::Result<void> FrozenImage::put(uint64_t offset, std::span<const uint8_t> content) {
    while (!content.empty()) {
        const ssize_t put = ::pwrite(file_.get(), content.data(), content.size(), static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return base::fail(
                fmt::format("cannot keep what the machine holds ({}): free some space in the folder "
                            "of session data and try again",
                            std::strerror(put == 0 ? ENOSPC : errno)));
        kept_.at(offset / unit_) = true; // all of a unit is put in one call
        content = content.subspan(static_cast<size_t>(put));
        offset += static_cast<uint64_t>(put);
    }
    return {};
}

base::Result<> FrozenImage::read(uint64_t offset, std::span<uint8_t> out) {
    if (!kept_.at(offset / unit_)) // a chunk below that has another size
        return origin_->read(offset, out);
    while (!out.empty()) {
        const ssize_t got = ::pread(file_.get(), out.data(), out.size(), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return base::fail(
                fmt::format("cannot read session data: {}", std::strerror(got == 0 ? EIO : errno)));
        out = out.subspan(static_cast<size_t>(got));
        offset += static_cast<uint64_t>(got);
    }
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

base::Result<FrozenMachine> freeze(const format::Bundle& bundle, const CaptureSubject& subject,
                                   const std::function<base::Result<base::UniqueFd>()>& make_file) {
    vmm::Machine& machine = subject.machine;
    FrozenMachine frozen;
    // First: what this finishes may still move DMA.
    frozen.state = TRY(machine.save_scene_state());
    vmm::GuestMemory& memory = machine.memory();
    const auto page_at = [&](uint32_t page) {
        return std::span<const uint8_t>(memory.data() + (size_t{page} << vmm::kPageShift), vmm::kPageSize);
    };
    const size_t shared_packs = bundle.manifest().packs.size();
    std::optional<format::BlobReader> origin;
    if (subject.origin != nullptr)
        origin = TRY(subject.open_blob(subject.origin->ram));
    const bool has_origin = origin.has_value();
    frozen.ram.emplace(memory.ram_bytes(), vmm::kPageSize, TRY(make_file()), std::move(origin), shared_packs);
    const auto ram_pages = static_cast<uint32_t>(memory.ram_bytes() >> vmm::kPageShift);
    TRY(for_each_resident(memory, 0, ram_pages, [&](uint32_t page) -> base::Result<void> {
        // Watched: not written since it was fetched from there.
        if (has_origin && memory.is_watched(page))
            return {};
        return frozen.ram->put(uint64_t{page} << vmm::kPageShift, page_at(page));
    }));
    const vmm::Platform::VideoMemory video = machine.video_memory();
    frozen.video.emplace(uint64_t{video.pages} << vmm::kPageShift, vmm::kPageSize, TRY(make_file()),
                         std::nullopt);
    TRY(for_each_resident(memory, video.first_page, video.pages, [&](uint32_t page) {
        return frozen.video->put(uint64_t{page - video.first_page} << vmm::kPageShift, page_at(page));
    }));
    const auto& media = bundle.manifest().media;
    std::vector<uint8_t> content;
    for (size_t i = 0; i < media.size(); ++i) {
        frozen.below.push_back(subject.origin != nullptr ? subject.origin->media[i] : media[i].blob);
        frozen.disks.emplace_back();
        OverlayPort* overlay = subject.overlays[i].get();
        const bool in_bundle = bundle.manifest().find_blob(frozen.below.back()) != nullptr;
        if (overlay == nullptr || (overlay->changed_chunks() == 0 && in_bundle))
            continue;
        auto& disk = frozen.disks.back();
        disk.emplace(overlay->size_bytes(), kOverlayChunk, TRY(make_file()),
                     TRY(subject.open_blob(frozen.below.back())), shared_packs);
        for (const uint64_t chunk : overlay->changed_list()) {
            const uint64_t offset = chunk * kOverlayChunk;
            content.resize(std::min(kOverlayChunk, overlay->size_bytes() - offset));
            TRY(overlay->read(offset, content));
            TRY(disk->put(offset, content));
        }
    }
    frozen.picture = machine.picture();
    frozen.tsc_khz = machine.tsc_khz();
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
