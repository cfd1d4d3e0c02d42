// Carries out what the player asks, one after another: at rest it visits the machine, and then it does what
// the vCPU's thread would.
#include "vmm/jail/filters/machine_threads.h"

namespace jail {
namespace {

constexpr std::array kOwn{
    Line{SYS_sendmsg, "answers", {equals_int(0, kPlayer)}},
    Line{SYS_shutdown, "a request that cannot be ends the conversation", {equals_int(0, kPlayer)}},
    Line{SYS_close, "files that were filled"},
    Line{SYS_pwrite64, "what is captured; what a disk still has to write"},
    Line{SYS_ftruncate, "an overlay is dropped"},
    Line{SYS_lseek, "which of a guest's pages are there"},
};
constexpr auto kLines = joined(kOfMachineThreads, kOfWindows, kOwn);

} // namespace

const CallTable kMachineRequestsCalls{kLines};

} // namespace jail
