// The OVF descriptor (DMTF DSP0243 1.1) of a bundle's machine, in the words that VirtualBox and VMware share.
#pragma once
#include "appliance-format/manifest.h"

#include <cstdint>
#include <string>
#include <vector>

namespace appliance_format {

struct OvfFile {
    MediaKind kind = MediaKind::Disk;
    std::string name;
    uint64_t size = 0;     // of the file
    uint64_t capacity = 0; // of the disk
};

// `files`: one for each of the manifest's media, in their order.
[[nodiscard]] std::string write_ovf(const Manifest& manifest, const std::vector<OvfFile>& files);

// What a package cannot say of this machine: sentences without a subject.
[[nodiscard]] std::vector<std::string> lost_in_ovf(const Manifest& manifest);

} // namespace appliance_format
