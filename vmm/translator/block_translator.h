// Translates one block: decodes forward from an EIP and lowers each instruction. One lowering per class of
// instruction, grouped by file (lower_*.cpp).
//
// Invariants at every guest instruction boundary in the emitted code: guest registers where RegisterPlan has
// them, zero-extended; ESP's with the window's base, less what the side point says; arithmetic flags and
// DF in RFLAGS; x87/XMM state in the host units. Architectural state is committed only after an instruction's
// last possible fault.
#pragma once
#include "vmm/arch/fault.h"
#include "vmm/code_cache/code_cache.h"
#include "vmm/decoder/form_cache.h"
#include "vmm/translator/addressing.h"
#include "vmm/translator/breakpoints.h"
#include "vmm/translator/callouts.h"
#include "vmm/translator/emitter.h"
#include "vmm/translator/host_maker.h"
#include "vmm/translator/segment_cache.h"
#include "vmm/translator/stubs.h"

#include <array>
#include <optional>
#include <vector>

namespace vmm {

// Where guest code bytes come from: up to two pages.
struct CodeBytes {
    uint32_t backing = 0, second_backing = 0xFFFFFFFF; // memfd pages
    const uint8_t* first = nullptr;                    // bytes from the start EIP to the page end
    uint32_t first_length = 0;
};

// What the translator asks of the engine while it works.
class CodeSource {
  public:
    virtual ~CodeSource() = default;
    // Bytes of the page after the block's first, when an instruction runs into it; null when fetching from it
    // faults (the fault is raised when execution gets there).
    virtual const uint8_t* next_page(uint32_t& backing) = 0;
};

struct TranslateOptions {
    unsigned max_instructions = 96;
    bool brief = true; // not much farther than is sure to be run
    bool link = true;
    bool same_page_only = true; // direct links only within the page (paging is on)
    bool cross = false;         // others, too, where PageLinks allows
    bool global = false;        // the block's page is global and shared by all roots
    bool call_out = false;      // for every memory operand: the code is not kept, so it cannot learn
    const Breakpoints::Stops* stops = nullptr; // instructions that must begin a block
};

class BlockTranslator {
  public:
    BlockTranslator(CodeCache& cache, const Stubs& stubs, const Runtime& rt, const SegmentCache& segments,
                    bool arrival_guard, HostMaker host_maker, bool host_rotates);

    // Emits a block at the cache's cursor and adds it. Null when the first instruction cannot be fetched
    // entirely because its second page faults (source.next_page said so).
    Block* translate(uint32_t eip, const ModeKey& key, const CodeBytes& code, CodeSource& source,
                     const TranslateOptions& options);

    // Where jumps back within that block lead, from its start.
    [[nodiscard]] const std::vector<uint32_t>& loop_heads() const { return loop_heads_; }

    // Is this the load that check_split() makes?
    [[nodiscard]] bool is_split_check(const uint8_t* at) const;

    static constexpr unsigned kMaxInstructions = 128;
    // Room the cache must have before translate() is called.
    static constexpr uint32_t kMaxBlockBytes = 48 * 1024;

  private:
    struct PendingExit { // a direct exit whose stub comes after the block, or a jump forward inside it
        uint32_t site;   // offset of the rel32
        uint32_t target;
    };

    void decode_block(const CodeBytes& code, CodeSource& source, const TranslateOptions& options);
    void emit_entry_check();
    void emit_body();
    void emit_exits();
    void lower();

