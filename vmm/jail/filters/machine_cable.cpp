// Tells the network card when there are frames, or room for them.
#include "vmm/jail/filters/machine_threads.h"

namespace jail {
namespace {

constexpr std::array kOwn{
    Line{SYS_poll, "for either"},
    Line{SYS_read, "its bell"},
    Line{SYS_sendto, "that the guest was moved to another time", {differs(0, kPlayer)}},
};
constexpr auto kLines = joined(kOfMachineThreads, kOwn);

} // namespace

const CallTable kMachineCableCalls{kLines};

} // namespace jail
