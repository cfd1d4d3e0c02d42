#include "vmm/arch/mode_key.h"

namespace vmm {

SegmentClass classify_segment(const CpuState& cpu, unsigned index) {
    const Segment& s = cpu.seg[index];
    const bool extra = index >= static_cast<unsigned>(SegReg::Fs);
    if (!s.usable)
        return extra ? SegmentClass::Based : SegmentClass::Checked;
    if (cpu.protected_mode() && !cpu.v86()) {
        if (index == static_cast<unsigned>(SegReg::Cs)) {
            if (!s.readable())
                return SegmentClass::Checked;
        } else if (!s.writable() || s.expand_down()) {
            return SegmentClass::Checked;
        }
    }
    if (s.limit != 0xFFFFFFFF)
        return SegmentClass::Limited;
    return s.base == 0 && !extra ? SegmentClass::Flat : SegmentClass::Based;
}

// SDM Vol. 3B 17.2.4: L or G, and a condition of 0.
static bool enables_instruction_breakpoint(uint32_t dr7) {
    constexpr uint32_t kEnables = 0xFF;
    if (__builtin_expect((dr7 & kEnables) == 0, 1))
        return false;
    for (unsigned i = 0; i < 4; ++i)
        if (((dr7 >> (2 * i)) & 3) != 0 && ((dr7 >> (16 + 4 * i)) & 3) == 0)
            return true;
    return false;
}

ModeKey compute_mode_key(const CpuState& cpu) {
    ModeKey key;
    uint32_t bits = 0;
    const bool v86 = cpu.v86();
    if (cpu.segment(SegReg::Cs).big())
        bits |= ModeKey::kCode32;
    if (cpu.segment(SegReg::Ss).big())
        bits |= ModeKey::kStack32;
    if (cpu.protected_mode())
        bits |= ModeKey::kProtected;
    if (v86)
        bits |= ModeKey::kV86;
    if (cpu.cpl == 3)
        bits |= ModeKey::kUser;
    if (cpu.cpl == 0)
        bits |= ModeKey::kRing0;
    if (cpu.cpl == 0 && cpu.paging() && (cpu.cr4 & cr4::kPge))
        bits |= ModeKey::kSharedSupervisor;
    if (!v86 && cpu.cpl <= cpu.iopl())
        bits |= ModeKey::kIoplOk;
    if (cpu.eflags & eflags::kTf)
        bits |= ModeKey::kTrapFlag;
    if (cpu.cr0 & cr0::kTs)
        bits |= ModeKey::kTaskSwitched;
    if (cpu.cr0 & cr0::kEm)
        bits |= ModeKey::kEmulateFpu;
    if (cpu.cr0 & cr0::kMp)
        bits |= ModeKey::kMonitorFpu;
    if (cpu.cr4 & cr4::kOsfxsr)
        bits |= ModeKey::kSse;
    if (enables_instruction_breakpoint(cpu.dr[7]))
        bits |= ModeKey::kBreakpoints;
    if ((cpu.eflags & eflags::kAc) && (cpu.cr0 & cr0::kAm) && cpu.cpl == 3)
        bits |= ModeKey::kAlignCheck;
    if (cpu.interrupt_shadow)
        bits |= ModeKey::kOneInstruction;
    for (unsigned i = 0; i < kSegmentCount; ++i)
        bits |= static_cast<uint32_t>(classify_segment(cpu, i)) << (ModeKey::kSegmentShift + 2 * i);
    key.bits = bits;
    key.cs_limit = cpu.segment(SegReg::Cs).limit;
    return key;
}

} // namespace vmm
