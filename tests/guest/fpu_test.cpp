// x87 and SSE: who is allowed to run, what exceptions arrive as, and that nothing of the host shows.
#include "tests/guest/guest.h"

#include <cstring>

using namespace vmm;
using namespace vmm::guest;

GUEST32(x87, "fld1\n hlt");
GUEST32(wait, "fwait\n hlt");
GUEST32(mmx, "paddb mm0, mm1\n hlt");
GUEST32(sse, "addps xmm0, xmm1\n hlt");
GUEST32(ssse3_mmx, "pshufb mm0, mm1\n hlt");
GUEST32(sse3_x87, "fisttp dword ptr [0x40000]\n hlt");
GUEST_TEST("fpu: TS, EM and MP decide who faults, and how", "[fpu]") {
    const auto outcome = [&](const Snippet& code, uint32_t bits, uint32_t cr4 = cr4::kOsfxsr) {
        g.state.cr0 = (g.state.cr0 & ~(cr0::kTs | cr0::kEm | cr0::kMp)) | bits;
        g.state.cr4 = cr4;
        g.state.eip = kCode;
        return g.run(code);
    };
    CHECK(outcome(x87, 0) == "hlt");
    CHECK(outcome(x87, cr0::kTs) == "#7 at 10000");
    CHECK(outcome(x87, cr0::kEm) == "#7 at 10000");
    CHECK(outcome(wait, cr0::kTs) == "hlt");
    CHECK(outcome(wait, cr0::kMp) == "hlt");
    CHECK(outcome(wait, cr0::kEm) == "hlt");
    CHECK(outcome(wait, cr0::kTs | cr0::kMp) == "#7 at 10000");
    CHECK(outcome(mmx, cr0::kTs) == "#7 at 10000");
    CHECK(outcome(mmx, cr0::kEm) == "#6 at 10000");
    CHECK(outcome(mmx, cr0::kEm | cr0::kTs) == "#6 at 10000");
    CHECK(outcome(sse, 0) == "hlt");
    CHECK(outcome(sse, cr0::kTs) == "#7 at 10000");
    CHECK(outcome(sse, cr0::kEm) == "#6 at 10000");
    CHECK(outcome(sse, 0, 0) == "#6 at 10000");
    CHECK(outcome(sse, cr0::kTs, 0) == "#6 at 10000");
    CHECK(outcome(ssse3_mmx, 0, 0) == "hlt");
    CHECK(outcome(ssse3_mmx, cr0::kEm) == "#6 at 10000");
    CHECK(outcome(sse3_x87, 0, 0) == "hlt");
    CHECK(outcome(sse3_x87, cr0::kEm) == "#7 at 10000");
}
#define PENDING                                                                                              \
    "fninit\n fnstcw [0x40000]\n and word ptr [0x40000], 0xfffb\n fldcw [0x40000]\n fldz\n fld1\n fdiv "     \
    "st(0), "                                                                                                \
    "st(1)\n .org 0x40, 0x90\n "
