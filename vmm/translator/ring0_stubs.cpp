#include "vmm/translator/ring0_stubs.h"

#include "vmm/translator/callouts.h"
#include "vmm/translator/segment_cache.h"

namespace vmm {

namespace {

using namespace host;

HostMemory rt(const RegisterPlan& p, int32_t offset) { return {.base = p.runtime, .displacement = offset}; }
#define ENCORE_ENTRY(field) static_cast<int32_t>(offsetof(SegmentCacheEntry, field))

// Jumps to `there` when rcx is zero, flags untouched; rcx is taken back from `saved` on both ways.
class ZeroBranch {
  public:
    ZeroBranch(Emitter& e, uint8_t saved) : e_(e), saved_(saved) {
        e_.byte(0xE3); // jrcxz
        e_.byte(0);
        from_ = e_.offset();
        e_.mov64(kRcx, saved_);
    }
    void zero_goes_here() {
        *e_.at(from_ - 1) = static_cast<uint8_t>(e_.offset() - from_);
        e_.mov64(kRcx, saved_);
    }

  private:
    Emitter& e_;
    uint8_t saved_;
    uint32_t from_ = 0;
};

// scratch[0]: selector, [1]: the table for its class. `release`: bytes of a flat stack that POP gives back.
void emit_load_segment(Emitter& e, const Stubs& stubs, unsigned reg, unsigned release) {
    const RegisterPlan& p = *stubs.plan;
    e.op_reg({.opcode = 0xB6, .map = 1, .byte_register = true}, p.scratch[2], p.scratch[0]); // movzx
    e.lea32(p.scratch[2], {.index = p.scratch[2], .scale = 8});
    e.lea64(p.scratch[1], {.base = p.scratch[1], .index = p.scratch[2], .scale = 8});
    e.mov64(p.scratch[3], kRcx);
    e.load64(kRcx, {.base = p.scratch[1], .displacement = ENCORE_ENTRY(negated_selector)});
    e.lea64(kRcx, {.base = kRcx, .index = p.scratch[0]});
    ZeroBranch selector(e, p.scratch[3]);
    const auto slow = [&] {
        if (release == 0) {
            e.mov32_imm(p.scratch[1], reg);
            e.mov32_imm(p.scratch[2], static_cast<uint32_t>(Callout::LoadSegment));
        } else {
            e.mov32_imm(p.scratch[0], reg);
            e.mov32_imm(p.scratch[1], release);
            e.mov32_imm(p.scratch[2], static_cast<uint32_t>(Callout::PopSegment));
        }
        e.jump(stubs.callout);
    };
    slow();
    selector.zero_goes_here();
    e.load32(p.scratch[2], {.base = p.scratch[1], .displacement = ENCORE_ENTRY(linear)});
    e.load64(p.scratch[2],
             stubs.addressing->based(p.scratch[2], kNone, 0)); // may fault: see Vcpu::stub_fault
    e.load64(kRcx, {.base = p.scratch[1], .displacement = ENCORE_ENTRY(negated_bytes)});
    e.lea64(kRcx, {.base = kRcx, .index = p.scratch[2]});
    ZeroBranch bytes(e, p.scratch[3]);
    slow();
    bytes.zero_goes_here();
    for (int32_t half = 0; half < 2; ++half) {
        e.load64(p.scratch[2], {.base = p.scratch[1], .displacement = ENCORE_ENTRY(image) + 8 * half});
        e.store64(rt(p, rt_segment(reg) + 8 * half), p.scratch[2]);
    }
    if (reg == static_cast<unsigned>(SegReg::Fs)) {
        e.load64(p.scratch[2], {.base = p.scratch[1], .displacement = ENCORE_ENTRY(fs_pointer)});
        e.store64(rt(p, ENCORE_RT(fs_base_pointer)), p.scratch[2]);
    } else if (reg == static_cast<unsigned>(SegReg::Gs)) {
        e.load64(p.scratch[2], {.base = p.scratch[1], .displacement = ENCORE_ENTRY(gs_pointer)});
        e.store64(rt(p, ENCORE_RT(gs_base_pointer)), p.scratch[2]);
    }
    if (release != 0)
        e.lea64(p.stack(), {.base = p.stack(), .displacement = static_cast<int32_t>(release)});
    e.ret();
}

constexpr uint32_t kPopfCompared = eflags::kTf | eflags::kIopl | eflags::kNt | eflags::kAc | eflags::kId;
static_assert(kOtherFlags == ~(eflags::kHostHeld | eflags::kIf | eflags::kRf | eflags::kVm));

// PUSHFD's image into scratch[2].
void emit_flags_image(Emitter& e, const RegisterPlan& p) {
    e.mov64(p.scratch[1], kRsp); // the shadow stack has no room to spare
    e.load64(kRsp, rt(p, ENCORE_RT(cpp_rsp)));
    e.byte(0x9C);                              // pushfq
    e.op_plus({.opcode = 0x58}, p.scratch[2]); // pop
    e.mov64(kRsp, p.scratch[1]);
    // The host's image has IF and the fixed bit set and none of the others below bit 16.
    e.movzx16(p.scratch[2], p.scratch[2]);
    e.load32(p.scratch[1], rt(p, ENCORE_RT(other_flags)));
    e.lea32(p.scratch[2], {.base = p.scratch[2],
                           .index = p.scratch[1],
                           .displacement = -static_cast<int32_t>(eflags::kIf | eflags::kFixed1)});
    e.load32(p.scratch[1], rt(p, ENCORE_RT(interrupt_flag)));
    e.lea32(p.scratch[2], {.base = p.scratch[2], .index = p.scratch[1]});
    e.ret();
}

// POPFD of scratch[2] from a flat stack. Only the arithmetic flags, DF and IF may differ from what EFLAGS
// has, and no interrupt may be waiting for IF; else it is the call-out's.
void emit_pop_flags(Emitter& e, const Stubs& stubs) {
    const RegisterPlan& p = *stubs.plan;
    const auto and_imm = [&](uint8_t reg, uint32_t value) {
        e.op_reg({.opcode = 0x81}, 4, reg);
        e.dword(value);
    };
    e.mov32(p.scratch[1], p.scratch[2]);
    and_imm(p.scratch[1], kPopfCompared);
    e.op_mem({.opcode = 0x0B}, p.scratch[1],
             rt(p, ENCORE_RT(interrupt_waiting))); // or: no image has bit 1 set alone
    e.load32(p.scratch[0], rt(p, ENCORE_RT(other_flags)));
    and_imm(p.scratch[0], ~eflags::kFixed1);
    e.op_reg({.opcode = 0x3B}, p.scratch[1], p.scratch[0]); // cmp
    const uint32_t differs = e.jump_if(5, e.address());
    e.mov32(p.scratch[1], p.scratch[2]);
    and_imm(p.scratch[1], eflags::kIf);
    e.store32(rt(p, ENCORE_RT(interrupt_flag)), p.scratch[1]);
    and_imm(p.scratch[2], eflags::kHostHeld);
    e.op_reg({.opcode = 0x81}, 1, p.scratch[2]); // or
    e.dword(eflags::kFixed1 | eflags::kIf);
    e.mov64(p.scratch[1], kRsp);
    e.load64(kRsp, rt(p, ENCORE_RT(cpp_rsp)));
    e.op_plus({.opcode = 0x50}, p.scratch[2]); // push
    e.byte(0x9D);                              // popfq
    e.mov64(kRsp, p.scratch[1]);
    e.lea64(p.stack(), {.base = p.stack(), .displacement = 4});
    e.ret();
    e.patch_rel32(differs, e.address());
    e.mov32_imm(p.scratch[0], 0);
    e.mov32_imm(p.scratch[1], 4);
    e.mov32_imm(p.scratch[2], static_cast<uint32_t>(Callout::PopFlags));
    e.jump(stubs.callout);
}

} // namespace

void emit_ring0_stubs(Emitter& e, Stubs& stubs) {
    stubs.ring0_first = static_cast<uint32_t>(e.address());
    for (const SegReg which : {SegReg::Es, SegReg::Ds, SegReg::Fs, SegReg::Gs}) {
        const auto reg = static_cast<unsigned>(which);
        stubs.load_segment[reg] = static_cast<uint32_t>(e.address());
        emit_load_segment(e, stubs, reg, 0);
        stubs.pop_segment[reg] = static_cast<uint32_t>(e.address());
        emit_load_segment(e, stubs, reg, 4);
    }
    stubs.flags_image = static_cast<uint32_t>(e.address());
    emit_flags_image(e, *stubs.plan);
    stubs.pop_flags = static_cast<uint32_t>(e.address());
    emit_pop_flags(e, stubs);
    stubs.ring0_end = static_cast<uint32_t>(e.address());
}

} // namespace vmm
