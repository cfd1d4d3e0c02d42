// The fixed pieces of host code every block relies on: entering and leaving translated code, call-outs and
// table misses. Emitted once at the bottom of the code cache.
#pragma once
#include "vmm/code_cache/link_stub.h"
#include "vmm/translator/addressing.h"
#include "vmm/translator/emitter.h"
#include "vmm/translator/runtime.h"

#include <cstdint>

namespace vmm {

// What they take and answer is in scratch registers of the plan: s0 is scratch[0], and so on.
struct Stubs {
    const Addressing* addressing = nullptr;
    const RegisterPlan* plan = nullptr; // its
    using Enter = void (*)(Runtime* rt, uint64_t host_address);
    Enter enter = nullptr;
    uint32_t leave = 0;         // saves everything, returns from enter(); reason set by the jumper
    uint32_t callout = 0;       // called: s0, s1 arguments, s2 index
    uint32_t indirect_miss = 0; // s0: EIP
    uint32_t return_miss = 0;   // s0: EIP; the shadow stack is out of step
    uint32_t leave_link = 0;    // s0: EIP, s1: link index
    // Only for a host of another maker's (host_maker.h).
    uint32_t keep_flags = 0; // RFLAGS to Runtime::string_flags
    uint32_t pin_flags = 0;  // RFLAGS with the bits outside Runtime::pin_keep from Runtime::pin_flags
    // ring0_stubs.h
    uint32_t ring0_first = 0, ring0_end = 0;
    uint32_t load_segment[kSegmentCount]{}; // s0: selector, s1: table of SegmentCache
    uint32_t pop_segment[kSegmentCount]{};  // likewise; also takes 4 bytes off a flat stack
    uint32_t flags_image = 0;               // answers in s2
    uint32_t pop_flags = 0;                 // s2: image; takes 4 bytes off a flat stack
};

// What Stubs::enter pushes on the host's stack.
inline constexpr uint32_t kHostFrame = 7 * 8;

// `addressing` must outlive them.
Stubs emit_stubs(Emitter& e, bool host_rotates, const Addressing& addressing = kWindow32);
inline LinkStub link_stub_for(const RegisterPlan& plan) { return {plan.scratch[1], plan.jump_table}; }
// s1 <- the present context's entry for the EIP in s0. `host_rotates`: the host has RORX.
void load_table_entry(Emitter& e, const RegisterPlan& plan, bool host_rotates);

} // namespace vmm
