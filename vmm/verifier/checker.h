// The verifier's insides: the walk over the code (verifier.cpp), what instructions do to registers
// (effects.cpp), where operands lie (operands.cpp; window32.cpp for the guest's), and what only stubs do
// (stub_effects.cpp).
#pragma once
#include "vmm/verifier/encodings.h"
#include "vmm/verifier/reasons.h"
#include "vmm/verifier/values.h"
#include "vmm/verifier/verifier.h"

#include <vector>

namespace vmm {

struct Verifier::Impl {
    explicit Impl(VerifierRules told);
    std::optional<Refusal> check(const HostCode& which);

    // -- the walk ------------------------------------------------------------------------------------
    void begin();
    void walk();
    void enter_stub();
    void pass_labels(bool body);
    void arrive(const uint32_t* eip, uint32_t miss);
    [[nodiscard]] size_t eip_difference(uint32_t at, uint8_t reg, const uint32_t* eip) const;
    void pass_stub();
    void check_way_out(uint64_t target);
    [[nodiscard]] bool is_stub(const uint8_t* at, uint32_t address, bool linked) const;
    [[nodiscard]] bool led_into(unsigned length) const;
    void take_hole(uint32_t at, Hole::Kind kind, bool fits);
    void check_hole();
    std::optional<Refusal> check_copy(const HostCode& original, const HostCode& copy);
    void jump_to(uint64_t target, bool conditional);
    void call_to(uint64_t target);
    void jump_inside(uint32_t offset);
    void go_through(const Gate& gate, bool call);
    void jump_indirect(bool call);
    void after_call();
    void return_back();
    [[nodiscard]] bool settled(); // another block may begin here
    [[nodiscard]] const Gate* gate_at(uint64_t target) const;
    [[nodiscard]] bool holds(unsigned reg, Need need) const;
    [[nodiscard]] bool takes(const CalloutRule& rule) const;
    [[nodiscard]] bool argument(unsigned reg, Argument kind) const;

    void fail(const char* why) {
        if (reason == nullptr)
            reason = why;
    }

    // -- effects ---------------------------------------------------------------------------------------
    void follow();
    void plain();
    void store();
    void store_immediate();
    void load();
    void extend();
    void lea();
    void lea64();
    void group3();
    void group5();
    void move(unsigned to, unsigned from);
    void move64(unsigned to, unsigned from);
    void read(unsigned reg, unsigned bytes);
    void write(unsigned reg, unsigned bytes, Value value = Value::Narrow, bool keeps = false);
    [[nodiscard]] unsigned operand_bytes() const {
        return i.has(row::kByte) ? 1 : i.word && !i.has(row::kVector) ? 2 : 4;
    }

    // -- operands --------------------------------------------------------------------------------------
    enum class Place : uint8_t { Nowhere, Window, Slot, Runtime, Table, Pointer, Segments };
    Place place(unsigned bytes);
    void operand(unsigned bytes); // in the window or the slot
    void load_runtime(unsigned to, unsigned bytes);
    void store_runtime(unsigned bytes);
    // The operand's, if its base is Runtime: beyond either end it wraps.
    [[nodiscard]] uint32_t runtime_offset() const {
        return static_cast<uint32_t>(i.displacement) - static_cast<uint32_t>(rules.runtime);
    }
    [[nodiscard]] const Field* field_here() const;

    // -- the guest's memory: window32.cpp --------------------------------------------------------------
    Place prefixed();
    Place windowed();
    Place in_window();
    [[nodiscard]] bool based_on_window(Value base) const;
    [[nodiscard]] bool addressable(unsigned reg) const;
    [[nodiscard]] bool indexable(unsigned reg) const;
    [[nodiscard]] bool adds_window() const;
    void move_stack();
    void string();

    // -- stubs -----------------------------------------------------------------------------------------
    bool follow_in_stub(); // false: as anywhere
    bool stub_move();
    bool stub_memory();
    bool stub_lea();
    void stub_push(bool pops);
    void call_host();
    [[nodiscard]] const Field* whole_field(unsigned bytes) const;

    // -- registers -------------------------------------------------------------------------------------
    [[nodiscard]] bool is_guest(unsigned reg) const { return (registers.guest >> reg & 1) != 0; }
    [[nodiscard]] bool is_scratch(unsigned reg) const { return (registers.scratch >> reg & 1) != 0; }
    [[nodiscard]] bool guest_is_narrow() const;
    void forget_scratch();
    void name_forms();

    static constexpr uint16_t kMostSteps = 1024; // times stack_step is a quarter of what guards have for it

    VerifierRules rules;
    const HostRegisters registers;
    State at_start;                        // what holds where code may be entered from other blocks
    std::array<uint64_t, 2> guest_bytes{}; // of State::of, those of the guest's registers
    // The forms that are passed as a whole, by their bytes.
    struct Forms {
        std::array<uint8_t, 2> move_eip;           // mov eip, imm32
        std::array<uint8_t, 2> move_target;        // mov target, imm32
        std::array<uint8_t, 3> load_target;        // mov target, [jump_table + disp32]
        std::array<uint8_t, 4> jump_target;        // jmp target; nop
        std::array<uint8_t, 5> load_arrival;       // mov eip, [runtime + target + arrival]
        std::array<uint8_t, 3> keep_rcx, take_rcx; // mov target, ecx; mov ecx, target
    } forms{};
    std::vector<uint8_t> gate_of, field_of; // number + 1, by address and by offset / 2

    HostCode code;
    const Gate* gate = nullptr; // a stub's own
    State state;
    bool live = true;
    HostInstruction i;
    uint32_t offset = 0, next = 0;         // of this instruction and the next
    size_t landing = 0, way = 0, hole = 0; // the next one to come
    bool leads_out = false;                // this branch is a link
    bool in_hole = false;                  // this instruction's number is to be changed
    bool esp_accessed = false;
    bool again = false; // a loop was found: what is known at its head was too much
    const char* reason = nullptr;

    struct Pending {
        uint32_t offset;
        State state;
    };
    std::vector<Pending> pending;
    // By offset: where forward branches lead, where loops begin, where instructions do.
    static constexpr uint8_t kLabel = 1, kHead = 2, kStart = 4;
    std::vector<uint8_t> marks;
    std::vector<uint8_t> compared; // an original, as its copy should be
};

} // namespace vmm
