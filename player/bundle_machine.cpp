#include "player/bundle_machine.h"

#include "appliance-format/format.h"
#include "player/installed_files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

namespace player {
namespace {

namespace format = appliance_format;

constexpr uint64_t kMinMemory = 16ull << 20, kMaxMemory = 64ull << 30;
constexpr size_t kMaxIde = 4, kMaxFloppies = 2;

vmm::MediumKind medium_kind(format::MediaKind kind) {
    switch (kind) {
    case format::MediaKind::Disk:
        return vmm::MediumKind::Disk;
    case format::MediaKind::Cdrom:
        return vmm::MediumKind::Cdrom;
    case format::MediaKind::Floppy:
        return vmm::MediumKind::Floppy;
    }
    return vmm::MediumKind::Disk;
}

vmm::BootDevice boot_device(format::MediaKind kind) {
    switch (kind) {
    case format::MediaKind::Disk:
        return vmm::BootDevice::Disk;
    case format::MediaKind::Cdrom:
        return vmm::BootDevice::Cdrom;
    case format::MediaKind::Floppy:
        return vmm::BootDevice::Floppy;
    }
    return vmm::BootDevice::Disk;
}

// Files and stores, each once, and the numbers that stand for them.
class Describer {
  public:
    explicit Describer(ConfiguredMachine& machine) : machine_(machine) {}

    machine::FileIndex borrow(int fd) {
        const auto found = std::ranges::find(machine_.files, fd);
        const auto index = static_cast<machine::FileIndex>(found - machine_.files.begin());
        if (found == machine_.files.end())
            machine_.files.push_back(fd);
        return index;
    }
    machine::HostFile take(base::UniqueFd fd, std::string name = {}) {
        const machine::FileIndex index = borrow(fd.get());
        machine_.own_files.push_back(std::move(fd));
        return {index, std::move(name)};
    }
    base::Result<machine::HostFile> open(const std::string& path, const char* what) {
        base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        if (!fd.valid())
            return base::fail(fmt::format("cannot open {} '{}': {}", what, path, std::strerror(errno)));
        return take(std::move(fd), path);
    }
    machine::StoredBlob blob(const format::BlobReader& reader) {
        const format::BlobInfo& info = reader.info();
        machine::StoredBlob blob{store(reader.store()), info.chunk, info.size, {}, info.name, reader.where()};
        format::encode_ref(info.root, blob.root);
        return blob;
    }

  private:
    uint32_t store(const format::ChunkStore& store) {
        const auto found = std::ranges::find(stores_, &store);
        const auto index = static_cast<uint32_t>(found - stores_.begin());
        if (found != stores_.end())
            return index;
        stores_.push_back(&store);
        machine::Store& described = machine_.setup.stores.emplace_back();
        for (const format::ChunkStore::Pack& pack : store.packs())
            described.packs.push_back({pack.member, pack.base, pack.size, borrow(pack.fd)});
        return index;
    }

