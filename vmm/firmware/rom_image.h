// Reading firmware images from the host's files.
#pragma once
#include "vmm/base/result.h"

#include <cstdint>
#include <string>
#include <vector>

namespace vmm {

// A whole file of at most `limit` bytes. `what` names it for a person, `package` is the Debian package that
// has it: both appear in the error.
base::Result<std::vector<uint8_t>> read_firmware_file(const std::string& path, size_t limit, const char* what,
                                                      const char* package);

// A PC option ROM (55h AAh, length in 512-byte units), for a PCI expansion ROM. The result is exactly as long
// as the file, at most 256 KiB, and at least as long as its header says.
base::Result<std::vector<uint8_t>> load_rom_image(const std::string& path);

} // namespace vmm
