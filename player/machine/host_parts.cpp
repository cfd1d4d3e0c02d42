#include "player/machine/host_parts.h"

#include "player/machine/blob_port.h"
#include "player/machine/frame_port.h"
#include "vmm/base/file_io.h"
#include "vmm/devices/file_block_port.h"

#include <bit>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>

namespace machine {
namespace {

namespace format = appliance_format;

constexpr uint64_t kMaxKernel = 256ull << 20, kMaxInitrd = 1ull << 30;
constexpr size_t kMaxFirmware = 1u << 20;
constexpr size_t kCacheBytes = 16u << 20; // verified chunks and nodes kept for each store
constexpr size_t kMostIde = 4, kMostFloppies = 2;

tl::unexpected<base::Error> impossible(const char* what) {
    return base::fail(fmt::format("invalid machine: {}", what));
}

// Hands out what a Setup refers to by number.
class Supplies {
  public:
    Supplies(const Setup& setup, std::vector<base::UniqueFd>& files) : setup_(setup), files_(files) {}

    base::Result<void> open_stores() {
        for (const Store& store : setup_.stores) {
            std::vector<format::ChunkStore::Pack> packs;
            for (const StoredPack& pack : store.packs) {
                if (pack.file >= files_.size() || pack.size > format::kMaxPackSize ||
                    pack.base > uint64_t{1} << 62)
                    return impossible("its packs");
                packs.push_back({pack.member, pack.base, pack.size, files_[pack.file].get()});
            }
            stores_.push_back(std::make_shared<const format::ChunkStore>(std::move(packs), kCacheBytes));
        }
        return {};
    }
    base::Result<format::BlobReader> blob(const StoredBlob& blob) const {
        if (blob.store >= stores_.size() || !std::has_single_bit(blob.chunk) ||
            blob.chunk < format::kMinChunk || blob.chunk > format::kMaxChunk ||
            blob.size > format::kMaxBlobSize)
            return impossible("its blobs");
        return format::BlobReader(stores_[blob.store],
                                  {blob.name, blob.size, blob.chunk, format::decode_ref(blob.root)},
                                  blob.where);
    }
    base::Result<std::optional<format::BlobReader>> blob(const std::optional<StoredBlob>& wanted) const {
        if (!wanted)
            return std::optional<format::BlobReader>();
        return std::optional(TRY(blob(*wanted)));
    }
    base::Result<base::UniqueFd> file(const HostFile& file) {
        if (file.file >= files_.size() || !files_[file.file].valid())
            return impossible("its files");
        return std::move(files_[file.file]);
    }
    // Without moving the file's offset, which others may share.
    base::Result<std::vector<uint8_t>> content(const HostFile& of) {
        const base::UniqueFd fd = TRY(file(of));
        std::vector<uint8_t> bytes(kMaxFirmware);
        const ssize_t got = base::read_at(fd.get(), bytes, 0);
        if (got < 0)
            return base::fail(fmt::format("cannot read {}: {}", of.name, std::strerror(errno)));
        bytes.resize(static_cast<size_t>(got));
        return bytes;
    }

