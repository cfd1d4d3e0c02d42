// Files in other files: members of a tar archive (an OVA is one) where they lie, and what is compressed,
// unpacked into a file without a name.
#pragma once
#include "appliance-format/image_bytes.h"

#include <string>
#include <vector>

namespace appliance_format {

// A plain file in an archive.
struct ArchiveMember {
    std::string name;
    uint64_t offset = 0, size = 0; // in the archive
};

[[nodiscard]] bool is_archive(const ImageBytes& bytes);

// Errors (kIo) are sentences without a subject. No two members have one name.
base::Result<std::vector<ArchiveMember>> list_archive(const ImageBytes& archive);

// What is inside one layer of compression (compression_of), in $TMPDIR or /var/tmp until it is closed. Zeros
// take no room there.
base::Result<ImageBytes> unpack(const ImageBytes& compressed);

// One after the other, likewise.
base::Result<ImageBytes> join(const std::vector<ImageBytes>& parts);

} // namespace appliance_format