GUEST32(pending_mmx, PENDING "movq mm0, fs:[0x1000]\n hlt");
GUEST32(pending_ssse3_mmx, PENDING "pshufb mm0, fs:[0x1000]\n hlt");
GUEST32(pending_sse3_x87, PENDING "fisttp dword ptr fs:[0x1000]\n hlt");
GUEST32(pending_control, PENDING "fnstcw fs:[0x1000]\n hlt");
GUEST_TEST("fpu: a pending exception comes before what is wrong with the operand", "[fpu]") {
    g.state.cr0 |= cr0::kNe;
    g.set_segment(SegReg::Fs, kFree, descriptor(0, 0xFFF, 0x93, 0x4));
    for (const Snippet& code : {pending_mmx, pending_ssse3_mmx, pending_sse3_x87}) {
        g.state.eip = kCode;
        CHECK(g.run(code) == "#16 at 10040");
    }
    g.state.eip = kCode;
    CHECK(g.run(pending_control) == "#13(0000) at 10040");
}
GUEST32(fisttp_invalid, R"(
    fninit
    fnstcw [0x40000]
    and word ptr [0x40000], 0xfffe
    fldcw [0x40000]
    fisttp dword ptr fs:[0x40010]  # of an empty register, unmasked: nothing is stored
    hlt
)");
GUEST_TEST("fpu: a FISTTP that raises its exception stores nothing", "[fpu]") {
    g.state.cr0 |= cr0::kNe;
    g.put32(0x40010, 0x12345678);
    CHECK(g.run(fisttp_invalid) == "hlt");
    CHECK(g.get32(0x40010) == 0x12345678);
    // By way of the slot.
    g.state.segment(SegReg::Fs)
        .set_attributes(g.state.segment(SegReg::Fs).attributes() | 1u << 10); // expand-down, from 1000h on
    g.state.segment(SegReg::Fs).limit = 0xFFF;
    g.state.eip = kCode;
    CHECK(g.run() == "hlt");
    CHECK(g.get32(0x40010) == 0x12345678);
}
GUEST32(clts_set, R"(
    mov eax, cr0
    or eax, 8
    mov cr0, eax
    clts
    fld1
    mov cr0, eax
    fld1
)");
GUEST_TEST("fpu: CLTS and setting TS act on the next instruction of the same block", "[fpu]") {
    CHECK(g.run(clts_set) == "#7 at 10010");
}

GUEST32(divide, R"(
    fnstcw [0x40000]
    and word ptr [0x40000], 0xfffb
    fldcw [0x40000]
    fldz
    fld1
    .org 0x40, 0x90
    fdiv st(0), st(1)          # zero divide, unmasked: pending
    mov ebx, 1
    .org 0x50, 0x90
    fld1                       # reported here
    hlt
)");
GUEST_TEST("fpu: an unmasked x87 exception is #MF at the next waiting instruction", "[fpu]") {
    CHECK(g.run(divide) == "#16 at 10050");
    CHECK(g.ebx() == 1);
}
namespace {

// What a PC makes of FERR#, with vector 75h for its IRQ 13.
class PcWires final : public MathErrorWires, public IoHandler {
  public:
    explicit PcWires(Guest& g) : g_(g) {
        g.io.add(0xF0, 1, this, "coprocessor error");
        g.engine->set_math_error_wires(this);
        g.state.cr0 &= ~cr0::kNe;
        g.state.eflags |= eflags::kIf;
        g.deliver_faults();
    }
    ~PcWires() override { g_.engine->set_math_error_wires(nullptr); }
    void set_ferr(bool asserted) override {
        if (asserted && !requested_)
            g_.io_write(kPortIrq, 1, 0x75);
        requested_ = requested_ || asserted;
        ferr = asserted;
        ignne_ = ignne_ && asserted;
    }
    [[nodiscard]] bool ignne() const override { return ignne_; }
    uint32_t io_read(uint16_t, unsigned) override { return 0xFF; }
    void io_write(uint16_t, unsigned, uint32_t) override {
        requested_ = false;
        ignne_ = ferr;
    }
    bool ferr = false;

  private:
    Guest& g_;
    bool requested_ = false, ignne_ = false;
};

constexpr uint32_t kErrors = 0x84; // FSW: zero divide, error summary

} // namespace