    ConfiguredMachine& machine_;
    std::vector<const format::ChunkStore*> stores_;
};

} // namespace

base::Result<std::unique_ptr<BundleMachine>> BundleMachine::create(const format::Bundle& bundle,
                                                                   const MachineChanges& changes) {
    const format::Manifest& manifest = bundle.manifest();
    std::unique_ptr<BundleMachine> machine(new BundleMachine(bundle));
    machine->memory_bytes_ = changes.memory_bytes.value_or(manifest.machine.memory);
    machine->reset_ends_machine_ = changes.reset_ends_machine;
    machine->heard_ = changes.audio != nullptr;
    machine->cdrom_ = changes.cdrom;
    machine->kernel_append_ = changes.kernel_append;
    machine->changed_ = machine->memory_bytes_ != manifest.machine.memory || !changes.cdrom.empty() ||
                        !changes.kernel_append.empty();
    if (machine->memory_bytes_ < kMinMemory || machine->memory_bytes_ > kMaxMemory)
        return base::fail(fmt::format("{}: a machine can have 16M to 64G of memory, not {}M; give --memory",
                                      bundle.path(), machine->memory_bytes_ >> 20),
                          format::kUnsupported);
    const auto floppies = static_cast<size_t>(std::ranges::count(
        manifest.media, format::MediaKind::Floppy, [](const format::Medium& m) { return m.kind; }));
    const size_t ide = manifest.media.size() - floppies + (changes.cdrom.empty() ? 0 : 1);
    if (ide > kMaxIde || floppies > kMaxFloppies)
        return base::fail(fmt::format("{}: {} disks and CDs and {} floppies, but a machine takes {} and {}",
                                      bundle.path(), ide, floppies, kMaxIde, kMaxFloppies),
                          format::kUnsupported);
    if (manifest.boot.kernel.empty() && !changes.kernel_append.empty())
        return base::fail(
            fmt::format("{}: boots from its own media: there is no kernel command line to add to",
                        bundle.path()),
            2);
    return machine;
}

base::Result<ConfiguredMachine> BundleMachine::configure(SessionStorage& storage, uint64_t overlay_limit,
                                                         std::shared_ptr<vmm::NetworkPort> network,
                                                         const format::Scene* scene,
                                                         const OpenBlob& open_blob) const {
    const format::Manifest& manifest = bundle_.manifest();
    ConfiguredMachine machine;
    Describer describe(machine);
    machine::Setup& setup = machine.setup;
    const vmm::PlatformConfig defaults;
    setup.bios = TRY(describe.open(find_data("seabios/bios-256k.bin"), "the BIOS image"));
    setup.vga_bios = TRY(describe.open(find_data("seabios/vgabios-stdvga.bin"), "the display's BIOS"));
    setup.ram_bytes = memory_bytes_;
    setup.overlay_limit = overlay_limit;
    setup.reset_ends_machine = reset_ends_machine_;
    setup.sound = manifest.machine.sound;
    setup.heard = heard_;
    setup.network_card = manifest.machine.network;
    if (network) {
        std::array<int, 2> cable{};
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, cable.data()) != 0)
            return base::fail(fmt::format("cannot make a socket: {}", std::strerror(errno)));
        base::UniqueFd ours(cable[0]);
        setup.network = describe.take(base::UniqueFd(cable[1]));
        machine.cable = TRY(machine::FrameCarrier::create(std::move(ours), std::move(network)));
    }
    const format::BootInfo& boot = manifest.boot;
    if (!boot.kernel.empty()) {
        machine::SetupKernel& kernel = setup.kernel.emplace();
        kernel.kernel = describe.blob(TRY(bundle_.open_blob(boot.kernel)));
        if (!boot.initrd.empty())
            kernel.initrd = describe.blob(TRY(bundle_.open_blob(boot.initrd)));
        kernel.command_line = boot.cmdline;
        if (!kernel_append_.empty())
            kernel.command_line += (boot.cmdline.empty() ? "" : " ") + kernel_append_;
        setup.boot_order.push_back({vmm::BootDevice::Kernel});
    }
    for (const format::MediaKind kind : boot.order)
        setup.boot_order.push_back({boot_device(kind)});
    if (setup.boot_order.empty())
        for (const vmm::BootDevice device : defaults.boot_order)
            setup.boot_order.push_back({device});
    if (!cdrom_.empty()) {
        setup.media.push_back({vmm::MediumKind::Cdrom, {}, TRY(describe.open(cdrom_, "disk image")), {}});
        if (std::ranges::find(setup.boot_order, vmm::BootDevice::Cdrom, &machine::BootStep::device) ==
            setup.boot_order.end())
            setup.boot_order.push_back({vmm::BootDevice::Cdrom});
    }
    for (size_t i = 0; i < manifest.media.size(); ++i) {
        const format::Medium& medium = manifest.media[i];
        machine::SetupMedium& described = setup.media.emplace_back();
        described.kind = medium_kind(medium.kind);
        described.blob = describe.blob(TRY(open_blob(scene != nullptr ? scene->media[i] : medium.blob)));
        if (medium.kind != format::MediaKind::Cdrom)
            described.writes = describe.take(TRY(storage.create_file()));
    }
    if (scene != nullptr) {
        machine::SetupScene& described = setup.scene.emplace();
        described.name = scene->name;
        described.devices = describe.blob(TRY(open_blob(scene->devices)));
        described.ram = describe.blob(TRY(open_blob(scene->ram)));
        if (!scene->hot_pages.empty())
            described.hot_pages = describe.blob(TRY(open_blob(scene->hot_pages)));
        if (!scene->video.empty())
            described.video = describe.blob(TRY(open_blob(scene->video)));
    }
    return machine;
}

} // namespace player
