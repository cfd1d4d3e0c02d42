#include "tests/vmm/verifier/host_code_oracle.h"

#include <Zydis/Zydis.h>
#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <vector>

namespace vmm::verifier_test {

namespace {

enum : unsigned { kRax, kRcx, kRdx, kRbx, kRsp, kRbp, kRsi, kRdi, kR8, kR11 = 11, kR12, kR13, kR14, kR15 };
constexpr unsigned kNone = 16;

// The number of the whole general register that it is, or is part of.
unsigned number_of(ZydisRegister reg) {
    const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    return whole >= ZYDIS_REGISTER_RAX && whole <= ZYDIS_REGISTER_R15
               ? static_cast<unsigned>(whole - ZYDIS_REGISTER_RAX)
               : kNone;
}

constexpr bool is_guest(unsigned reg) { return reg < kR8 && reg != kRsp; }
constexpr bool is_scratch(unsigned reg) { return reg >= kR8 && reg <= kR11; }
constexpr bool is_ours(unsigned reg) { return reg == kRsp || (reg >= kR13 && reg <= kR15); }

template <class T> bool one_of(T value, std::initializer_list<T> those) {
    return std::find(those.begin(), those.end(), value) != those.end();
}

class Oracle {
  public:
    Oracle(const VerifierRules& rules, const HostCode& code)
        : rules_(rules), code_(code), stub_(code.kind == HostCode::Kind::Stub) {
        ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    }

    std::string judge() {
        starts_.assign(code_.size, false);
        bool ended = false;
        for (at_ = 0; at_ < code_.size; at_ += z_.length) {
            starts_[at_] = true;
            const char* const wrong = decode() ? instruction() : "bytes that are no instruction";
            if (wrong != nullptr)
                return said(wrong);
            if (z_.meta.category != ZYDIS_CATEGORY_NOP)
                ended = one_of(z_.mnemonic, {ZYDIS_MNEMONIC_JMP, ZYDIS_MNEMONIC_RET});
        }
        if (!ended)
            return said("it runs on");
        for (const auto& [from, to] : branches_)
            if (!starts_[to]) {
                at_ = from;
                return said("a branch into the middle of an instruction");
            }
        return {};
    }

  private:
    bool decode() {
        return ZYAN_SUCCESS(
            ZydisDecoderDecodeFull(&decoder_, code_.bytes + at_, code_.size - at_, &z_, operands_));
    }
    [[nodiscard]] std::string said(const char* what) const {
        std::string bytes;
        for (uint32_t n = at_; n < std::min(at_ + 15, code_.size); ++n)
            bytes += fmt::format("{:02x}", code_.bytes[n]);
        return fmt::format("{}, at {:x}: {}", what, at_, bytes);
    }

    const char* instruction() {
        if (const char* wrong = allowed(); wrong != nullptr)
            return wrong;
        if (const char* wrong = branch(); wrong != nullptr)
            return wrong;
        for (unsigned n = 0; n < z_.operand_count; ++n) {
            const ZydisDecodedOperand& o = operands_[n];
            const char* wrong = nullptr;
            if (o.type == ZYDIS_OPERAND_TYPE_REGISTER)
                wrong = register_operand(o);
            else if (o.type == ZYDIS_OPERAND_TYPE_MEMORY)
                wrong = memory(o);
            else if (o.type == ZYDIS_OPERAND_TYPE_POINTER)
                wrong = "a far pointer";
            if (wrong != nullptr)
                return wrong;
        }
        return nullptr;
    }

