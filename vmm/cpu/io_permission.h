// Whether the running program may use a port (SDM Vol. 1 19.5.2). IN and OUT ask right before the access; INS
// and OUTS must know before they touch memory.
#pragma once
#include "vmm/cpu/cpu.h"

namespace vmm {

// #GP(0) in protected mode with CPL > IOPL, and in v86 mode always, unless the bitmap of the 32-bit TSS has
// the bits of all `width` ports clear.
GuestResult<void> check_io_permission(const CpuState& state, LinearMemory& memory, uint16_t port,
                                      Width width);

} // namespace vmm
