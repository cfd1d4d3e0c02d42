// What an OVF descriptor (DMTF DSP0243) says of a virtual machine, as far as a machine of ours can follow it.
#pragma once
#include "vmm/base/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace appliance_format {

struct OvfMachine {
    std::string name;                // as it stands there
    uint64_t memory = 0;             // bytes; 0: not said
    bool is_64_bit = false;          // its operating system, as far as the description tells
    std::vector<std::string> disks;  // names of files beside the descriptor, in the order of the drives
    std::vector<std::string> cdroms; // likewise
};

// Errors (kIo) are sentences without a subject: "describes several machines; ...".
base::Result<OvfMachine> parse_ovf(std::string_view xml);

} // namespace appliance_format
