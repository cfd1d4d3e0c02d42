// Architectural state of one virtual CPU (SDM Vol. 1 ch. 3, Vol. 3A ch. 2). Plain data: translated
// code addresses these fields directly, so the layout is standard and members are never reordered
// at run time. Nothing here knows about translation.
#pragma once
#include <array>
#include <cstdint>

namespace vmm {

enum class Reg : uint8_t { Eax, Ecx, Edx, Ebx, Esp, Ebp, Esi, Edi };
enum class SegReg : uint8_t { Es, Cs, Ss, Ds, Fs, Gs }; // encoding order of ModRM.reg
inline constexpr unsigned kSegmentCount = 6;

namespace eflags {
inline constexpr uint32_t kCf = 1u << 0, kFixed1 = 1u << 1, kPf = 1u << 2, kAf = 1u << 4, kZf = 1u << 6,
                          kSf = 1u << 7, kTf = 1u << 8, kIf = 1u << 9, kDf = 1u << 10, kOf = 1u << 11,
                          kIopl = 3u << 12, kNt = 1u << 14, kRf = 1u << 16, kVm = 1u << 17, kAc = 1u << 18,
                          kVif = 1u << 19, kVip = 1u << 20, kId = 1u << 21;
inline constexpr uint32_t kArithmetic = kCf | kPf | kAf | kZf | kSf | kOf;
// Those that live in the host's RFLAGS while translated code runs.
inline constexpr uint32_t kHostHeld = kArithmetic | kDf;
} // namespace eflags

namespace cr0 {
inline constexpr uint32_t kPe = 1u << 0, kMp = 1u << 1, kEm = 1u << 2, kTs = 1u << 3, kEt = 1u << 4,
                          kNe = 1u << 5, kWp = 1u << 16, kAm = 1u << 18, kNw = 1u << 29, kCd = 1u << 30,
                          kPg = 1u << 31;
}
namespace cr4 {
inline constexpr uint32_t kVme = 1u << 0, kPvi = 1u << 1, kTsd = 1u << 2, kDe = 1u << 3, kPse = 1u << 4,
                          kPae = 1u << 5, kMce = 1u << 6, kPge = 1u << 7, kPce = 1u << 8, kOsfxsr = 1u << 9,
                          kOsxmmexcpt = 1u << 10;
}

// A segment register with its hidden part (SDM Vol. 3A 3.4.3).
struct Segment {
    uint16_t selector = 0;
    uint8_t usable = 0; // 0: null selector was loaded; any use is #GP (or #SS for SS)
    uint8_t reserved = 0;
    uint32_t base = 0;
    uint32_t limit = 0;      // highest valid offset in bytes, already scaled by G (expand-down: lowest - 1)
    uint32_t attributes = 0; // high descriptor dword & 0x00F0FF00, bits in place

    [[nodiscard]] unsigned type() const { return (attributes >> 8) & 0xF; }
    [[nodiscard]] bool is_code_or_data() const { return (attributes >> 12) & 1; }
    [[nodiscard]] unsigned dpl() const { return (attributes >> 13) & 3; }
    [[nodiscard]] bool present() const { return (attributes >> 15) & 1; }
    [[nodiscard]] bool big() const { return (attributes >> 22) & 1; } // D/B
    [[nodiscard]] bool is_code() const { return (attributes >> 11) & 1; }
    [[nodiscard]] bool writable() const { return !is_code() && ((attributes >> 9) & 1); }
    [[nodiscard]] bool readable() const { return !is_code() || ((attributes >> 9) & 1); }
    [[nodiscard]] bool conforming() const { return is_code() && ((attributes >> 10) & 1); }
    [[nodiscard]] bool expand_down() const { return !is_code() && ((attributes >> 10) & 1); }
    bool operator==(const Segment&) const = default;
};

struct TableRegister {
    uint32_t base = 0;
    uint32_t limit = 0;
    bool operator==(const TableRegister&) const = default;
};

// FXSAVE image (SDM Vol. 1 10.5.1). While the vCPU thread runs, the x87 unit itself holds the
// guest's state and only the XMM registers and MXCSR pass through here; see vmm/README.md.
struct alignas(64) FxArea {
    std::array<uint8_t, 512> bytes{};
    bool operator==(const FxArea&) const = default;
};

// What holds interrupts off for one instruction. MOV SS and POP SS also hold off debug exceptions (SDM Vol.
// 3A 6.8.3).
inline constexpr uint8_t kShadowSti = 1, kShadowMovSs = 2;

struct CpuState {
    std::array<uint32_t, 8> gpr{}; // by Reg
    uint32_t eip = 0;
    uint32_t eflags = eflags::kFixed1;        // whole architectural register whenever C++ code looks
    std::array<Segment, kSegmentCount> seg{}; // by SegReg
    Segment ldtr, tr;
    TableRegister gdtr, idtr;
    uint32_t cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0;
    std::array<uint64_t, 4> pdpte{}; // loaded by MOV CR3/CR0/CR4 in PAE mode (SDM Vol. 3A 4.4.1)
    std::array<uint32_t, 8> dr{};
    uint32_t sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
    uint64_t efer = 0;
    uint64_t pat = 0x0007040600070406;
    uint64_t mtrr_def_type = 0;
    uint64_t misc_enable = 1;
    uint64_t tsc_offset = 0; // see tsc.h: guest TSC = host TSC * ratio + offset
    uint64_t tsc_ratio = 0;  // in 2^-32; 0: one to one
    uint32_t tsc_khz = 0;    // what the guest was promised; 0: nothing yet
    uint8_t cpl = 0;
    uint8_t halted = 0;
    uint8_t interrupt_shadow = 0; // kShadow..., until the next instruction is done
    uint8_t nmi_blocked = 0;
    uint8_t shutdown = 0; // triple fault
    FxArea fx;
    bool operator==(const CpuState&) const = default;

    [[nodiscard]] Segment& segment(SegReg r) { return seg[static_cast<unsigned>(r)]; }
    [[nodiscard]] const Segment& segment(SegReg r) const { return seg[static_cast<unsigned>(r)]; }
    [[nodiscard]] uint32_t& reg(Reg r) { return gpr[static_cast<unsigned>(r)]; }
    [[nodiscard]] bool protected_mode() const { return (cr0 & cr0::kPe) != 0; }
    [[nodiscard]] bool v86() const { return (eflags & eflags::kVm) != 0; }
    [[nodiscard]] bool paging() const { return (cr0 & cr0::kPg) != 0; }
    [[nodiscard]] unsigned iopl() const { return (eflags >> 12) & 3; }
};

// SDM Vol. 3A 12.12.2: UC, WC, WT, WP, WB and UC- are the memory types there are.
[[nodiscard]] constexpr bool valid_pat(uint64_t value) {
    for (unsigned shift = 0; shift < 64; shift += 8) {
        const unsigned type = (value >> shift) & 0xFF;
        if (type > 7 || type == 2 || type == 3)
            return false;
    }
    return true;
}

} // namespace vmm
