#include "vmm/devices/device_list.h"

namespace vmm {

std::vector<std::unique_ptr<Device>> make_devices(Platform& platform) {
    std::vector<std::unique_ptr<Device>> devices;
    const auto add = [&](std::unique_ptr<Device> device) {
        if (device != nullptr)
            devices.push_back(std::move(device));
    };
#define VMM_MAKE_DEVICE(name) add(make_##name(platform));
    VMM_DEVICES(VMM_MAKE_DEVICE)
#undef VMM_MAKE_DEVICE
    return devices;
}

} // namespace vmm
