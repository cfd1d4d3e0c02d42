// Control and debug registers, and the privileged instructions that only check a privilege or set a bit:
// LMSW, CLTS, INVLPG, HLT, WBINVD (SDM Vol. 2 under each mnemonic, Vol. 3A 2.5 and 17.2). Every change that
// address translation depends on is announced to the TLB side here, so no caller has to remember it.
#include "vmm/arch/tsc.h"
#include "vmm/cpu/cpu.h"
#include "vmm/memory/page_walk.h"

namespace vmm {

namespace {

// SDM Vol. 3A 2.5: the defined bits of CR0. Attempts to set the others are ignored.
constexpr uint32_t kCr0Defined = cr0::kPe | cr0::kMp | cr0::kEm | cr0::kTs | cr0::kEt | cr0::kNe | cr0::kWp |
                                 cr0::kAm | cr0::kNw | cr0::kCd | cr0::kPg;
constexpr uint32_t kCr0LmswBits = cr0::kPe | cr0::kMp | cr0::kEm | cr0::kTs;
// What cpuid.cpp promises. CR4.MCE is reserved: there is no machine-check architecture.
constexpr uint32_t kCr4Defined = cr4::kVme | cr4::kPvi | cr4::kTsd | cr4::kDe | cr4::kPse | cr4::kPae |
                                 cr4::kPge | cr4::kPce | cr4::kOsfxsr | cr4::kOsxmmexcpt;

// SDM Vol. 3A 17.2.3 and 17.2.4: bits that read as fixed values.
constexpr uint32_t kDr6Writable = 0x0000E00F, kDr6Fixed = 0xFFFF0FF0, kDr6Bd = 1u << 13;
constexpr uint32_t kDr7Writable = 0xFFFF23FF, kDr7Fixed = 0x00000400, kDr7Gd = 1u << 13;

GuestResult<void> require_cpl0(const CpuState& state) {
    if (state.cpl != 0)
        return guest_fault(Vector::GeneralProtection, 0);
    return {};
}

bool pae_paging(uint32_t cr0_value, uint32_t cr4_value) {
    return (cr0_value & cr0::kPg) != 0 && (cr4_value & cr4::kPae) != 0;
}

// Puts new values of CR0, CR3 and CR4 in force; with PAE paging on and `reload` asked for, the PDPTEs are
// read first and a reserved bit in one of them leaves everything as it was (SDM Vol. 3A 4.4.1).
GuestResult<void> commit_paging(CpuState& state, GuestMemory& memory, uint32_t new_cr0, uint32_t new_cr3,
                                uint32_t new_cr4, bool reload) {
    const uint32_t old_cr0 = state.cr0, old_cr3 = state.cr3, old_cr4 = state.cr4;
    const auto old_pdpte = state.pdpte;
    state.cr0 = new_cr0;
    state.cr3 = new_cr3;
    state.cr4 = new_cr4;
    if (!reload || !pae_paging(new_cr0, new_cr4))
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

// The part of MOV CR0 and LMSW after the privilege check.
GuestResult<void> set_cr0(CpuState& state, LinearMemory& memory, TlbControl& tlb, uint32_t value) {
    if ((value & cr0::kPg) != 0 && (value & cr0::kPe) == 0)
        return guest_fault(Vector::GeneralProtection, 0);
    if ((value & cr0::kNw) != 0 && (value & cr0::kCd) == 0)
        return guest_fault(Vector::GeneralProtection, 0);
    value = (value & kCr0Defined) | cr0::kEt;
    const uint32_t changed = state.cr0 ^ value;
    TRY(commit_paging(state, memory.physical(), value, state.cr3, state.cr4,
                      (changed & (cr0::kPg | cr0::kCd | cr0::kNw)) != 0));
    if ((changed & (cr0::kPg | cr0::kWp | cr0::kPe)) != 0) {
        memory.flush();
        tlb.paging_changed();
    }
    return {};
}

} // namespace

GuestResult<uint32_t> Cpu::read_cr(unsigned index) {
    if (index != 0 && index != 2 && index != 3 && index != 4)
        return guest_fault(Vector::InvalidOpcode);
    TRY(require_cpl0(state_));
    switch (index) {
    case 0:
        return state_.cr0;
    case 2:
        return state_.cr2;
    case 3:
        return state_.cr3;
    default:
        return state_.cr4;
    }
}

GuestResult<void> Cpu::write_cr(unsigned index, uint32_t value) {
    if (index != 0 && index != 2 && index != 3 && index != 4)
        return guest_fault(Vector::InvalidOpcode);
    TRY(require_cpl0(state_));
    switch (index) {
    case 0:
        return set_cr0(state_, memory_, tlb_, value);
    case 2:
        state_.cr2 = value;
        return {};
    case 3:
        TRY(commit_paging(state_, memory_.physical(), state_.cr0, value, state_.cr4, true));
        memory_.flush_local();
        tlb_.cr3_loaded();
        return {};
    default:
        break;
    }
    if ((value & ~kCr4Defined) != 0)
        return guest_fault(Vector::GeneralProtection, 0);
    const uint32_t translation_bits = (state_.cr4 ^ value) & (cr4::kPse | cr4::kPae | cr4::kPge);
    TRY(commit_paging(state_, memory_.physical(), state_.cr0, state_.cr3, value, translation_bits != 0));
    if (translation_bits != 0) {
        memory_.flush();
        tlb_.paging_changed();
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

GuestResult<uint32_t> Cpu::read_dr(unsigned index) {
    const unsigned real = TRY(debug_register(state_, index));
    if (real == 6)
        return (state_.dr[6] & kDr6Writable) | kDr6Fixed;
    if (real == 7)
        return (state_.dr[7] & kDr7Writable) | kDr7Fixed;
    return state_.dr[real];
}

GuestResult<void> Cpu::write_dr(unsigned index, uint32_t value) {
    const unsigned real = TRY(debug_register(state_, index));
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

GuestResult<void> Cpu::invlpg(uint32_t linear) {
    TRY(require_cpl0(state_));
    memory_.flush_page(linear);
    tlb_.invlpg(linear);
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
