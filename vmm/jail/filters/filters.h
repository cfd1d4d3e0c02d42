// The tables of system calls, one for each kind of jailed thread: a file here and a line below.
#pragma once
#include "vmm/jail/filter.h"

namespace jail {

extern const CallTable kImageReaderCalls;
extern const CallTable kNetworkCalls;
extern const CallTable kMachineCalls;
extern const CallTable kRunningMachineCalls; // ... on top of it, when the machine is put together

} // namespace jail
