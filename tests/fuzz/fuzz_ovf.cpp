#include "appliance-format/format.h"
#include "appliance-format/ovf.h"
#include "vmm/base/verify.h"

using namespace appliance_format;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const auto machine = parse_ovf({reinterpret_cast<const char*>(data), size});
    if (!machine)
        return 0;
    for (const OvfDrive& drive : machine->drives) {
        VERIFY(drive.file.empty() == (drive.blank != 0));
        VERIFY(drive.file.find('/') == std::string::npos && !drive.file.starts_with("."));
        VERIFY(drive.blank % 512 == 0 && drive.blank <= kMaxBlobSize);
    }
    return 0;
}