    // -- shared helpers (block_translator.cpp) ------------------------------------------------------
    [[nodiscard]] HostMemory rt(int32_t offset) const {
        return {.base = plan_.runtime, .displacement = offset};
    }
    [[nodiscard]] HostMemory slot() const { return {.displacement = slot_address_}; }
    void side_point(uint32_t eip);
    void note_eip(Fixup::Kind kind = Fixup::Kind::Eip);
    void store_eips(); // as a call-out wants them
    void poll();
    [[nodiscard]] bool begins_loop() const;
    void align_loop();
    void begin_instruction();
    // Its mark (see Sites), 0 if it has none.
    [[nodiscard]] uint16_t site_of(unsigned index, Sites::Kind kind = Sites::Kind::Memory) const;
    // Must that instruction's memory go through call-outs?
    [[nodiscard]] bool calls_out(unsigned index) const {
        return options_.call_out || key_.has(ModeKey::kWatched | ModeKey::kAlignCheck) ||
               site_of(index) != 0 || pins_flags(index) || splits(instructions_[index]);
    }
    // Is it a locked operation that runs over a cache line, or one of which nothing here can tell?
    [[nodiscard]] bool splits(const GuestInstruction& i) const;
    void check_split(const HostMemory& memory); // of a locked operation
    [[nodiscard]] bool pins_flags(unsigned index) const;
    [[nodiscard]] unsigned short_loop() const;
    [[nodiscard]] uint32_t loop_turn(unsigned last);
    [[nodiscard]] bool polls_for_next() const;
    void callout(Callout which);                         // s0, s1 already loaded (see Stubs)
    void callout(Callout which, uint32_t a, uint32_t b); // constants
    void callout_b(Callout which, uint32_t b);           // s0 already loaded
    void raise(Vector vector) { callout(Callout::Raise, static_cast<uint32_t>(vector), 0); }
    enum class Transfer : uint8_t { Jump, Call };
    void exit_direct(uint32_t target, std::optional<uint8_t> condition = std::nullopt,
                     Transfer transfer = Transfer::Jump);
    [[nodiscard]] int index_of(uint32_t eip) const; // instruction of this block at that EIP, or -1
    // False when the target lies beyond CS.limit: #GP(0) has been emitted.
    [[nodiscard]] bool beyond_limit(const GuestInstruction& insn) const;
    [[nodiscard]] bool check_target(uint32_t target);
    void arrival(uint32_t eip, uint32_t miss); // of an indirect transfer: s0 against eip, and a poll
    void exit_indirect();                      // s0: EIP
    [[nodiscard]] bool in_page(uint32_t eip) const;
    [[nodiscard]] bool can_link(uint32_t target) const;
    // A guest register as host register; of ESP's the low half only.
    [[nodiscard]] uint8_t host_reg(uint8_t guest) const { return plan_.guest[guest]; }
    [[nodiscard]] uint8_t host_reg(Reg guest) const { return host_reg(static_cast<uint8_t>(guest)); }
    [[nodiscard]] uint8_t host_or_none(uint8_t guest) const {
        return guest == kNoRegister ? host::kNone : host_reg(guest);
    }
    void rebias_esp() { addressing_.set_stack(*e_, plan_.stack()); }
    void return_landing();
    [[nodiscard]] bool begins_jump_target() const;

    // -- lower_memory.cpp ---------------------------------------------------------------------------
    // Offset part of the operand.
    void effective_address(const MemoryOperand& m, uint8_t to);
    void effective_address(const MemoryOperand& m) { effective_address(m, plan_.scratch[0]); }
    // Host operand for the guest memory operand of the instruction; may use s0, s1 (and s2, s3 for limits).
    // In call-out form the operand is the slot; finish_memory() then writes it back.
    HostMemory memory_operand(bool bit_string = false);
    HostMemory flat_operand();
    void finish_memory();
    HostMemory at_offset(unsigned segment, uint8_t offset_reg, unsigned bytes, bool check);
    void load_segment_base(unsigned segment, uint8_t to);
    void check_limit(unsigned segment, uint8_t offset_reg, unsigned bytes);
    [[nodiscard]] bool use_callout(unsigned segment, bool write) const;

    // -- lower_identity.cpp -------------------------------------------------------------------------
    [[nodiscard]] static bool is_bit_string(const GuestInstruction& i);
    [[nodiscard]] static bool is_stack_adjustment(const GuestInstruction& i); // ADD or SUB ESP, imm
    [[nodiscard]] static int32_t stack_adjustment(const GuestInstruction& i); // by how much
    void lower_identity();
    [[nodiscard]] bool stack_used_soon() const;
    void lower_stack_adjustment();
    void lower_simd();
    void lower_x87();
    void emit_simd();
    [[nodiscard]] bool checked_before_host() const;
    void lower_lea();
    void lower_inc_dec();
    void lower_exchange();
    void lower_move_offset();
    void lower_xlat();
    void emit_identity(HostOpcode op);
    void pin_flags();
    void settle_flags();
    void lower_masked_move();
    [[nodiscard]] HostOpcode opcode_of(bool general) const;

