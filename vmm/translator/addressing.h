// How an access of the guest's to its memory becomes one of the host's, as a value: a guest's memory operand,
// its stack, what string instructions point at, and what a host fault at such an access means. One
// implementation for each way in which guest addresses lie in host addresses; lowerings, stubs and the fault
// handler know none of them. What the verifier demands of the same operands is in verifier/, which shares
// nothing with this: for Window32 verifier/window32.cpp.
#pragma once
#include "vmm/translator/emitter.h"
#include "vmm/translator/register_plan.h"

#include <cstdint>

namespace vmm {

class Addressing {
  public:
    explicit constexpr Addressing(const RegisterPlan& registers) : plan(registers) {}
    virtual ~Addressing() = default;

    const RegisterPlan& plan;

    // An operand in a flat segment, with an address of as many bits as the guest's are: host registers, the
    // stack's among them, or kNone.
    struct Operand {
        uint8_t base = host::kNone, index = host::kNone, scale = 1;
        int32_t displacement = 0;
        bool wraps = false;      // it has done so before: see Sites
        bool no_rex = false;     // the instruction can have none
        bool read_again = false; // what is stored there is likely to be read soon after
    };
    // All these leave the flags alone.
    virtual HostMemory flat(Emitter& e, const Operand& operand, uint8_t scratch) const = 0;
    // At an address in a register, zero-extended, in a flat segment; or, in one with a base, at base + offset
    // (kNone: 0) + displacement, which may come to more than the guest has addresses.
    [[nodiscard]] virtual HostMemory at(uint8_t address) const = 0;
    [[nodiscard]] virtual HostMemory based(uint8_t base, uint8_t offset, int32_t displacement) const = 0;
    // An operand made here without what is no part of the guest's address.
    [[nodiscard]] virtual HostMemory guest_part(const HostMemory& operand) const = 0;

    // The stack, flat, that far from where its register is; and the register made to hold a guest's stack
    // pointer, which another one (or its own low half) holds.
    [[nodiscard]] virtual HostMemory stack(int32_t displacement) const = 0;
    virtual void set_stack(Emitter& e, uint8_t from) const = 0;

    // Round a string instruction in flat segments, for each of its pointers.
    virtual void enter_string(Emitter& e, uint8_t pointer) const = 0;
    virtual void leave_string(Emitter& e, uint8_t pointer) const = 0;
    // Before an instruction whose memory operand stands in no ModRM byte.
    virtual void prefix_implied(Emitter& e) const = 0;

    // On the way into translated code, what these forms rely on; `base` is Runtime::window_base.
    virtual void begin(Emitter& e, const HostMemory& base) const = 0;

    // What a host fault at an access through one of these means.
    struct Meeting {
        enum class What : uint8_t {
            Guest,  // the guest's address is `linear`
            Astray, // the stack's register is to be `stack`; then the access can be tried again
            Wrapped,
            Elsewhere
        };
        What what = What::Elsewhere;
        uint64_t linear = 0, stack = 0;
    };
    // `base` as above, `stack` what its register holds.
    [[nodiscard]] virtual Meeting meeting(uint64_t address, uint64_t base, uint64_t stack) const = 0;
};

// A 32-bit guest in a window of 4 GiB between guards (see WindowSpace).
class Window32 final : public Addressing {
  public:
    using Addressing::Addressing;

    HostMemory flat(Emitter& e, const Operand& operand, uint8_t scratch) const override;
    [[nodiscard]] HostMemory at(uint8_t address) const override;
    [[nodiscard]] HostMemory based(uint8_t base, uint8_t offset, int32_t displacement) const override;
    [[nodiscard]] HostMemory guest_part(const HostMemory& operand) const override;
    [[nodiscard]] HostMemory stack(int32_t displacement) const override;
    void set_stack(Emitter& e, uint8_t from) const override;
    void enter_string(Emitter& e, uint8_t pointer) const override;
    void leave_string(Emitter& e, uint8_t pointer) const override;
    void prefix_implied(Emitter& e) const override;
    void begin(Emitter& e, const HostMemory& base) const override;
    [[nodiscard]] Meeting meeting(uint64_t address, uint64_t base, uint64_t stack) const override;
};

extern const Window32 kWindow32; // with kWindowPlan

} // namespace vmm
