// Descriptor fetches and the segment checks that more than one instruction makes (SDM Vol. 3A 3.4.5 and 5.5
// to 5.8).
#include "vmm/cpu/internals.h"

namespace vmm {

GuestResult<Descriptor> CpuInternals::probe(uint16_t selector, bool& found) const {
    found = false;
    Linear base = state.gdtr.base;
    uint32_t limit = state.gdtr.limit;
    if (selector & kTiBit) {
        if (!state.ldtr.usable)
            return Descriptor{};
        base = state.ldtr.linear_base();
        limit = state.ldtr.limit;
    }
    if ((selector | 7u) > limit)
        return Descriptor{};
    const Linear address = wrap(base + (selector & ~7u));
    const uint64_t raw = TRY(read_system<uint64_t>(address));
    found = true;
    return Descriptor{static_cast<uint32_t>(raw), static_cast<uint32_t>(raw >> 32), address};
}

GuestResult<Descriptor> CpuInternals::fetch(uint16_t selector, Vector vector) const {
    bool found = false;
    auto descriptor = probe(selector, found);
    if (descriptor && !found)
        return selector_fault(vector, selector);
    return descriptor;
}

GuestResult<void> CpuInternals::fetch_upper(uint16_t selector, Descriptor& descriptor) const {
    if (!state.ia32e())
        return {};
    constexpr uint32_t kTypeAndS = 0x1F00;
    const uint32_t limit = (selector & kTiBit) != 0 ? state.ldtr.limit : state.gdtr.limit;
    if ((selector & ~7u) + 15 > limit)
        return selector_fault(Vector::GeneralProtection, selector);
    const uint64_t raw = TRY(read_system<uint64_t>(descriptor.address + 8));
    if ((raw >> 32 & kTypeAndS) != 0)
        return selector_fault(Vector::GeneralProtection, selector);
    descriptor.upper = static_cast<uint32_t>(raw);
    return {};
}

GuestResult<void> CpuInternals::mark_accessed(Descriptor& descriptor) const {
    if (descriptor.high & kDescriptorAccessed)
        return {};
    descriptor.high |= kDescriptorAccessed;
    return memory.write<uint8_t>(wrap(descriptor.address + 5), static_cast<uint8_t>(descriptor.high >> 8),
                                 Privilege::System);
}

GuestResult<void> CpuInternals::set_busy(const Descriptor& descriptor, bool busy) const {
    auto access = static_cast<uint8_t>(descriptor.high >> 8);
    access = static_cast<uint8_t>(busy ? access | system_type::kBusyBit : access & ~system_type::kBusyBit);
    return memory.write<uint8_t>(wrap(descriptor.address + 5), access, Privilege::System);
}

GuestResult<Descriptor> CpuInternals::fetch_stack(uint16_t selector, unsigned cpl, Vector bad) const {
    if (is_null(selector))
        return selector_fault(bad, 0);
    const Descriptor stack = TRY(fetch(selector, bad));
    if (rpl_of(selector) != cpl || !stack.writable_data() || stack.dpl() != cpl)
        return selector_fault(bad, selector);
    if (!stack.present())
        return selector_fault(Vector::StackFault, selector);
    return stack;
}

GuestResult<Descriptor> CpuInternals::fetch_return_code(uint16_t selector) const {
    if (is_null(selector))
        return selector_fault(Vector::GeneralProtection, 0);
    const Descriptor code = TRY(fetch(selector, Vector::GeneralProtection));
    const unsigned rpl = rpl_of(selector);
    if (!code.is_code() || rpl < state.cpl || (code.conforming() ? code.dpl() > rpl : code.dpl() != rpl) ||
        (state.ia32e() && code.code64() && code.big()))
        return selector_fault(Vector::GeneralProtection, selector);
    if (!code.present())
        return selector_fault(Vector::SegmentNotPresent, selector);
    return code;
}

// SDM Vol. 2A "CALL", "INT n": stack pointers in the TSS, figures 7-2 and 7-10 of Vol. 3A.
GuestResult<CpuInternals::StackPointer> CpuInternals::inner_stack(unsigned level) const {
    const Segment& tss = state.tr;
    if (tss.type() & system_type::k32BitBit) {
        const uint32_t at = level * 8 + 4;
        if (!tss.usable || at + 5 > tss.limit)
            return selector_fault(Vector::InvalidTss, tss.selector);
        if (at + 7 <= tss.limit) {
            const uint64_t raw = TRY(read_system<uint64_t>(tss.base + at));
            return StackPointer{static_cast<uint16_t>(raw >> 32), static_cast<uint32_t>(raw)};
        }
        const uint32_t esp = TRY(read_system<uint32_t>(tss.base + at));
        const uint16_t ss = TRY(read_system<uint16_t>(tss.base + at + 4));
        return StackPointer{ss, esp};
    }
    const uint32_t at = level * 4 + 2;
    if (!tss.usable || at + 3 > tss.limit)
        return selector_fault(Vector::InvalidTss, tss.selector);
    const uint32_t raw = TRY(read_system<uint32_t>(tss.base + at));
    return StackPointer{static_cast<uint16_t>(raw >> 16), raw & 0xFFFF};
}

void CpuInternals::load_real_segment(SegReg reg, uint16_t selector) const {
    Segment& segment = state.segment(reg);
    if (state.v86()) { // SDM Vol. 3A 20.2.1
        segment = Segment{selector, 1, uint32_t{selector} << 4, 0xFFFF, kV86Attributes};
        return;
    }
    // A real-mode load touches selector and base only: a limit of 4 GiB set up in protected mode lasts
    // ("unreal" mode). A register left null by protected mode has nothing to keep.
    if (!segment.usable || !segment.present() || !segment.is_code_or_data()) {
        segment.limit = 0xFFFF;
        segment.set_attributes(kRealAttributes);
    }
    segment.usable = 1;
    segment.selector = selector;
    segment.base = uint32_t{selector} << 4;
}

void CpuInternals::null_segment(SegReg reg, uint16_t selector) const {
    state.segment(reg) = Segment{selector, 0, 0, 0, 0};
}

void CpuInternals::drop_inaccessible_segments() const {
    for (const SegReg reg : {SegReg::Es, SegReg::Ds, SegReg::Fs, SegReg::Gs}) {
        const Segment& segment = state.segment(reg);
        if (segment.usable && segment.dpl() < state.cpl && !segment.conforming())
            null_segment(reg, 0);
    }
}

} // namespace vmm
