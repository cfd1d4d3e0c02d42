// The saved state of CPU and devices, as a scene of a hostile publisher holds it: whatever it says, loading
// it is refused or gives a machine that runs and saves its state again.
//
// Input: an archive (vmm/base/state_archive.h).
#include "vmm/base/verify.h"
#include "vmm/machine.h"

#include <array>
#include <chrono>
#include <string_view>
#include <thread>

using namespace vmm;

namespace {

std::unique_ptr<Machine> make_machine(bool network_card) {
    MachineConfig config;
    config.platform.ram_bytes = 16u << 20;
    config.platform.vram_bytes = 1u << 20;
    config.platform.network_card = network_card;
    auto machine = Machine::create(config);
    VERIFY(machine);
    return std::move(*machine);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    // A state of a card needs a machine that has it, and the other way round.
    static std::array<std::unique_ptr<Machine>, 2> machines;
    const bool card =
        std::string_view(reinterpret_cast<const char*>(data), size).find("rtl8139") != std::string_view::npos;
    std::unique_ptr<Machine>& machine = machines[card ? 1 : 0];
    if (machine == nullptr || machine->has_ended()) // the last one turned itself off
        machine = make_machine(card);
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
