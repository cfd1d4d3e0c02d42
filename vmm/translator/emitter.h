// A small x86-64 encoder over a byte buffer. It emits exactly what the translator uses: register and
// memory forms with any opcode, and the few host-only instructions around them.
//
// The buffer is the writable view of the code cache; host addresses are those of the executable view, which
// lies below 2 GiB so that rel32 and absolute disp32 always reach.
#pragma once
#include "vmm/base/verify.h"
#include "vmm/translator/register_plan.h"

#include <cstdint>
#include <cstring>
#include <vector>

namespace vmm {

struct HostMemory {
    uint8_t base = host::kNone, index = host::kNone;
    uint8_t scale = 1;
    bool window = false; // gs: with a 32-bit effective address
    int32_t displacement = 0;

    [[nodiscard]] bool needs_rex() const {
        return (base != host::kNone && base >= 8) || (index != host::kNone && index >= 8);
    }
};

// Opcode with everything that goes before ModRM.
struct HostOpcode {
    uint8_t opcode = 0;
    uint8_t map = 0;       // 0 none, 1 0F, 2 0F38, 3 0F3A
    uint8_t mandatory = 0; // 66/F2/F3 that belongs to the opcode
    bool operand16 = false;
    bool lock = false;
    bool wide = false;          // REX.W
    bool byte_register = false; // host register 4-7 in reg/rm means SPL..DIL, so REX is required
};

class Emitter {
  public:
    Emitter(uint8_t* writable, size_t capacity, uint64_t executable)
        : start_(writable), cursor_(writable), end_(writable + capacity), executable_(executable) {}

    [[nodiscard]] uint64_t address() const { return executable_ + offset(); } // host address of the next byte
    [[nodiscard]] uint32_t offset() const { return static_cast<uint32_t>(cursor_ - start_); }
    [[nodiscard]] size_t room() const { return static_cast<size_t>(end_ - cursor_); }
    [[nodiscard]] uint8_t* at(uint32_t offset) { return start_ + offset; }

    void byte(uint8_t value) {
        VERIFY(cursor_ < end_);
        *cursor_++ = value;
    }
    void dword(uint32_t value) { raw(&value, 4); }
    void qword(uint64_t value) { raw(&value, 8); }
    void immediate(uint32_t value, unsigned bytes) { raw(&value, bytes); }
    void raw(const void* data, size_t size) {
        VERIFY(size <= room());
        std::memcpy(cursor_, data, size);
        cursor_ += size;
    }

    // opcode with ModRM register form.
    void op_reg(const HostOpcode& op, uint8_t reg, uint8_t rm) {
        prefixes(op, false);
        rex_and_opcode(op, reg, host::kNone, rm);
        byte(static_cast<uint8_t>(0xC0 | ((reg & 7) << 3) | (rm & 7)));
    }
    // opcode with ModRM memory form.
    void op_mem(const HostOpcode& op, uint8_t reg, const HostMemory& memory) {
        prefixes(op, memory.window);
        rex_and_opcode(op, reg, memory.index, memory.base);
        modrm_memory(reg & 7, memory);
    }
    // opcode with the register in its low three bits (MOV r,imm; BSWAP).
    void op_plus(const HostOpcode& op, uint8_t reg) {
        prefixes(op, false);
        rex_and_opcode(op, 0, host::kNone, reg, reg & 7);
    }

