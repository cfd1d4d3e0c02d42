// What the verifier is told of the world that translated code runs in: where code may go, what it may use of
// Runtime, and what lies around that. All of it is said in numbers by whoever lays the memory out, so that
// the verifier depends on nothing else.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace vmm {

// What a register must hold where code goes to a stub.
enum class Need : uint8_t {
    Nothing,
    Data,         // 32 bits of the guest's, or a constant: no host address
    Word,         // at most FFFFh
    Callout,      // a constant: the number of a call-out; EIP and target as that one has it
    SegmentTable, // a constant: the address of one of `segment_tables`
};

// A stub, as a place that code may go to.
struct Gate {
    uint32_t address = 0;
    bool called = false;                                                      // by CALL, or else by a jump
    Need eip = Need::Nothing, target = Need::Nothing, number = Need::Nothing; // of those registers
    bool saves_esp = false;      // only its low half, and biases it afresh
    bool moves_esp = false;      // so the block must have accessed memory through it
    bool answers_number = false; // there, with data
    // Only the host's own code comes here, on the host's stack.
    bool from_host = false;
};

// How a call-out takes its arguments a and b (in the registers for EIP and target). What is not Data comes
// from the translator alone.
enum class Argument : uint8_t {
    Nothing,
    Data,
    Constant,
    Tagged /* data in the low half, a constant above */
};
struct CalloutRule {
    Argument a = Argument::Nothing, b = Argument::Nothing;
    bool b_has_slot_bytes = false; // bits 8-17: how much of the slot it uses
};

// What one of Runtime's fields holds and who may use it.
struct Field {
    enum class Holds : uint8_t {
        Data,
        BitIndex,    // below 32
        BasePointer, // to a dword that may be read
        Vector,
        Flags,
        WindowBase,
        JumpTable,
        HostStack, // of C++, at its call of translated code
        ShadowStack,
        Callouts,
    };
    uint32_t offset = 0, bytes = 0;
    Holds holds = Holds::Data;
    uint8_t element = 4;                // bytes of one access, at most
    bool read = false, written = false; // by blocks
};

// What the host's registers are to translated code. rsp is the host's stack pointer; what is not named here
// is nobody's. All but the guest's have a REX bit.
struct HostRegisters {
    uint32_t guest = 0; // bits: hold 32 bits of the guest's wherever a block may begin
    uint32_t scratch = 0;
    uint8_t eip = 0, target = 0, number = 0; // scratch registers, where code goes to a gate or to a block
    uint8_t stack = 0;                       // the guest's ESP plus the window's base
    uint8_t jump_table = 0, window = 0, runtime = 0;
};

struct VerifierRules {
    HostRegisters registers;
    uint32_t code = 0, stub_bytes = 0; // the gates lie within
    std::vector<Gate> gates;
    uint32_t indirect_miss = 0, return_miss = 0, leave_link = 0;
    std::vector<CalloutRule> callouts;

    int32_t runtime = 0;        // displacement of Runtime from its register
    uint32_t runtime_bytes = 0; // sizeof
    std::vector<Field> fields;
    int32_t poll = 0;    // displacement of what polls read
    int32_t arrival = 0; // of what arrivals read, plus an index of 32 bits; only with `arrival_guard`
    bool arrival_guard = false;
    int32_t limit_stride = 0; // of the loads of limit checks, from `runtime` on
    unsigned limit_count = 0;
    // A byte-sized index times eight from a displacement in between: for checks of alignment; only with
    // `arrival_guard`.
    int32_t split_first = 0, split_last = 0;

    int64_t slot = 0;
    uint32_t slot_bytes = 0;
    uint32_t table_bytes = 0; // the jump table
    int32_t stack_step = 0;   // the farthest that ESP moves at once, or is accessed from
    uint32_t segment_tables = 0, segment_table_bytes = 0, segment_table_count = 0, segment_entry_bytes = 0;
    uint32_t segment_base_pointers = 0; // offset of the entry's two base pointers
    uint32_t host_frame = 0;            // bytes that `enter` pushes
};

// A link: a jump or call whose rel32 at `site` may lead to another block, and does so, or to its stub in this
// block, as now. `stub` goes on to the dispatcher, or through the jump table.
struct WayOut {
    uint32_t site = 0, target = 0, stub = 0;
};

// Where a copy of the block for another EIP and another place has another number.
struct Hole {
    enum class Kind : uint8_t {
        Data,       // an EIP that is moved or stored
        MinusEip,   // of the arrival
        Branch,     // rel32 to a gate
        TableEntry, // displacement of an entry of the jump table, right behind a Data
    };
    uint16_t at = 0;
    Kind kind = Kind::Data;
};

// Code to be checked. Addresses are those it runs at.
struct HostCode {
    enum class Kind : uint8_t {
        Block,    // entered at its start by indirect transfers, at `body` by direct ones
        Fragment, // the stub of a link, entered from its block
        Stub,     // the gate that begins there
    };
    Kind kind = Kind::Block;
    const uint8_t* bytes = nullptr;
    uint32_t address = 0, size = 0;
    uint32_t body = 0, eip = 0;           // Block
    bool window = true;                   // may it access the guest's memory?
    std::span<const uint32_t> landings{}; // in order of address
    std::span<const WayOut> ways_out{};   // likewise
    std::span<const Hole> holes{};        // likewise
    // Offsets where loops begin, as far as the caller knows; the others cost a second walk.
    std::span<const uint32_t> heads{};
};

} // namespace vmm
