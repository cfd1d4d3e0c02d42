// A disk as a VMDK of the streamOptimized kind ("Virtual Disk Format 5.0", VMware 2011): what every program
// that takes OVA packages reads. It is written from its beginning to its end, and costs memory of one grain
// and the directory, a word for each 32 MiB of disk.
#pragma once
#include "appliance-format/blob_reader.h"

#include <functional>
#include <span>
#include <string>

namespace appliance_format {

struct VmdkOptions {
    std::string name; // of the file, in its own description
    int level = 6;    // of zlib
    // Bytes of the disk done so far; false stops with kCancelled.
    std::function<bool(uint64_t done)> progress{};
};

using ByteSink = std::function<base::Result<>(std::span<const uint8_t>)>;

// Rounds the disk up to whole sectors. Errors: those of the disk and the sink; more than the format can
// address.
base::Result<> write_vmdk(const BlobReader& disk, const VmdkOptions& options, const ByteSink& sink);

} // namespace appliance_format
