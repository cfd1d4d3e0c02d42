// Arbitrary bytes as a bundle file: archive layout, manifest, signature, and what can be asked of it
// unauthenticated.
#include "appliance-format/bundle_reader.h"
#include "vmm/base/verify.h"

#include <sys/mman.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    base::UniqueFd fd{::memfd_create("bundle", MFD_CLOEXEC)};
    VERIFY(fd.valid() && ::write(fd.get(), data, size) == static_cast<ssize_t>(size));
    auto bundle = appliance_format::Bundle::open_fd(std::move(fd), "x.encore");
    if (!bundle) {
        VERIFY(!bundle.error().message.empty());
        return 0;
    }
    VERIFY((*bundle)->file_size() == size);
    (void)(*bundle)->signature();
    (void)(*bundle)->identity();
    VERIFY(!(*bundle)->open_blob("disk0")); // nobody was authenticated
    return 0;
}
