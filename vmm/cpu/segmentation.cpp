// Segment registers and what asks about them: address formation, MOV/POP Sreg, LLDT/LTR, LGDT/LIDT, LAR, LSL,
// VERR, VERW (SDM Vol. 2 instruction pages; Vol. 3A ch. 3 and 5).
#include "vmm/cpu/internals.h"

namespace vmm {
namespace {

// Types that LAR and LSL know, one bit per system descriptor type (SDM Vol. 2A tables 3-53 and 3-64).
constexpr uint32_t kLslTypes = (1u << system_type::kTss16) | (1u << system_type::kLdt) |
                               (1u << system_type::kTss16Busy) | (1u << system_type::kTss32) |
                               (1u << system_type::kTss32Busy);
constexpr uint32_t kLarTypes = kLslTypes | (1u << system_type::kCallGate16) | (1u << system_type::kTaskGate) |
                               (1u << system_type::kCallGate32);
constexpr uint32_t kLarMask = 0x00FFFF00;
// In IA-32e mode, where system descriptors have 16 bytes.
constexpr uint32_t kLslTypesLong =
    (1u << system_type::kLdt) | (1u << system_type::kTss32) | (1u << system_type::kTss32Busy);
constexpr uint32_t kLarTypesLong = kLslTypesLong | (1u << system_type::kCallGate32);

void set_zf(CpuState& state, bool value) {
    state.eflags = value ? state.eflags | eflags::kZf : state.eflags & ~eflags::kZf;
}

// LAR, LSL, VERR, VERW: the descriptor when the selector is in its table and CPL and RPL may see it.
GuestResult<Descriptor> visible(const CpuInternals& internals, uint16_t selector, bool& ok) {
    ok = false;
    if (is_null(selector))
        return Descriptor{};
    bool found = false;
    const Descriptor descriptor = TRY(internals.probe(selector, found));
    ok = found && (descriptor.conforming() ||
                   (descriptor.dpl() >= internals.state.cpl && descriptor.dpl() >= rpl_of(selector)));
    return descriptor;
}

} // namespace

GuestResult<uint32_t> Cpu::linear_address(SegReg segment, uint32_t offset, uint32_t size,
                                          AccessKind access) const {
    const Segment& s = state_.segment(segment);
    bool allowed = s.usable;
    // Type checks exist in protected mode only (SDM Vol. 3A 20.1, 20.2.1).
    if (allowed && state_.protected_mode() && !state_.v86()) {
        switch (access) {
        case AccessKind::Read:
            allowed = s.readable();
            break;
        case AccessKind::Write:
            allowed = s.writable();
            break;
        case AccessKind::Execute:
            allowed = s.is_code();
            break;
        }
    }
    if (!allowed || !within_limit(s, offset, size))
        return guest_fault(segment == SegReg::Ss ? Vector::StackFault : Vector::GeneralProtection, 0);
    return s.base + offset;
}

GuestResult<Linear> Cpu::linear_address64(SegReg segment, uint64_t offset, uint32_t size) const {
    const bool has_base = segment == SegReg::Fs || segment == SegReg::Gs;
    const Linear first = offset + (has_base ? state_.segment(segment).linear_base() : 0);
    if (!is_canonical(first) || !is_canonical(first + (size - 1)))
        return guest_fault(segment == SegReg::Ss ? Vector::StackFault : Vector::GeneralProtection, 0);
    return first;
}

GuestResult<void> Cpu::load_segment(SegReg segment, uint16_t selector) {
    const CpuInternals in(*this);
    if (segment == SegReg::Cs)
        return guest_fault(Vector::InvalidOpcode);
    if (in.real_or_v86()) {
        in.load_real_segment(segment, selector);
    } else if (segment == SegReg::Ss && is_null(selector) && state_.mode64() && state_.cpl < 3 &&
               rpl_of(selector) == state_.cpl) { // SDM Vol. 3A 5.4.1.1
        in.null_segment(segment, selector);
    } else if (segment == SegReg::Ss) {
        Descriptor stack = TRY(in.fetch_stack(selector, state_.cpl, Vector::GeneralProtection));
        TRY(in.mark_accessed(stack));
        state_.segment(segment) = stack.to_segment(selector);
    } else if (is_null(selector)) {
        in.null_segment(segment, selector);
    } else {
        Descriptor data = TRY(in.fetch(selector, Vector::GeneralProtection));
        if (!data.readable() ||
            (!data.conforming() && (rpl_of(selector) > data.dpl() || state_.cpl > data.dpl())))
            return in.selector_fault(Vector::GeneralProtection, selector);
        if (!data.present())
            return in.selector_fault(Vector::SegmentNotPresent, selector);
        TRY(in.mark_accessed(data));
        state_.segment(segment) = data.to_segment(selector);
    }
    if (segment == SegReg::Ss)
        state_.interrupt_shadow = kShadowMovSs;
    return {};
}

GuestResult<void> Cpu::lldt(uint16_t selector) {
    const CpuInternals in(*this);
    if (in.real_or_v86())
        return guest_fault(Vector::InvalidOpcode);
    if (state_.cpl != 0)
        return guest_fault(Vector::GeneralProtection, 0);
    if (is_null(selector)) {
        state_.ldtr = Segment{selector, 0, 0, 0, 0};
        return {};
    }
    if (selector & kTiBit)
        return in.selector_fault(Vector::GeneralProtection, selector);
    Descriptor ldt = TRY(in.fetch(selector, Vector::GeneralProtection));
    if (ldt.is_segment() || ldt.type() != system_type::kLdt)
        return in.selector_fault(Vector::GeneralProtection, selector);
    TRY(in.fetch_upper(selector, ldt));
    if (!ldt.present())
        return in.selector_fault(Vector::SegmentNotPresent, selector);
    state_.ldtr = ldt.to_segment(selector);
    return {};
}

GuestResult<void> Cpu::ltr(uint16_t selector) {
    const CpuInternals in(*this);
    if (in.real_or_v86())
        return guest_fault(Vector::InvalidOpcode);
    if (state_.cpl != 0)
        return guest_fault(Vector::GeneralProtection, 0);
    if (is_null(selector))
        return guest_fault(Vector::GeneralProtection, 0);
    if (selector & kTiBit)
        return in.selector_fault(Vector::GeneralProtection, selector);
    Descriptor tss = TRY(in.fetch(selector, Vector::GeneralProtection));
    const bool tss16 = tss.type() == system_type::kTss16 && !state_.ia32e();
    if (tss.is_segment() || (!tss16 && tss.type() != system_type::kTss32))
        return in.selector_fault(Vector::GeneralProtection, selector);
    TRY(in.fetch_upper(selector, tss));
    if (!tss.present())
        return in.selector_fault(Vector::SegmentNotPresent, selector);
    TRY(in.set_busy(tss, true));
    tss.high |= system_type::kBusyBit << 8;
    state_.tr = tss.to_segment(selector);
    return {};
}

// SDM Vol. 2A "LGDT/LIDT".
static GuestResult<void> load_table(const CpuState& state, TableRegister& table, uint16_t limit, Linear base,
                                    Width width) {
    if (state.cpl != 0 || (state.mode64() && !is_canonical(base)))
        return guest_fault(Vector::GeneralProtection, 0);
    table = {width == Width::Word ? base & 0xFFFFFF : base, limit};
    return {};
}

GuestResult<void> Cpu::lgdt(uint16_t limit, Linear base, Width width) {
    return load_table(state_, state_.gdtr, limit, base, width);
}

GuestResult<void> Cpu::lidt(uint16_t limit, Linear base, Width width) {
    return load_table(state_, state_.idtr, limit, base, width);
}

GuestResult<void> Cpu::may_store_system_registers() const {
    if (state_.cpl != 0 && (state_.cr4 & cr4::kUmip) != 0)
        return guest_fault(Vector::GeneralProtection, 0);
    return {};
}

GuestResult<uint32_t> Cpu::lar(uint16_t selector, uint32_t old) {
    const CpuInternals in(*this);
    if (in.real_or_v86())
        return guest_fault(Vector::InvalidOpcode);
    bool ok = false;
    const Descriptor descriptor = TRY(visible(in, selector, ok));
    ok = ok && (descriptor.is_segment() ||
                (((state_.ia32e() ? kLarTypesLong : kLarTypes) >> descriptor.type()) & 1));
    set_zf(state_, ok);
    return ok ? descriptor.high & kLarMask : old;
}

GuestResult<uint32_t> Cpu::lsl(uint16_t selector, uint32_t old) {
    const CpuInternals in(*this);
    if (in.real_or_v86())
        return guest_fault(Vector::InvalidOpcode);
    bool ok = false;
    const Descriptor descriptor = TRY(visible(in, selector, ok));
    ok = ok && (descriptor.is_segment() ||
                (((state_.ia32e() ? kLslTypesLong : kLslTypes) >> descriptor.type()) & 1));
    set_zf(state_, ok);
    return ok ? descriptor.limit() : old;
}

GuestResult<void> Cpu::verify_segment(uint16_t selector, bool for_write) {
    const CpuInternals in(*this);
    if (in.real_or_v86())
        return guest_fault(Vector::InvalidOpcode);
    bool ok = false;
    const Descriptor descriptor = TRY(visible(in, selector, ok));
    set_zf(state_, ok && (for_write ? descriptor.writable_data() : descriptor.readable()));
    return {};
}

} // namespace vmm
