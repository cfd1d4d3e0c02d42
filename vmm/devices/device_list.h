// The machine's devices, in construction order: one line each in device_list.cpp.
#pragma once
#include "vmm/bus/device.h"
#include "vmm/bus/platform.h"

#include <memory>
#include <vector>

namespace vmm {

std::vector<std::unique_ptr<Device>> make_devices(Platform& platform);

} // namespace vmm
