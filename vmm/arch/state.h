// Architectural state of one virtual CPU (SDM Vol. 1 ch. 3, Vol. 3A ch. 2). Plain data: translated
// code addresses these fields directly, so the layout is standard and members are never reordered
// at run time. Nothing here knows about translation.
#pragma once
#include <array>
#include <cstdint>

namespace vmm {

enum class Reg : uint8_t { Eax, Ecx, Edx, Ebx, Esp, Ebp, Esi, Edi, R8, R9, R10, R11, R12, R13, R14, R15 };
enum class SegReg : uint8_t { Es, Cs, Ss, Ds, Fs, Gs }; // encoding order of ModRM.reg
inline constexpr unsigned kSegmentCount = 6;
inline constexpr unsigned kRegisterCount = 16, kLegacyRegisterCount = 8;

// A linear address. Without IA-32e mode the upper half is zero.
using Linear = uint64_t;
// SDM Vol. 1 3.3.7.1, with 48 bits as CPUID 80000008h says.
[[nodiscard]] constexpr bool is_canonical(Linear address) {
    return static_cast<uint64_t>(static_cast<int64_t>(address << 16) >> 16) == address;
}

// A register of 64 bits of which 32-bit code names the low half. Halves, and not one number: what legacy code
// computes with the low one wraps at 32 bits by its type, and translated code finds it where a uint32_t
// would be.
struct alignas(8) Wide {
    uint32_t low = 0, high = 0;

    constexpr Wide() = default;
    explicit constexpr Wide(uint64_t value) { set(value); }
    [[nodiscard]] constexpr uint64_t whole() const { return low | uint64_t{high} << 32; }
    constexpr void set(uint64_t value) {
        low = static_cast<uint32_t>(value);
        high = static_cast<uint32_t>(value >> 32);
    }
    bool operator==(const Wide&) const = default;
};

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
                          kOsxmmexcpt = 1u << 10, kUmip = 1u << 11, kFsGsBase = 1u << 16, kPcide = 1u << 17,
                          kOsxsave = 1u << 18, kSmep = 1u << 20, kSmap = 1u << 21;
}

namespace efer {
inline constexpr uint64_t kSce = 1u << 0, kLme = 1u << 8, kLma = 1u << 10, kNxe = 1u << 11;
}

// Attributes of a segment as they stand in the high dword of a descriptor.
inline constexpr uint32_t kAttributeMask = 0x00F0FF00;

// A segment register with its hidden part (SDM Vol. 3A 3.4.3). Sixteen bytes: a kernel loads several on every
// entry, by copies of cached ones (segment_cache.h).
struct Segment {
    uint16_t selector = 0;
    uint16_t usable : 1 = 0; // 0: null selector was loaded; any use is #GP (or #SS for SS)
    uint16_t rights : 12 = 0;
    uint16_t reserved : 3 = 0;
    uint32_t limit = 0;               // highest valid offset in bytes, scaled by G (expand-down: lowest - 1)
    uint32_t base = 0, base_high = 0; // only FS, GS, LDTR and TR may lie above 4 GiB, in IA-32e mode

    constexpr Segment() = default;
    constexpr Segment(uint16_t selector_value, bool is_usable, Linear base_value, uint32_t limit_value,
                      uint32_t attribute_bits)
        : selector(selector_value), usable(is_usable), limit(limit_value) {
        set_linear_base(base_value);
        set_attributes(attribute_bits);
    }

    [[nodiscard]] constexpr uint32_t attributes() const {
        return (rights & 0xFFu) << 8 | (rights & 0xF00u) << 12;
    }
    constexpr void set_attributes(uint32_t bits) {
        rights = static_cast<uint16_t>(((bits >> 8) & 0xFF) | ((bits >> 12) & 0xF00)) & 0xFFF;
    }
    [[nodiscard]] constexpr Linear linear_base() const { return base | Linear{base_high} << 32; }
    constexpr void set_linear_base(Linear value) {
        base = static_cast<uint32_t>(value);
        base_high = static_cast<uint32_t>(value >> 32);
    }
    [[nodiscard]] unsigned type() const { return rights & 0xF; }
    [[nodiscard]] bool is_code_or_data() const { return (rights >> 4) & 1; }
    [[nodiscard]] unsigned dpl() const { return (rights >> 5) & 3; }
    [[nodiscard]] bool present() const { return (rights >> 7) & 1; }
    [[nodiscard]] bool code64() const { return (rights >> 9) & 1; } // L: of code, in IA-32e mode
    [[nodiscard]] bool big() const { return (rights >> 10) & 1; }   // D/B
    [[nodiscard]] bool is_code() const { return (rights >> 3) & 1; }
    [[nodiscard]] bool writable() const { return !is_code() && ((rights >> 1) & 1); }
    [[nodiscard]] bool readable() const { return !is_code() || ((rights >> 1) & 1); }
    [[nodiscard]] bool conforming() const { return is_code() && ((rights >> 2) & 1); }
    [[nodiscard]] bool expand_down() const { return !is_code() && ((rights >> 2) & 1); }
    bool operator==(const Segment&) const = default;
};
static_assert(sizeof(Segment) == 16);

