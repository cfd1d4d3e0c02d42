// Reads what a scene will need before the guest asks.
#include "vmm/jail/filters/machine_threads.h"

namespace jail {
namespace {

constexpr std::array kOwn{
    Line{SYS_pread64, "bundles"},
};
constexpr auto kLines = joined(kOfMachineThreads, kOwn);

} // namespace

const CallTable kMachineReadAheadCalls{kLines};

} // namespace jail
