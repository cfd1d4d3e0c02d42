#include "vmm/translator/ring0_stubs.h"

#include "vmm/translator/callouts.h"
#include "vmm/translator/segment_cache.h"

namespace vmm {

namespace {

using namespace host;

constexpr HostMemory rt(int32_t offset) { return {.base = kRuntime, .displacement = offset}; }
#define ENCORE_ENTRY(field) static_cast<int32_t>(offsetof(SegmentCacheEntry, field))

// Jumps to `there` when rcx is zero, flags untouched; rcx is taken back from r11 on both ways.
class ZeroBranch {
  public:
    explicit ZeroBranch(Emitter& e) : e_(e) {
        e_.byte(0xE3); // jrcxz
        e_.byte(0);
        from_ = e_.offset();
        e_.mov64(kRcx, kScratch3);
    }
    void zero_goes_here() {
        *e_.at(from_ - 1) = static_cast<uint8_t>(e_.offset() - from_);
        e_.mov64(kRcx, kScratch3);
    }

  private:
    Emitter& e_;
    uint32_t from_ = 0;
};

// r8d: selector, r9d: the table for its class. `release`: bytes of a flat stack that POP gives back.
void emit_load_segment(Emitter& e, const Stubs& stubs, unsigned reg, unsigned release) {
    e.op_reg({.opcode = 0xB6, .map = 1, .byte_register = true}, kScratch2, kScratch0); // movzx r10d, r8b
    e.lea32(kScratch2, {.index = kScratch2, .scale = 8});
    e.lea64(kScratch1, {.base = kScratch1, .index = kScratch2, .scale = 8});
    e.mov64(kScratch3, kRcx);
    e.load64(kRcx, {.base = kScratch1, .displacement = ENCORE_ENTRY(negated_selector)});
    e.lea64(kRcx, {.base = kRcx, .index = kScratch0});
    ZeroBranch selector(e);
    const auto slow = [&] {
        if (release == 0) {
            e.mov32_imm(kScratch1, reg);
            e.mov32_imm(kScratch2, static_cast<uint32_t>(Callout::LoadSegment));
        } else {
            e.mov32_imm(kScratch0, reg);
            e.mov32_imm(kScratch1, release);
            e.mov32_imm(kScratch2, static_cast<uint32_t>(Callout::PopSegment));
        }
        e.jump(stubs.callout);
    };
    slow();
    selector.zero_goes_here();
    e.load32(kScratch2, {.base = kScratch1, .displacement = ENCORE_ENTRY(linear)});
    e.load64(kScratch2, {.base = kScratch2, .window = true}); // may fault: see EngineCore::stub_fault
    e.load64(kRcx, {.base = kScratch1, .displacement = ENCORE_ENTRY(negated_bytes)});
    e.lea64(kRcx, {.base = kRcx, .index = kScratch2});
    ZeroBranch bytes(e);
    slow();
    bytes.zero_goes_here();
    for (int32_t half = 0; half < 2; ++half) {
        e.load64(kScratch2, {.base = kScratch1, .displacement = ENCORE_ENTRY(image) + 8 * half});
        e.store64(rt(rt_segment(reg) + 8 * half), kScratch2);
    }
    if (reg == static_cast<unsigned>(SegReg::Fs)) {
        e.load64(kScratch2, {.base = kScratch1, .displacement = ENCORE_ENTRY(fs_pointer)});
        e.store64(rt(ENCORE_RT(fs_base_pointer)), kScratch2);
    } else if (reg == static_cast<unsigned>(SegReg::Gs)) {
        e.load64(kScratch2, {.base = kScratch1, .displacement = ENCORE_ENTRY(gs_pointer)});
        e.store64(rt(ENCORE_RT(gs_base_pointer)), kScratch2);
    }
    if (release != 0)
        e.lea64(kGuestEsp, {.base = kGuestEsp, .displacement = static_cast<int32_t>(release)});
    e.ret();
}

constexpr uint32_t kPopfCompared = eflags::kTf | eflags::kIopl | eflags::kNt | eflags::kAc | eflags::kId;
static_assert(kOtherFlags == ~(eflags::kHostHeld | eflags::kIf | eflags::kRf | eflags::kVm));

// PUSHFD's image into r10d.
void emit_flags_image(Emitter& e) {
    e.mov64(kScratch1, kRsp); // the shadow stack has no room to spare
    e.load64(kRsp, rt(ENCORE_RT(cpp_rsp)));
    e.byte(0x9C);                           // pushfq
    e.op_plus({.opcode = 0x58}, kScratch2); // pop r10
    e.mov64(kRsp, kScratch1);
    // The host's image has IF and the fixed bit set and none of the others below bit 16.
    e.movzx16(kScratch2, kScratch2);
    e.load32(kScratch1, rt(ENCORE_RT(other_flags)));
    e.lea32(kScratch2, {.base = kScratch2,
                        .index = kScratch1,
                        .displacement = -static_cast<int32_t>(eflags::kIf | eflags::kFixed1)});
    e.load32(kScratch1, rt(ENCORE_RT(interrupt_flag)));
    e.lea32(kScratch2, {.base = kScratch2, .index = kScratch1});
    e.ret();
}

// POPFD of r10d from a flat stack. Only the arithmetic flags, DF and IF may differ from what EFLAGS has, and
// no interrupt may be waiting for IF; else it is the call-out's.
void emit_pop_flags(Emitter& e, const Stubs& stubs) {
    const auto and_imm = [&](uint8_t reg, uint32_t value) {
        e.op_reg({.opcode = 0x81}, 4, reg);
        e.dword(value);
    };
    e.mov32(kScratch1, kScratch2);
    and_imm(kScratch1, kPopfCompared);
    e.op_mem({.opcode = 0x0B}, kScratch1,
             rt(ENCORE_RT(interrupt_waiting))); // or: no image has bit 1 set alone
    e.load32(kScratch0, rt(ENCORE_RT(other_flags)));
    and_imm(kScratch0, ~eflags::kFixed1);
    e.op_reg({.opcode = 0x3B}, kScratch1, kScratch0); // cmp
    const uint32_t differs = e.jump_if(5, e.address());
    e.mov32(kScratch1, kScratch2);
    and_imm(kScratch1, eflags::kIf);
    e.store32(rt(ENCORE_RT(interrupt_flag)), kScratch1);
    and_imm(kScratch2, eflags::kHostHeld);
    e.op_reg({.opcode = 0x81}, 1, kScratch2); // or
    e.dword(eflags::kFixed1 | eflags::kIf);
    e.mov64(kScratch1, kRsp);
    e.load64(kRsp, rt(ENCORE_RT(cpp_rsp)));
    e.op_plus({.opcode = 0x50}, kScratch2); // push r10
    e.byte(0x9D);                           // popfq
    e.mov64(kRsp, kScratch1);
    e.lea64(kGuestEsp, {.base = kGuestEsp, .displacement = 4});
    e.ret();
    e.patch_rel32(differs, e.address());
    e.mov32_imm(kScratch0, 0);
    e.mov32_imm(kScratch1, 4);
    e.mov32_imm(kScratch2, static_cast<uint32_t>(Callout::PopFlags));
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
    emit_flags_image(e);
    stubs.pop_flags = static_cast<uint32_t>(e.address());
    emit_pop_flags(e, stubs);
    stubs.ring0_end = static_cast<uint32_t>(e.address());
}

} // namespace vmm
