// Stubs for what kernels do on every system call and interrupt: load data segment registers, PUSHFD and
// POPFD. The usual case is a few instructions here; the rest goes on to the call-out, which does all of it.
// Called from blocks of ring 0 that have stored EIP and next_eip as for a call-out.
#pragma once
#include "vmm/translator/emitter.h"
#include "vmm/translator/stubs.h"

namespace vmm {

// `table(reg, class)`; SS and CS are not served.
void emit_ring0_stubs(Emitter& e, Stubs& stubs);

} // namespace vmm
