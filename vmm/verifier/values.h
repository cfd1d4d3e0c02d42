// What the verifier knows of the registers at one point of the code.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>

namespace vmm {

enum class Value : uint8_t {
    Unknown, // all 64 bits may be anything; host addresses, too
    // Data. The upper half is zero.
    Narrow,
    Word,     // at most FFFFh
    Byte,     // at most FFh
    Constant, // in State::constants
    Tagged,   // a Word, plus a constant whose low half is zero
    // Addresses
    InWindow, // the window's base plus 32 bits
    Stepped,  // the same, beyond by what a string instruction steps
    BasePointer,
    TableEntry, // 32 bits from the jump table: where code may go
    // The steps of a limit check: ~narrow; that plus a narrow one; its bytes reversed; the low half of those,
    // which is 0 or one of those from FEFFFFFFh on that kLimitTraps knows
    Inverted,
    Difference,
    Reversed,
    LimitIndex,
    Stack, // ESP: the window's base plus ESP, and not far from it: State::steps
    Fixed, // jump table, window, Runtime
    // In stubs
    RuntimeAddress,
    ShadowStack,
    CalloutIndex,
    Flags, // RFLAGS, whose low half the guest may see
    SegmentTable,
    ByteTimes8,
    SegmentEntry,
};

// What the processor has them for.
inline constexpr unsigned kHostRsp = 4, kHostRcx = 1, kHostRsi = 6, kHostRdi = 7;
constexpr bool is_data(Value value) { return value >= Value::Narrow && value <= Value::Tagged; }

struct State {
    std::array<Value, 16> of{};
    std::array<uint32_t, 16> constants{}; // of scratch registers
    // How often the biased ESP may have been moved since an access through it; after one it is at home: any
    // step leads to where an access that misses the window faults, and is put right by the fault handler.
    uint16_t steps = 1;
    // Stubs: whose stack rsp is, and how far it is from where it began.
    enum class Stack : uint8_t { Shadow, Host, Caller } stack = Stack::Shadow;
    int32_t depth = 0;

    // What holds on either of two ways.
    void join(const State& other) {
        for (unsigned reg = 0; reg < of.size(); ++reg) {
            const Value a = of[reg], b = other.of[reg];
            if (a == b && (a != Value::Constant || constants[reg] == other.constants[reg]) &&
                (a != Value::Tagged || constants[reg] == other.constants[reg]))
                continue;
            const auto word = [](Value v) { return v == Value::Word || v == Value::Byte; };
            if (word(a) && word(b))
                of[reg] = Value::Word;
            else
                of[reg] = is_data(a) && is_data(b) ? Value::Narrow : Value::Unknown;
        }
        steps = steps > other.steps ? steps : other.steps;
        if (stack != other.stack || depth != other.depth)
            depth = kUnknownDepth;
    }
    static constexpr int32_t kUnknownDepth = 1 << 30;
};

} // namespace vmm
