#include "player/scene_capture.h"

#include "appliance-format/format.h"
#include "appliance-format/safe_path.h"
#include "player/png_writer.h"
#include "player/scene_source.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <set>
#include <unistd.h>

namespace player {
namespace {

namespace format = appliance_format;

// Pages [first, first+count) of the guest's memfd, straight from it. Holes are zero and cost nothing.
class MemfdSource final : public format::BlobSource {
  public:
    MemfdSource(vmm::GuestMemory& memory, uint32_t first, uint32_t count,
                std::optional<format::BlobReader> origin)
        : memory_(memory), first_(first), count_(count), origin_(std::move(origin)) {}

    [[nodiscard]] uint64_t size() const override { return uint64_t{count_} << vmm::kPageShift; }
    base::Result<> read(uint64_t offset, std::span<uint8_t> out) override {
        std::memcpy(out.data(), memory_.data() + start() + offset, out.size());
        return {};
    }
    uint64_t next_data(uint64_t offset) override {
        if (offset >= hole_from_ && offset < data_from_)
            return data_from_;
        if (offset >= data_from_ && offset < data_until_)
            return offset;
        const off_t found = ::lseek(memory_.fd(), static_cast<off_t>(start() + offset), SEEK_DATA);
        hole_from_ = offset;
        data_from_ = found < 0 ? size() : std::min(static_cast<uint64_t>(found) - start(), size());
        data_until_ = data_from_;
        if (data_from_ < size()) {
            const off_t end = ::lseek(memory_.fd(), static_cast<off_t>(start() + data_from_), SEEK_HOLE);
            data_until_ = end < 0 ? size() : std::min(static_cast<uint64_t>(end) - start(), size());
        }
        return data_from_;
    }
    base::Result<std::optional<format::ObjectRef>> stored(uint64_t offset, size_t) override {
        // Watched: not written since it was (or was not yet) fetched from there.
        if (!origin_ || !memory_.is_watched(static_cast<uint32_t>((start() + offset) >> vmm::kPageShift)))
            return std::nullopt;
        return TRY(origin_->chunk_ref(offset >> vmm::kPageShift));
    }

  private:
    [[nodiscard]] uint64_t start() const { return uint64_t{first_} << vmm::kPageShift; }

    vmm::GuestMemory& memory_;
    uint32_t first_, count_;
    std::optional<format::BlobReader> origin_;
    uint64_t hole_from_ = 0, data_from_ = 0, data_until_ = 0; // what the last look at the file's map said
};

// A disk as the session sees it.
class DiskSource final : public format::BlobSource {
  public:
    DiskSource(OverlayPort& port, format::BlobReader origin) : port_(port), origin_(std::move(origin)) {}

    [[nodiscard]] uint64_t size() const override { return port_.size_bytes(); }
    base::Result<> read(uint64_t offset, std::span<uint8_t> out) override { return port_.read(offset, out); }
    base::Result<std::optional<format::ObjectRef>> stored(uint64_t offset, size_t) override {
        static_assert(format::kDiskChunk == kOverlayChunk);
        if (origin_.chunk_size() != format::kDiskChunk || port_.changed(offset / kOverlayChunk))
            return std::nullopt;
        return TRY(origin_.chunk_ref(offset / kOverlayChunk));
    }

  private:
    OverlayPort& port_;
    format::BlobReader origin_;
};

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

void remove_unused_blobs(format::BundleWriter& writer) {
    const format::Manifest& manifest = writer.manifest();
    std::set<std::string> used{manifest.appliance.picture, manifest.boot.kernel, manifest.boot.initrd};
    for (const format::Medium& medium : manifest.media)
        used.insert(medium.blob);
    for (const format::Scene& scene : manifest.scenes) {
        used.insert({scene.ram, scene.devices, scene.video, scene.picture, scene.hot_pages});
        used.insert(scene.media.begin(), scene.media.end());
    }
    std::vector<std::string> unused;
    for (const format::BlobInfo& blob : manifest.blobs)
        if (!used.contains(blob.name))
            unused.push_back(blob.name);
    for (const std::string& name : unused)
        writer.remove_blob(name);
}

} // namespace

base::Result<void> add_scene(const format::Bundle& bundle, const CaptureSubject& subject,
                             const SceneLabel& label, const signing::Signer& signer,
                             format::WriterOptions options) {
    const format::Manifest& manifest = bundle.manifest();
    if (!format::is_simple_name(label.name))
        return base::fail(
            fmt::format("a scene's name has lower-case letters, digits and -, not '{}'", label.name), 2);
    if (manifest.find_scene(label.name) != nullptr)
        return base::fail(fmt::format("{}: there is a scene {} already", bundle.path(), label.name), 2);
    vmm::Machine& machine = subject.machine;
    // First: what this finishes may still move DMA.
    const std::vector<uint8_t> state = TRY(machine.save_scene_state());
    vmm::GuestMemory& memory = machine.memory();
    const auto ram_pages = static_cast<uint32_t>(memory.ram_bytes() >> vmm::kPageShift);
    options.total_input = memory.ram_bytes();
    auto writer = TRY(format::BundleWriter::extend(bundle, bundle.path(), std::move(options)));

    const std::string folder = unused_folder(manifest);
    format::Scene scene;
    scene.name = label.name;
    scene.title = label.title.empty() ? label.name : label.title;
    scene.cpu_features = promised_cpu_features();

    std::optional<format::BlobReader> origin;
    if (subject.origin != nullptr)
        origin = TRY(bundle.open_blob(subject.origin->ram));
    MemfdSource ram(memory, 0, ram_pages, std::move(origin));
    scene.ram = folder + "ram";
    TRY(writer.add_blob(scene.ram, ram, format::kMemoryChunk));

    const vmm::Platform::VideoMemory video_at = machine.video_memory();
    MemfdSource video(memory, video_at.first_page, video_at.pages, {});
    scene.video = folder + "video";
    TRY(writer.add_blob(scene.video, video, format::kMemoryChunk));

    scene.devices = folder + "devices";
    TRY(add_bytes(writer, scene.devices, state, format::kMemoryChunk));
    if (const auto png = encode_png(machine.picture())) {
        scene.picture = folder + "screen.png";
        TRY(add_bytes(writer, scene.picture, *png, format::kDiskChunk));
    }
    for (size_t i = 0; i < manifest.media.size(); ++i) {
        const std::string below =
            subject.origin != nullptr ? subject.origin->media[i] : manifest.media[i].blob;
        OverlayPort* overlay = subject.overlays[i].get();
        if (overlay == nullptr || overlay->changed_chunks() == 0) {
            scene.media.push_back(below);
            continue;
        }
        DiskSource disk(*overlay, TRY(bundle.open_blob(below)));
        scene.media.push_back(fmt::format("{}disk{}", folder, i));
        TRY(writer.add_blob(scene.media.back(), disk, format::kDiskChunk));
    }
    writer.manifest().scenes.push_back(std::move(scene));
    if (label.start)
        writer.manifest().start = label.name;
    return writer.finish(&signer);
}

base::Result<void> set_hot_pages(const format::Bundle& bundle, const std::string& scene,
                                 const std::vector<uint32_t>& pages, const signing::Signer& signer) {
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
                               const std::function<base::Result<void>(format::Manifest&)>& change) {
    auto writer = TRY(format::BundleWriter::extend(bundle, bundle.path(), {.progress = {}}));
    TRY(change(writer.manifest()));
    remove_unused_blobs(writer);
    return writer.finish(&signer);
}

} // namespace player
