// Which host register is what while translated code runs, as a value. Lowerings, stubs, links, the fault
// handler and the verifier's rules are told a plan and know no numbers of their own.
#pragma once
#include <array>
#include <cstdint>

namespace vmm {

namespace host {
// The processor's own numbers.
inline constexpr uint8_t kRax = 0, kRcx = 1, kRdx = 2, kRbx = 3, kRsp = 4, kRbp = 5, kRsi = 6, kRdi = 7;
inline constexpr uint8_t kNone = 0xFF;
} // namespace host

struct RegisterPlan {
    static constexpr unsigned kGuestStack = 4; // the guest's number of ESP

    // Where the guest's general registers are, by their numbers; kNone: in Runtime, or the guest has none of
    // that number. Those that instructions name in no operand (EAX, ECX, EDX, ESI, EDI) or a byte of (EBX)
    // are at home. The stack pointer's register holds the window's base as well, where the plan has a window.
    std::array<uint8_t, 16> guest{};
    // Free within a lowering. Where code goes from one piece to another [0] is an EIP or a call-out's first
    // argument, [1] where a jump leads, a link's number or the second argument, and [2] the number of a
    // call-out or what a stub answers.
    std::array<uint8_t, 4> scratch{};
    uint8_t jump_table = host::kNone; // of the present context
    uint8_t window = host::kNone;     // base of the present window
    uint8_t runtime = host::kNone;    // behind Runtime and the poll page: see RuntimeMemory

    [[nodiscard]] constexpr uint8_t stack() const { return guest[kGuestStack]; }

    // EAX..EDI at home, but for ESP.
    [[nodiscard]] static constexpr std::array<uint8_t, 16> guest32(uint8_t stack) {
        std::array<uint8_t, 16> guest{};
        for (uint8_t number = 0; number < guest.size(); ++number)
            guest[number] = number == kGuestStack ? stack : number < 8 ? number : host::kNone;
        return guest;
    }

    // What the code around relies on. Whatever is not the guest's has a REX bit, and some is used in one
    // encoding only: rsp and r12 as a base take a byte more, rbp and r13 a displacement.
    [[nodiscard]] constexpr bool is_sound() const {
        constexpr uint8_t kFirstWithRex = 8;
        uint32_t taken = 1u << kGuestStack; // rsp is a host stack of ours
        const auto take = [&](uint8_t reg, uint8_t least) {
            const bool free = reg < 16 && reg >= least && (taken >> reg & 1) == 0;
            taken |= free ? 1u << reg : 0;
            return free;
        };
        bool sound = true;
        for (uint8_t number = 0; number < guest.size(); ++number) {
            const bool at_home = number < 8 && number != kGuestStack && number != host::kRbp;
            if (at_home)
                sound = sound && guest[number] == number;
            if (guest[number] != host::kNone)
                sound = sound && take(guest[number], number == kGuestStack ? kFirstWithRex : 0);
        }
        for (const uint8_t reg : scratch)
            sound = sound && take(reg, kFirstWithRex);
        for (const uint8_t reg : {jump_table, window, runtime})
            sound = sound && take(reg, kFirstWithRex);
        // C++ keeps it over a call-out
        return sound && runtime >= 12 && (scratch[0] & 7) != 4 && (scratch[0] & 7) != 5 &&
               (jump_table & 7) != 4;
    }
};

// A 32-bit guest in a window.
inline constexpr RegisterPlan kWindowPlan{.guest = RegisterPlan::guest32(12),
                                          .scratch = {8, 9, 10, 11},
                                          .jump_table = 13,
                                          .window = 14,
                                          .runtime = 15};
static_assert(kWindowPlan.is_sound());

} // namespace vmm
