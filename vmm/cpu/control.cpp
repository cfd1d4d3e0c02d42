// Control and debug registers, and the privileged instructions that only check a privilege or set a bit:
// LMSW, CLTS, INVLPG, INVPCID, HLT, WBINVD (SDM Vol. 2 under each mnemonic, Vol. 3A 2.5 and 17.2; 9.8.5 for
// the ways into and out of IA-32e mode). Every change that address translation depends on is announced to the
// TLB side here, so no caller has to remember it.
#include "vmm/arch/promise.h"
#include "vmm/arch/tsc.h"
#include "vmm/base/operation.h"
#include "vmm/cpu/internals.h"
#include "vmm/memory/page_walk.h"

namespace vmm {

namespace {

// SDM Vol. 3A 2.5: the defined bits of CR0. Attempts to set the others are ignored.
constexpr uint32_t kCr0Defined = cr0::kPe | cr0::kMp | cr0::kEm | cr0::kTs | cr0::kEt | cr0::kNe | cr0::kWp |
                                 cr0::kAm | cr0::kNw | cr0::kCd | cr0::kPg;
constexpr uint32_t kCr0LmswBits = cr0::kPe | cr0::kMp | cr0::kEm | cr0::kTs;
constexpr uint64_t kCr3KeepTranslations = 1ull << 63; // of MOV to CR3 with CR4.PCIDE
constexpr uint16_t kPcidMask = 0xFFF;

// SDM Vol. 3A 17.2.3 and 17.2.4: bits that read as fixed values.
constexpr uint32_t kDr6Writable = 0x0000E00F, kDr6Fixed = 0xFFFF0FF0, kDr6Bd = 1u << 13;
constexpr uint32_t kDr7Writable = 0xFFFF23FF, kDr7Fixed = 0x00000400, kDr7Gd = 1u << 13;

GuestResult<void> require_cpl0(const CpuState& state) {
    if (state.cpl != 0)
        return guest_fault(Vector::GeneralProtection, 0);
    return {};
}

tl::unexpected<Fault> refused() { return guest_fault(Vector::GeneralProtection, 0); }

bool pae_paging(const CpuState& state, uint32_t cr0_value, uint32_t cr4_value) {
    return (cr0_value & cr0::kPg) != 0 && (cr4_value & cr4::kPae) != 0 && (state.efer & efer::kLme) == 0;
}

// Puts new values of CR0, CR3 and CR4 in force; with PAE paging on and `reload` asked for, the PDPTEs are
// read first and a reserved bit in one of them leaves everything as it was (SDM Vol. 3A 4.4.1).
GuestResult<void> commit_paging(CpuState& state, GuestMemory& memory, uint32_t new_cr0, uint64_t new_cr3,
                                uint32_t new_cr4, bool reload) {
    const uint32_t old_cr0 = state.cr0, old_cr4 = state.cr4;
    const uint64_t old_cr3 = state.cr3;
    const auto old_pdpte = state.pdpte;
    state.cr0 = new_cr0;
    state.cr3 = new_cr3;
    state.cr4 = new_cr4;
    if (!reload || !pae_paging(state, new_cr0, new_cr4))
        return {};
    if (auto loaded = load_pdptes(state, memory); !loaded) {
        state.cr0 = old_cr0;
        state.cr3 = old_cr3;
        state.cr4 = old_cr4;
        state.pdpte = old_pdpte;
        return tl::make_unexpected(loaded.error());
    }
    return {};
}

// Whether paging may go on or off as CR0 is about to say (SDM Vol. 2B "MOV - Move to/from Control
// Registers").
bool may_switch_paging(const CpuState& state, bool on) {
    if (!on)
        return !state.mode64() && (state.cr4 & cr4::kPcide) == 0;
    if ((state.efer & efer::kLme) == 0)
        return true;
    const unsigned tss = state.tr.type();
    return (state.cr4 & cr4::kPae) != 0 && !state.segment(SegReg::Cs).code64() &&
           tss != system_type::kTss16 && tss != system_type::kTss16Busy;
}

// The part of MOV CR0 and LMSW after the privilege check.
GuestResult<void> set_cr0(CpuState& state, LinearMemory& memory, TlbControl& tlb, uint64_t whole) {
    auto value = static_cast<uint32_t>(whole);
    if (whole != value)
        return refused();
    if ((value & cr0::kPg) != 0 && (value & cr0::kPe) == 0)
        return refused();
    if ((value & cr0::kNw) != 0 && (value & cr0::kCd) == 0)
        return refused();
    value = (value & kCr0Defined) | cr0::kEt;
    const uint32_t changed = state.cr0 ^ value;
    if ((changed & cr0::kPg) != 0 && !may_switch_paging(state, (value & cr0::kPg) != 0))
        return refused();
    TRY(commit_paging(state, memory.physical(), value, state.cr3, state.cr4,
                      (changed & (cr0::kPg | cr0::kCd | cr0::kNw)) != 0));
    // SDM Vol. 3A 9.8.5: LMA is LME while there is paging.
    const bool long_mode = (state.efer & efer::kLme) != 0 && state.paging();
    state.efer = long_mode ? state.efer | efer::kLma : state.efer & ~efer::kLma;
    if ((changed & (cr0::kPg | cr0::kWp | cr0::kPe)) != 0) {
        memory.flush();
        tlb.paging_changed();
    }
    return {};
}

GuestResult<void> set_cr3(CpuState& state, LinearMemory& memory, TlbControl& tlb, uint64_t value) {
    const bool pcids = (state.cr4 & cr4::kPcide) != 0;
    const bool keep = pcids && (value & kCr3KeepTranslations) != 0;
    if (pcids)
        value &= ~kCr3KeepTranslations; // reads as zero
    if ((value & ~kPhysicalAddressMask) != 0)
        return refused();
    TRY(commit_paging(state, memory.physical(), state.cr0, value, state.cr4, true));
    if (pcids)
        memory.switch_pcid(value & kPcidMask, keep);
    else
        memory.flush_local();
    tlb.cr3_loaded();
    return {};
}

// SDM Vol. 3A 2.5, and 4.10.1 for PCIDE.
GuestResult<void> set_cr4(CpuState& state, LinearMemory& memory, TlbControl& tlb, uint64_t whole) {
    const auto value = static_cast<uint32_t>(whole);
    if (whole != value || (value & ~cr4_defined(state.promised)) != 0)
        return refused();
    const uint32_t changed = state.cr4 ^ value;
    if (state.ia32e() && (value & cr4::kPae) == 0)
        return refused();
    if ((changed & value & cr4::kPcide) != 0 && (!state.ia32e() || (state.cr3 & kPcidMask) != 0))
        return refused();
    constexpr uint32_t kReload = cr4::kPse | cr4::kPae | cr4::kPge | cr4::kSmep; // SDM Vol. 3A 4.4.1
    TRY(commit_paging(state, memory.physical(), state.cr0, state.cr3, value, (changed & kReload) != 0));
    if ((changed & (kReload | cr4::kSmap | cr4::kPcide)) == 0)
        return {};
    memory.flush();
    if ((changed & cr4::kPcide) != 0)
        memory.switch_pcid(0, false);
    tlb.paging_changed();
    return {};
}

} // namespace

static bool is_control_register(const CpuState& state, unsigned index) {
    return index == 0 || index == 2 || index == 3 || index == 4 || (index == 8 && state.mode64());
}

GuestResult<uint64_t> Cpu::read_cr(unsigned index) {
    if (!is_control_register(state_, index))
        return guest_fault(Vector::InvalidOpcode);
    TRY(require_cpl0(state_));
    switch (index) {
    case 0:
        return state_.cr0;
    case 2:
        return state_.cr2;
    case 3:
        return state_.cr3;
    case 4:
        return state_.cr4;
    default: { // SDM Vol. 3A 11.8.6: bits 7:4 of the task priority
        const base::Operation operation;
        return apic_ != nullptr ? apic_->task_priority() >> 4 : state_.cr8;
    }
    }
}

GuestResult<void> Cpu::write_cr(unsigned index, uint64_t value) {
    if (!is_control_register(state_, index))
        return guest_fault(Vector::InvalidOpcode);
    TRY(require_cpl0(state_));
    switch (index) {
    case 0:
        return set_cr0(state_, memory_, tlb_, value);
    case 2:
        state_.cr2 = value;
        return {};
    case 3:
        return set_cr3(state_, memory_, tlb_, value);
    case 4:
        return set_cr4(state_, memory_, tlb_, value);
    default:
        break;
    }
    if (value > 0xF)
        return refused();
    state_.cr8 = static_cast<uint8_t>(value);
    if (apic_ != nullptr) {
        const base::Operation operation;
        apic_->set_task_priority(static_cast<uint8_t>(value << 4));
    }
    return {};
}

// SDM Vol. 2B "MOV - Move to/from Debug Registers", Vol. 3A 17.2.2: DR4/DR5 alias DR6/DR7 unless CR4.DE.
static GuestResult<unsigned> debug_register(CpuState& state, unsigned index) {
    if (index > 7 || ((index == 4 || index == 5) && (state.cr4 & cr4::kDe) != 0))
        return guest_fault(Vector::InvalidOpcode);
    TRY(require_cpl0(state));
    if ((state.dr[7] & kDr7Gd) != 0) {
        state.dr[6] |= kDr6Bd;
        return guest_fault(Vector::Debug);
    }
    return index == 4 || index == 5 ? index + 2 : index;
}

GuestResult<uint64_t> Cpu::read_dr(unsigned index) {
    const unsigned real = TRY(debug_register(state_, index));
    if (real == 6)
        return (state_.dr[6] & kDr6Writable) | kDr6Fixed;
    if (real == 7)
        return (state_.dr[7] & kDr7Writable) | kDr7Fixed;
    return state_.dr[real];
}

GuestResult<void> Cpu::write_dr(unsigned index, uint64_t value) {
    const unsigned real = TRY(debug_register(state_, index));
    if (real >= 6 && value >> 32 != 0) // SDM Vol. 3B 17.2.6
        return refused();
    if (real == 6)
        value = (value & kDr6Writable) | kDr6Fixed;
    if (real == 7)
        value = (value & kDr7Writable) | kDr7Fixed;
    if (state_.dr[real] == value)
        return {};
    state_.dr[real] = value;
    if (real != 6) // DR6 only reports
        tlb_.debug_registers_changed();
    return {};
}

// SDM Vol. 2A "LMSW": loads PE, MP, EM and TS; PE can be set but not cleared.
GuestResult<void> Cpu::lmsw(uint16_t value) {
    TRY(require_cpl0(state_));
    const uint32_t kept = state_.cr0 & (~kCr0LmswBits | cr0::kPe);
    return set_cr0(state_, memory_, tlb_, kept | (value & kCr0LmswBits));
}

GuestResult<void> Cpu::clts() {
    TRY(require_cpl0(state_));
    state_.cr0 &= ~cr0::kTs;
    return {};
}

GuestResult<void> Cpu::invlpg(Linear linear) {
    TRY(require_cpl0(state_));
    if (state_.ia32e() && !is_canonical(linear))
        return {};
    memory_.flush_page(linear);
    tlb_.invlpg(linear);
    return {};
}

// SDM Vol. 2A "INVPCID". More than is asked for may be flushed at any time.
GuestResult<void> Cpu::invpcid(uint64_t type, uint64_t pcid, Linear linear) {
    enum Type : uint64_t { kAddress, kContext, kAll, kAllButGlobal };
    if (!state_.promises(promise::kInvpcid))
        return guest_fault(Vector::InvalidOpcode);
    TRY(require_cpl0(state_));
    if (type > kAllButGlobal || (pcid & ~uint64_t{kPcidMask}) != 0)
        return refused();
    if (type == kAddress && state_.ia32e() && !is_canonical(linear))
        return refused();
    if (type <= kContext && (state_.cr4 & cr4::kPcide) == 0 && pcid != 0)
        return refused();
    switch (type) {
    case kAddress:
        memory_.flush_page(linear);
        tlb_.invlpg(linear);
        return {};
    case kContext:
        memory_.flush_pcid(static_cast<uint16_t>(pcid));
        tlb_.pcid_flushed(static_cast<uint16_t>(pcid));
        return {};
    case kAll:
        memory_.flush();
        break;
    default:
        memory_.flush_all_local();
        break;
    }
    tlb_.paging_changed();
    return {};
}

static GuestResult<void> require_xcr0(const CpuState& state) {
    if (!state.promises(promise::kXsave) || (state.cr4 & cr4::kOsxsave) == 0)
        return guest_fault(Vector::InvalidOpcode);
    return {};
}

GuestResult<void> Cpu::xgetbv() {
    TRY(require_xcr0(state_));
    if (state_.reg(Reg::Ecx) != 0)
        return refused();
    state_.wide(Reg::Eax).set(static_cast<uint32_t>(state_.xcr0));
    state_.wide(Reg::Edx).set(state_.xcr0 >> 32);
    return {};
}

GuestResult<void> Cpu::xsetbv() {
    TRY(require_xcr0(state_));
    TRY(require_cpl0(state_));
    const uint64_t value = state_.reg(Reg::Eax) | uint64_t{state_.reg(Reg::Edx)} << 32;
    if (state_.reg(Reg::Ecx) != 0 || !valid_xcr0(value, state_.promised))
        return refused();
    state_.xcr0 = value;
    return {};
}

GuestResult<void> Cpu::hlt() {
    TRY(require_cpl0(state_));
    state_.halted = 1;
    return {};
}

// The caches are the host's and coherent, so only the privilege check is left.
GuestResult<void> Cpu::wbinvd() { return require_cpl0(state_); }

// SDM Vol. 2B "RDTSC": CR4.TSD restricts it to CPL 0.
GuestResult<void> Cpu::rdtsc() {
    if ((state_.cr4 & cr4::kTsd) != 0 && state_.cpl != 0)
        return guest_fault(Vector::GeneralProtection, 0);
    const uint64_t now = guest_tsc(state_);
    state_.reg(Reg::Eax) = static_cast<uint32_t>(now);
    state_.reg(Reg::Edx) = static_cast<uint32_t>(now >> 32);
    return {};
}

// No performance counter exists, so every index is out of range (SDM Vol. 2B "RDPMC").
GuestResult<void> Cpu::rdpmc() { return guest_fault(Vector::GeneralProtection, 0); }

} // namespace vmm
