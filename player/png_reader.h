// A PNG, such as a scene's picture, as pixels to show.
#pragma once
#include "vmm/base/result.h"
#include "vmm/bus/ports.h"

#include <cstdint>
#include <span>

namespace player {

// Errors: it is no PNG, is damaged, or is larger than any screen.
base::Result<vmm::Picture> decode_png(std::span<const uint8_t> png);

} // namespace player
