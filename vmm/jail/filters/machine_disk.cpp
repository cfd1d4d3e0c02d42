// A disk's or CD's reads and writes.
#include "vmm/jail/filters/machine_threads.h"

namespace jail {
namespace {

constexpr std::array kOwn{
    Line{SYS_pread64, "bundles, images, overlays"},
    Line{SYS_pwrite64, "overlays"},
};
constexpr auto kLines = joined(kOfMachineThreads, kOwn);

} // namespace

const CallTable kMachineDiskCalls{kLines};

} // namespace jail
