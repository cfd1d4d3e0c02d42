// What the .cpp files of cpu/ share: descriptors, the checks that several instructions make in the same
// order, and stack frames written or read as a whole. A CpuInternals is a short-lived view of one Cpu made
// at the start of an operation; `ext` is the EXT bit that every selector error code of the operation gets
// (SDM Vol. 3A 6.13).
//
// Order of work everywhere: all checks, then the stack frame, then accessed/busy bits, then registers. A
// fault therefore leaves the registers as they were, and at most memory below the stack pointer changed.
#pragma once
#include "vmm/base/result.h"
#include "vmm/cpu/cpu.h"

#include <cstdint>
#include <span>

namespace vmm {

// System descriptor types, SDM Vol. 3A table 3-2.
namespace system_type {
inline constexpr unsigned kTss16 = 1, kLdt = 2, kTss16Busy = 3, kCallGate16 = 4, kTaskGate = 5,
                          kInterruptGate16 = 6, kTrapGate16 = 7, kTss32 = 9, kTss32Busy = 11,
                          kCallGate32 = 12, kInterruptGate32 = 14, kTrapGate32 = 15;
inline constexpr unsigned kBusyBit = 2, k32BitBit = 8;
// In IA-32e mode there are kLdt, kTss32 and kTss32Busy, kCallGate32, kInterruptGate32 and kTrapGate32 only,
// and they are 64-bit ones of 16 bytes.
} // namespace system_type

inline constexpr uint32_t kDescriptorAccessed = 1u << 8;
inline constexpr uint32_t kV86Attributes = 0x0000F300;  // present, DPL 3, writable data, accessed
inline constexpr uint32_t kRealAttributes = 0x00009300; // present, DPL 0, writable data, accessed
inline constexpr uint16_t kRplMask = 3, kTiBit = 4;
inline constexpr uint32_t kIdtErrorBit = 2; // of error codes
inline constexpr unsigned kTss64Rsp0 = 4, kTss64Ist1 = 36;

// A segment, system or gate descriptor as it stands in memory (SDM Vol. 3A 3.4.5, 5.8.3, 6.11).
struct Descriptor {
    uint32_t low = 0, high = 0;
    Linear address = 0; // of the descriptor
    uint32_t upper = 0; // base or offset bits 63:32 of one of 16 bytes

    [[nodiscard]] unsigned type() const { return (high >> 8) & 0xF; }
    [[nodiscard]] bool is_segment() const { return (high >> 12) & 1; } // S: code or data
    [[nodiscard]] unsigned dpl() const { return (high >> 13) & 3; }
    [[nodiscard]] bool present() const { return (high >> 15) & 1; }
    [[nodiscard]] bool is_code() const { return (high & 0x1800) == 0x1800; }
    [[nodiscard]] bool conforming() const { return (high & 0x1C00) == 0x1C00; }
    [[nodiscard]] bool writable_data() const { return (high & 0x1A00) == 0x1200; }
    [[nodiscard]] bool readable() const { return is_segment() && (!is_code() || (high & 0x200)); }
    [[nodiscard]] bool code64() const { return (high >> 21) & 1; } // L
    [[nodiscard]] bool big() const { return (high >> 22) & 1; }    // D/B
    [[nodiscard]] uint32_t base() const { return (low >> 16) | ((high & 0xFF) << 16) | (high & 0xFF000000); }
    [[nodiscard]] uint32_t limit() const {
        const uint32_t raw = (low & 0xFFFF) | (high & 0xF0000);
        return (high & (1u << 23)) ? (raw << 12) | 0xFFF : raw;
    }
    [[nodiscard]] uint16_t gate_selector() const { return static_cast<uint16_t>(low >> 16); }
    [[nodiscard]] bool gate_is_32bit() const { return type() & system_type::k32BitBit; }
    [[nodiscard]] uint32_t gate_offset() const {
        return (low & 0xFFFF) | (gate_is_32bit() ? high & 0xFFFF0000 : 0);
    }
    [[nodiscard]] uint64_t gate_offset64() const {
        return (low & 0xFFFF) | (high & 0xFFFF0000) | uint64_t{upper} << 32;
    }
    [[nodiscard]] unsigned gate_parameters() const { return high & 0x1F; }

