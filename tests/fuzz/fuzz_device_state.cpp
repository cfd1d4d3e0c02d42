// The saved state of CPU and devices, as a scene of a hostile publisher holds it: whatever it says, loading
// it is refused or gives a machine that runs and saves its state again.
//
// Input: an archive (vmm/base/state_archive.h).
#include "vmm/base/verify.h"
#include "vmm/machine.h"

#include <chrono>
#include <thread>

using namespace vmm;

namespace {

std::unique_ptr<Machine> make_machine() {
    MachineConfig config;
    config.platform.ram_bytes = 16u << 20;
    config.platform.vram_bytes = 1u << 20;
    auto machine = Machine::create(config);
    VERIFY(machine);
    return std::move(*machine);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static std::unique_ptr<Machine> machine = make_machine();
    if (machine->exit_reason() != ExitReason::None) // the last one turned itself off
        machine = make_machine();
    auto loaded = machine->load_state({data, size});
    VERIFY(loaded || !loaded.error().message.empty());
    if (!loaded)
        return 0;
    machine->start();
    std::this_thread::sleep_for(std::chrono::microseconds(300));
    machine->pause();
    VERIFY(machine->save_state());
    (void)machine->picture();
    (void)machine->text_screen();
    return 0;
}
