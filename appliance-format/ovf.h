// What an OVF descriptor (DMTF DSP0243) says of a virtual machine, as far as a machine of ours can follow it.
#pragma once
#include "appliance-format/manifest.h"
#include "vmm/base/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace appliance_format {

struct OvfDrive {
    MediaKind kind = MediaKind::Disk;
    std::string file;   // beside the descriptor; empty: a disk with nothing on it yet
    uint64_t blank = 0; // its size then, in bytes
};

struct OvfMachine {
    std::string name, version, description; // as they stand there
    uint64_t memory = 0;                    // bytes; 0: not said
    bool sound = false, network = false;
    std::vector<OvfDrive> drives;   // by controller (IDE, SATA, SCSI; their numbers) and address
    std::vector<std::string> notes; // what is there and cannot be here: sentences without a subject
};

// Errors (kIo) are sentences without a subject: "describes several machines; ...".
base::Result<OvfMachine> parse_ovf(std::string_view xml);

// DSP0004 annex C.1, "byte * 2^20", and the older names, "MegaBytes"; 0: not known.
[[nodiscard]] uint64_t ovf_unit(std::string_view text);

} // namespace appliance_format
