// What must be in place before the first instruction: the BIOS image at the top of 4 GiB and its last 128 KiB
// below 1 MiB, and a kernel to boot directly that is known to be bootable.
#pragma once
#include "vmm/base/result.h"
#include "vmm/bus/platform.h"

namespace vmm {

// Call after the devices are made, and again after they are reset: the image is read from the host and added
// to guest memory the first time only, mapped every time.
base::Result<void> setup_firmware(Platform& platform);

} // namespace vmm
