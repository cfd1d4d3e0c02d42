#include "vmm/translator/verifier.h"

#include "vmm/base/verify.h"
#include "vmm/translator/callouts.h"
#include "vmm/translator/emitter.h"

#include <Zydis/Zydis.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace vmm {

namespace {

struct Decoded {
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    uint32_t host = 0;
};

// What is known of a general register. Guest registers are narrow wherever code can be entered or left.
enum class Content : uint8_t {
    Unknown,
    Narrow, // 32 bits, zero-extended
    Biased, // the window's base plus such
};

constexpr bool is_scratch(unsigned number) { return number >= host::kScratch0 && number <= host::kScratch3; }

class BlockVerifier {
  public:
    BlockVerifier(CodeCache& cache, const Block& block, const Runtime& rt)
        : memory_(cache.memory()), block_(block), rt_(rt) {
        ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    }

    // Empty: it keeps to its window.
    std::string run() {
        find_labels();
        forget_scratch();
        for (uint32_t host = block_.entry; host < block_.host_end && breach_.empty();) {
            older_ = previous_;
            previous_ = current_;
            current_.host = host;
            if (!decode_at(host)) {
                fail("does not decode");
                break;
            }
            if (std::binary_search(labels_.begin(), labels_.end(), host))
                pass_label();
            check_instruction();
            host += current_.z.length;
        }
        current_.host = 0;
        if (pending_rebias_)
            fail("ESP written without its window base");
        pass_label();
        return breach_;
    }

