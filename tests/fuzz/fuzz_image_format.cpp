// What an image is, told from bytes that are anybody's.
#include "appliance-format/image_format.h"
#include "vmm/base/verify.h"

#include <sys/mman.h>

using namespace appliance_format;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    base::UniqueFd fd{::memfd_create("image", MFD_CLOEXEC)};
    VERIFY(fd.valid() && ::write(fd.get(), data, size) == static_cast<ssize_t>(size));
    const ImageBytes image{std::move(fd), 0, size};
    const auto format = image_format(image);
    VERIFY(format ? format->name[0] != '\0' : !format.error().message.empty());
    (void)compression_of(image);
    return 0;
}
