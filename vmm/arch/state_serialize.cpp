#include "vmm/arch/state_serialize.h"

#include "vmm/arch/physical.h"
#include "vmm/arch/promise.h"
#include "vmm/arch/tsc.h"

#include <string>

namespace vmm {

namespace {

// 1: a 32-bit processor. 2: one that promises long mode; it has the upper halves of what legacy code knows,
// as fields of their own, and so a 32-bit machine's state is what it always was.
constexpr uint32_t kVersion32 = 1, kVersion64 = 2;

// SDM Vol. 3A 2.3, 2.5, 3.4.5, 17.2; the writable bits agree with control.cpp and msr.cpp.
constexpr uint32_t kEflagsDefined = 0x003F7FD7;
constexpr uint32_t kCr0Defined = 0xE005003F;
constexpr uint64_t kMiscEnableDefined = (1ull << 0) | (1ull << 22) | (1ull << 34);
// FXSAVE image: MXCSR at byte 24 (SDM Vol. 1 table 10-2). FXRSTOR refuses reserved bits set, and the upper
// half is reserved on every processor.
constexpr size_t kMxcsrOffset = 24;
constexpr uint32_t kMxcsrDefined = 0x0000FFFF;

// The fields of a processor of either kind.
struct Fields {
    base::StateArchive& archive;
    bool long_mode;

    void halves(const std::string& name, uint32_t& low, uint32_t& high) {
        archive.field(name, low);
        if (long_mode)
            archive.field(name + "_high", high);
    }
    void wide(const std::string& name, uint64_t& value) {
        Wide parts(value);
        halves(name, parts.low, parts.high);
        value = parts.whole();
    }
    void segment(const std::string& name, Segment& s) {
        auto usable = static_cast<uint8_t>(s.usable);
        uint32_t attributes = s.attributes();
        archive.field(name + ".selector", s.selector);
        archive.field(name + ".usable", usable);
        halves(name + ".base", s.base, s.base_high);
        archive.field(name + ".limit", s.limit);
        archive.field(name + ".attributes", attributes);
        s.usable = usable != 0 ? 1 : 0;
        s.set_attributes(attributes);
    }
    void table(const std::string& name, TableRegister& t) {
        wide(name + ".base", t.base);
        archive.field(name + ".limit", t.limit);
    }
};

// What only a processor with long mode can get wrong; null: nothing.
const char* check_long(CpuState& state) {
    if (state.ia32e() != ((state.efer & efer::kLme) != 0 && state.paging()))
        return "EFER";
    if (state.ia32e() && ((state.cr4 & cr4::kPae) == 0 || state.v86()))
        return "long mode";
    if ((state.cr4 & cr4::kPcide) != 0 && !state.ia32e())
        return "CR4";
    if (state.mode64() && state.segment(SegReg::Cs).big())
        return "code segment";
    if (!state.mode64())
        state.rip_high = 0;
    for (const Linear address :
         {state.rip(), state.segment(SegReg::Fs).linear_base(), state.segment(SegReg::Gs).linear_base(),
          state.tr.linear_base(), state.ldtr.linear_base(), state.gdtr.base, state.idtr.base,
          state.sysenter_esp, state.sysenter_eip, state.lstar, state.cstar, state.kernel_gs_base})
        if (!is_canonical(address))
            return "address that is not canonical";
    for (const SegReg reg : {SegReg::Es, SegReg::Cs, SegReg::Ss, SegReg::Ds})
        state.segment(reg).base_high = 0;
    if ((state.cr3 & ~kPhysicalAddressMask) != 0)
        return "CR3";
    if (!valid_xcr0(state.xcr0, state.promised))
        return "XCR0";
    state.cr8 &= 0xF;
    state.fmask &= 0xFFFFFFFF;
    state.dr[6] &= 0xFFFFFFFF;
    state.dr[7] &= 0xFFFFFFFF;
    return nullptr;
}

void check(CpuState& state, base::StateArchive& archive) {
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
    else if ((state.cr4 & ~cr4_defined(state.promised)) != 0)
        wrong = "CR4";
    else if (state.cpl > 3 || (!protected_mode && state.cpl != 0) || (state.v86() && state.cpl != 3))
        wrong = "privilege level";
    else if (state.v86() && !protected_mode)
        wrong = "EFLAGS";
    else if ((state.efer & ~efer_defined(state.promised)) != 0)
        wrong = "EFER";
    else if ((state.misc_enable & ~kMiscEnableDefined) != 0)
        wrong = "MISC_ENABLE";
    else if (!valid_pat(state.pat))
        wrong = "PAT";
    else if (state.segment(SegReg::Cs).usable == 0)
        wrong = "code segment";
    else
        wrong = state.promises(promise::kLongMode) ? check_long(state) : nullptr;
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
    static constexpr const char* kRegisterNames[kRegisterCount] = {"eax", "ecx", "edx", "ebx", "esp", "ebp",
                                                                   "esi", "edi", "r8",  "r9",  "r10", "r11",
                                                                   "r12", "r13", "r14", "r15"};
    static constexpr const char* kSegmentNames[] = {"es", "cs", "ss", "ds", "fs", "gs"};

    const bool long_mode = state.promises(promise::kLongMode);
    if (archive.begin("cpu", archive.loading() || long_mode ? kVersion64 : kVersion32) == 0)
        return;
    uint32_t promised = archive.loading() ? 0 : state.promised; // absent: a 32-bit processor
    if (archive.loading() || long_mode)
        archive.field("promised", promised);
    if (promised != state.promised) {
        archive.set_error("saved machine state is of another processor; open it with the machine that it was "
                          "saved from");
        return;
    }
    Fields fields{archive, long_mode};
    for (unsigned i = 0; i < (long_mode ? kRegisterCount : kLegacyRegisterCount); ++i)
        fields.halves(kRegisterNames[i], state.gpr[i].low, state.gpr[i].high);
    fields.halves("eip", state.eip, state.rip_high);
    archive.field("eflags", state.eflags);
    for (unsigned i = 0; i < kSegmentCount; ++i)
        fields.segment(kSegmentNames[i], state.seg[i]);
    fields.segment("ldtr", state.ldtr);
    fields.segment("tr", state.tr);
    fields.table("gdtr", state.gdtr);
    fields.table("idtr", state.idtr);
    archive.field("cr0", state.cr0);
    fields.wide("cr2", state.cr2);
    fields.wide("cr3", state.cr3);
    archive.field("cr4", state.cr4);
    for (unsigned i = 0; i < 4; ++i)
        archive.field("pdpte" + std::to_string(i), state.pdpte[i]);
    for (unsigned i = 0; i < 8; ++i)
        fields.wide("dr" + std::to_string(i), state.dr[i]);
    archive.field("sysenter_cs", state.sysenter_cs);
    fields.wide("sysenter_esp", state.sysenter_esp);
    fields.wide("sysenter_eip", state.sysenter_eip);
    archive.field("efer", state.efer);
    if (long_mode) {
        archive.field("star", state.star);
        archive.field("lstar", state.lstar);
        archive.field("cstar", state.cstar);
        archive.field("fmask", state.fmask);
        archive.field("kernel_gs_base", state.kernel_gs_base);
        archive.field("xcr0", state.xcr0);
        archive.field("cr8", state.cr8);
    }
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
