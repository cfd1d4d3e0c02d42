// The verifier's insides: the walk over the code (verifier.cpp), what instructions do to registers
// (effects.cpp), where operands lie (operands.cpp), and what only stubs do (stub_effects.cpp).
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
    void string();
    void move(unsigned to, unsigned from);
    void move64(unsigned to, unsigned from);
    void read(unsigned reg, unsigned bytes);
    void write(unsigned reg, unsigned bytes, Value value = Value::Narrow, bool keeps = false);
    [[nodiscard]] bool adds_window() const;
    [[nodiscard]] unsigned operand_bytes() const {
        return i.has(row::kByte) ? 1 : i.word && !i.has(row::kVector) ? 2 : 4;
    }

    // -- operands --------------------------------------------------------------------------------------
    enum class Place : uint8_t { Nowhere, Window, Slot, Runtime, Table, Pointer, Segments };
    Place place(unsigned bytes);
    Place in_window();
    void operand(unsigned bytes); // in the window or the slot
    void load_runtime(unsigned to, unsigned bytes);
    void store_runtime(unsigned bytes);
    [[nodiscard]] bool addressable(unsigned reg) const;
    [[nodiscard]] bool indexable(unsigned reg) const;
    // The operand's, if its base is Runtime: beyond either end it wraps.
    [[nodiscard]] uint32_t runtime_offset() const {
        return static_cast<uint32_t>(i.displacement) - static_cast<uint32_t>(rules.runtime);
    }
    [[nodiscard]] const Field* field_here() const;

    // -- stubs -----------------------------------------------------------------------------------------
    bool follow_in_stub(); // false: as anywhere
    bool stub_move();
    bool stub_memory();
    bool stub_lea();
    void stub_push(bool pops);
    void call_host();
    [[nodiscard]] const Field* whole_field(unsigned bytes) const;

    static constexpr uint16_t kMostSteps = 1024; // times stack_step is a quarter of what guards have for it

    VerifierRules rules;
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
