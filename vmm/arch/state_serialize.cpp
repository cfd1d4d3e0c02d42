#include "vmm/arch/state_serialize.h"

#include "vmm/arch/tsc.h"

#include <string>

namespace vmm {

namespace {

constexpr uint32_t kVersion = 1;

// SDM Vol. 3A 2.3, 2.5, 3.4.5, 17.2; the writable bits agree with control.cpp and msr.cpp.
constexpr uint32_t kEflagsDefined = 0x003F7FD7;
constexpr uint32_t kCr0Defined = 0xE005003F;
constexpr uint32_t kCr4Defined = 0x000007BF;
constexpr uint32_t kAttributesDefined = 0x00F0FF00;
constexpr uint64_t kEferDefined = 1u << 11;
constexpr uint64_t kMiscEnableDefined = (1ull << 0) | (1ull << 22) | (1ull << 34);
// FXSAVE image: MXCSR at byte 24 (SDM Vol. 1 table 10-2). FXRSTOR refuses reserved bits set, and the upper
// half is reserved on every processor.
constexpr size_t kMxcsrOffset = 24;
constexpr uint32_t kMxcsrDefined = 0x0000FFFF;

void segment(base::StateArchive& archive, const std::string& name, Segment& s) {
    archive.field(name + ".selector", s.selector);
    archive.field(name + ".usable", s.usable);
    archive.field(name + ".base", s.base);
    archive.field(name + ".limit", s.limit);
    archive.field(name + ".attributes", s.attributes);
}

void table(base::StateArchive& archive, const std::string& name, TableRegister& t) {
    archive.field(name + ".base", t.base);
    archive.field(name + ".limit", t.limit);
}

void normalise(Segment& s) {
    s.usable = s.usable != 0 ? 1 : 0;
    s.reserved = 0;
    s.attributes &= kAttributesDefined;
}

void check(CpuState& state, base::StateArchive& archive) {
    for (Segment& s : state.seg)
        normalise(s);
    normalise(state.ldtr);
    normalise(state.tr);
    state.gdtr.limit &= 0xFFFF;
    state.idtr.limit &= 0xFFFF;
    state.eflags = (state.eflags & kEflagsDefined) | eflags::kFixed1;
    state.cr0 = (state.cr0 & kCr0Defined) | cr0::kEt;
    state.dr[6] = (state.dr[6] & 0x0000E00F) | 0xFFFF0FF0;
    state.dr[7] = (state.dr[7] & 0xFFFF23FF) | 0x00000400;
    for (uint8_t* flag : {&state.halted, &state.nmi_blocked, &state.shutdown})
        *flag = *flag != 0 ? 1 : 0;
    state.interrupt_shadow = std::min(state.interrupt_shadow, kShadowMovSs);

    uint32_t mxcsr = 0;
    std::memcpy(&mxcsr, &state.fx.bytes[kMxcsrOffset], sizeof mxcsr);
    mxcsr &= kMxcsrDefined;
    std::memcpy(&state.fx.bytes[kMxcsrOffset], &mxcsr, sizeof mxcsr);

    const bool protected_mode = state.protected_mode();
    const char* wrong = nullptr;
    if (state.paging() && !protected_mode)
        wrong = "CR0";
    else if ((state.cr0 & cr0::kNw) != 0 && (state.cr0 & cr0::kCd) == 0)
        wrong = "CR0";
    else if ((state.cr4 & ~kCr4Defined) != 0)
        wrong = "CR4";
    else if (state.cpl > 3 || (!protected_mode && state.cpl != 0) || (state.v86() && state.cpl != 3))
        wrong = "privilege level";
    else if (state.v86() && !protected_mode)
        wrong = "EFLAGS";
    else if ((state.efer & ~kEferDefined) != 0)
        wrong = "EFER";
    else if ((state.misc_enable & ~kMiscEnableDefined) != 0)
        wrong = "MISC_ENABLE";
    else if (!valid_pat(state.pat))
        wrong = "PAT";
    else if (state.segment(SegReg::Cs).usable == 0)
        wrong = "code segment";
    if (wrong != nullptr)
        archive.set_error(std::string("saved machine state holds an impossible processor state (") + wrong +
                          "); the file is damaged");
}

} // namespace

void serialize(CpuState& state, base::StateArchive& archive) {
    uint64_t tsc = guest_tsc(state);
    serialize(state, archive, tsc);
    if (archive.loading())
        set_guest_tsc(state, tsc);
}

void serialize(CpuState& state, base::StateArchive& archive, uint64_t& tsc) {
    static constexpr const char* kRegisterNames[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
    static constexpr const char* kSegmentNames[] = {"es", "cs", "ss", "ds", "fs", "gs"};

    if (archive.begin("cpu", kVersion) == 0)
        return;
    for (unsigned i = 0; i < 8; ++i)
        archive.field(kRegisterNames[i], state.gpr[i]);
    archive.field("eip", state.eip);
    archive.field("eflags", state.eflags);
    for (unsigned i = 0; i < kSegmentCount; ++i)
        segment(archive, kSegmentNames[i], state.seg[i]);
    segment(archive, "ldtr", state.ldtr);
    segment(archive, "tr", state.tr);
    table(archive, "gdtr", state.gdtr);
    table(archive, "idtr", state.idtr);
    archive.field("cr0", state.cr0);
    archive.field("cr2", state.cr2);
    archive.field("cr3", state.cr3);
    archive.field("cr4", state.cr4);
    for (unsigned i = 0; i < 4; ++i)
        archive.field("pdpte" + std::to_string(i), state.pdpte[i]);
    for (unsigned i = 0; i < 8; ++i)
        archive.field("dr" + std::to_string(i), state.dr[i]);
    archive.field("sysenter_cs", state.sysenter_cs);
    archive.field("sysenter_esp", state.sysenter_esp);
    archive.field("sysenter_eip", state.sysenter_eip);
    archive.field("efer", state.efer);
    archive.field("pat", state.pat);
    archive.field("mtrr_def_type", state.mtrr_def_type);
    archive.field("misc_enable", state.misc_enable);
    archive.field("tsc", tsc);
    uint32_t tsc_khz = archive.loading() ? 0 : state.tsc_khz; // absent: nothing was promised
    archive.field("tsc_khz", tsc_khz);
    if (archive.loading())
        promise_tsc_khz(state, tsc_khz);
    archive.field("cpl", state.cpl);
    archive.field("halted", state.halted);
    archive.field("interrupt_shadow", state.interrupt_shadow);
    archive.field("nmi_blocked", state.nmi_blocked);
    archive.field("shutdown", state.shutdown);
    archive.bytes_field("fx", state.fx.bytes);
    archive.end();
    if (archive.loading())
        check(state, archive);
}

} // namespace vmm