    // -- lower_stack.cpp ----------------------------------------------------------------------------
    [[nodiscard]] bool flat_stack() const;
    [[nodiscard]] HostMemory stack_top(int32_t displacement = 0) const {
        return addressing_.stack(stack_pending_ + displacement);
    }
    void move_stack(int32_t bytes);       // ESP; its register later
    void settle_stack(int32_t bytes = 0); // both, with what is pending
    void prepare_stack();                 // for the instruction that begins
    [[nodiscard]] bool carries_stack() const;
    void push_reg(uint8_t host_reg, unsigned bytes); // any host register but s0, s1, s3
    void push_part(uint8_t host_reg, unsigned bytes, unsigned written);
    void push_imm(uint32_t value, unsigned bytes);
    void push_next_eip();
    void pop_to(uint8_t scratch, unsigned bytes, bool move = true); // value into a scratch register
    void release_stack(uint32_t bytes);
    void lower_push();
    void lower_pop();
    void lower_push_segment();
    void lower_leave();

    // -- lower_control.cpp --------------------------------------------------------------------------
    void lower_jump_relative();
    void lower_jump_conditional();
    void lower_jump_indirect();
    void lower_loop();
    void lower_call_relative();
    void lower_call_indirect();
    void lower_return();
    [[nodiscard]] bool indirect_can_exceed() const; // near indirect targets may lie beyond CS.limit
    void check_indirect_target(uint8_t reg);
    void load_branch_operand(uint8_t to); // r/m of near indirect CALL/JMP; may use s0, s1

    // -- lower_system.cpp ---------------------------------------------------------------------------
    void lower_move_segment();
    [[nodiscard]] bool ring0_stub(unsigned reg) const; // may a stub load this segment register?
    void call_stub(uint32_t stub, uint32_t argument);
    void lower_pop_segment();
    void lower_push_flags();
    void lower_pop_flags();
    void lower_load_far_pointer();
    void lower_far(bool call);
    void lower_string();
    void lower_string_io();
    void string_callout();
    void lower_port(bool in);
    void lower_cli();
    void lower_sti();
    void lower_system_call();
    void lower_system_memory();
    void lower_bcd();
    void lower_bound();
    void lower_arpl();
    void lower_fpu_environment();
    void lower_load_mxcsr();
    void lower_software_interrupt();
    [[nodiscard]] std::optional<Vector> fpu_fault() const; // when x87/MMX/SSE may not run
    [[nodiscard]] bool fpu_check();                        // emits it, and returns false, then
    void slot_operand(unsigned bytes, uint32_t access);    // memory operand via the slot, always

    CodeCache& cache_;
    const Stubs& stubs_;
    const Addressing& addressing_;
    const RegisterPlan& plan_;
    const LinkStub link_stub_;
    const SegmentCache& segments_;
    const bool arrival_guard_;
    const HostMaker host_maker_;
    const bool host_rotates_;
    Emitter* e_ = nullptr;
    ModeKey key_;
    TranslateOptions options_;
    uint32_t start_eip_ = 0;
    uint32_t page_room_ = 0; // bytes from start_eip_ to the end of its page
    uint32_t backing_ = 0, second_backing_ = 0;
    FormCache forms_;
    std::array<GuestInstruction, kMaxInstructions> instructions_;
    std::array<uint32_t, kMaxInstructions> host_offset_{}; // of each instruction, from block start
    std::array<bool, kMaxInstructions> emitted_{};
    unsigned count_ = 0, index_ = 0;
    bool truncated_fetch_ = false;
    const GuestInstruction* insn_ = nullptr;
    bool force_callouts_ = false; // this instruction's memory goes through call-outs
    uint16_t site_ = 0;           // because it is marked so
    bool wraps_ = false;          // its address has wrapped before: see Addressing::flat()
    bool slot_write_pending_ = false;
    uint32_t slot_packed_ = 0;
    int32_t stack_pending_ = 0;       // ESP is that far beyond its register
    GuestInstruction beside_pending_; // the current one, as ESP's register makes it
    int sti_poll_at_ = -1;            // index of the instruction after which to poll for a pending interrupt
    bool polled_early_ = false;       // the previous instruction polled for this one
    bool ended_ = false;              // control does not fall out of the last lowering
    uint32_t after_callout_ = 0;      // offset behind the last one
    std::vector<PendingExit> exits_;
    std::vector<uint32_t> landings_, loop_heads_;
    std::vector<SidePoint> points_;
    std::vector<Fixup> fixups_;
    std::vector<uint32_t> branches_out_;
    bool relocatable_ = false;   // so far
    const int32_t slot_address_; // below 2 GiB: fits an absolute disp32
};

} // namespace vmm
