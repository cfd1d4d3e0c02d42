// A manifest that is accepted must be written back to the very same bytes' meaning.
#include "appliance-format/manifest.h"
#include "vmm/base/verify.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    auto manifest = appliance_format::parse_manifest({reinterpret_cast<const char*>(data), size});
    if (manifest) {
        auto again = appliance_format::parse_manifest(appliance_format::write_manifest(*manifest));
        VERIFY(again && *again == *manifest);
    } else {
        VERIFY(!manifest.error().message.empty());
    }
    return 0;
}
