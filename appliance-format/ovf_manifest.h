// What vouches for the files of an OVF package (DSP0243 6.2, 6.3): a manifest (.mf) of digests, and a
// certificate (.cert) with a signature over the manifest.
#pragma once
#include "vmm/base/result.h"

#include <string>
#include <string_view>
#include <vector>

namespace appliance_format {

struct OvfDigest {
    std::string algorithm, file, value; // value: hexadecimal, lower-case
};

// "SHA256(name)= 0123...", a line each. Of a certificate: what stands before it. Errors (kIo) are sentences
// without a subject.
base::Result<std::vector<OvfDigest>> parse_ovf_manifest(std::string_view text);

} // namespace appliance_format
