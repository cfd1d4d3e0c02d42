// Images that are not raw are read by Debian's qemu-nbd, so that no reader of formats is ours. A hostile
// image is met there behind a wall (vmm/jail): its reader has the image's bytes (image_server.h), and nothing
// that the image could name.
#pragma once
#include "appliance-format/blob_source.h"
#include "appliance-format/image_format.h"

namespace appliance_format {

// Whether the image's own tables hold together. Without this, one that was cut short would read as zeros.
// Errors (kIo), here and below, are sentences without a subject.
base::Result<> check_image(std::shared_ptr<const ImageBytes> image, const ImageFormat& format);

base::Result<std::unique_ptr<BlobSource>> read_image(std::shared_ptr<const ImageBytes> image,
                                                     const ImageFormat& format);

} // namespace appliance_format
