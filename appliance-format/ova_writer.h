// A bundle's machine as an OVA (DSP0243 5.3): a tar of the descriptor, a manifest of digests and the media,
// disks as VMDK, CDs and floppies as they are.
#pragma once
#include "appliance-format/bundle_reader.h"

#include <functional>
#include <string>

namespace appliance_format {

struct OvaOptions {
    std::string scene{}; // the media as of this scene, which there is; empty: at power-on
    int level = 6;       // of zlib
    // Bytes of the media done so far; false stops with kCancelled.
    std::function<bool(uint64_t done, uint64_t total)> progress{};
};

// Of a bundle that was authenticated. The file appears whole, or not at all. Errors: also a machine without
// any media.
base::Result<> write_ova(const Bundle& bundle, const std::string& output, const OvaOptions& options);

} // namespace appliance_format