    // -- the handful of host instructions the lowerings insert; all flag-neutral -------------------
    void mov32(uint8_t to, uint8_t from) { op_reg({.opcode = 0x89}, from, to); }
    void mov64(uint8_t to, uint8_t from) { op_reg({.opcode = 0x89, .wide = true}, from, to); }
    void mov16(uint8_t to, uint8_t from) { op_reg({.opcode = 0x89, .operand16 = true}, from, to); }
    void mov32_imm(uint8_t to, uint32_t value) {
        op_plus({.opcode = 0xB8}, to);
        dword(value);
    }
    void movzx16(uint8_t to, uint8_t from) { op_reg({.opcode = 0xB7, .map = 1}, to, from); }
    void load32(uint8_t to, const HostMemory& m) { op_mem({.opcode = 0x8B}, to, m); }
    void load64(uint8_t to, const HostMemory& m) { op_mem({.opcode = 0x8B, .wide = true}, to, m); }
    void load16(uint8_t to, const HostMemory& m) {
        op_mem({.opcode = 0xB7, .map = 1}, to, m);
    } // zero-extends
    void load8(uint8_t to, const HostMemory& m) { op_mem({.opcode = 0xB6, .map = 1}, to, m); }
    void load(uint8_t to, const HostMemory& m, unsigned bytes) {
        bytes == 4 ? load32(to, m) : bytes == 2 ? load16(to, m) : load8(to, m);
    }
    void store32(const HostMemory& m, uint8_t from) { op_mem({.opcode = 0x89}, from, m); }
    void store64(const HostMemory& m, uint8_t from) { op_mem({.opcode = 0x89, .wide = true}, from, m); }
    void store16(const HostMemory& m, uint8_t from) { op_mem({.opcode = 0x89, .operand16 = true}, from, m); }
    void store8(const HostMemory& m, uint8_t from) {
        op_mem({.opcode = 0x88, .byte_register = true}, from, m);
    }
    void store(const HostMemory& m, uint8_t from, unsigned bytes) {
        bytes == 4 ? store32(m, from) : bytes == 2 ? store16(m, from) : store8(m, from);
    }
    void store32_imm(const HostMemory& m, uint32_t value) {
        op_mem({.opcode = 0xC7}, 0, m);
        dword(value);
    }
    void store16_imm(const HostMemory& m, uint16_t value) {
        op_mem({.opcode = 0xC7, .operand16 = true}, 0, m);
        immediate(value, 2);
    }
    void store8_imm(const HostMemory& m, uint8_t value) {
        op_mem({.opcode = 0xC6}, 0, m);
        byte(value);
    }
    void lea32(uint8_t to, const HostMemory& m) { op_mem({.opcode = 0x8D}, to, m); }
    void lea64(uint8_t to, const HostMemory& m) { op_mem({.opcode = 0x8D, .wide = true}, to, m); }
    void not64(uint8_t reg) { op_reg({.opcode = 0xF7, .wide = true}, 2, reg); }
    void rorx32(uint8_t to, uint8_t from, uint8_t count) { // SDM Vol. 2A 2.3.5 for VEX
        constexpr uint8_t kVex3 = 0xC4, kNotR = 0x80, kNotX = 0x40, kNotB = 0x20, kMap0F3A = 3, kF2 = 0x7B;
        byte(kVex3);
        byte(static_cast<uint8_t>((to < 8 ? kNotR : 0) | kNotX | (from < 8 ? kNotB : 0) | kMap0F3A));
        byte(kF2);
        byte(0xF0);
        byte(static_cast<uint8_t>(0xC0 | (to & 7) << 3 | (from & 7)));
        byte(count);
    }
    void bswap64(uint8_t reg) { op_plus({.opcode = 0xC8, .map = 1, .wide = true}, reg); }
    void jump_reg(uint8_t reg) { op_reg({.opcode = 0xFF}, 4, reg); }
    void call_reg(uint8_t reg) { op_reg({.opcode = 0xFF}, 2, reg); }
    void ret() { byte(0xC3); }
    // Relative branches; return the offset of their rel32 for patching.
    uint32_t jump(uint64_t target) {
        byte(0xE9);
        return rel32(target);
    }
    uint32_t call(uint64_t target) {
        byte(0xE8);
        return rel32(target);
    }
    uint32_t jump_if(uint8_t condition, uint64_t target) {
        byte(0x0F);
        byte(static_cast<uint8_t>(0x80 | condition));
        return rel32(target);
    }
    void patch_rel32(uint32_t at_offset, uint64_t target) {
        const int64_t delta = static_cast<int64_t>(target - (executable_ + at_offset + 4));
        const auto value = static_cast<int32_t>(delta);
        VERIFY(value == delta);
        std::memcpy(start_ + at_offset, &value, 4);
    }

    // Where the rel32 of branches to before the buffer's start are collected, if anywhere.
    void collect_branches_out(std::vector<uint32_t>* at) { branches_out_ = at; }

  private:
    uint32_t rel32(uint64_t target) {
        const uint32_t where = offset();
        dword(0);
        patch_rel32(where, target);
        if (branches_out_ != nullptr && target < executable_)
            branches_out_->push_back(where);
        return where;
    }
    void prefixes(const HostOpcode& op, bool window) {
        if (op.lock)
            byte(0xF0);
        if (window) {
            byte(0x65);
            byte(0x67);
        }
        if (op.operand16 && op.mandatory != 0x66)
            byte(0x66);
        if (op.mandatory != 0)
            byte(op.mandatory);
    }
    void rex_and_opcode(const HostOpcode& op, uint8_t reg, uint8_t index, uint8_t base, uint8_t plus = 0) {
        uint8_t rex = op.wide ? 0x48 : 0;
        if (reg != host::kNone && reg >= 8)
            rex |= 0x44;
        if (index != host::kNone && index >= 8)
            rex |= 0x42;
        if (base != host::kNone && base >= 8)
            rex |= 0x41;
        if (op.byte_register)
            rex |= 0x40;
        if (rex != 0)
            byte(rex);
        if (op.map != 0)
            byte(0x0F);
        if (op.map == 2)
            byte(0x38);
        if (op.map == 3)
            byte(0x3A);
        byte(static_cast<uint8_t>(op.opcode + plus));
    }
    void modrm_memory(uint8_t reg, const HostMemory& m) {
        const auto field = static_cast<uint8_t>(reg << 3);
        const bool has_index = m.index != host::kNone;
        if (m.base == host::kNone) { // [index*scale + disp32] or [disp32]
            byte(static_cast<uint8_t>(field | 4));
            byte(static_cast<uint8_t>(scale_bits(m.scale) | ((has_index ? m.index & 7 : 4) << 3) | 5));
            dword(static_cast<uint32_t>(m.displacement));
            return;
        }
        const uint8_t base = m.base & 7;
        uint8_t mod = 0x80;
        if (m.displacement == 0 && base != 5)
            mod = 0;
        else if (m.displacement >= -128 && m.displacement <= 127)
            mod = 0x40;
        if (has_index || base == 4) {
            byte(static_cast<uint8_t>(mod | field | 4));
            byte(static_cast<uint8_t>(scale_bits(m.scale) | ((has_index ? m.index & 7 : 4) << 3) | base));
        } else {
            byte(static_cast<uint8_t>(mod | field | base));
        }
        if (mod == 0x40)
            byte(static_cast<uint8_t>(m.displacement));
        else if (mod == 0x80)
            dword(static_cast<uint32_t>(m.displacement));
    }
    static uint8_t scale_bits(uint8_t scale) {
        return scale == 8 ? 0xC0 : scale == 4 ? 0x80 : scale == 2 ? 0x40 : 0;
    }

    uint8_t* start_;
    uint8_t* cursor_;
    uint8_t* end_;
    uint64_t executable_;
    std::vector<uint32_t>* branches_out_ = nullptr;
};

} // namespace vmm
