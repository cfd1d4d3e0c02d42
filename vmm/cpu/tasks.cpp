// Hardware task switches between 16- and 32-bit TSSs (SDM Vol. 3A ch. 7). Everything that memory can refuse
// is checked before the first write, so a fault up to the commit point leaves the old task as it was; from
// there on a fault belongs to the new task (7.3).
#include "vmm/cpu/internals.h"
#include "vmm/memory/page_walk.h"

#include <array>

namespace vmm {
namespace {

using namespace eflags;
using Reason = Cpu::TaskSwitchReason;

constexpr uint32_t kDefinedFlags =
    kArithmetic | kTf | kIf | kDf | kIopl | kNt | kRf | kVm | kAc | kVif | kVip | kId;
constexpr uint32_t kDr6Bt = 1u << 15;
constexpr uint32_t kDr7Local = 0x155; // L0-L3, LE

// Figures 7-2 and 7-10.
constexpr uint32_t kMinLimit32 = 0x67, kMinLimit16 = 0x2B;
constexpr uint32_t kCr3At = 0x1C, kSaved32At = 0x20, kSaved16At = 0x0E, kSegments32At = 0x48;
constexpr uint32_t kLdt32At = 0x60, kTrap32At = 0x64;
constexpr uint32_t kSaved32Bytes = kLdt32At - 2 - kSaved32At, kSaved16Bytes = 28;
constexpr uint32_t kSegmentCount16 = 4; // no FS and GS in a 16-bit TSS

// The part of a TSS that a switch loads.
struct Image {
    uint32_t cr3 = 0, eip = 0, eflags = 0;
    std::array<uint32_t, 8> gpr{};
    std::array<uint16_t, kSegmentCount> selectors{};
    uint16_t ldt = 0;
    bool trap = false;
};

GuestResult<Image> read_image(LinearMemory& memory, uint32_t base, bool is_32bit) {
    Image image;
    const auto word_at = [](const uint8_t* bytes) {
        return static_cast<uint16_t>(bytes[0] | (bytes[1] << 8));
    };
    if (is_32bit) {
        std::array<uint8_t, kMinLimit32 + 1> raw;
        TRY(memory.read_bytes(base, raw.data(), raw.size(), Privilege::System));
        const auto word = [&](uint32_t at) { return word_at(&raw[at]); };
        const auto dword = [&](uint32_t at) { return word(at) | (uint32_t{word(at + 2)} << 16); };
        image.cr3 = dword(kCr3At);
        image.eip = dword(kSaved32At);
        image.eflags = dword(kSaved32At + 4);
        for (unsigned i = 0; i < 8; ++i)
            image.gpr[i] = dword(kSaved32At + 8 + 4 * i);
        for (unsigned i = 0; i < kSegmentCount; ++i)
            image.selectors[i] = word(kSegments32At + 4 * i);
        image.ldt = word(kLdt32At);
        image.trap = raw[kTrap32At] & 1;
        return image;
    }
    std::array<uint8_t, kMinLimit16 + 1> raw;
    TRY(memory.read_bytes(base, raw.data(), raw.size(), Privilege::System));
    const auto word = [&](uint32_t at) { return word_at(&raw[at]); };
    image.eip = word(kSaved16At);
    image.eflags = word(kSaved16At + 2);
    // The upper halves, which a 16-bit TSS does not have, become FFFFh: reported of processors, not
    // measured here; the SDM is silent.
    for (unsigned i = 0; i < 8; ++i)
        image.gpr[i] = 0xFFFF0000 | word(kSaved16At + 4 + 2 * i);
    for (unsigned i = 0; i < kSegmentCount16; ++i)
        image.selectors[i] = word(kSaved16At + 20 + 2 * i);
    image.ldt = word(kSaved16At + 28);
    return image;
}

// Saves the outgoing task. Its memory has been checked for writing.
GuestResult<void> save_image(const CpuState& state, LinearMemory& memory, uint32_t eip, uint32_t flags) {
    const uint32_t base = state.tr.base;
    if (state.tr.type() & system_type::k32BitBit) {
        std::array<uint32_t, 10> registers{eip, flags};
        for (unsigned i = 0; i < 8; ++i)
            registers[2 + i] = state.gpr[i].low;
        TRY(memory.write_bytes(base + kSaved32At, registers.data(), sizeof registers, Privilege::System));
        for (unsigned i = 0; i < kSegmentCount; ++i)
            TRY(memory.write<uint16_t>(base + kSegments32At + 4 * i, state.seg[i].selector,
                                       Privilege::System));
        return {};
    }
    std::array<uint16_t, kSaved16Bytes / 2> words;
    words[0] = static_cast<uint16_t>(eip);
    words[1] = static_cast<uint16_t>(flags);
    for (unsigned i = 0; i < 8; ++i)
        words[2 + i] = static_cast<uint16_t>(state.gpr[i].low);
    for (unsigned i = 0; i < kSegmentCount16; ++i)
        words[10 + i] = state.seg[i].selector;
    return memory.write_bytes(base + kSaved16At, words.data(), sizeof words, Privilege::System);
}

// The PDPTEs that `cr3` would load, with the CPU left on its present ones (SDM Vol. 3A 4.4.1).
GuestResult<std::array<uint64_t, 4>> pdptes_of(CpuState& state, GuestMemory& memory, uint32_t cr3) {
    const auto old_pdpte = state.pdpte;
    const uint32_t old_cr3 = state.cr3;
    state.cr3 = cr3;
    const auto loaded = load_pdptes(state, memory);
    const auto found = state.pdpte;
    state.cr3 = old_cr3;
    state.pdpte = old_pdpte;
    if (!loaded)
        return tl::make_unexpected(loaded.error());
    return found;
}

} // namespace

GuestResult<void> CpuInternals::switch_task(const TaskSwitch& request) const {
    const bool returning = request.reason == Reason::Iret;
    const bool nesting = request.reason == Reason::Call || request.reason == Reason::Interrupt;
    const uint16_t selector = request.selector;
    const Vector bad = returning ? Vector::InvalidTss : Vector::GeneralProtection;

    // SDM Vol. 3A table 7-1, rows 1 to 4.
    if (is_null(selector) || (selector & kTiBit))
        return selector_fault(bad, selector);
    Descriptor tss = TRY(fetch(selector, bad));
    const unsigned wanted = returning ? system_type::kTss16Busy : system_type::kTss16;
    if (tss.is_segment() || (tss.type() & ~system_type::k32BitBit) != wanted)
        return selector_fault(bad, selector);
    if (!tss.present())
        return selector_fault(Vector::SegmentNotPresent, selector);
    const bool new_is_32bit = tss.type() & system_type::k32BitBit;
    if (tss.limit() < (new_is_32bit ? kMinLimit32 : kMinLimit16))
        return selector_fault(Vector::InvalidTss, selector);

    // Every memory access of the switch, tried.
    const Segment old = state.tr;
    const bool old_is_32bit = old.type() & system_type::k32BitBit;
    if (!old.usable || old.limit < (old_is_32bit ? kMinLimit32 : kMinLimit16))
        return selector_fault(Vector::InvalidTss, old.selector);
    TRY(memory.check_write(old.base + (old_is_32bit ? kSaved32At : kSaved16At),
                           old_is_32bit ? kSaved32Bytes : kSaved16Bytes, Privilege::System));
    const uint32_t base = tss.base();
    const uint32_t new_cr3 = TRY(read_image(memory, base, new_is_32bit)).cr3;
    Descriptor old_descriptor;
    if (nesting) {
        TRY(memory.check_write(base, sizeof(uint16_t), Privilege::System));
    } else {
        old_descriptor = TRY(fetch(old.selector, Vector::InvalidTss));
        TRY(memory.check_write(wrap(old_descriptor.address + 5), 1, Privilege::System));
    }
    if (!returning)
        TRY(memory.check_write(wrap(tss.address + 5), 1, Privilege::System));
    const bool load_cr3 = new_is_32bit && state.paging();
    std::array<uint64_t, 4> new_pdpte = state.pdpte;
    if (load_cr3 && (state.cr4 & cr4::kPae))
        new_pdpte = TRY(pdptes_of(state, memory.physical(), new_cr3));

    // Commit.
    TRY(save_image(state, memory, request.return_eip,
                   returning ? request.flags_image & ~kNt : request.flags_image));
    const Image image = TRY(read_image(memory, base, new_is_32bit));
    if (nesting)
        TRY(memory.write<uint16_t>(base, old.selector, Privilege::System));
    else
        TRY(set_busy(old_descriptor, false));
    if (!returning)
        TRY(set_busy(tss, true));
    tss.high |= system_type::kBusyBit << 8;
    state.tr = tss.to_segment(selector);
    state.cr0 |= cr0::kTs;
    if (load_cr3) {
        state.cr3 = new_cr3;
        state.pdpte = new_pdpte;
        memory.flush_local();
        tlb().cr3_loaded();
    }
    state.eip = image.eip;
    state.eflags = (image.eflags & kDefinedFlags) | kFixed1 | (nesting ? kNt : 0);
    for (unsigned i = 0; i < image.gpr.size(); ++i)
        state.gpr[i].low = image.gpr[i];
    // Selectors are in place, hidden parts are not, until each has passed its checks.
    for (unsigned i = 0; i < kSegmentCount; ++i)
        state.seg[i] = Segment{image.selectors[i], 0, 0, 0, 0};
    state.ldtr = Segment{image.ldt, 0, 0, 0, 0};
    state.cpl = static_cast<uint8_t>(state.v86() ? 3 : rpl_of(state.segment(SegReg::Cs).selector));
    state.interrupt_shadow = 0;
    clear_local_breakpoints();
    TRY(enter_task(request, image.ldt, new_is_32bit ? Width::Dword : Width::Word));

    if (image.trap && task_traps) {
        CpuInternals trap(cpu, 1);
        trap.task_traps = false;
        trap.debug_trap(kDr6Bt);
    }
    return {};
}

// Rows 5 to 18 of table 7-1, the error code, and the limit check of EIP.
GuestResult<void> CpuInternals::enter_task(const TaskSwitch& request, uint16_t ldt, Width tss_width) const {
    TRY(load_task_ldt(ldt));
    if (state.v86()) {
        for (unsigned i = 0; i < kSegmentCount; ++i)
            load_real_segment(static_cast<SegReg>(i), state.seg[i].selector);
    } else {
        TRY(load_task_code(state.segment(SegReg::Cs).selector));
        const uint16_t ss = state.segment(SegReg::Ss).selector;
        Descriptor stack = TRY(fetch_stack(ss, state.cpl, Vector::InvalidTss));
        TRY(mark_accessed(stack));
        state.segment(SegReg::Ss) = stack.to_segment(ss);
        for (const SegReg reg : {SegReg::Ds, SegReg::Es, SegReg::Fs, SegReg::Gs})
            TRY(load_task_data(reg));
    }
    if (request.push_error)
        state.reg(Reg::Esp) = TRY(push_frame(state.segment(SegReg::Ss), state.reg(Reg::Esp), &request.error,
                                             1, tss_width, privilege_of(state.cpl), ext));
    if (state.eip > state.segment(SegReg::Cs).limit)
        return guest_fault(Vector::GeneralProtection, ext);
    return {};
}

GuestResult<void> CpuInternals::load_task_ldt(uint16_t selector) const {
    if (is_null(selector))
        return {};
    if (selector & kTiBit)
        return selector_fault(Vector::InvalidTss, selector);
    const Descriptor ldt = TRY(fetch(selector, Vector::InvalidTss));
    if (ldt.is_segment() || ldt.type() != system_type::kLdt || !ldt.present())
        return selector_fault(Vector::InvalidTss, selector);
    state.ldtr = ldt.to_segment(selector);
    return {};
}

GuestResult<void> CpuInternals::load_task_code(uint16_t selector) const {
    if (is_null(selector))
        return selector_fault(Vector::InvalidTss, 0);
    Descriptor code = TRY(fetch(selector, Vector::InvalidTss));
    const unsigned rpl = rpl_of(selector);
    if (!code.is_code() || (code.conforming() ? code.dpl() > rpl : code.dpl() != rpl))
        return selector_fault(Vector::InvalidTss, selector);
    if (!code.present())
        return selector_fault(Vector::SegmentNotPresent, selector);
    TRY(mark_accessed(code));
    install_code(selector, code);
    return {};
}

GuestResult<void> CpuInternals::load_task_data(SegReg reg) const {
    const uint16_t selector = state.segment(reg).selector;
    if (is_null(selector))
        return {};
    Descriptor data = TRY(fetch(selector, Vector::InvalidTss));
    if (!data.readable() || (!data.conforming() && (rpl_of(selector) > data.dpl() || state.cpl > data.dpl())))
        return selector_fault(Vector::InvalidTss, selector);
    if (!data.present())
        return selector_fault(Vector::SegmentNotPresent, selector);
    TRY(mark_accessed(data));
    state.segment(reg) = data.to_segment(selector);
    return {};
}

// SDM Vol. 3A 17.2.4: local breakpoints do not outlive their task.
void CpuInternals::clear_local_breakpoints() const {
    if ((state.dr[7] & kDr7Local) == 0)
        return;
    state.dr[7] &= ~kDr7Local;
    tlb().debug_registers_changed();
}

GuestResult<void> Cpu::task_switch(uint16_t tss_selector, TaskSwitchReason reason, uint32_t next_eip,
                                   bool push_error, uint32_t error_code) {
    return CpuInternals(*this).switch_task(
        {tss_selector, reason, next_eip, state_.eflags, push_error, error_code});
}

} // namespace vmm