struct TableRegister {
    Linear base = 0;
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
    std::array<Wide, kRegisterCount> gpr{}; // by Reg
    alignas(8) uint32_t eip = 0;
    uint32_t rip_high = 0;
    // The whole architectural register whenever C++ code looks. Of RFLAGS, CR0 and CR4 the upper halves are
    // reserved.
    uint32_t eflags = eflags::kFixed1;
    uint32_t cr0 = 0, cr4 = 0;
    uint32_t promised = 0;                    // the machine's, a reset keeps it: see promise.h
    std::array<Segment, kSegmentCount> seg{}; // by SegReg
    Segment ldtr, tr;
    TableRegister gdtr, idtr;
    uint64_t cr2 = 0, cr3 = 0;
    std::array<uint64_t, 4> pdpte{}; // loaded by MOV CR3/CR0/CR4 in PAE mode (SDM Vol. 3A 4.4.1)
    std::array<uint64_t, 8> dr{};
    uint32_t sysenter_cs = 0;
    uint64_t sysenter_esp = 0, sysenter_eip = 0;
    uint64_t efer = 0;
    uint64_t star = 0, lstar = 0, cstar = 0, fmask = 0; // SDM Vol. 3A 5.8.8
    uint64_t kernel_gs_base = 0;
    uint64_t xcr0 = 1;
    uint64_t pat = 0x0007040600070406;
    uint64_t mtrr_def_type = 0;
    uint64_t misc_enable = 1;
    uint64_t tsc_offset = 0; // see tsc.h: guest TSC = host TSC * ratio + offset
    uint64_t tsc_ratio = 0;  // in 2^-32; 0: one to one
    uint32_t tsc_khz = 0;    // what the guest was promised; 0: nothing yet
    uint8_t cr8 = 0;         // where there is no local APIC, whose task priority it is otherwise
    uint8_t cpl = 0;
    uint8_t halted = 0;
    uint8_t interrupt_shadow = 0; // kShadow..., until the next instruction is done
    uint8_t nmi_blocked = 0;
    uint8_t shutdown = 0; // triple fault
    FxArea fx;
    bool operator==(const CpuState&) const = default;

    [[nodiscard]] Segment& segment(SegReg r) { return seg[static_cast<unsigned>(r)]; }
    [[nodiscard]] const Segment& segment(SegReg r) const { return seg[static_cast<unsigned>(r)]; }
    // Of 32 bits, and whole.
    [[nodiscard]] uint32_t& reg(Reg r) { return gpr[static_cast<unsigned>(r)].low; }
    [[nodiscard]] Wide& wide(Reg r) { return gpr[static_cast<unsigned>(r)]; }
    [[nodiscard]] uint64_t rip() const { return eip | uint64_t{rip_high} << 32; }
    void set_rip(uint64_t value) {
        eip = static_cast<uint32_t>(value);
        rip_high = static_cast<uint32_t>(value >> 32);
    }
    [[nodiscard]] bool protected_mode() const { return (cr0 & cr0::kPe) != 0; }
    [[nodiscard]] bool v86() const { return (eflags & eflags::kVm) != 0; }
    [[nodiscard]] bool paging() const { return (cr0 & cr0::kPg) != 0; }
    // IA-32e mode, and its 64-bit sub-mode (SDM Vol. 3A 2.2).
    [[nodiscard]] bool ia32e() const { return (efer & efer::kLma) != 0; }
    [[nodiscard]] bool mode64() const { return ia32e() && segment(SegReg::Cs).code64(); }
    [[nodiscard]] bool promises(uint32_t feature) const { return (promised & feature) != 0; }
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