    [[nodiscard]] Segment to_segment(uint16_t selector) const {
        return Segment{selector, 1, base() | Linear{upper} << 32, limit(), high & kAttributeMask};
    }
};

[[nodiscard]] inline bool is_null(uint16_t selector) { return (selector & ~kRplMask) == 0; }
[[nodiscard]] inline unsigned rpl_of(uint16_t selector) { return selector & kRplMask; }
[[nodiscard]] inline Privilege privilege_of(unsigned cpl) {
    return cpl == 3 ? Privilege::User : Privilege::Supervisor;
}
[[nodiscard]] inline uint32_t bytes_of(Width width) { return static_cast<uint32_t>(width); }
[[nodiscard]] inline uint32_t stack_mask(const Segment& ss) { return ss.big() ? 0xFFFFFFFFu : 0xFFFFu; }
// `esp` with the part that the stack width covers replaced (SDM Vol. 1 6.2.3).
[[nodiscard]] inline uint32_t merge_sp(const Segment& ss, uint32_t esp, uint32_t sp) {
    const uint32_t mask = stack_mask(ss);
    return (esp & ~mask) | (sp & mask);
}

// Limit check only (SDM Vol. 3A 5.3). What an access over the end of a 4 GiB segment does, 5.3 leaves to the
// implementation; Intel's processors (measured) wrap where the base is 0 and fault elsewhere.
[[nodiscard]] inline bool within_limit(const Segment& segment, uint32_t offset, uint32_t size) {
    const uint32_t last = offset + (size - 1);
    if (__builtin_expect(!segment.expand_down(), 1)) {
        if (__builtin_expect(last >= offset, 1))
            return last <= segment.limit;
        return segment.base == 0 && segment.limit == 0xFFFFFFFF;
    }
    return offset > segment.limit && last >= offset && last <= (segment.big() ? 0xFFFFFFFFu : 0xFFFFu);
}

// The most that one transfer pushes: SS, ESP, 31 gate parameters, CS, EIP.
inline constexpr unsigned kMaxFrame = 36;

struct CpuInternals {
    Cpu& cpu;
    CpuState& state;
    LinearMemory& memory;
    uint32_t ext;
    // Whether a task switch may raise its T-bit #DB (SDM Vol. 3A 17.3.1.5). Not while such a trap is being
    // delivered: a chain of task gates to tasks that all have T set must not recurse in the host.
    bool task_traps = true;

    explicit CpuInternals(Cpu& owner, uint32_t ext_bit = 0)
        : cpu(owner), state(owner.state_), memory(owner.memory_), ext(ext_bit) {}

    [[nodiscard]] bool real_or_v86() const { return !state.protected_mode() || state.v86(); }
    [[nodiscard]] TlbControl& tlb() const { return cpu.tlb_; }
    // A sum of linear addresses, as wide as they are.
    [[nodiscard]] Linear wrap(Linear sum) const { return state.ia32e() ? sum : static_cast<uint32_t>(sum); }

    // Faults whose error code names a selector (0 for a null one), with EXT added.
    [[nodiscard]] tl::unexpected<Fault> selector_fault(Vector vector, uint16_t selector) const {
        return guest_fault(vector, (selector & ~uint32_t{kRplMask}) | ext);
    }

    // LinearMemory::read_bytes with a short way for what delivery does over and over: a read that lies in one
    // page of RAM.
    GuestResult<void> read_bytes(Linear linear, void* to, uint32_t length, Privilege privilege) const {
        if (__builtin_expect((linear & (kPageSize - 1)) + length <= kPageSize, 1)) {
            const Physical physical = TRY(memory.translate(linear, AccessKind::Read, privilege));
            if (const uint8_t* bytes = memory.physical().ram_pointer(physical, length)) {
                __builtin_memcpy(to, bytes, length);
                return {};
            }
        }
        return memory.read_bytes(linear, to, length, privilege);
    }
    // Descriptor tables and TSSs: supervisor accesses at every CPL (SDM Vol. 3A 4.6.1).
    template <class T> GuestResult<T> read_system(Linear linear) const {
        T value{};
        TRY(read_bytes(linear, &value, sizeof value, Privilege::System));
        return value;
    }

