#include "vmm/translator/stubs.h"

namespace vmm {

namespace {

using namespace host;

HostMemory rt(const RegisterPlan& p, int32_t offset) { return {.base = p.runtime, .displacement = offset}; }

constexpr int32_t kXmm = ENCORE_RT(cpu.fx) + 160; // SDM Vol. 1 table 10-2
constexpr int32_t kMxcsr = ENCORE_RT(cpu.fx) + 24;

void push(Emitter& e, uint8_t reg) { e.op_plus({.opcode = 0x50}, reg); }
void pop(Emitter& e, uint8_t reg) { e.op_plus({.opcode = 0x58}, reg); }
void ldmxcsr(Emitter& e, const RegisterPlan& p, int32_t offset) {
    e.op_mem({.opcode = 0xAE, .map = 1}, 2, rt(p, offset));
}
void stmxcsr(Emitter& e, const RegisterPlan& p, int32_t offset) {
    e.op_mem({.opcode = 0xAE, .map = 1}, 3, rt(p, offset));
}

// Guest registers and flags into Runtime; leaves rsp on the C++ stack. Clobbers scratch[3].
void save(Emitter& e, const RegisterPlan& p) {
    for (uint8_t reg = 0; reg < 8; ++reg)
        e.store32(rt(p, rt_gpr(reg)), p.guest[reg]);
    e.store64(rt(p, ENCORE_RT(shadow_rsp)), kRsp);
    e.load64(kRsp, rt(p, ENCORE_RT(cpp_rsp)));
    e.byte(0x9C); // pushfq
    pop(e, p.scratch[3]);
    e.store64(rt(p, ENCORE_RT(host_flags)), p.scratch[3]);
    e.byte(0xFC); // cld: the C++ ABI wants DF clear
    for (uint8_t i = 0; i < 8; ++i)
        e.op_mem({.opcode = 0x29, .map = 1}, i, rt(p, kXmm + 16 * i)); // movaps [m], xmm
    stmxcsr(e, p, kMxcsr);
    // LDMXCSR takes some twenty cycles, and most guests leave the register as the host has it.
    e.load32(p.scratch[3], rt(p, kMxcsr));
    e.op_mem({.opcode = 0x3B}, p.scratch[3], rt(p, ENCORE_RT(host_mxcsr))); // cmp
    const uint32_t equal = e.jump_if(4, e.address());
    ldmxcsr(e, p, ENCORE_RT(host_mxcsr));
    e.patch_rel32(equal, e.address());
}

// The reverse; rsp goes back to the shadow stack.
void restore(Emitter& e, const Addressing& addressing) {
    const RegisterPlan& p = addressing.plan;
    for (uint8_t i = 0; i < 8; ++i)
        e.op_mem({.opcode = 0x28, .map = 1}, i, rt(p, kXmm + 16 * i));
    ldmxcsr(e, p, kMxcsr);                                       // always: C++ may have set its sticky flags
    e.op_mem({.opcode = 0xFF}, 6, rt(p, ENCORE_RT(host_flags))); // push
    e.byte(0x9D);                                                // popfq
    addressing.begin(e, rt(p, ENCORE_RT(window_base)));
    e.load64(p.jump_table, rt(p, ENCORE_RT(jump_table)));
    e.load64(kRsp, rt(p, ENCORE_RT(shadow_rsp)));
    for (uint8_t reg = 0; reg < 8; ++reg)
        e.load32(p.guest[reg], rt(p, rt_gpr(reg)));
    addressing.set_stack(e, p.stack());
}

constexpr uint8_t kCalleeSaved[] = {kRbx, kRbp, 12, 13, 14, 15};

} // namespace

// Contexts::index_of, which leaves the flags alone.
void load_table_entry(Emitter& e, const RegisterPlan& p, bool host_rotates) {
    if (host_rotates) {
        e.rorx32(p.scratch[1], p.scratch[0], 16);
    } else {
        e.store32(rt(p, ENCORE_RT(target_eip)), p.scratch[0]);
        e.load16(p.scratch[1], rt(p, ENCORE_RT(target_eip) + 2));
    }
    e.lea32(p.scratch[1], {.base = p.scratch[0], .index = p.scratch[1]});
    e.movzx16(p.scratch[1], p.scratch[1]);
    e.load32(p.scratch[1], {.base = p.jump_table, .index = p.scratch[1], .scale = 4});
}

Stubs emit_stubs(Emitter& e, bool host_rotates, const Addressing& addressing) {
    const RegisterPlan& p = addressing.plan;
    Stubs stubs;
    stubs.addressing = &addressing;
    stubs.plan = &p;
    stubs.enter = reinterpret_cast<Stubs::Enter>(e.address());
    for (uint8_t reg : kCalleeSaved)
        push(e, reg);
    e.lea64(kRsp, {.base = kRsp, .displacement = -8}); // keeps call-outs 16-byte aligned
    e.lea64(p.runtime, {.base = kRdi, .displacement = kAnchor});
    e.store64(rt(p, ENCORE_RT(cpp_rsp)), kRsp);
    e.mov64(p.scratch[1], kRsi);
    restore(e, addressing);
    e.load32(p.scratch[0], rt(p, kRtEip)); // a block's entry compares it
    e.jump_reg(p.scratch[1]);

    stubs.leave = static_cast<uint32_t>(e.address());
    save(e, p);
    e.lea64(kRsp, {.base = kRsp, .displacement = 8});
    for (int i = 5; i >= 0; --i)
        pop(e, kCalleeSaved[i]);
    e.ret();

    stubs.callout = static_cast<uint32_t>(e.address());
    save(e, p);
    e.lea64(kRdi, {.base = p.runtime, .displacement = -kAnchor});
    e.mov32(kRsi, p.scratch[0]);
    e.mov32(kRdx, p.scratch[1]);
    e.op_mem({.opcode = 0xFF}, 2, // call [rt.callouts + index*8]
             {.base = p.runtime, .index = p.scratch[2], .scale = 8, .displacement = ENCORE_RT(callouts)});
    e.op_reg({.opcode = 0x85}, kRax, kRax); // test eax, eax
    const uint32_t leaving = e.jump_if(5, e.address());
    restore(e, addressing);
    e.ret();
    e.patch_rel32(leaving, e.address());
    // State is already in Runtime, and the return address into the block is dropped.
    e.load64(p.scratch[3], rt(p, ENCORE_RT(shadow_rsp)));
    e.lea64(p.scratch[3], {.base = p.scratch[3], .displacement = 8});
    e.store64(rt(p, ENCORE_RT(shadow_rsp)), p.scratch[3]);
    e.store32_imm(rt(p, ENCORE_RT(exit_reason)), static_cast<uint32_t>(ExitReason32::Callout));
    e.lea64(kRsp, {.base = kRsp, .displacement = 8});
    for (int i = 5; i >= 0; --i)
        pop(e, kCalleeSaved[i]);
    e.ret();

    stubs.indirect_miss = static_cast<uint32_t>(e.address());
    e.store32(rt(p, kRtEip), p.scratch[0]);
    e.store32_imm(rt(p, ENCORE_RT(exit_reason)), static_cast<uint32_t>(ExitReason32::Indirect));
    e.jump(stubs.leave);

    stubs.leave_link = static_cast<uint32_t>(e.address());
    e.store32(rt(p, kRtEip), p.scratch[0]);
    e.store32(rt(p, ENCORE_RT(exit_argument)), p.scratch[1]);
    e.store32_imm(rt(p, ENCORE_RT(exit_reason)), static_cast<uint32_t>(ExitReason32::Link));
    e.jump(stubs.leave);

    // On the C++ stack: the shadow stack has no room to spare.
    stubs.keep_flags = static_cast<uint32_t>(e.address());
    e.mov64(p.scratch[1], kRsp);
    e.load64(kRsp, rt(p, ENCORE_RT(cpp_rsp)));
    e.byte(0x9C);                                                  // pushfq
    e.op_mem({.opcode = 0x8F}, 0, rt(p, ENCORE_RT(string_flags))); // pop
    e.mov64(kRsp, p.scratch[1]);
    e.ret();

    stubs.pin_flags = static_cast<uint32_t>(e.address());
    e.mov64(p.scratch[1], kRsp);
    e.load64(kRsp, rt(p, ENCORE_RT(cpp_rsp)));
    e.byte(0x9C); // pushfq
    pop(e, p.scratch[2]);
    e.op_mem({.opcode = 0x23, .wide = true}, p.scratch[2], rt(p, ENCORE_RT(pin_keep)));  // and
    e.op_mem({.opcode = 0x0B, .wide = true}, p.scratch[2], rt(p, ENCORE_RT(pin_flags))); // or
    push(e, p.scratch[2]);
    e.byte(0x9D); // popfq
    e.mov64(kRsp, p.scratch[1]);
    e.ret();

    stubs.return_miss = static_cast<uint32_t>(e.address());
    e.load64(kRsp, rt(p, ENCORE_RT(shadow_top)));
    load_table_entry(e, p, host_rotates);
    e.jump_reg(p.scratch[1]);
    return stubs;
}

} // namespace vmm
