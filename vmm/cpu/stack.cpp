// Pushes and pops that C++ makes on behalf of an instruction: the width of the stack pointer is SS.B (SDM
// Vol. 1 6.2.3), 16-bit stacks wrap, and frames go to memory in one piece whenever they do not.
#include "vmm/cpu/internals.h"

#include <array>

namespace vmm {

GuestResult<uint32_t> CpuInternals::push_frame(const Segment& ss, uint32_t esp, const uint32_t* values,
                                               unsigned count, Width width, Privilege privilege,
                                               uint32_t error_code) const {
    const uint32_t size = bytes_of(width);
    const uint32_t mask = stack_mask(ss);
    const uint32_t total = size * count;
    uint32_t sp = esp & mask;
    if (!ss.usable)
        return guest_fault(Vector::StackFault, error_code);

    if (__builtin_expect(sp >= total && within_limit(ss, sp - total, total), 1)) {
        sp -= total;
        if (width == Width::Dword) {
            std::array<uint32_t, kMaxFrame> image;
            for (unsigned i = 0; i < count; ++i)
                image[count - 1 - i] = values[i];
            TRY(memory.write_bytes(ss.base + sp, image.data(), total, privilege));
        } else {
            std::array<uint16_t, kMaxFrame> image;
            for (unsigned i = 0; i < count; ++i)
                image[count - 1 - i] = static_cast<uint16_t>(values[i]);
            TRY(memory.write_bytes(ss.base + sp, image.data(), total, privilege));
        }
        return merge_sp(ss, esp, sp);
    }

    // The frame wraps or ends outside the segment: slot by slot, all of them checked before any is written.
    uint32_t probe_sp = sp;
    for (unsigned i = 0; i < count; ++i) {
        probe_sp = (probe_sp - size) & mask;
        if (!within_limit(ss, probe_sp, size))
            return guest_fault(Vector::StackFault, error_code);
        TRY(memory.check_write(ss.base + probe_sp, size, privilege));
    }
    for (unsigned i = 0; i < count; ++i) {
        sp = (sp - size) & mask;
        TRY(memory.write_bytes(ss.base + sp, &values[i], size, privilege));
    }
    return merge_sp(ss, esp, sp);
}

bool CpuInternals::frame_fits(const Segment& ss, uint32_t esp, unsigned count, Width width) {
    const uint32_t size = bytes_of(width);
    const uint32_t mask = stack_mask(ss);
    uint32_t sp = esp;
    for (unsigned i = 0; i < count; ++i) {
        sp = (sp - size) & mask;
        if (!within_limit(ss, sp, size))
            return false;
    }
    return true;
}

GuestResult<void> CpuInternals::read_frame(uint32_t skip, uint32_t* values, unsigned count,
                                           Width width) const {
    const Segment& ss = state.segment(SegReg::Ss);
    const uint32_t size = bytes_of(width);
    const uint32_t mask = stack_mask(ss);
    const uint32_t total = size * count;
    uint32_t sp = (state.reg(Reg::Esp) + skip) & mask;
    const Privilege privilege = privilege_of(state.cpl);
    if (!ss.usable)
        return guest_fault(Vector::StackFault, 0);

    if (__builtin_expect(total - 1 <= mask - sp && within_limit(ss, sp, total), 1)) {
        if (width == Width::Dword)
            return read_bytes(ss.base + sp, values, total, privilege);
        std::array<uint16_t, kMaxFrame> image;
        TRY(read_bytes(ss.base + sp, image.data(), total, privilege));
        for (unsigned i = 0; i < count; ++i)
            values[i] = image[i];
        return {};
    }
    for (unsigned i = 0; i < count; ++i) {
        if (!within_limit(ss, sp, size))
            return guest_fault(Vector::StackFault, 0);
        values[i] = 0;
        TRY(memory.read_bytes(ss.base + sp, &values[i], size, privilege));
        sp = (sp + size) & mask;
    }
    return {};
}

GuestResult<void> Cpu::push(uint32_t value, Width width) {
    const CpuInternals in(*this);
    state_.reg(Reg::Esp) = TRY(in.push_frame(state_.segment(SegReg::Ss), state_.reg(Reg::Esp), &value, 1,
                                             width, privilege_of(state_.cpl), 0));
    return {};
}

// SDM Vol. 2B "PUSH": a 16-bit move, also with a 32-bit operand; the upper half of the slot is neither
// checked nor written. (AMD's processors write zeros there.)
GuestResult<void> Cpu::push_selector(uint16_t selector, Width width) {
    const Segment& ss = state_.segment(SegReg::Ss);
    const uint32_t esp = merge_sp(ss, state_.reg(Reg::Esp), state_.reg(Reg::Esp) - bytes_of(width));
    const uint32_t linear =
        TRY(linear_address(SegReg::Ss, esp & stack_mask(ss), sizeof selector, AccessKind::Write));
    TRY(memory_.write_bytes(linear, &selector, sizeof selector, privilege_of(state_.cpl)));
    state_.reg(Reg::Esp) = esp;
    return {};
}

GuestResult<uint32_t> Cpu::pop(Width width) {
    const CpuInternals in(*this);
    uint32_t value = 0;
    TRY(in.read_frame(0, &value, 1, width));
    const uint32_t esp = state_.reg(Reg::Esp);
    state_.reg(Reg::Esp) = merge_sp(state_.segment(SegReg::Ss), esp, esp + bytes_of(width));
    return value;
}

// SDM Vol. 2A "ENTER". Registers change only at the end, so that a fault midway restarts; what has been
// written below ESP by then is rewritten.
GuestResult<void> Cpu::enter(uint16_t size, uint8_t level, Width width) {
    const CpuInternals in(*this);
    const Segment& ss = state_.segment(SegReg::Ss);
    const Privilege privilege = privilege_of(state_.cpl);
    const uint32_t step = bytes_of(width);
    const uint32_t mask = stack_mask(ss);
    const unsigned nesting = level & 31;

    uint32_t ebp = state_.reg(Reg::Ebp);
    uint32_t esp = TRY(in.push_frame(ss, state_.reg(Reg::Esp), &ebp, 1, width, privilege, 0));
    const uint32_t frame = esp;
    for (unsigned i = 1; i < nesting; ++i) {
        ebp = merge_sp(ss, ebp, ebp - step);
        if (!within_limit(ss, ebp & mask, step))
            return guest_fault(Vector::StackFault, 0);
        uint32_t pointer = 0;
        TRY(memory_.read_bytes(ss.base + (ebp & mask), &pointer, step, privilege));
        esp = TRY(in.push_frame(ss, esp, &pointer, 1, width, privilege, 0));
    }
    if (nesting > 0)
        esp = TRY(in.push_frame(ss, esp, &frame, 1, width, privilege, 0));
    esp = merge_sp(ss, esp, esp - size);
    // "ENTER causes a page fault whenever a write using the final value of the stack pointer would do so."
    if (!within_limit(ss, esp & mask, step))
        return guest_fault(Vector::StackFault, 0);
    TRY(memory_.check_write(ss.base + (esp & mask), step, privilege));

    uint32_t& out = state_.reg(Reg::Ebp);
    out = width == Width::Dword ? frame : (out & 0xFFFF0000) | (frame & 0xFFFF);
    state_.reg(Reg::Esp) = esp;
    return {};
}

GuestResult<void> Cpu::pusha(Width width) {
    const CpuInternals in(*this);
    const Segment& ss = state_.segment(SegReg::Ss);
    const uint32_t sp = state_.reg(Reg::Esp) & stack_mask(ss);
    // SDM Vol. 2B "PUSHA", real and v86 mode exceptions.
    if (in.real_or_v86() && sp >= 7 && sp <= 15 && (sp & 1))
        return guest_fault(Vector::GeneralProtection, 0);
    std::array<uint32_t, kLegacyRegisterCount> values;
    for (unsigned i = 0; i < values.size(); ++i)
        values[i] = state_.gpr[i].low;
    state_.reg(Reg::Esp) = TRY(in.push_frame(ss, state_.reg(Reg::Esp), values.data(), values.size(), width,
                                             privilege_of(state_.cpl), 0));
    return {};
}

GuestResult<void> Cpu::popa(Width width) {
    const CpuInternals in(*this);
    std::array<uint32_t, 8> values{}; // EDI first
    TRY(in.read_frame(0, values.data(), 8, width));
    const uint32_t esp = state_.reg(Reg::Esp);
    for (unsigned i = 0; i < 8; ++i) {
        uint32_t& reg = state_.gpr[7 - i].low;
        reg = width == Width::Dword ? values[i] : (reg & 0xFFFF0000) | values[i];
    }
    state_.reg(Reg::Esp) = merge_sp(state_.segment(SegReg::Ss), esp, esp + 8 * bytes_of(width));
    return {};
}

} // namespace vmm