  private:
    const Setup& setup_;
    std::vector<base::UniqueFd>& files_;
    std::vector<std::shared_ptr<const format::ChunkStore>> stores_;
};

base::Result<std::shared_ptr<vmm::KernelBoot>> kernel_of(const Supplies& supplies, const SetupKernel& setup) {
    auto boot = std::make_shared<vmm::KernelBoot>();
    boot->load = [kernel = TRY(supplies.blob(setup.kernel)),
                  initrd = TRY(supplies.blob(setup.initrd))](vmm::KernelBoot& into) -> base::Result<void> {
        into.kernel = TRY(kernel.read_all(kMaxKernel));
        if (initrd)
            into.initrd = TRY(initrd->read_all(kMaxInitrd));
        return {};
    };
    boot->command_line = setup.command_line;
    return boot;
}

base::Result<SceneBlobs> scene_of(const Supplies& supplies, const SetupScene& scene) {
    return SceneBlobs{TRY(supplies.blob(scene.devices)), TRY(supplies.blob(scene.ram)),
                      TRY(supplies.blob(scene.hot_pages)), TRY(supplies.blob(scene.video))};
}

// Somebody with a hand on the outbox only, as the vCPU's thread wants it.
template <class Port> std::shared_ptr<Port> borrowed(Outbox& outbox) {
    return {std::shared_ptr<void>(), &outbox};
}

} // namespace

base::Result<std::unique_ptr<Host::Parts>>
Host::Parts::build(const Setup& setup, std::vector<base::UniqueFd> files, Outbox& outbox) {
    auto parts = std::make_unique<Parts>();
    parts->files = std::move(files);
    Supplies supplies(setup, parts->files);
    TRY(supplies.open_stores());
    parts->shared.emplace(TRY(SharedMemory::adopt(TRY(supplies.file(setup.shared)))));
    parts->shared->populate();
    parts->budget = std::make_shared<OverlayBudget>(
        setup.overlay_limit, [&outbox](const std::string& why) { outbox.stalled(why); },
        &parts->shared->overlay_bytes());

    vmm::MachineConfig config;
    config.reset_ends_machine = setup.reset_ends_machine;
    config.on_change = [&outbox] { outbox.state_changed(); };
    vmm::PlatformConfig& platform = config.platform;
    platform.ram_bytes = setup.ram_bytes;
    platform.sound = setup.sound;
    if (setup.heard)
        platform.audio = borrowed<vmm::AudioPort>(outbox);
    platform.serial = borrowed<vmm::CharPort>(outbox);
    platform.network_card = setup.network_card;
    if (setup.network)
        platform.network = TRY(FramePort::create(TRY(supplies.file(*setup.network))));
    platform.identity = setup.identity.value;
    platform.bios_path = setup.bios.name;
    platform.bios = TRY(supplies.content(setup.bios));
    platform.vga_bios_path = setup.vga_bios.name;
    platform.vga_bios = TRY(supplies.content(setup.vga_bios));
    platform.boot_order.clear();
    for (const BootStep& step : setup.boot_order)
        platform.boot_order.push_back(step.device);
    if (setup.kernel) {
        platform.kernel = TRY(kernel_of(supplies, *setup.kernel));
        if (!setup.scene) // a damaged one is an error now, not later
            TRY(platform.kernel->load(*platform.kernel));
    }
    size_t floppies = 0;
    for (const SetupMedium& medium : setup.media) {
        floppies += medium.kind == vmm::MediumKind::Floppy ? 1 : 0;
        std::shared_ptr<vmm::BlockPort> port;
        if (medium.blob)
            port = std::make_shared<BlobPort>(TRY(supplies.blob(*medium.blob)),
                                              [&outbox](const base::Error& error) { outbox.damaged(error); });
        else if (medium.image)
            port = TRY(vmm::FileBlockPort::adopt(TRY(supplies.file(*medium.image)), medium.image->name,
                                                 vmm::FileAccess::ReadOnly));
        else
            return impossible("a medium without content");
        parts->overlays.emplace_back();
        if (medium.writes)
            port = parts->overlays.back() = std::make_shared<OverlayPort>(
                std::move(port), TRY(supplies.file(*medium.writes)), parts->budget,
                [&outbox](const std::string& text) { outbox.notice(text); });
        platform.media.push_back({medium.kind, std::move(port)});
    }
    if (floppies > kMostFloppies || setup.media.size() - floppies > kMostIde)
        return impossible("more drives than it has places for");

    std::optional<vmm::SavedMachine> saved; // first: it reads ahead while the machine is put together
    if (setup.scene) {
        const SceneBlobs scene = TRY(scene_of(supplies, *setup.scene));
        saved = TRY(open_scene(scene));
        parts->scene_name = setup.scene->name;
        parts->scene_ram = scene.ram;
    }
    parts->machine = TRY(vmm::Machine::create(std::move(config)));
    if (saved)
        TRY(parts->machine->open_at(std::move(*saved)));
    outbox.set_look([machine = parts->machine.get()] {
        State state;
        state.reason = machine->exit_reason();
        state.ended = machine->has_ended();
        state.stopped = state.ended && machine->wait(0) != vmm::ExitReason::None;
        const base::Error failure = machine->failure();
        state.failure = {failure.code, failure.message};
        state.resets = machine->reset_count();
        return state;
    });
    return parts;
}

Host::Parts::~Parts() {
    if (budget)
        budget->room().abandon(); // writes that wait for room hold the machine up
}

base::Result<Frozen> Host::Parts::freeze(std::span<const base::UniqueFd> into) {
    size_t next = 0;
    const auto next_file = [&]() -> base::Result<int> {
        if (next >= into.size())
            return impossible("a file is missing");
        return into[next++].get();
    };
    const auto put = [](int fd, uint64_t offset, std::span<const uint8_t> content) -> base::Result<void> {
        if (base::write_at(fd, content, offset))
            return {};
        return base::fail(
            fmt::format("cannot keep what the machine holds ({}): free some space in the folder "
                        "of session data and try again",
                        std::strerror(errno)));
    };
    Frozen frozen;
    // First: what this finishes may still move DMA.
    frozen.state = TRY(machine->save_scene_state());
    const vmm::GuestMemory& memory = machine->memory();
    const auto keep_pages = [&](uint32_t first, uint32_t count, bool but_watched,
                                std::vector<uint32_t>& list) -> base::Result<void> {
        const int fd = TRY(next_file());
        for (const vmm::GuestMemory::Run& run : memory.resident(first, count))
            for (uint32_t page = run.first; page < run.first + run.count; ++page) {
                // Watched: not written since it was fetched from the scene.
                if (but_watched && memory.is_watched(page))
                    continue;
                TRY(put(fd, uint64_t{page - first} << vmm::kPageShift,
                        {machine->memory().data() + (size_t{page} << vmm::kPageShift), vmm::kPageSize}));
                list.push_back(page - first);
            }
        return {};
    };
    TRY(keep_pages(0, static_cast<uint32_t>(memory.ram_bytes() >> vmm::kPageShift), scene_ram.has_value(),
                   frozen.ram));
    const vmm::Platform::VideoMemory video = machine->video_memory();
    frozen.video_pages = video.pages;
    TRY(keep_pages(video.first_page, video.pages, false, frozen.video));
    std::vector<uint8_t> content;
    for (const auto& overlay : overlays) {
        FrozenDisk& disk = frozen.disks.emplace_back();
        if (!overlay)
            continue;
        const int fd = TRY(next_file());
        for (const uint64_t chunk : overlay->changed_list()) {
            const uint64_t offset = chunk * kOverlayChunk;
            content.resize(std::min(kOverlayChunk, overlay->size_bytes() - offset));
            TRY(overlay->read(offset, content));
            TRY(put(fd, offset, content));
            disk.chunks.push_back(static_cast<uint32_t>(chunk));
        }
        if (disk.chunks.size() > kMostChunks)
            return base::fail("the machine has written more than can be kept");
    }
    frozen.tsc_khz = machine->tsc_khz();
    return frozen;
}

uint64_t Host::Parts::largest_file() const {
    uint64_t largest = machine->memory().backing_bytes();
    for (const auto& overlay : overlays)
        if (overlay)
            largest = std::max(largest, (overlay->size_bytes() / kOverlayChunk + 1) * kOverlayChunk);
    return largest;
}

base::Result<void> Host::Parts::compare() {
    if (!scene_ram)
        return base::fail("this machine does not stand at a scene");
    vmm::GuestMemory& memory = machine->memory();
    // Pages never fetched hold nothing that could differ.
    for (uint32_t page = 0; page < memory.ram_bytes() >> vmm::kPageShift; ++page) {
        if (memory.is_absent(page))
            continue;
        const std::span<const uint8_t> content{memory.data() + (size_t{page} << vmm::kPageShift),
                                               vmm::kPageSize};
        const auto ref = TRY(scene_ram->chunk_ref(page));
        const bool same =
            ref.is_zero() ? vmm::is_zero_page(content.data()) : format::object_hash(0, content) == ref.hash;
        if (!same)
            return base::fail(
                fmt::format("not pristine: page {} of memory differs from scene {}", page, scene_name));
    }
    if (const std::string differs = TRY(machine->state_difference()); !differs.empty())
        return base::fail(fmt::format("not pristine: {} differs from scene {}", differs, scene_name));
    for (size_t i = 0; i < overlays.size(); ++i)
        if (overlays[i] && overlays[i]->changed_chunks() != 0)
            return base::fail(fmt::format("not pristine: disk {} differs from scene {}", i, scene_name));
    return {};
}

} // namespace machine