    // By what Zydis calls the instruction.
    [[nodiscard]] const char* allowed() const {
        const auto extension = z_.meta.isa_ext;
        const bool rotates = z_.mnemonic == ZYDIS_MNEMONIC_RORX;
        if (!one_of(extension, {ZYDIS_ISA_EXT_BASE, ZYDIS_ISA_EXT_X87, ZYDIS_ISA_EXT_MMX, ZYDIS_ISA_EXT_SSE,
                                ZYDIS_ISA_EXT_SSE2, ZYDIS_ISA_EXT_SSE3, ZYDIS_ISA_EXT_SSSE3,
                                ZYDIS_ISA_EXT_LONGMODE, ZYDIS_ISA_EXT_CLFSH}) &&
            !rotates)
            return "an instruction of another set";
        if (stub_ && one_of(z_.meta.category, {ZYDIS_CATEGORY_PUSH, ZYDIS_CATEGORY_POP}))
            return nullptr;
        if (one_of(z_.meta.category, {ZYDIS_CATEGORY_SYSTEM, ZYDIS_CATEGORY_SYSCALL, ZYDIS_CATEGORY_SYSRET,
                                      ZYDIS_CATEGORY_INTERRUPT, ZYDIS_CATEGORY_IO, ZYDIS_CATEGORY_IOSTRINGOP,
                                      ZYDIS_CATEGORY_SEGOP, ZYDIS_CATEGORY_PUSH, ZYDIS_CATEGORY_POP}))
            return "a kind of instruction that code has no business with";
        if (one_of(z_.mnemonic, {ZYDIS_MNEMONIC_CLI,     ZYDIS_MNEMONIC_STI,    ZYDIS_MNEMONIC_CPUID,
                                 ZYDIS_MNEMONIC_ENTER,   ZYDIS_MNEMONIC_LEAVE,  ZYDIS_MNEMONIC_XLAT,
                                 ZYDIS_MNEMONIC_UD0,     ZYDIS_MNEMONIC_UD1,    ZYDIS_MNEMONIC_UD2,
                                 ZYDIS_MNEMONIC_RDTSC,   ZYDIS_MNEMONIC_RDTSCP, ZYDIS_MNEMONIC_RDPMC,
                                 ZYDIS_MNEMONIC_FNSTENV, ZYDIS_MNEMONIC_FLDENV, ZYDIS_MNEMONIC_FNSAVE,
                                 ZYDIS_MNEMONIC_FRSTOR,  ZYDIS_MNEMONIC_FXSAVE, ZYDIS_MNEMONIC_FXRSTOR,
                                 ZYDIS_MNEMONIC_MOVSXD,  ZYDIS_MNEMONIC_LOOP,   ZYDIS_MNEMONIC_LOOPE,
                                 ZYDIS_MNEMONIC_LOOPNE}))
            return "an instruction that code has no business with";
        if (!stub_ && z_.mnemonic == ZYDIS_MNEMONIC_LDMXCSR)
            return "MXCSR loaded";
        return nullptr;
    }