    // -- descriptors.cpp ----------------------------------------------------------------------------
    // The descriptor that a non-null selector names; `vector`(selector) when it lies outside its table.
    GuestResult<Descriptor> fetch(uint16_t selector, Vector vector) const;
    // Reads the second half of a system descriptor, which has 16 bytes in IA-32e mode: #GP(selector) when it
    // lies outside the table or looks like a descriptor itself (SDM Vol. 3A 5.8.3.1).
    GuestResult<void> fetch_upper(uint16_t selector, Descriptor& descriptor) const;
    // As fetch() for instructions that answer with ZF: `found` false instead of a limit fault.
    GuestResult<Descriptor> probe(uint16_t selector, bool& found) const;
    // Sets the accessed bit in memory and in `descriptor` unless it is set already.
    GuestResult<void> mark_accessed(Descriptor& descriptor) const;
    // Rewrites the type byte of a TSS descriptor with the busy bit set or clear.
    GuestResult<void> set_busy(const Descriptor& descriptor, bool busy) const;
    // A stack segment for privilege level `cpl`: `bad` (#GP or #TS) or #SS when not present.
    GuestResult<Descriptor> fetch_stack(uint16_t selector, unsigned cpl, Vector bad) const;
    // The target of RETF and IRET: privilege and presence checks of a code segment returned to.
    GuestResult<Descriptor> fetch_return_code(uint16_t selector) const;
    // SS:ESP for an inner level from the current TSS (#TS of the TSS when it is too small).
    struct StackPointer {
        uint16_t selector = 0;
        uint32_t esp = 0;
    };
    GuestResult<StackPointer> inner_stack(unsigned level) const;

    // Real and v86 form of a segment load: in real mode limit and attributes stay as they were.
    void load_real_segment(SegReg reg, uint16_t selector) const;
    void null_segment(SegReg reg, uint16_t selector) const;
    // After a return to `state.cpl`: drops data segments that it may not use (SDM Vol. 3A 5.8.6).
    void drop_inaccessible_segments() const;
    void install_code(uint16_t selector, const Descriptor& descriptor) const {
        state.segment(SegReg::Cs) =
            descriptor.to_segment(static_cast<uint16_t>((selector & ~kRplMask) | state.cpl));
    }

    // -- stack.cpp ----------------------------------------------------------------------------------
    // Pushes values[0..count) in order onto ss:esp and returns the new ESP. All or nothing. Limit
    // violations are #SS(`error_code`).
    GuestResult<uint32_t> push_frame(const Segment& ss, uint32_t esp, const uint32_t* values, unsigned count,
                                     Width width, Privilege privilege, uint32_t error_code) const;
    // Whether such a frame lies within the segment's limit; for faults that rank between this and the push.
    [[nodiscard]] static bool frame_fits(const Segment& ss, uint32_t esp, unsigned count, Width width);
    // Reads `count` stack slots starting `skip` bytes above SS:ESP, lowest first. #SS(0).
    GuestResult<void> read_frame(uint32_t skip, uint32_t* values, unsigned count, Width width) const;

    // -- long_stack.cpp: IA-32e mode ----------------------------------------------------------------
    // Pushes values in order onto the flat stack at `rsp` and returns the new RSP. All or nothing. Addresses
    // that are not canonical are #SS(`error_code`).
    GuestResult<uint64_t> push_flat(uint64_t rsp, std::span<const uint64_t> values, Width width,
                                    Privilege privilege, uint32_t error_code) const;
    // The same on the current stack, in whichever sub-mode, and whether so many slots would fit. #SS(0).
    GuestResult<uint64_t> push_current(std::span<const uint64_t> values, Width width) const;
    [[nodiscard]] bool push_fits(unsigned count, Width width) const;
    // Reads slots starting `skip` bytes above the current stack pointer, lowest first. #SS(0).
    GuestResult<void> read_current(uint32_t skip, std::span<uint64_t> values, Width width) const;
    [[nodiscard]] uint64_t popped(uint32_t bytes) const; // RSP after a pop of so many
    // A stack pointer out of the current TSS, #TS of the TSS when it is too small.
    GuestResult<uint64_t> tss64_pointer(unsigned at) const;

