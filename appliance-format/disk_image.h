// Disk images in the formats that virtual machines come in (raw, qcow2, VMDK, VDI, VHD, VHDX), also as
// members of an OVA, read where they are: nothing is unpacked first. What is not raw is served by Debian's
// qemu-nbd, so that no reader of formats is ours and a hostile image is met in another process. Images that
// refer to further files (backing files, extents) are refused: they would let an image name any file of its
// reader's.
#pragma once
#include "appliance-format/blob_source.h"

#include <memory>
#include <string>
#include <vector>

namespace appliance_format {

// Where an image lies: a file, or a member of a tar archive (an OVA is one).
struct ImagePlace {
    std::string path;
    std::string member{}; // empty: the file itself
};

// Errors (kIo) say what the image is and what to do.
base::Result<std::unique_ptr<BlobSource>> open_disk_image(const ImagePlace& place);

// The plain files in a tar archive.
struct ArchiveMember {
    std::string name;
    uint64_t offset = 0, size = 0; // in the archive's file
};
base::Result<std::vector<ArchiveMember>> list_archive(const std::string& path);

} // namespace appliance_format
