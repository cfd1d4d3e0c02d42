// pread of exactly `size` bytes; kDamaged when the file ends before. By itself, for a reader of chunks that
// has no use for archives (encore-machine).
#pragma once
#include "vmm/base/result.h"

#include <cstddef>
#include <cstdint>

namespace appliance_format {

base::Result<> read_exactly(int fd, uint64_t offset, uint8_t* to, size_t size);

} // namespace appliance_format
