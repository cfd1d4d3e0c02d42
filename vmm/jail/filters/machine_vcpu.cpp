// The guest's processor, and its devices: what they do takes no time, or is a disk's thread's.
#include "vmm/jail/filters/machine_threads.h"

namespace jail {
namespace {

constexpr std::array kOwn{
    Line{SYS_timer_delete, "the end"},
};
constexpr auto kLines = joined(kOfMachineThreads, kOfWindows, kOwn);

} // namespace

const CallTable kMachineVcpuCalls{kLines};

} // namespace jail