  private:
    bool decode_at(uint32_t host) {
        return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_, memory_.writable(host), block_.host_end - host,
                                                   &current_.z, current_.operands));
    }

    // Where code of this block can be entered but from the instruction before.
    void find_labels() {
        labels_ = {block_.entry, block_.body};
        for (uint32_t host = block_.entry; host < block_.host_end && decode_at(host);
             host += current_.z.length) {
            const ZydisDecodedOperand& to = current_.operands[0];
            if (current_.z.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE &&
                to.type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
                labels_.push_back(host + current_.z.length + static_cast<uint32_t>(to.imm.value.s));
            if (current_.z.meta.category == ZYDIS_CATEGORY_CALL)
                labels_.push_back(host + current_.z.length);
        }
        std::sort(labels_.begin(), labels_.end());
        current_ = {};
    }

    void forget_scratch() {
        for (unsigned i = host::kScratch0; i <= host::kScratch3; ++i)
            content_[i] = Content::Unknown;
    }

    void require_narrow_guest() {
        for (unsigned i = 0; i < 8; ++i)
            if (i != host::kRsp && content_[i] != Content::Narrow)
                fail("guest register is not 32 bits wide where another block may begin");
    }

    void pass_label() {
        require_narrow_guest();
        forget_scratch();
        previous_ = older_ = {}; // they need not have run
        reaches_stack_ = false;
    }

    void fail(const char* why) {
        if (!breach_.empty())
            return;
        breach_ = why;
        ZydisFormatter formatter;
        ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
        for (const Decoded* d : {&older_, &previous_, &current_}) {
            if (d->host == 0)
                continue;
            char text[128] = "?";
            ZydisFormatterFormatInstruction(&formatter, &d->z, d->operands, d->z.operand_count_visible, text,
                                            sizeof text, d->host, nullptr);
            breach_ += fmt::format("\n  {:08x}  {}", d->host, text);
        }
    }

    void check_instruction() {
        const ZydisDecodedInstruction& z = current_.z;
        switch (z.meta.category) {
        case ZYDIS_CATEGORY_NOP:
        case ZYDIS_CATEGORY_WIDENOP: // alignment: its operand is never accessed
            return;
        case ZYDIS_CATEGORY_SYSCALL:
        case ZYDIS_CATEGORY_SYSRET:
        case ZYDIS_CATEGORY_SYSTEM:
        case ZYDIS_CATEGORY_INTERRUPT:
        case ZYDIS_CATEGORY_IO:
        case ZYDIS_CATEGORY_IOSTRINGOP:
        case ZYDIS_CATEGORY_SEGOP:
        case ZYDIS_CATEGORY_RDWRFSGS:
        case ZYDIS_CATEGORY_PUSH:
        case ZYDIS_CATEGORY_POP:
            fail("instruction is not allowed");
        default:
            break;
        }
        if (pending_rebias_ && !is_rebias() && !is_zero_extension())
            fail("ESP written without its window base");
        pending_rebias_ = false;
        if (uses_stack_pointer(current_)) {
            drifts_ = false;
            reaches_stack_ = true;
        }
        check_branch();
        for (unsigned i = 0; i < z.operand_count; ++i) { // addresses are made before anything is written
            const ZydisDecodedOperand& operand = current_.operands[i];
            if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.type != ZYDIS_MEMOP_TYPE_AGEN)
                check_memory(operand);
        }
        for (unsigned i = 0; i < z.operand_count; ++i) {
            const ZydisDecodedOperand& operand = current_.operands[i];
            if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
                (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
                check_register_write(operand);
        }
    }

    void check_branch() {
        const ZydisDecodedInstruction& z = current_.z;
        if (z.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE || z.meta.category == ZYDIS_CATEGORY_RET)
            require_narrow_guest();
        if (z.meta.category == ZYDIS_CATEGORY_RET) {
            if (z.opcode != 0xC3)
                fail("only plain RET");
            return;
        }
        if (z.meta.branch_type == ZYDIS_BRANCH_TYPE_NONE)
            return;
        if (drifts_ && z.meta.category != ZYDIS_CATEGORY_CALL) // calls: to stubs, which bias ESP afresh
            fail("biased ESP moved and not used");
        const ZydisDecodedOperand& to = current_.operands[0];
        if (to.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            const uint64_t target = current_.host + z.length + static_cast<uint64_t>(to.imm.value.s);
            if (!memory_.contains(target))
                fail("branch leaves the code cache");
        } else if (to.type != ZYDIS_OPERAND_TYPE_REGISTER || to.reg.value != ZYDIS_REGISTER_R9) {
            fail("indirect branch other than through the jump table");
        }
    }

    [[nodiscard]] bool is_rebias() const {
        const auto& o = current_.operands;
        return current_.z.mnemonic == ZYDIS_MNEMONIC_LEA && o[0].reg.value == ZYDIS_REGISTER_R12 &&
               adds_window(o[1].mem);
    }

    // The window's base plus a register of 32 bits, in whichever order.
    [[nodiscard]] bool adds_window(const ZydisDecodedOperandMem& m) const {
        if (m.disp.value != 0 || m.scale != 1)
            return false;
        return (m.base == ZYDIS_REGISTER_R14 && has(m.index, Content::Narrow)) ||
               (m.index == ZYDIS_REGISTER_R14 && has(m.base, Content::Narrow));
    }

    [[nodiscard]] bool has(ZydisRegister reg, Content content) const {
        return ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR64 &&
               content_[static_cast<size_t>(ZydisRegisterGetId(reg))] == content;
    }

    // mov r12d, r12d
    [[nodiscard]] bool is_zero_extension() const {
        const auto& o = current_.operands;
        return current_.z.mnemonic == ZYDIS_MNEMONIC_MOV && o[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
               o[1].type == ZYDIS_OPERAND_TYPE_REGISTER && o[0].reg.value == ZYDIS_REGISTER_R12D &&
               o[1].reg.value == ZYDIS_REGISTER_R12D;
    }

    void check_register_write(const ZydisDecodedOperand& operand) {
        const ZydisRegister reg = operand.reg.value;
        const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
        if (ZydisRegisterGetClass(whole) != ZYDIS_REGCLASS_GPR64)
            return;
        switch (whole) {
        case ZYDIS_REGISTER_R13:
        case ZYDIS_REGISTER_R14:
        case ZYDIS_REGISTER_R15:
            fail("VMM register written");
            return;
        case ZYDIS_REGISTER_RSP:
            if (current_.z.meta.category != ZYDIS_CATEGORY_CALL &&
                current_.z.meta.category != ZYDIS_CATEGORY_RET)
                fail("host stack pointer written");
            return;
        case ZYDIS_REGISTER_R12:
            if (reg == ZYDIS_REGISTER_R12D) {
                pending_rebias_ = true;
                content_[host::kGuestEsp] = may_keep_destination() ? Content::Unknown : Content::Narrow;
            } else if (reg == ZYDIS_REGISTER_R12) {
                check_stack_pointer_lea();
                content_[host::kGuestEsp] = Content::Biased;
            }
            return; // 16-bit writes keep the window half
        default:
            break;
        }
        Content& content = content_[static_cast<size_t>(ZydisRegisterGetId(whole))];
        if (ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR32) {
            content = Content::Narrow; // zero-extended, or left as it was
        } else if (reg == whole) {
            content = content_written(content);
            if (content == Content::Unknown && !is_scratch(static_cast<unsigned>(ZydisRegisterGetId(whole))))
                fail("guest register written beyond its 32 bits");
        } // what is narrower keeps the rest
    }

    [[nodiscard]] bool may_keep_destination() const {
        switch (current_.z.mnemonic) {
        case ZYDIS_MNEMONIC_CMPXCHG:
        case ZYDIS_MNEMONIC_BSF:
        case ZYDIS_MNEMONIC_BSR:
            return true;
        default:
            return false;
        }
    }

    // By an instruction that writes all 64 bits.
    [[nodiscard]] Content content_written(Content before) const {
        const ZydisDecodedOperand& from = current_.operands[1];
        if (current_.z.meta.category == ZYDIS_CATEGORY_STRINGOP)
            return before; // RSI and RDI step along, RCX counts down
        if (current_.z.mnemonic == ZYDIS_MNEMONIC_LEA && adds_window(from.mem))
            return Content::Biased;
        if (current_.z.mnemonic == ZYDIS_MNEMONIC_MOV && from.type == ZYDIS_OPERAND_TYPE_REGISTER &&
            has(from.reg.value, Content::Narrow))
            return Content::Narrow;
        return Content::Unknown;
    }

    // r12 <- r12 + small, or <- 32-bit register + window.
    void check_stack_pointer_lea() {
        if (current_.z.mnemonic != ZYDIS_MNEMONIC_LEA) {
            fail("biased ESP written other than by LEA");
            return;
        }
        const auto& m = current_.operands[1].mem;
        const bool small = m.disp.value >= -kFarthestStackStep && m.disp.value <= kFarthestStackStep;
        if (m.base == ZYDIS_REGISTER_R12 && m.index == ZYDIS_REGISTER_NONE && small) {
            drifts_ = drifts_ || !reaches_stack_;
            reaches_stack_ = false;
            return;
        }
        if (!adds_window(m))
            fail("biased ESP out of reach of its window");
    }

    // Does it access memory near r12? What is out of the window then meets the guard and is brought back.
    [[nodiscard]] static bool uses_stack_pointer(const Decoded& d) {
        for (unsigned i = 0; d.host != 0 && i < d.z.operand_count; ++i) {
            const ZydisDecodedOperand& o = d.operands[i];
            if (o.type == ZYDIS_OPERAND_TYPE_MEMORY && o.mem.type != ZYDIS_MEMOP_TYPE_AGEN &&
                o.mem.base == ZYDIS_REGISTER_R12 && o.mem.index == ZYDIS_REGISTER_NONE &&
                o.mem.segment != ZYDIS_REGISTER_GS && o.mem.disp.value >= -kFarthestStackStep &&
                o.mem.disp.value <= kFarthestStackStep)
                return true;
        }
        return false;
    }

    void check_memory(const ZydisDecodedOperand& operand) {
        const auto& m = operand.mem;
        const ZydisDecodedInstruction& z = current_.z;
        const bool write = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
        const bool guest = m.segment == ZYDIS_REGISTER_GS || z.meta.category == ZYDIS_CATEGORY_STRINGOP ||
                           m.base == ZYDIS_REGISTER_R14 || m.index == ZYDIS_REGISTER_R14 ||
                           has(m.base, Content::Biased);
        if (guest && block_.key.has(ModeKey::kWatched))
            fail("guest memory accessed where call-outs should look");
        if (m.segment == ZYDIS_REGISTER_GS) {
            if (z.address_width != 32)
                fail("window access with a 64-bit address");
            return;
        }
        if (m.segment == ZYDIS_REGISTER_FS)
            fail("FS is the host's");
        if (z.meta.category == ZYDIS_CATEGORY_STRINGOP) {
            check_string(m.base);
            return;
        }
        const int64_t displacement = m.disp.value;
        const bool plain = m.index == ZYDIS_REGISTER_NONE;
        // Register times scale, displacement and bit offset reach into guards at most: see WindowSpace.
        if ((m.base == ZYDIS_REGISTER_R14 || has(m.base, Content::Biased)) &&
            (plain || has(m.index, Content::Narrow)))
            return;
        switch (m.base) {
        case ZYDIS_REGISTER_R15:
            if (plain && displacement >= -kAnchor &&
                displacement + operand.size / 8 <= static_cast<int64_t>(sizeof(Runtime)) - kAnchor &&
                (!write || writable_field(displacement)))
                return;
            if (plain && displacement == kPoll && !write)
                return;
            if (m.index == ZYDIS_REGISTER_R9 && m.scale == 1 && !write && displacement == kArrival &&
                operand.size == 32 && previous_is_lea_r9d())
                return;
            if (m.index == ZYDIS_REGISTER_R11 && m.scale == 8 && !write && displacement >= -kAnchor &&
                displacement < static_cast<int64_t>(kLimitTrapStride * kSegmentCount) - kAnchor)
                return;
            break;
        case ZYDIS_REGISTER_R13:
            if (!write && displacement >= 0 && displacement < 65536 * 4 &&
                (plain || (m.index == ZYDIS_REGISTER_R9 && m.scale == 4 && previous_is_movzx_r9())))
                return;
            break;
        case ZYDIS_REGISTER_R8:
        case ZYDIS_REGISTER_R9:
            if (plain && !write && displacement == 0 && follows_pointer_load(m.base))
                return;
            break;
        case ZYDIS_REGISTER_NONE: {
            const auto slot = reinterpret_cast<int64_t>(&rt_.slot[0]);
            if (plain && displacement >= slot && displacement + operand.size / 8 <= slot + kSlotBytes)
                return;
            break;
        }
        case ZYDIS_REGISTER_RSP:
            if (z.meta.category == ZYDIS_CATEGORY_CALL || z.meta.category == ZYDIS_CATEGORY_RET)
                return;
            break;
        default:
            break;
        }
        fail("memory operand outside the window");
    }

    // Of Runtime, emitted code writes only what exits and STI/CLI need.
    [[nodiscard]] static bool writable_field(int64_t at) {
        return at == kRtEip || at == ENCORE_RT(next_eip) || at == ENCORE_RT(exit_reason) ||
               at == ENCORE_RT(exit_argument) || at == ENCORE_RT(site) || at == ENCORE_RT(interrupt_flag) ||
               at == ENCORE_RT(target_eip);
    }

    [[nodiscard]] bool previous_is_lea_r9d() const {
        return previous_.z.mnemonic == ZYDIS_MNEMONIC_LEA &&
               previous_.operands[0].reg.value == ZYDIS_REGISTER_R9D;
    }

    [[nodiscard]] bool previous_is_movzx_r9() const {
        return previous_.z.mnemonic == ZYDIS_MNEMONIC_MOVZX &&
               previous_.operands[0].reg.value == ZYDIS_REGISTER_R9D && previous_.operands[1].size == 16;
    }

    // mov r, [r15 + a pointer field of Runtime] came right before.
    [[nodiscard]] bool follows_pointer_load(ZydisRegister reg) const {
        const auto& o = previous_.operands;
        if (previous_.z.mnemonic != ZYDIS_MNEMONIC_MOV || o[0].type != ZYDIS_OPERAND_TYPE_REGISTER ||
            o[0].reg.value != reg || o[1].type != ZYDIS_OPERAND_TYPE_MEMORY ||
            o[1].mem.base != ZYDIS_REGISTER_R15)
            return false;
        const int64_t at = o[1].mem.disp.value;
        return at == ENCORE_RT(sti_poll_pointer) || at == ENCORE_RT(fs_base_pointer) ||
               at == ENCORE_RT(gs_base_pointer);
    }

    void check_string(ZydisRegister base) {
        if (current_.z.address_width != 64 || !has(base, Content::Biased))
            fail("string operand not biased by the window");
    }

    CodeMemory& memory_;
    const Block& block_;
    const Runtime& rt_;
    ZydisDecoder decoder_;
    Decoded current_, previous_, older_;
    std::vector<uint32_t> labels_;
    std::array<Content, 16> content_ = [] {
        std::array<Content, 16> at_entry;
        at_entry.fill(Content::Unknown);
        for (unsigned i = 0; i < 8; ++i)
            at_entry[i] = i == host::kRsp ? Content::Unknown : Content::Narrow;
        at_entry[host::kGuestEsp] = Content::Biased;
        return at_entry;
    }();
    std::string breach_;
    bool pending_rebias_ = false;
    bool drifts_ = false;        // r12 was moved without an access through it yet
    bool reaches_stack_ = false; // memory near it was accessed since it moved
};

} // namespace

std::string containment_breach(CodeCache& cache, const Block& block, const Runtime& rt) {
    return BlockVerifier(cache, block, rt).run();
}

void verify_block(CodeCache& cache, const Block& block, const Runtime& rt) {
    const std::string breach = containment_breach(cache, block, rt);
    if (breach.empty())
        return;
    std::fprintf(stderr, "encore: translated block at EIP %08x breaks containment: %s\n", block.eip,
                 breach.c_str());
    std::abort();
}

} // namespace vmm
