// The fixed pieces of host code every block relies on: entering and leaving translated code, call-outs and
// table misses. Emitted once at the bottom of the code cache.
#pragma once
#include "vmm/translator/emitter.h"
#include "vmm/translator/runtime.h"

#include <cstdint>

namespace vmm {

struct Stubs {
    using Enter = void (*)(Runtime* rt, uint64_t host_address);
    Enter enter = nullptr;
    uint32_t leave = 0;         // saves everything, returns from enter(); reason set by the jumper
    uint32_t callout = 0;       // called: r8d, r9d arguments, r10d index
    uint32_t indirect_miss = 0; // r8d: EIP
    uint32_t return_miss = 0;   // r8d: EIP; the shadow stack is out of step
    uint32_t leave_link = 0;    // r8d: EIP, r9d: link index
    // Only for a host of another maker's (host_maker.h).
    uint32_t keep_flags = 0; // RFLAGS to Runtime::string_flags
    uint32_t pin_flags = 0;  // RFLAGS with the bits outside Runtime::pin_keep from Runtime::pin_flags
    // ring0_stubs.h
    uint32_t ring0_first = 0, ring0_end = 0;
    uint32_t load_segment[kSegmentCount]{}; // r8d: selector, r9d: table of SegmentCache
    uint32_t pop_segment[kSegmentCount]{};  // likewise; also takes 4 bytes off a flat stack
    uint32_t flags_image = 0;               // answers in r10d
    uint32_t pop_flags = 0;                 // r10d: image; takes 4 bytes off a flat stack
};

// What Stubs::enter pushes on the host's stack.
inline constexpr uint32_t kHostFrame = 7 * 8;

Stubs emit_stubs(Emitter& e, bool host_rotates);
// r9d <- the present context's entry for the EIP in r8d. `host_rotates`: the host has RORX.
void load_table_entry(Emitter& e, bool host_rotates);

} // namespace vmm
