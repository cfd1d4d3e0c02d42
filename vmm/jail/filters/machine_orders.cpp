// Hears what the player says; posts are carried out at once.
#include "vmm/jail/filters/machine_threads.h"

namespace jail {
namespace {

constexpr std::array kOwn{
    Line{SYS_recvmsg, "what the player says", {equals_int(0, kPlayer)}},
    Line{SYS_sendmsg, "that the machine is put together", {equals_int(0, kPlayer)}},
    Line{SYS_close, "descriptors that came with what cannot be"},
};
constexpr auto kLines = joined(kOfMachineThreads, kOwn);

} // namespace

const CallTable kMachineOrdersCalls{kLines};

} // namespace jail
