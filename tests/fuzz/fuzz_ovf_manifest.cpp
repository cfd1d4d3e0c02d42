#include "appliance-format/ovf_manifest.h"
#include "vmm/base/verify.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const auto digests = appliance_format::parse_ovf_manifest({reinterpret_cast<const char*>(data), size});
    if (digests)
        for (const auto& digest : *digests)
            VERIFY(!digest.file.empty() && !digest.algorithm.empty() && !digest.value.empty());
    return 0;
}
