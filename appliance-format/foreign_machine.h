// A virtual machine made elsewhere, found in whatever it came in: an OVA or a folder with an OVF description,
// a box of Vagrant's (VirtualBox's and libvirt's kind), one disk image, an ISO, a floppy; any of them
// compressed.
#pragma once
#include "appliance-format/disk_image.h"

#include <string>
#include <vector>

namespace appliance_format {

struct ForeignMachine {
    struct Medium {
        MediaKind kind = MediaKind::Disk;
        ImagePlace place; // path empty: a disk with nothing on it
        uint64_t blank = 0;
    };
    std::vector<Medium> media;              // at most what the machine has drives for
    std::string name, version, description; // as they stand there; version and description fit a bundle
    uint64_t memory = 0;                    // bytes; 0: not said
    bool sound = false, network = false;
    std::vector<std::string> notes; // what is not carried over, a sentence each, without a subject
};

// Errors (kIo, kUnknownImage) begin with the name of the file.
base::Result<ForeignMachine> find_machine(ImageShelf& shelf, const std::string& source, TakeAs take);

} // namespace appliance_format
