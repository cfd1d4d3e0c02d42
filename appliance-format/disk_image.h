// Media in the formats that virtual machines come in (raw, qcow2, VMDK, VDI, VHD, VHDX, QED, Bochs; ISO and
// floppy images), also as members of an archive, in chunks or compressed. What is not compressed is read
// where it is. Images that refer to further files (backing files, extents, parents) are refused: they would
// let an image name any file of its reader's.
#pragma once
#include "appliance-format/archive_members.h"
#include "appliance-format/blob_source.h"
#include "appliance-format/image_format.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace appliance_format {

// Where an image lies: a file, or a member of an archive (an OVA, a box).
struct ImagePlace {
    std::string path;
    std::string member{}; // empty: the file itself
    [[nodiscard]] std::string name() const { return member.empty() ? path : path + ": " + member; }
};

// Files that images are in, open: what is compressed is unpacked once for all users. Errors (kIo) begin with
// the file's name.
class ImageShelf {
  public:
    // The file's bytes; what is inside, if it is compressed.
    base::Result<std::shared_ptr<const ImageBytes>> file(const std::string& path);
    base::Result<std::vector<ArchiveMember>> members(const std::string& path);
    // Likewise, at a place. If it is not there but NAME.000000000 is, that and those that follow, joined.
    base::Result<std::shared_ptr<const ImageBytes>> find(const ImagePlace& place);

  private:
    std::map<std::string, std::shared_ptr<const ImageBytes>> files_; // by ImagePlace::name()
};

// DSP0243 7.1: a file in chunks is NAME.000000000, NAME.000000001, ...
[[nodiscard]] std::string chunk_name(const std::string& name, size_t number);

// The medium's bytes. Errors (kIo, kUnknownImage) say what the image is and what to do.
base::Result<std::unique_ptr<BlobSource>> open_medium(ImageShelf& shelf, const ImagePlace& place,
                                                      MediaKind kind, TakeAs take);

// A disk that has nothing on it yet.
std::unique_ptr<BlobSource> blank_disk(uint64_t bytes);

} // namespace appliance_format