GUEST32(clears, "mov esi, [esp]\n out 0xf0, al\n fnclex\n iretd");
GUEST32(divide_twice, R"(
    fnstcw [0x40000]
    and word ptr [0x40000], 0xfffb
    fldcw [0x40000]
    fldz
    fld1
    fdiv st(0), st(1)
    mov ebx, 1
    .org 0x40, 0x90
    fld1                       # reported here
    fdiv st(0), st(2)
    inc ebx
    .org 0x60, 0x90
    fwait                      # and here
    inc ebx
    fnstcw [0x40004]
    fnstsw ax
    hlt
)");
GUEST_TEST("fpu: with CR0.NE clear an x87 error is IRQ 13 before the next waiting instruction", "[fpu]") {
    PcWires wires(g);
    g.handler(0x75, clears);
    CHECK(g.run(divide_twice) == "hlt");
    CHECK(g.log == "!75!75");
    CHECK(g.faults.empty());
    CHECK(g.esi() == 0x10060);
    CHECK(g.ebx() == 3);
    CHECK((g.eax() & kErrors) == 0);
    CHECK(g.get16(0x40004) == g.get16(0x40000));
}
GUEST32(looks, "out 0xf0, al\n fstsw ax\n fnclex\n fnstcw [0x40008]\n iretd");
GUEST_TEST("fpu: waiting instructions run while IGNNE# is up, and the masks stay the guest's", "[fpu]") {
    PcWires wires(g);
    g.handler(0x75, looks);
    g.load(divide);
    CHECK(g.run() == "hlt");
    CHECK(g.state.eip > kCode + 0x50);
    CHECK(g.log == "!75");
    CHECK((g.eax() & kErrors) == kErrors);
    CHECK(g.get16(0x40008) == g.get16(0x40000));
    CHECK_FALSE(wires.ferr);
}
GUEST32(answers, "out 0xf0, al\n iretd");
GUEST_TEST("fpu: an error that the handler leaves is ignored until it is cleared", "[fpu]") {
    PcWires wires(g);
    g.handler(0x75, answers);
    g.load(divide);
    CHECK(g.run() == "hlt");
    CHECK(g.log == "!75");
    CHECK(g.state.eip == kCode + 0x53);
    CHECK(wires.ferr);
    uint16_t control = 0, status = 0;
    std::memcpy(&control, g.state.fx.bytes.data(), 2);
    std::memcpy(&status, g.state.fx.bytes.data() + 2, 2);
    CHECK(control == g.get16(0x40000));
    CHECK((status & kErrors) == kErrors);
}
GUEST_TEST("fpu: a control word loaded over an ignored error stays", "[fpu]") {
    PcWires wires(g);
    g.handler(0x75, answers);
    g.put16(0x40010, 0x0F7F);
    g.load(divide);
    g.bytes(kCode + 0x50, {0xD9, 0x2D, 0x10, 0x00, 0x04, 0x00, // fldcw [0x40010]
                           0xD9, 0x3D, 0x14, 0x00, 0x04, 0x00, // fnstcw [0x40014]
                           0xF4});
    CHECK(g.run() == "hlt");
    CHECK(g.get16(0x40014) == 0x0F7F);
}
GUEST_TEST("fpu: without interrupts the processor stands before the waiting instruction", "[fpu]") {
    PcWires wires(g);
    g.state.eflags &= ~eflags::kIf;
    CHECK(g.run(divide) == "hlt");
    CHECK(g.state.eip == kCode + 0x50);
    CHECK(wires.ferr);
    CHECK(g.log.empty());
}
GUEST_TEST("fpu: with CR0.NE set the wires are not used", "[fpu]") {
    PcWires wires(g);
    g.state.cr0 |= cr0::kNe;
    CHECK(g.run(divide) == "hlt"); // of the #MF handler
    CHECK(g.in_handler(16));
    CHECK_FALSE(wires.ferr);
}
GUEST32(environment, R"(
    .org 0x20, 0x90
    fld dword ptr [0x40100]
    fnstenv [0x40000]
    fxsave [0x40200]
    fldenv [0x40000]
    fnsave [0x40080]
    hlt
)");
GUEST_TEST("fpu: FNSTENV, FXSAVE and FNSAVE show guest addresses only", "[fpu]") {
    g.put32(0x40100, 0x3F800000);
    CHECK(g.run(environment) == "hlt");
    for (uint32_t at : {0x40000u, 0x40080u}) {
        CAPTURE(at);
        const uint32_t ip = g.get32(at + 12), dp = g.get32(at + 20);
        CHECK((ip == 0x10020 || ip == 0));
        CHECK((dp == 0x40100 || dp == 0));
    }
    CHECK((g.get32(0x40208) == 0x10020 || g.get32(0x40208) == 0));
    CHECK((g.get32(0x40210) == 0x40100 || g.get32(0x40210) == 0));
    CHECK(g.get32(0x4020C) == 0);
    CHECK(g.get32(0x40214) == 0);
}
GUEST32(leak, R"(
    fnsave [0x40000]
    frstor [0x40000]
    fnstenv [0x40080]
    fxsave [0x40200]
    fxrstor [0x40200]
    fxsave [0x40400]
    hlt
)");
GUEST_TEST("fpu: before any x87 instruction the pointers are empty", "[fpu]") {
    CHECK(g.run(leak) == "hlt");
    for (uint32_t at :
         {0x4000Cu, 0x40014u, 0x4008Cu, 0x40094u, 0x40208u, 0x4020Cu, 0x40210u, 0x40214u, 0x40408u}) {
        CAPTURE(at);
        CHECK(g.get32(at) < 0x11000);
    }
}
GUEST32(simd, R"(
    mov dword ptr ds:[0x40000], 0x1d80    # zero divide unmasked
    ldmxcsr [0x40000]
    .org 0x40, 0x90
    divps xmm0, xmm1
    hlt
)");
GUEST_TEST("fpu: an unmasked SIMD exception is #XM, or #UD without CR4.OSXMMEXCPT", "[fpu]") {
    for (unsigned i = 0; i < 4; ++i)
        g.state.fx.bytes[160 + 4 * i + 3] = 0x3F;
    CHECK(g.run(simd) == "#19 at 10040");
    g.state.cr4 &= ~cr4::kOsxmmexcpt;
    CHECK(g.run() == "#6 at 10040");
}
GUEST32(bad_mxcsr, "mov dword ptr ds:[0x40000], 0x11f80\n ldmxcsr [0x40000]");
GUEST32(misaligned, "movaps xmm0, [0x40001]");
GUEST_TEST("fpu: reserved MXCSR bits and misaligned operands are #GP(0)", "[fpu]") {
    CHECK(g.run(bad_mxcsr) == "#13(0000) at 1000a");
    g.state.eip = kCode;
    CHECK(g.run(misaligned) == "#13(0000) at 10000");
}
GUEST32(fpu_loop, R"(
    fldz
    mov ecx, 1000
1:  fld1
    faddp st(1), st(0)
    movd mm7, ecx
    emms
    dec ecx
    jnz 2f
    hlt
2:  fld1
    fld1
    fcompp
    fnstsw ax
    sahf
    jne 1b
    fninit
    inc ebx
    jmp 1b
)");
GUEST_TEST("fpu: the register stack works in loops with MMX", "[fpu]") {
    CHECK(g.run(fpu_loop) == "hlt");
    CHECK(g.ebx() == 999);
}
GUEST32(fpu_faults, R"(
    fldpi
    movaps xmm3, xmm0
    ud2
    int3
    pushfd
    popfd
    cpuid
    fstp tbyte ptr [0x40000]
    movups [0x40010], xmm3
    hlt
)");
GUEST32(skip_two, "add dword ptr [esp], 2\n iretd");
GUEST32(just_iret, "iretd");
GUEST_TEST("fpu: state is whole across exceptions", "[fpu]") {
    for (unsigned i = 0; i < 16; ++i)
        g.state.fx.bytes[160 + i] = static_cast<uint8_t>(0x30 + i);
    g.handler(6, skip_two);
    g.handler(3, just_iret);
    g.deliver_faults();
    CHECK(g.run(fpu_faults) == "hlt");
    CHECK(g.get32(0x40004) == 0xC90FDAA2);
    CHECK(g.get16(0x40008) == 0x4000);
    CHECK(g.get32(0x40010) == 0x33323130);
    CHECK(g.get32(0x4001C) == 0x3F3E3D3C);
}
