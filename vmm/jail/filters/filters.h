// The tables of system calls, one for each kind of jailed thread: a file here and a line below.
#pragma once
#include "vmm/jail/filter.h"

namespace jail {

extern const CallTable kImageReaderCalls;
extern const CallTable kNetworkCalls;
extern const CallTable kMachineCalls; // of a process that puts a machine together
// ... and of its threads: what one does is tightened when it begins, or when the machine is put together.
extern const CallTable kMachineOrdersCalls;
extern const CallTable kMachineRequestsCalls;
extern const CallTable kMachineEventsCalls;
extern const CallTable kMachineVcpuCalls;
extern const CallTable kMachineDiskCalls;
extern const CallTable kMachineReadAheadCalls;
extern const CallTable kMachineCableCalls;

} // namespace jail
