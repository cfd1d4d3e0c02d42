// Emits the instructions of one case and keeps track of which general registers hold known values, so that
// memory operands can be aimed.
#pragma once
#include "tests/vmm/translator/differential/forms.h"
#include "tests/vmm/translator/differential/layout.h"

#include <Zydis/Zydis.h>
#include <optional>

namespace differential {

class CodeBuilder {
  public:
    CodeBuilder(Random& random, Case& test);

    // -- atoms --------------------------------------------------------------------------------------
    void begin_atom();
    void end_atom(); // drops an atom that would overflow the slot
    [[nodiscard]] size_t atom_index() const { return test_.atoms.size(); }

    // -- bytes --------------------------------------------------------------------------------------
    void byte(uint8_t value) { atom_.bytes.push_back(value); }
    void bytes(std::initializer_list<uint8_t> values) { atom_.bytes.insert(atom_.bytes.end(), values); }
    void immediate(uint32_t value, unsigned count);
    // Between these, one instruction: afterwards the registers it writes are unknown.
    void begin_instruction() { instruction_at_ = atom_.bytes.size(); }
    void end_instruction();

    // -- pieces -------------------------------------------------------------------------------------
    void move_immediate(unsigned reg, uint32_t value); // MOV r32, imm32; the register is then known
    void operand_size_prefix(unsigned bits);           // 66h if `bits` is not the default
    void form(const Form& form);
    // ModRM.. of a memory operand at `linear` with a plain displacement off DS, for fixed places.
    void direct_prefix_free(unsigned reg_field, uint32_t linear);
    [[nodiscard]] bool direct_reachable() const;
    void store_direct(uint32_t linear, uint32_t value, unsigned bits = 32); // MOV [linear], imm
    void fixup(Atom::Fixup kind, unsigned field_bytes, size_t target);

    [[nodiscard]] uint32_t pick_linear(uint32_t size, bool aligned);
    [[nodiscard]] unsigned pick_register();
    [[nodiscard]] uint32_t pick_immediate();
    [[nodiscard]] uint32_t segment_base(Seg segment) const { return descriptor(segments_[segment]).base; }
    [[nodiscard]] bool null_segment(Seg segment) const { return (segments_[segment] & ~3) == 0; }
    void set_segment(Seg segment, uint16_t selector) { segments_[segment] = selector; }
    void forget_registers();
    [[nodiscard]] bool code16() const { return test_.code16(); }
    Random& random() { return random_; }
    void join_after(size_t atom) { join_ = std::max(join_, atom); }

  private:
    struct Operand {
        std::vector<uint8_t> prefixes, modrm;
    };
    Operand memory_operand(unsigned reg_field, uint32_t size, bool aligned, bool within_line);
    Operand memory32(unsigned reg_field, uint32_t linear, std::optional<Seg> override_segment);
    Operand memory16(unsigned reg_field, uint32_t linear, std::optional<Seg> override_segment);
    void moffs(const Form& form);
    uint32_t known_or_set(unsigned reg, uint32_t wanted);

    Random& random_;
    Case& test_;
    Atom atom_;
    size_t instruction_at_ = 0, used_bytes_ = 0, join_ = 0;
    std::array<std::optional<uint32_t>, 8> known_;
    std::array<uint16_t, 6> segments_;
    ZydisDecoder decoder_;
};

} // namespace differential
