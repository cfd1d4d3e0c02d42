// SeaBIOS's runtime configuration files (its Runtime_config document): those that differ from its defaults.
#include "vmm/firmware/firmware_files.h"

#include "vmm/base/verify.h"
#include "vmm/firmware/acpi_hardware.h"
#include "vmm/firmware/acpi_tables.h"
#include "vmm/firmware/byte_writer.h"
#include "vmm/firmware/kernel_boot.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace vmm {

namespace {

constexpr size_t kMaxName = 55;
constexpr uint32_t kE820Ram = 1, kE820Reserved = 2;

// Entries of 20 bytes: base, length, type (ACPI 15.1). SeaBIOS reads RAM from here and adds its own
// reservations; what is not named below 4 GiB is the PCI hole.
std::vector<uint8_t> memory_map(uint64_t ram_bytes) {
    std::vector<uint8_t> out;
    const auto add = [&](uint64_t base, uint64_t bytes, uint32_t type) {
        put(out, base, 8);
        put(out, bytes, 8);
        put(out, type, 4);
    };
    add(0, GuestMemory::low_ram(ram_bytes), kE820Ram);
    if (const uint64_t high = GuestMemory::high_ram(ram_bytes); high != 0)
        add(Physical{kFirstHighPage} << kPageShift, high, kE820Ram);
    add(acpi_hardware::kGenerationIdAddress, kPageSize, kE820Reserved);
    return out;
}

// Six bytes: a sleep state the machine has carries bit 7; the low bits are its SLP_TYP. Only S0 and S5 exist.
std::vector<uint8_t> system_states() { return {0x80, 0x00, 0x00, 0x01, 0x02, 0x80}; }

// SeaBIOS's MP table: the timer's line is pin 2 of the IO-APIC.
std::vector<uint8_t> timer_override() { return {1, 0, 0, 0, 0, 0, 0, 0}; }

// Milliseconds from "no bootable device" to a retry; all ones: stay.
std::vector<uint8_t> never_retry() { return {0xFF, 0xFF, 0xFF, 0xFF}; }

unsigned count_media(const PlatformConfig& config, MediumKind kind) {
    return static_cast<unsigned>(std::count_if(config.media.begin(), config.media.end(),
                                               [&](const Medium& medium) { return medium.kind == kind; }));
}

constexpr unsigned kFloppyDrives = 2;

// PIIX3 IDE is function 1 of slot 1; positions 0-3 are primary master, primary slave, secondary master,
// slave.
std::string ide_path(unsigned position) {
    return fmt::format("/pci@i0cf8/ide@1,1/drive@{}/disk@{}", position / 2, position % 2);
}

// Positions of the drives of one kind, as the IDE function places media: disks from the primary master on,
// then CD-ROMs, secondary master preferred.
std::vector<unsigned> ide_positions(const PlatformConfig& config, MediumKind kind) {
    constexpr unsigned kDrives = 4;
    const auto disks = static_cast<unsigned>(
        std::count_if(config.media.begin(), config.media.end(), [](const Medium& medium) {
            return medium.kind == MediumKind::Disk && medium.port != nullptr;
        }));
    std::vector<unsigned> positions;
    if (kind == MediumKind::Disk) {
        for (unsigned i = 0; i < std::min(disks, kDrives); ++i)
            positions.push_back(i);
        return positions;
    }
    for (unsigned position : {2u, 3u, 0u, 1u})
        if (position >= disks && positions.size() < count_media(config, kind))
            positions.push_back(position);
    return positions;
}

} // namespace

std::string boot_order_paths(const PlatformConfig& config) {
    std::string out;
    const auto line = [&](std::string_view path) { out.append(path).push_back('\n'); };
    const auto ide_lines = [&](MediumKind kind) {
        for (unsigned position : ide_positions(config, kind))
            line(ide_path(position));
    };
    for (BootDevice device : config.boot_order) {
        switch (device) {
        case BootDevice::Disk:
            ide_lines(MediumKind::Disk);
            break;
        case BootDevice::Cdrom:
            ide_lines(MediumKind::Cdrom);
            break;
        case BootDevice::Floppy:
            for (unsigned i = 0; i < std::min(count_media(config, MediumKind::Floppy), kFloppyDrives); ++i)
                line(fmt::format("/pci@i0cf8/isa@1/fdc@03f0/floppy@{}", i));
            break;
        case BootDevice::Kernel:
            line(fmt::format("/rom@{}", kKernelRomFile));
            break;
        }
    }
    if (!out.empty())
        out.back() = '\0';
    return out;
}

std::vector<FirmwareFile> firmware_files(const PlatformConfig& config) {
    std::vector<FirmwareFile> files;
    const auto add = [&](std::string name, std::vector<uint8_t> data) {
        VERIFY(name.size() <= kMaxName);
        files.push_back({std::move(name), std::move(data)});
    };
    const std::string order = boot_order_paths(config);
    if (!order.empty())
        add("bootorder", {order.begin(), order.end()});
    add("etc/e820", memory_map(config.ram_bytes));
    add("etc/system-states", system_states());
    add("etc/irq0-override", timer_override());
    add("etc/boot-fail-wait", never_retry());
    AcpiTables acpi = build_acpi_tables(count_media(config, MediumKind::Floppy));
    add("etc/acpi/rsdp", std::move(acpi.rsdp));
    add("etc/acpi/tables", std::move(acpi.tables));
    add("etc/table-loader", std::move(acpi.loader));
    if (config.kernel != nullptr)
        add(std::string(kKernelRomFile), kernel_boot_rom());
    const auto& seed = config.identity.seed;
    add(std::string(kSeedFile), {seed.begin(), seed.end()});
    return files;
}

} // namespace vmm
