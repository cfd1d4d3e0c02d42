#include "vmm/firmware/bios.h"

#include "vmm/firmware/kernel_boot.h"
#include "vmm/firmware/rom_image.h"

#include <fmt/format.h>

#include <algorithm>

namespace vmm {

namespace {

constexpr size_t kBiosLimit = 1u << 20, kBiosGranule = 64u << 10, kBiosMinimum = 128u << 10;
constexpr uint32_t kPages4GiB = 1u << 20;
constexpr uint32_t kAliasFirst = 0xE0000 >> kPageShift, kAliasPages = (128u << 10) >> kPageShift;

base::Result<void> load_bios(Platform& platform) {
    const std::string& path = platform.config.bios_path;
    std::vector<uint8_t> read;
    if (platform.config.bios.empty())
        read = TRY(read_firmware_file(path, kBiosLimit, "BIOS image", "seabios"));
    const std::vector<uint8_t>& image = platform.config.bios.empty() ? read : platform.config.bios;
    if (image.size() < kBiosMinimum || image.size() > kBiosLimit || image.size() % kBiosGranule != 0)
        return base::fail(fmt::format("{} is not a BIOS image ({} bytes); use bios-256k.bin from the package "
                                      "'seabios'",
                                      path, image.size()));
    GuestMemory& memory = platform.memory;
    const auto pages = static_cast<uint32_t>(image.size() >> kPageShift);
    const uint32_t backing = memory.add_backing(pages);
    std::copy(image.begin(), image.end(), memory.data() + (uint64_t{backing} << kPageShift));
    memory.map(kPages4GiB - pages, pages, PageKind::Rom, backing);
    return {};
}

} // namespace

base::Result<void> setup_firmware(Platform& platform) {
    if (platform.config.kernel != nullptr && !platform.config.kernel->load)
        TRY(plan_kernel_boot(*platform.config.kernel, platform.config.ram_bytes));
    GuestMemory& memory = platform.memory;
    // The first instruction is fetched at FFFFFFF0h: no machine starts with the A20 gate closed.
    memory.set_a20(true);
    // The guest cannot write to ROM pages, so what was loaded once is still intact.
    if (memory.entry(kPages4GiB - 1).kind != PageKind::Rom)
        TRY(load_bios(platform));
    // As the chipset decodes it after a reset, before any shadowing (PAM registers zero).
    memory.map(kAliasFirst, kAliasPages, PageKind::Rom, memory.entry(kPages4GiB - kAliasPages).backing);
    return {};
}

} // namespace vmm
