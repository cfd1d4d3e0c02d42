// A picture of the guest's screen as a PNG file.
#pragma once
#include "vmm/base/result.h"
#include "vmm/bus/ports.h"

#include <string>

namespace player {

// 8-bit RGB, no alpha. Errors: the picture is empty.
base::Result<std::vector<uint8_t>> encode_png(const vmm::Picture& picture);

// The file appears whole or not at all.
base::Result<void> write_png(const vmm::Picture& picture, const std::string& path);

} // namespace player
