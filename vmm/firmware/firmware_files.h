// The named blobs that SeaBIOS fetches through fw_cfg: memory map, boot order, ACPI tables and the option ROM
// of the direct kernel boot. fw_cfg only transports them.
#pragma once
#include "vmm/bus/platform.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vmm {

struct FirmwareFile {
    std::string name; // at most 55 characters
    std::vector<uint8_t> data;
};

// Random bytes for the guest, of the session at hand: another session's, and a revert's, are others.
inline constexpr std::string_view kSeedFile = "opt/encore/seed";

// In directory order. Depends on nothing but the configuration, so a machine resumed from a saved state has
// the same files.
std::vector<FirmwareFile> firmware_files(const PlatformConfig& config);

// Device paths in the form SeaBIOS compares them with ("bootorder"), most wanted first, NUL-terminated lines.
std::string boot_order_paths(const PlatformConfig& config);

} // namespace vmm
