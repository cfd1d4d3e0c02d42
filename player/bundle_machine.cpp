#include "player/bundle_machine.h"

#include "appliance-format/format.h"
#include "player/installed_files.h"
#include "vmm/devices/file_block_port.h"

#include <algorithm>
#include <fmt/format.h>

namespace player {
namespace {

namespace format = appliance_format;

constexpr uint64_t kMinMemory = 16ull << 20, kMaxMemory = 3ull << 30;
constexpr size_t kMaxIde = 4, kMaxFloppies = 2;
constexpr uint64_t kMaxKernel = 256ull << 20, kMaxInitrd = 1ull << 30;

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

} // namespace

base::Result<std::unique_ptr<BundleMachine>> BundleMachine::create(const format::Bundle& bundle,
                                                                   const MachineChanges& changes) {
    const format::Manifest& manifest = bundle.manifest();
    std::unique_ptr<BundleMachine> machine(new BundleMachine(bundle));
    machine->memory_bytes_ = changes.memory_bytes.value_or(manifest.machine.memory);
    machine->reset_ends_machine_ = changes.reset_ends_machine;
    machine->audio_ = changes.audio;
    machine->network_ = changes.network;
    machine->changed_ = machine->memory_bytes_ != manifest.machine.memory || !changes.cdrom.empty() ||
                        !changes.kernel_append.empty();
    if (machine->memory_bytes_ < kMinMemory || machine->memory_bytes_ > kMaxMemory)
        return base::fail(fmt::format("{}: a machine can have 16M to 3G of memory, not {}M; give --memory",
                                      bundle.path(), machine->memory_bytes_ >> 20),
                          format::kUnsupported);
    if (!changes.cdrom.empty())
        machine->extra_cdrom_ = TRY(vmm::FileBlockPort::open(changes.cdrom, vmm::FileAccess::ReadOnly));
    const auto floppies = static_cast<size_t>(std::ranges::count(
        manifest.media, format::MediaKind::Floppy, [](const format::Medium& m) { return m.kind; }));
    const size_t ide = manifest.media.size() - floppies + (machine->extra_cdrom_ ? 1 : 0);
    if (ide > kMaxIde || floppies > kMaxFloppies)
        return base::fail(fmt::format("{}: {} disks and CDs and {} floppies, but a machine takes {} and {}",
                                      bundle.path(), ide, floppies, kMaxIde, kMaxFloppies),
                          format::kUnsupported);
    if (!manifest.boot.kernel.empty())
        TRY(machine->prepare_kernel(changes));
    else if (!changes.kernel_append.empty())
        return base::fail(
            fmt::format("{}: boots from its own media: there is no kernel command line to add to",
                        bundle.path()),
            2);
    return machine;
}

base::Result<void> BundleMachine::prepare_kernel(const MachineChanges& changes) {
    const format::BootInfo& boot = bundle_.manifest().boot;
    kernel_ = std::make_shared<vmm::KernelBoot>();
    kernel_->load = [kernel = TRY(bundle_.open_blob(boot.kernel)),
                     initrd = boot.initrd.empty() ? std::optional<format::BlobReader>()
                                                  : TRY(bundle_.open_blob(boot.initrd))](
                        vmm::KernelBoot& into) -> base::Result<void> {
        into.kernel = TRY(kernel.read_all(kMaxKernel));
        if (initrd)
            into.initrd = TRY(initrd->read_all(kMaxInitrd));
        return {};
    };
    kernel_->command_line = boot.cmdline;
    if (!changes.kernel_append.empty())
        kernel_->command_line += (boot.cmdline.empty() ? "" : " ") + changes.kernel_append;
    return {};
}

base::Result<ConfiguredMachine>
BundleMachine::configure(SessionStorage& storage, const std::shared_ptr<OverlayBudget>& budget,
                         const OverlayPort::Notice& notice, const BlobPort::Failed& failed,
                         const format::Scene* scene, const OpenBlob& open_blob) const {
    const format::Manifest& manifest = bundle_.manifest();
    if (kernel_ && kernel_->kernel.empty() && scene == nullptr) // a damaged one is an error now, not later
        TRY(kernel_->load(*kernel_));
    ConfiguredMachine machine;
    vmm::MachineConfig& config = machine.config;
    config.reset_ends_machine = reset_ends_machine_;
    vmm::PlatformConfig& platform = config.platform;
    platform.bios_path = find_data("seabios/bios-256k.bin");
    platform.vga_bios_path = find_data("seabios/vgabios-stdvga.bin");
    platform.ram_bytes = memory_bytes_;
    platform.sound = manifest.machine.sound;
    platform.audio = audio_;
    platform.network_card = manifest.machine.network;
    if (platform.network_card && network_) {
        if (auto network = UserNetwork::create(*network_, notice))
            platform.network = std::move(*network);
        else
            notice(network.error().message); // the cable is out
    }
    platform.kernel = kernel_;
    platform.boot_order.clear();
    if (kernel_)
        platform.boot_order.push_back(vmm::BootDevice::Kernel);
    for (const format::MediaKind kind : manifest.boot.order)
        platform.boot_order.push_back(boot_device(kind));
    if (platform.boot_order.empty())
        platform.boot_order = vmm::PlatformConfig{}.boot_order;
    if (extra_cdrom_) {
        platform.media.push_back({vmm::MediumKind::Cdrom, extra_cdrom_});
        if (std::ranges::find(platform.boot_order, vmm::BootDevice::Cdrom) == platform.boot_order.end())
            platform.boot_order.push_back(vmm::BootDevice::Cdrom);
    }
    for (size_t i = 0; i < manifest.media.size(); ++i) {
        const format::Medium& medium = manifest.media[i];
        std::shared_ptr<vmm::BlockPort> port = std::make_shared<BlobPort>(
            TRY(open_blob(scene != nullptr ? scene->media[i] : medium.blob)), failed);
        machine.overlays.emplace_back();
        if (medium.kind != format::MediaKind::Cdrom)
            port = machine.overlays.back() =
                std::make_shared<OverlayPort>(std::move(port), TRY(storage.create_file()), budget, notice);
        platform.media.push_back({medium_kind(medium.kind), std::move(port)});
    }
    return machine;
}

} // namespace player