    // -- long_transfer.cpp: IA-32e mode -------------------------------------------------------------
    // Whether `rip` lies in the segment: #GP(0).
    GuestResult<void> check_target(const Descriptor& code, uint64_t rip) const;
    void go_to(uint16_t selector, const Descriptor& code, uint64_t rip) const;
    GuestResult<void> transfer_long(uint16_t selector, uint64_t offset, Width width, bool is_call,
                                    uint64_t next_ip) const;
    GuestResult<void> transfer_code_long(uint16_t selector, Descriptor target, uint64_t offset, Width width,
                                         bool is_call, uint64_t next_ip) const;
    GuestResult<void> transfer_gate_long(uint16_t gate_selector, Descriptor gate, bool is_call,
                                         uint64_t next_ip) const;
    GuestResult<void> far_return_long(Width width, uint16_t release_bytes) const;
    // The stack segment that a return to `code` at `level` pops; it may be null in 64-bit code but for
    // ring 3.
    GuestResult<Descriptor> fetch_return_stack(uint16_t selector, unsigned level,
                                               const Descriptor& code) const;
    void install_stack(uint16_t selector, const Descriptor& stack, uint64_t rsp) const; // after go_to()

    // -- interrupts.cpp -----------------------------------------------------------------------------
    struct Event {
        uint8_t vector = 0;
        EventKind kind = EventKind::Exception;
        bool has_error = false;
        uint32_t error = 0;
        uint64_t return_ip = 0;
        uint32_t flags_image = 0; // EFLAGS to push or to save in a TSS
    };
    GuestResult<void> deliver(const Event& event) const;
    GuestResult<void> deliver_long(const Event& event) const; // long_interrupts.cpp
    GuestResult<void> deliver_real(const Event& event) const;
    GuestResult<void> deliver_through_gate(const Event& event, const Descriptor& gate) const;
    GuestResult<void> deliver_redirected(uint8_t vector, uint32_t next_eip) const; // VME, to the v86 program
    GuestResult<bool> vme_redirects(uint8_t vector) const; // by the TSS's redirection bitmap
    void enter_debug_handler() const;
    void debug_trap(uint32_t dr6_bits) const;
    // Delivers and, on a fault in doing so, what table 6-5 of SDM Vol. 3A asks for. Never fails.
    void deliver_or_escalate(Event event) const;

    // -- far_transfer.cpp ---------------------------------------------------------------------------
    GuestResult<void> transfer_code(uint16_t selector, Descriptor target, uint32_t offset, Width width,
                                    bool is_call, uint32_t next_eip) const;
    GuestResult<void> transfer_call_gate(uint16_t gate_selector, const Descriptor& gate, bool is_call,
                                         uint32_t next_eip) const;
    GuestResult<void> call_inner(uint16_t selector, Descriptor target, const Descriptor& gate,
                                 uint32_t next_eip) const;
    GuestResult<void> transfer_real(uint16_t selector, uint32_t offset, Width width, bool is_call,
                                    uint32_t next_eip) const;
    GuestResult<void> transfer(uint16_t selector, uint32_t offset, Width width, bool is_call,
                               uint32_t next_eip) const;

    // -- iret.cpp -----------------------------------------------------------------------------------
    GuestResult<void> iret_real(Width width) const;
    GuestResult<void> iret_v86(Width width) const;
    GuestResult<void> iret_to_v86(const uint32_t* frame) const;
    GuestResult<void> iret_protected(Width width) const;
    GuestResult<void> iret_task(uint32_t next_eip) const;
    GuestResult<void> iret_long(Width width) const; // long_interrupts.cpp
    // The flags that an IRET may change.
    [[nodiscard]] uint32_t returned_flags(unsigned cpl, Width width) const;
    void merge_flags(uint32_t image, uint32_t mask) const {
        state.eflags = (state.eflags & ~mask) | (image & mask) | eflags::kFixed1;
    }

    // -- tasks.cpp ----------------------------------------------------------------------------------
    struct TaskSwitch {
        uint16_t selector = 0;
        Cpu::TaskSwitchReason reason = Cpu::TaskSwitchReason::Jump;
        uint32_t return_eip = 0;
        uint32_t flags_image = 0;
        bool push_error = false;
        uint32_t error = 0;
    };
    GuestResult<void> switch_task(const TaskSwitch& request) const;
    // The part after the commit point: faults belong to the new task.
    GuestResult<void> enter_task(const TaskSwitch& request, uint16_t ldt, Width tss_width) const;
    GuestResult<void> load_task_ldt(uint16_t selector) const;
    GuestResult<void> load_task_code(uint16_t selector) const;
    GuestResult<void> load_task_data(SegReg reg) const;
    void clear_local_breakpoints() const;
};

} // namespace vmm