    const char* branch() {
        switch (z_.meta.category) {
        case ZYDIS_CATEGORY_RET:
            return z_.opcode == 0xC3 && z_.length == 1 ? nullptr : "another return than the plain one";
        case ZYDIS_CATEGORY_CALL:
        case ZYDIS_CATEGORY_COND_BR:
        case ZYDIS_CATEGORY_UNCOND_BR:
            break;
        default:
            return nullptr;
        }
        if (z_.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
            return "a far branch";
        const ZydisDecodedOperand& to = operands_[0];
        if (to.type == ZYDIS_OPERAND_TYPE_REGISTER)
            return to.reg.value == ZYDIS_REGISTER_R9 ? nullptr : "an indirect branch by another register";
        if (to.type == ZYDIS_OPERAND_TYPE_MEMORY) // to C++
            return stub_ && z_.meta.category == ZYDIS_CATEGORY_CALL && to.mem.base == ZYDIS_REGISTER_R15 &&
                           to.mem.index == ZYDIS_REGISTER_R10 && to.mem.scale == 8
                       ? nullptr
                       : "an indirect branch through memory";
        const uint32_t next = at_ + z_.length;
        const auto target = static_cast<uint64_t>(int64_t{code_.address} + next + to.imm.value.s);
        if (target - code_.address < code_.size) {
            branches_.emplace_back(at_, static_cast<uint32_t>(target - code_.address));
            return nullptr;
        }
        const bool link = std::any_of(code_.ways_out.begin(), code_.ways_out.end(), [&](const WayOut& way) {
            return way.site == code_.address + next - 4 && way.target == target;
        });
        const bool gate = std::any_of(rules_.gates.begin(), rules_.gates.end(), [&](const Gate& there) {
            return there.address == target && !there.from_host;
        });
        return link || gate ? nullptr : "a branch to elsewhere";
    }

    // What names no register as data: addresses are made of it, or it is copied whole.
    const char* register_operand(const ZydisDecodedOperand& o) {
        const ZydisRegisterClass kind = ZydisRegisterGetClass(o.reg.value);
        if (one_of(kind, {ZYDIS_REGCLASS_SEGMENT, ZYDIS_REGCLASS_CONTROL, ZYDIS_REGCLASS_DEBUG,
                          ZYDIS_REGCLASS_TABLE, ZYDIS_REGCLASS_YMM, ZYDIS_REGCLASS_ZMM, ZYDIS_REGCLASS_MASK}))
            return "a register that code has no business with";
        const unsigned reg = number_of(o.reg.value);
        if (reg == kNone || stub_)
            return nullptr;
        const bool hidden = o.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;
        const bool written = (o.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
        if (is_ours(reg)) {
            const bool stack =
                reg == kRsp && hidden && one_of(z_.meta.category, {ZYDIS_CATEGORY_CALL, ZYDIS_CATEGORY_RET});
            return stack ? nullptr : written ? "a register of ours written" : "a register of ours read";
        }
        if (written && reg == kR12)
            return stack_pointer(o);
        if (o.size != 64)
            return nullptr;
        const bool lea = z_.mnemonic == ZYDIS_MNEMONIC_LEA;
        if (lea && is_guest(reg)) {
            const auto& m = operands_[1].mem;
            if (m.base != ZYDIS_REGISTER_R14 && m.index != ZYDIS_REGISTER_R14)
                return "a guest register of 64 bits";
            in_window_ |= 1u << reg;
            return nullptr;
        }
        const bool walks = hidden && (one_of(reg, {unsigned{kRsi}, unsigned{kRdi}, unsigned{kRcx}}));
        const bool shuffles =
            one_of(z_.mnemonic, {ZYDIS_MNEMONIC_NOT, ZYDIS_MNEMONIC_BSWAP}) && is_scratch(reg);
        const bool branches = one_of(z_.meta.category, {ZYDIS_CATEGORY_UNCOND_BR, ZYDIS_CATEGORY_CALL,
                                                        ZYDIS_CATEGORY_COND_BR}); // JRCXZ
        const auto from_memory = [](const ZydisDecodedOperand& other) {
            return other.type == ZYDIS_OPERAND_TYPE_MEMORY && other.mem.base != ZYDIS_REGISTER_R15;
        };
        const bool copies = z_.mnemonic == ZYDIS_MNEMONIC_MOV && !from_memory(operands_[0]) &&
                            !from_memory(operands_[1]); // pointers are Runtime's
        return lea || walks || shuffles || branches || copies ? nullptr : "64 bits of a register";
    }

    const char* stack_pointer(const ZydisDecodedOperand& o) {
        if (o.size == 8)
            return "a byte of the stack pointer written";
        if (o.size != 64)
            return nullptr;
        const auto& m = operands_[1].mem;
        const bool steps = m.base == ZYDIS_REGISTER_R12 && m.index == ZYDIS_REGISTER_NONE &&
                           m.disp.value >= -rules_.stack_step && m.disp.value <= rules_.stack_step;
        const bool rebiased = (m.base == ZYDIS_REGISTER_R14 || m.index == ZYDIS_REGISTER_R14) &&
                              m.scale <= 1 && m.disp.value == 0;
        return z_.mnemonic == ZYDIS_MNEMONIC_LEA && (steps || rebiased) ? nullptr : "the stack pointer moved";
    }

    const char* memory(const ZydisDecodedOperand& o) {
        const auto& m = o.mem;
        const unsigned base = number_of(m.base), index = number_of(m.index);
        const bool hidden = o.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;
        if (m.base == ZYDIS_REGISTER_RIP || m.base == ZYDIS_REGISTER_EIP)
            return "an address relative to RIP";
        if (m.type == ZYDIS_MEMOP_TYPE_AGEN)
            return z_.address_width == 64 ? nullptr : "an address of 32 bits without its window";
        if (z_.meta.category == ZYDIS_CATEGORY_NOP || z_.meta.category == ZYDIS_CATEGORY_WIDENOP)
            return nullptr;
        if (hidden && base == kRsp) // of CALL and RET; in stubs, of PUSH and POP
            return nullptr;
        const auto by_guest = [](unsigned reg) {
            return reg == kNone || is_guest(reg) || is_scratch(reg) || reg == kR12;
        };
        if (m.segment == ZYDIS_REGISTER_GS)
            return z_.address_width != 32                ? "64 bits beside GS"
                   : !by_guest(base) || !by_guest(index) ? "a register of ours beside GS"
                                                         : window();
        if (z_.address_width != 64)
            return "an address of 32 bits without its window";
        if (!one_of(m.segment, {ZYDIS_REGISTER_DS, ZYDIS_REGISTER_SS, ZYDIS_REGISTER_ES}))
            return "another segment";
        if (base == kR15)
            return runtime(o, index);
        if (base == kR13)
            return table(o, index);
        if (base == kNone)
            return slot(o, index);
        if (index != kNone && !is_guest(index) && !is_scratch(index))
            return "a register of ours as an index";
        if (base == kR14 || base == kR12)
            return window();
        if (is_scratch(base) || stub_)
            return nullptr;
        if (is_guest(base) && (in_window_ >> base & 1) != 0)
            return window();
        return "an address without its window";
    }

    [[nodiscard]] const char* window() const {
        return code_.window ? nullptr : "guest memory where call-outs look";
    }

    const char* slot(const ZydisDecodedOperand& o, unsigned index) const {
        const int64_t at = o.mem.disp.value;
        return index == kNone && at >= rules_.slot &&
                       at + (o.size + 7) / 8 <= rules_.slot + int64_t{rules_.slot_bytes}
                   ? nullptr
                   : "an address beside the slot";
    }

    const char* table(const ZydisDecodedOperand& o, unsigned index) const {
        const int64_t at = o.mem.disp.value;
        const bool direct = index == kNone && at >= 0 && at + 4 <= int64_t{rules_.table_bytes};
        const bool indexed = is_scratch(index) && o.mem.scale == 4 && at == 0;
        return o.actions == ZYDIS_OPERAND_ACTION_READ && o.size == 32 && (direct || indexed)
                   ? nullptr
                   : "an access beside the jump table";
    }

    const char* runtime(const ZydisDecodedOperand& o, unsigned index) const {
        const int64_t at = o.mem.disp.value, offset = at - rules_.runtime;
        const bool written = (o.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
        const unsigned bytes = o.size / 8u;
        if (index == kNone && at == rules_.poll && !written && bytes == 4)
            return nullptr;
        if (index != kNone && !stub_) {
            const bool arrives =
                rules_.arrival_guard && o.mem.scale == 1 && at == rules_.arrival && bytes == 4;
            const bool limit = o.mem.scale == 8 && bytes == 4 && offset >= 0 &&
                               offset % rules_.limit_stride == 0 &&
                               offset / rules_.limit_stride < int64_t{rules_.limit_count};
            const bool split = rules_.arrival_guard && o.mem.scale == 8 && bytes == 1 &&
                               at >= rules_.split_first && at <= rules_.split_last;
            return !written && is_scratch(index) && (arrives || limit || split)
                       ? nullptr
                       : "an index off the runtime register";
        }
        for (const Field& field : rules_.fields)
            if (offset >= field.offset && offset + bytes <= int64_t{field.offset} + field.bytes)
                return stub_ || (written ? field.written : field.read) ? nullptr : "a field of Runtime";
        return "what is no field of Runtime";
    }

    const VerifierRules& rules_;
    const HostCode& code_;
    const bool stub_;
    ZydisDecoder decoder_{};
    ZydisDecodedInstruction z_{};
    ZydisDecodedOperand operands_[ZYDIS_MAX_OPERAND_COUNT]{};
    uint32_t at_ = 0, in_window_ = 0;
    std::vector<bool> starts_;
    std::vector<std::pair<uint32_t, uint32_t>> branches_;
};

} // namespace

std::string broken_rule(const VerifierRules& rules, const HostCode& code) {
    return Oracle(rules, code).judge();
}

} // namespace vmm::verifier_test
