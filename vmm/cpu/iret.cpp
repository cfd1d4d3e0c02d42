// IRET in its five legacy forms: real mode, v86 mode, within and out of protected mode, into v86 mode, and
// back to the interrupted task (SDM Vol. 2A "IRET"; Vol. 3A 20.2.5 and 20.3 for v86).
#include "vmm/cpu/internals.h"

#include <array>

namespace vmm {
namespace {

using namespace eflags;

// What any IRET may change: everything but IF, IOPL, VM and the virtual interrupt flags.
constexpr uint32_t kUnprivileged = kArithmetic | kTf | kDf | kNt;
constexpr uint32_t kUnprivileged32 = kUnprivileged | kRf | kAc | kId;
constexpr uint32_t kAll = kUnprivileged32 | kIf | kIopl | kVm | kVif | kVip;

constexpr unsigned kEip = 0, kCs = 1, kFlags = 2, kEsp = 3, kSs = 4, kEs = 5, kDs = 6, kFs = 7, kGs = 8;

} // namespace

GuestResult<void> CpuInternals::iret_real(Width width) const {
    std::array<uint32_t, 3> frame;
    TRY(read_frame(0, frame.data(), 3, width));
    if (frame[kEip] > state.segment(SegReg::Cs).limit)
        return guest_fault(Vector::GeneralProtection, 0);
    load_real_segment(SegReg::Cs, static_cast<uint16_t>(frame[kCs]));
    const uint32_t esp = state.reg(Reg::Esp);
    state.reg(Reg::Esp) = merge_sp(state.segment(SegReg::Ss), esp, esp + 3 * bytes_of(width));
    merge_flags(frame[kFlags], (width == Width::Dword ? kUnprivileged32 : kUnprivileged) | kIf | kIopl);
    state.eip = frame[kEip];
    return {};
}

GuestResult<void> CpuInternals::iret_v86(Width width) const {
    const bool virtual_if = state.iopl() < 3;
    if (virtual_if && ((state.cr4 & cr4::kVme) == 0 || width != Width::Word))
        return guest_fault(Vector::GeneralProtection, 0);
    std::array<uint32_t, 3> frame;
    TRY(read_frame(0, frame.data(), 3, width));
    if (frame[kEip] > state.segment(SegReg::Cs).limit)
        return guest_fault(Vector::GeneralProtection, 0);
    const uint32_t image = frame[kFlags];
    // SDM Vol. 3A 20.3.2: setting VIF with VIP pending, or TF, goes to the monitor.
    if (virtual_if && ((image & kTf) || ((image & kIf) && (state.eflags & kVip))))
        return guest_fault(Vector::GeneralProtection, 0);
    load_real_segment(SegReg::Cs, static_cast<uint16_t>(frame[kCs]));
    const uint32_t esp = state.reg(Reg::Esp);
    state.reg(Reg::Esp) = merge_sp(state.segment(SegReg::Ss), esp, esp + 3 * bytes_of(width));
    if (virtual_if) {
        merge_flags(image, kUnprivileged);
        merge_flags((image & kIf) ? kVif : 0, kVif);
    } else {
        merge_flags(image, (width == Width::Dword ? kUnprivileged32 : kUnprivileged) | kIf);
    }
    state.eip = frame[kEip];
    return {};
}

GuestResult<void> CpuInternals::iret_to_v86(const uint32_t* frame) const {
    std::array<uint32_t, 6> rest; // ESP, SS, ES, DS, FS, GS
    TRY(read_frame(3 * bytes_of(Width::Dword), rest.data(), rest.size(), Width::Dword));
    if (frame[kEip] > 0xFFFF)
        return guest_fault(Vector::GeneralProtection, 0);
    const auto selector = [&](unsigned index) { return static_cast<uint16_t>(rest[index - kEsp]); };
    merge_flags(frame[kFlags], kAll);
    state.cpl = 3;
    load_real_segment(SegReg::Cs, static_cast<uint16_t>(frame[kCs]));
    load_real_segment(SegReg::Ss, selector(kSs));
    load_real_segment(SegReg::Es, selector(kEs));
    load_real_segment(SegReg::Ds, selector(kDs));
    load_real_segment(SegReg::Fs, selector(kFs));
    load_real_segment(SegReg::Gs, selector(kGs));
    state.reg(Reg::Esp) = rest[0];
    state.eip = frame[kEip];
    return {};
}

GuestResult<void> CpuInternals::iret_task(uint32_t next_eip) const {
    TaskSwitch task;
    task.selector = TRY(read_system<uint16_t>(state.tr.base));
    task.reason = Cpu::TaskSwitchReason::Iret;
    task.return_eip = next_eip;
    task.flags_image = state.eflags;
    return switch_task(task);
}

uint32_t CpuInternals::returned_flags(unsigned cpl, Width width) const {
    uint32_t mask = width == Width::Word ? kUnprivileged : kUnprivileged32;
    if (cpl <= state.iopl())
        mask |= kIf;
    if (cpl == 0)
        mask |= width == Width::Word ? kIopl : kIopl | kVif | kVip;
    return mask;
}

GuestResult<void> CpuInternals::iret_protected(Width width) const {
    const uint32_t slot = bytes_of(width);
    const uint32_t esp = state.reg(Reg::Esp);
    const unsigned cpl = state.cpl;
    std::array<uint32_t, 3> frame;
    TRY(read_frame(0, frame.data(), 3, width));
    if (cpl == 0 && width == Width::Dword && (frame[kFlags] & kVm))
        return iret_to_v86(frame.data());

    const auto selector = static_cast<uint16_t>(frame[kCs]);
    Descriptor code = TRY(fetch_return_code(selector));
    const unsigned rpl = rpl_of(selector);
    const uint32_t mask = returned_flags(cpl, width);

    if (rpl == cpl) {
        if (frame[kEip] > code.limit())
            return guest_fault(Vector::GeneralProtection, 0);
        TRY(mark_accessed(code));
        install_code(selector, code);
        state.reg(Reg::Esp) = merge_sp(state.segment(SegReg::Ss), esp, esp + 3 * slot);
        merge_flags(frame[kFlags], mask);
        state.eip = frame[kEip];
        return {};
    }

    std::array<uint32_t, 2> outer; // ESP, SS
    TRY(read_frame(3 * slot, outer.data(), 2, width));
    const auto ss_selector = static_cast<uint16_t>(outer[1]);
    Descriptor stack = TRY(fetch_stack(ss_selector, rpl, Vector::GeneralProtection));
    if (frame[kEip] > code.limit())
        return guest_fault(Vector::GeneralProtection, 0);
    TRY(mark_accessed(stack));
    TRY(mark_accessed(code));

    merge_flags(frame[kFlags], mask);
    state.cpl = static_cast<uint8_t>(rpl);
    install_code(selector, code);
    const Segment ss = stack.to_segment(ss_selector);
    state.segment(SegReg::Ss) = ss;
    // Into a 16-bit stack only SP is loaded; the upper half of ESP stays the inner stack's, which is what
    // kernels' "espfix" code exists for.
    state.reg(Reg::Esp) = merge_sp(ss, esp, outer[0]);
    state.eip = frame[kEip];
    drop_inaccessible_segments();
    return {};
}

GuestResult<void> Cpu::iret(Width width, uint64_t next_ip) {
    const CpuInternals in(*this);
    // NMIs are unblocked by any IRET, one that faults included (SDM Vol. 3A 6.7.1).
    state_.nmi_blocked = 0;
    if (state_.ia32e())
        return in.iret_long(width);
    if (!state_.protected_mode())
        return in.iret_real(width);
    if (state_.v86())
        return in.iret_v86(width);
    if (state_.eflags & kNt)
        return in.iret_task(static_cast<uint32_t>(next_ip));
    return in.iret_protected(width);
}

} // namespace vmm
