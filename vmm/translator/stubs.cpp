#include "vmm/translator/stubs.h"

namespace vmm {

namespace {

using namespace host;

constexpr HostMemory rt(int32_t offset) { return {.base = kRuntime, .displacement = offset}; }

constexpr int32_t kXmm = ENCORE_RT(cpu.fx) + 160; // SDM Vol. 1 table 10-2
constexpr int32_t kMxcsr = ENCORE_RT(cpu.fx) + 24;

void push(Emitter& e, uint8_t reg) { e.op_plus({.opcode = 0x50}, reg); }
void pop(Emitter& e, uint8_t reg) { e.op_plus({.opcode = 0x58}, reg); }
void ldmxcsr(Emitter& e, int32_t offset) { e.op_mem({.opcode = 0xAE, .map = 1}, 2, rt(offset)); }
void stmxcsr(Emitter& e, int32_t offset) { e.op_mem({.opcode = 0xAE, .map = 1}, 3, rt(offset)); }

// Guest registers and flags into Runtime; leaves rsp on the C++ stack. Clobbers r11.
void save(Emitter& e) {
    for (uint8_t reg = 0; reg < 8; ++reg)
        e.store32(rt(rt_gpr(reg)), reg == kRsp ? kGuestEsp : reg);
    e.store64(rt(ENCORE_RT(shadow_rsp)), kRsp);
    e.load64(kRsp, rt(ENCORE_RT(cpp_rsp)));
    e.byte(0x9C); // pushfq
    pop(e, kScratch3);
    e.store64(rt(ENCORE_RT(host_flags)), kScratch3);
    e.byte(0xFC); // cld: the C++ ABI wants DF clear
    for (uint8_t i = 0; i < 8; ++i)
        e.op_mem({.opcode = 0x29, .map = 1}, i, rt(kXmm + 16 * i)); // movaps [m], xmm
    stmxcsr(e, kMxcsr);
    // LDMXCSR takes some twenty cycles, and most guests leave the register as the host has it.
    e.load32(kScratch3, rt(kMxcsr));
    e.op_mem({.opcode = 0x3B}, kScratch3, rt(ENCORE_RT(host_mxcsr))); // cmp
    const uint32_t equal = e.jump_if(4, e.address());
    ldmxcsr(e, ENCORE_RT(host_mxcsr));
    e.patch_rel32(equal, e.address());
}

// The reverse; rsp goes back to the shadow stack.
void restore(Emitter& e) {
    for (uint8_t i = 0; i < 8; ++i)
        e.op_mem({.opcode = 0x28, .map = 1}, i, rt(kXmm + 16 * i));
    ldmxcsr(e, kMxcsr);                                       // always: C++ may have set its sticky flags
    e.op_mem({.opcode = 0xFF}, 6, rt(ENCORE_RT(host_flags))); // push
    e.byte(0x9D);                                             // popfq
    e.load64(kWindow, rt(ENCORE_RT(window_base)));
    e.load64(kJumpTable, rt(ENCORE_RT(jump_table)));
    e.load64(kRsp, rt(ENCORE_RT(shadow_rsp)));
    for (uint8_t reg = 0; reg < 8; ++reg)
        e.load32(reg == kRsp ? kGuestEsp : reg, rt(rt_gpr(reg)));
    e.lea64(kGuestEsp, {.base = kGuestEsp, .index = kWindow});
}

constexpr uint8_t kCalleeSaved[] = {kRbx, kRbp, 12, 13, 14, 15};

} // namespace

// Contexts::index_of, which leaves the flags alone.
void load_table_entry(Emitter& e, bool host_rotates) {
    if (host_rotates) {
        constexpr uint8_t kRorx16[] = {0xC4, 0x43, 0x7B, 0xF0, 0xC8, 0x10}; // rorx r9d, r8d, 16
        e.raw(kRorx16, sizeof kRorx16);
    } else {
        e.store32(rt(ENCORE_RT(target_eip)), kScratch0);
        e.load16(kScratch1, rt(ENCORE_RT(target_eip) + 2));
    }
    e.lea32(kScratch1, {.base = kScratch0, .index = kScratch1});
    e.movzx16(kScratch1, kScratch1);
    e.load32(kScratch1, {.base = kJumpTable, .index = kScratch1, .scale = 4});
}

Stubs emit_stubs(Emitter& e, bool host_rotates) {
    Stubs stubs;
    stubs.enter = reinterpret_cast<Stubs::Enter>(e.address());
    for (uint8_t reg : kCalleeSaved)
        push(e, reg);
    e.lea64(kRsp, {.base = kRsp, .displacement = -8}); // keeps call-outs 16-byte aligned
    e.lea64(kRuntime, {.base = kRdi, .displacement = kAnchor});
    e.store64(rt(ENCORE_RT(cpp_rsp)), kRsp);
    e.mov64(kScratch1, kRsi);
    restore(e);
    e.load32(kScratch0, rt(kRtEip)); // a block's entry compares it
    e.jump_reg(kScratch1);

    stubs.leave = static_cast<uint32_t>(e.address());
    save(e);
    e.lea64(kRsp, {.base = kRsp, .displacement = 8});
    for (int i = 5; i >= 0; --i)
        pop(e, kCalleeSaved[i]);
    e.ret();

    stubs.callout = static_cast<uint32_t>(e.address());
    save(e);
    e.lea64(kRdi, {.base = kRuntime, .displacement = -kAnchor});
    e.mov32(kRsi, kScratch0);
    e.mov32(kRdx, kScratch1);
    e.op_mem({.opcode = 0xFF}, 2, // call [rt.callouts + index*8]
             {.base = kRuntime, .index = kScratch2, .scale = 8, .displacement = ENCORE_RT(callouts)});
    e.op_reg({.opcode = 0x85}, kRax, kRax); // test eax, eax
    const uint32_t leaving = e.jump_if(5, e.address());
    restore(e);
    e.ret();
    e.patch_rel32(leaving, e.address());
    // State is already in Runtime, and the return address into the block is dropped.
    e.load64(kScratch3, rt(ENCORE_RT(shadow_rsp)));
    e.lea64(kScratch3, {.base = kScratch3, .displacement = 8});
    e.store64(rt(ENCORE_RT(shadow_rsp)), kScratch3);
    e.store32_imm(rt(ENCORE_RT(exit_reason)), static_cast<uint32_t>(ExitReason32::Callout));
    e.lea64(kRsp, {.base = kRsp, .displacement = 8});
    for (int i = 5; i >= 0; --i)
        pop(e, kCalleeSaved[i]);
    e.ret();

    stubs.indirect_miss = static_cast<uint32_t>(e.address());
    e.store32(rt(kRtEip), kScratch0);
    e.store32_imm(rt(ENCORE_RT(exit_reason)), static_cast<uint32_t>(ExitReason32::Indirect));
    e.jump(stubs.leave);

    stubs.leave_link = static_cast<uint32_t>(e.address());
    e.store32(rt(kRtEip), kScratch0);
    e.store32(rt(ENCORE_RT(exit_argument)), kScratch1);
    e.store32_imm(rt(ENCORE_RT(exit_reason)), static_cast<uint32_t>(ExitReason32::Link));
    e.jump(stubs.leave);

    // On the C++ stack: the shadow stack has no room to spare.
    stubs.keep_flags = static_cast<uint32_t>(e.address());
    e.mov64(kScratch1, kRsp);
    e.load64(kRsp, rt(ENCORE_RT(cpp_rsp)));
    e.byte(0x9C);                                               // pushfq
    e.op_mem({.opcode = 0x8F}, 0, rt(ENCORE_RT(string_flags))); // pop
    e.mov64(kRsp, kScratch1);
    e.ret();

    stubs.pin_flags = static_cast<uint32_t>(e.address());
    e.mov64(kScratch1, kRsp);
    e.load64(kRsp, rt(ENCORE_RT(cpp_rsp)));
    e.byte(0x9C); // pushfq
    pop(e, kScratch2);
    e.op_mem({.opcode = 0x23, .wide = true}, kScratch2, rt(ENCORE_RT(pin_keep)));  // and
    e.op_mem({.opcode = 0x0B, .wide = true}, kScratch2, rt(ENCORE_RT(pin_flags))); // or
    push(e, kScratch2);
    e.byte(0x9D); // popfq
    e.mov64(kRsp, kScratch1);
    e.ret();

    stubs.return_miss = static_cast<uint32_t>(e.address());
    e.load64(kRsp, rt(ENCORE_RT(shadow_top)));
    load_table_entry(e, host_rotates);
    e.jump_reg(kScratch1);
    return stubs;
}

} // namespace vmm
