// Booting a Linux kernel (bzImage; memtest86+ is one too) without a medium. SeaBIOS finds a small option ROM
// of ours among its bootable devices; when chosen, the ROM asks the VMM through a private port to place the
// kernel in memory, then enters the kernel's real-mode setup code. Placement follows the kernel's
// documentation, "The Linux/x86 Boot Protocol", version 2.02 and later.
#pragma once
#include "vmm/base/result.h"
#include "vmm/bus/device.h"
#include "vmm/bus/platform.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace vmm {

// fw_cfg name of the ROM; SeaBIOS runs every ROM under genroms/.
inline constexpr std::string_view kKernelRomFile = "genroms/encore-kernel.bin";

// Where everything goes; all ranges lie inside RAM and do not overlap.
struct KernelLayout {
    std::vector<uint8_t> setup;  // real-mode code at kSetupAddress, header filled in
    size_t kernel_offset = 0;    // of the protected-mode part in the file
    size_t kernel_bytes = 0;     // it goes to kKernelAddress
    uint32_t initrd_address = 0; // 0: none
    static constexpr uint32_t kSetupAddress = 0x10000, kHeapEnd = 0xE000; // within the setup segment
    static constexpr uint32_t kCommandLineAddress = kSetupAddress + kHeapEnd;
    // A seed for the kernel's random numbers, where its protocol (2.09) has a place for it; Linux reads it
    // from 6.0 on.
    static constexpr uint32_t kSeedAddress = kSetupAddress + 0xFF00;
    static constexpr uint32_t kKernelAddress = 0x100000;
};

// Validates the kernel image (which is untrusted: it may come with an appliance) and plans its placement. The
// error says what is wrong with the image or how much memory it wants.
base::Result<KernelLayout> plan_kernel_boot(const KernelBoot& boot, uint64_t ram_bytes);

// The option ROM, checksummed.
std::vector<uint8_t> kernel_boot_rom();

// The device behind the ROM's private port; null when the configuration has no kernel.
std::unique_ptr<Device> make_kernel_boot(Platform& platform);

} // namespace vmm
