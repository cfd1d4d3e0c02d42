// What an image is, told by its bytes and nothing else: every format that is met is known by name, so that
// none is ever taken for a raw disk, and those that need other files are told from those that stand alone.
#pragma once
#include "appliance-format/image_bytes.h"
#include "appliance-format/manifest.h"

namespace appliance_format {

struct ImageFormat {
    const char* name = "";   // as people know it
    const char* driver = ""; // qemu's reader; empty: the bytes are the disk
    // That no other file is needed is certain from what was looked at here. Otherwise it is likely, and who
    // reads on does so behind a wall.
    bool alone = true;
    MediaKind kind = MediaKind::Disk; // where it belongs by default
};

enum class TakeAs { WhatItIs, Raw }; // Raw: the user says that it is raw

// Errors are sentences without a subject. kIo: "is a ... image that ...; what to do". kUnknownImage: nothing
// that is known, and no sign of a disk either.
base::Result<ImageFormat> image_format(const ImageBytes& image);

// gzip, bzip2, xz, zstd, lz4: by name, for what unpacks them (archive_members.h); null for anything else.
[[nodiscard]] const char* compression_of(const ImageBytes& image);

[[nodiscard]] bool is_floppy_size(uint64_t bytes);

} // namespace appliance_format
