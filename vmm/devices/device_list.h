// The machine's devices, in construction order, one line each. Adding a device: a file with its
// `make_<name>(Platform&)` (listed in CMakeLists.txt) and a line here. A factory may return null when the
// configuration has no use for the device.
#pragma once
#include "vmm/bus/device.h"
#include "vmm/bus/platform.h"

#include <memory>
#include <vector>

// clang-format off
// The interrupt controllers first: the others' lines end there, and each APIC puts itself before the 8259
// pair. The backdoor follows the PS/2 mouse it uses, the network card what else is told of another identity.
#define VMM_DEVICES(X) \
    X(pic8259) \
    X(local_apic) \
    X(io_apic) \
    X(pit8254) \
    X(rtc_mc146818) \
    X(dma8237) \
    X(ps2_8042) \
    X(vmware_backdoor) \
    X(uart16550) \
    X(parallel_port) \
    X(port92) \
    X(debug_ports) \
    X(i440fx) \
    X(vga) \
    X(piix3_isa) \
    X(piix3_ide) \
    X(floppy82077) \
    X(piix4_pm) \
    X(ich_ac97) \
    X(generation_id) \
    X(rtl8139) \
    X(fw_cfg) \
    X(kernel_boot)

// clang-format on

namespace vmm {

#define VMM_DECLARE_DEVICE(name) std::unique_ptr<Device> make_##name(Platform& platform);
VMM_DEVICES(VMM_DECLARE_DEVICE)
#undef VMM_DECLARE_DEVICE

std::vector<std::unique_ptr<Device>> make_devices(Platform& platform);

} // namespace vmm
