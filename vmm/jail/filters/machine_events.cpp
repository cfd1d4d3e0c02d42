// Tells the player what the guest does.
#include "vmm/jail/filters/machine_threads.h"

namespace jail {
namespace {

constexpr std::array kOwn{
    Line{SYS_sendmsg, "what the guest does", {equals_int(0, kPlayer)}},
};
constexpr auto kLines = joined(kOfMachineThreads, kOwn);

} // namespace

const CallTable kMachineEventsCalls{kLines};

} // namespace jail
