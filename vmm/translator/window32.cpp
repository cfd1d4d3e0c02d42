#include "vmm/memory/window_space.h"
#include "vmm/translator/addressing.h"

namespace vmm {

using namespace host;

constinit const Window32 kWindow32(kWindowPlan);

// GS: and the 67h prefix make the processor wrap an address at 4 GiB, but a load takes two cycles more with a
// segment base, and stores half their throughput (Intel). Without prefixes the registers and the displacement
// add up in 64 bits, from the window's base on: to the same address, or to one in a guard (see WindowSpace).
// An operand that was found in a guard gets the prefixes (see Sites).
//
// A register on top of the window's base is an index for the processor, which does not forward stores to
// loads without delay then: where a value is likely to be read soon after it was written, LEA adds the two.
HostMemory Window32::flat(Emitter& e, const Operand& o, uint8_t scratch) const {
    if (o.base == plan.stack() && o.index == kNone)
        return stack(o.displacement); // already biased
    // Farther back is no step back but an address in the upper half of memory.
    constexpr int32_t kFarthestBack = -(1 << 28);
    if (o.wraps || o.displacement < kFarthestBack || o.no_rex)
        return {.base = o.base,
                .index = o.index,
                .scale = o.scale,
                .window = true,
                .displacement = o.displacement};
    if (o.base == plan.stack())
        return {.base = o.base, .index = o.index, .scale = o.scale, .displacement = o.displacement};
    if (o.base == kNone)
        return {.base = plan.window, .index = o.index, .scale = o.scale, .displacement = o.displacement};
    if (o.index == kNone && !o.read_again)
        return {.base = plan.window, .index = o.base, .displacement = o.displacement};
    e.lea64(scratch, {.base = plan.window, .index = o.base});
    return {.base = scratch, .index = o.index, .scale = o.scale, .displacement = o.displacement};
}

HostMemory Window32::at(uint8_t address) const { return {.base = plan.window, .index = address}; }

HostMemory Window32::based(uint8_t base, uint8_t offset, int32_t displacement) const {
    if (offset == kNone)
        return {.base = base, .window = true, .displacement = displacement};
    return {.base = offset, .index = base, .window = true, .displacement = displacement};
}

HostMemory Window32::guest_part(const HostMemory& operand) const {
    HostMemory part = operand;
    if (part.base == plan.window)
        part.base = kNone;
    return part;
}

HostMemory Window32::stack(int32_t displacement) const {
    return {.base = plan.stack(), .displacement = displacement};
}

void Window32::set_stack(Emitter& e, uint8_t from) const {
    e.lea64(plan.stack(), {.base = from, .index = plan.window});
}

// Their low halves stay the guest's.
void Window32::enter_string(Emitter& e, uint8_t pointer) const {
    e.lea64(pointer, {.base = pointer, .index = plan.window});
}

void Window32::leave_string(Emitter& e, uint8_t pointer) const { e.mov32(pointer, pointer); }

void Window32::prefix_implied(Emitter& e) const {
    constexpr uint8_t kGs = 0x65, kAddress32 = 0x67;
    e.byte(kGs);
    e.byte(kAddress32);
}

void Window32::begin(Emitter& e, const HostMemory& base) const { e.load64(plan.window, base); }

// In a guard: the biased stack pointer has left the window, or an address wrapped at 4 GiB.
Addressing::Meeting Window32::meeting(uint64_t address, uint64_t base, uint64_t stack) const {
    constexpr uint64_t kWindowBytes = uint64_t{1} << 32;
    if (address - base < kWindowBytes)
        return {Meeting::What::Guest, address - base, stack};
    if (!WindowSpace::reaches(base, address))
        return {};
    const uint64_t biased = base + static_cast<uint32_t>(stack);
    return {stack != biased ? Meeting::What::Astray : Meeting::What::Wrapped, 0, biased};
}

} // namespace vmm
