#include "vmm/decoder/instruction_table.h"

#include <Zydis/Zydis.h>

#include <array>

namespace vmm {

namespace {

struct Row {
    ZydisMnemonic mnemonic;
    Lowering legacy;                                   // 16- and 32-bit code
    LongLowering long_mode = LongLowering::NotLowered; // 64-bit code
};

#define M(name) ZYDIS_MNEMONIC_##name
constexpr Row kRows[] = {
    // Integer data processing: the host does exactly what the guest asks.
    {M(ADD), Lowering::Identity},
    {M(ADC), Lowering::Identity},
    {M(SUB), Lowering::Identity},
    {M(SBB), Lowering::Identity},
    {M(AND), Lowering::Identity},
    {M(OR), Lowering::Identity},
    {M(XOR), Lowering::Identity},
    {M(CMP), Lowering::Identity},
    {M(TEST), Lowering::Identity},
    {M(NOT), Lowering::Identity},
    {M(NEG), Lowering::Identity},
    {M(MUL), Lowering::Identity},
    {M(IMUL), Lowering::Identity},
    {M(DIV), Lowering::Identity},
    {M(IDIV), Lowering::Identity},
    {M(ROL), Lowering::Identity},
    {M(ROR), Lowering::Identity},
    {M(RCL), Lowering::Identity},
    {M(RCR), Lowering::Identity},
    {M(SHL), Lowering::Identity},
    {M(SHR), Lowering::Identity},
    {M(SAR), Lowering::Identity},
    {M(SHLD), Lowering::Identity},
    {M(SHRD), Lowering::Identity},
    {M(MOVZX), Lowering::Identity},
    {M(MOVSX), Lowering::Identity},
    {M(BT), Lowering::Identity},
    {M(BTS), Lowering::Identity},
    {M(BTR), Lowering::Identity},
    {M(BTC), Lowering::Identity},
    {M(BSF), Lowering::Identity},
    {M(BSR), Lowering::Identity},
    {M(BSWAP), Lowering::Identity},
    {M(XADD), Lowering::Identity},
    {M(CMPXCHG), Lowering::Identity},
    {M(CMPXCHG8B), Lowering::Identity},
    {M(CBW), Lowering::Identity},
    {M(CWDE), Lowering::Identity},
    {M(CWD), Lowering::Identity},
    {M(CDQ), Lowering::Identity},
    {M(CLC), Lowering::Identity},
    {M(STC), Lowering::Identity},
    {M(CMC), Lowering::Identity},
    {M(CLD), Lowering::Identity},
    {M(STD), Lowering::Identity},
    {M(LAHF), Lowering::Identity},
    {M(SAHF), Lowering::Identity},
    {M(CMOVB), Lowering::Identity},
    {M(CMOVBE), Lowering::Identity},
    {M(CMOVL), Lowering::Identity},
    {M(CMOVLE), Lowering::Identity},
    {M(CMOVNB), Lowering::Identity},
    {M(CMOVNBE), Lowering::Identity},
    {M(CMOVNL), Lowering::Identity},
    {M(CMOVNLE), Lowering::Identity},
    {M(CMOVNO), Lowering::Identity},
    {M(CMOVNP), Lowering::Identity},
    {M(CMOVNS), Lowering::Identity},
    {M(CMOVNZ), Lowering::Identity},
    {M(CMOVO), Lowering::Identity},
    {M(CMOVP), Lowering::Identity},
    {M(CMOVS), Lowering::Identity},
    {M(CMOVZ), Lowering::Identity},
    {M(SETB), Lowering::Identity},
    {M(SETBE), Lowering::Identity},
    {M(SETL), Lowering::Identity},
    {M(SETLE), Lowering::Identity},
    {M(SETNB), Lowering::Identity},
    {M(SETNBE), Lowering::Identity},
    {M(SETNL), Lowering::Identity},
    {M(SETNLE), Lowering::Identity},
    {M(SETNO), Lowering::Identity},
    {M(SETNP), Lowering::Identity},
    {M(SETNS), Lowering::Identity},
    {M(SETNZ), Lowering::Identity},
    {M(SETO), Lowering::Identity},
    {M(SETP), Lowering::Identity},
    {M(SETS), Lowering::Identity},
    {M(SETZ), Lowering::Identity},
    // Data movement whose legacy encoding needs care in 64-bit mode. MOV and XCHG are refined by opcode.
    {M(MOV), Lowering::Identity},
    {M(XCHG), Lowering::Identity},
    {M(LEA), Lowering::Lea},
    {M(INC), Lowering::IncDec},
    {M(DEC), Lowering::IncDec},
    {M(XLAT), Lowering::Xlat},
    {M(NOP), Lowering::Nop},
    {M(PAUSE), Lowering::Nop},
    {M(PREFETCHNTA), Lowering::Nop},
    {M(PREFETCHT0), Lowering::Nop},
    {M(PREFETCHT1), Lowering::Nop},
    {M(PREFETCHT2), Lowering::Nop},
    {M(CLFLUSH), Lowering::SimdIdentity},
    {M(LFENCE), Lowering::SimdIdentity},
    {M(MFENCE), Lowering::SimdIdentity},
    {M(SFENCE), Lowering::SimdIdentity},
    {M(LDS), Lowering::LoadFarPointer, LongLowering::Undefined},
    {M(LES), Lowering::LoadFarPointer, LongLowering::Undefined},
    {M(LFS), Lowering::LoadFarPointer},
    {M(LGS), Lowering::LoadFarPointer},
    {M(LSS), Lowering::LoadFarPointer},
    // Stack.
    {M(PUSH), Lowering::Push},
    {M(POP), Lowering::Pop},
    {M(PUSHA), Lowering::PushAll, LongLowering::Undefined},
    {M(PUSHAD), Lowering::PushAll, LongLowering::Undefined},
    {M(POPA), Lowering::PopAll, LongLowering::Undefined},
    {M(POPAD), Lowering::PopAll, LongLowering::Undefined},
    {M(PUSHF), Lowering::PushFlags},
    {M(PUSHFD), Lowering::PushFlags, LongLowering::Undefined},
    {M(POPF), Lowering::PopFlags},
    {M(POPFD), Lowering::PopFlags, LongLowering::Undefined},
    {M(LEAVE), Lowering::Leave},
    {M(ENTER), Lowering::Enter},
    // Control transfer. JMP, CALL and RET are refined by form.
    {M(JMP), Lowering::JumpRelative},
    {M(CALL), Lowering::CallRelative},
    {M(RET), Lowering::Return},
    {M(IRET), Lowering::InterruptReturn},
    {M(IRETD), Lowering::InterruptReturn},
    {M(INT), Lowering::SoftwareInterrupt},
    {M(INT1), Lowering::SoftwareInterrupt},
    {M(INT3), Lowering::SoftwareInterrupt},
    {M(INTO), Lowering::SoftwareInterrupt, LongLowering::Undefined},
    {M(JB), Lowering::JumpConditional},
    {M(JBE), Lowering::JumpConditional},
    {M(JL), Lowering::JumpConditional},
    {M(JLE), Lowering::JumpConditional},
    {M(JNB), Lowering::JumpConditional},
    {M(JNBE), Lowering::JumpConditional},
    {M(JNL), Lowering::JumpConditional},
    {M(JNLE), Lowering::JumpConditional},
    {M(JNO), Lowering::JumpConditional},
    {M(JNP), Lowering::JumpConditional},
    {M(JNS), Lowering::JumpConditional},
    {M(JNZ), Lowering::JumpConditional},
    {M(JO), Lowering::JumpConditional},
    {M(JP), Lowering::JumpConditional},
    {M(JS), Lowering::JumpConditional},
    {M(JZ), Lowering::JumpConditional},
    {M(JCXZ), Lowering::LoopOrJcxz, LongLowering::Undefined},
    {M(JECXZ), Lowering::LoopOrJcxz},
    {M(LOOP), Lowering::LoopOrJcxz},
    {M(LOOPE), Lowering::LoopOrJcxz},
    {M(LOOPNE), Lowering::LoopOrJcxz},
    // Strings. MOVSD and CMPSD share mnemonics with SSE2 and are refined by opcode map.
    {M(MOVSB), Lowering::StringMove},
    {M(MOVSW), Lowering::StringMove},
    {M(MOVSD), Lowering::StringMove},
    {M(STOSB), Lowering::StringMove},
    {M(STOSW), Lowering::StringMove},
    {M(STOSD), Lowering::StringMove},
    {M(LODSB), Lowering::StringMove},
    {M(LODSW), Lowering::StringMove},
    {M(LODSD), Lowering::StringMove},
    {M(CMPSB), Lowering::StringMove},
    {M(CMPSW), Lowering::StringMove},
    {M(CMPSD), Lowering::StringMove},
    {M(SCASB), Lowering::StringMove},
    {M(SCASW), Lowering::StringMove},
    {M(SCASD), Lowering::StringMove},
    {M(INSB), Lowering::StringIo},
    {M(INSW), Lowering::StringIo},
    {M(INSD), Lowering::StringIo},
    {M(OUTSB), Lowering::StringIo},
    {M(OUTSW), Lowering::StringIo},
    {M(OUTSD), Lowering::StringIo},
    // System.
    {M(IN), Lowering::PortIn},
    {M(OUT), Lowering::PortOut},
    {M(CLI), Lowering::ClearInterrupt},
    {M(STI), Lowering::SetInterrupt},
    {M(HLT), Lowering::SystemCall},
    {M(CLTS), Lowering::SystemCall},
    {M(CPUID), Lowering::SystemCall},
    {M(RDTSC), Lowering::SystemCall},
    {M(RDPMC), Lowering::SystemCall},
    {M(RDMSR), Lowering::SystemCall},
    {M(WRMSR), Lowering::SystemCall},
    {M(WBINVD), Lowering::SystemCall},
    {M(INVD), Lowering::SystemCall},
    {M(SYSENTER), Lowering::SystemCall},
    {M(SYSEXIT), Lowering::SystemCall},
    {M(LGDT), Lowering::SystemMemory},
    {M(LIDT), Lowering::SystemMemory},
    {M(SGDT), Lowering::SystemMemory},
    {M(SIDT), Lowering::SystemMemory},
    {M(LLDT), Lowering::SystemMemory},
    {M(SLDT), Lowering::SystemMemory},
    {M(LTR), Lowering::SystemMemory},
    {M(STR), Lowering::SystemMemory},
    {M(LMSW), Lowering::SystemMemory},
    {M(SMSW), Lowering::SystemMemory},
    {M(LAR), Lowering::SystemMemory},
    {M(LSL), Lowering::SystemMemory},
    {M(VERR), Lowering::SystemMemory},
    {M(VERW), Lowering::SystemMemory},
    {M(INVLPG), Lowering::SystemMemory},
    {M(ARPL), Lowering::Arpl, LongLowering::Undefined},
    {M(BOUND), Lowering::Bound, LongLowering::Undefined},
    // Decimal.
    {M(DAA), Lowering::Bcd, LongLowering::Undefined},
    {M(DAS), Lowering::Bcd, LongLowering::Undefined},
    {M(AAA), Lowering::Bcd, LongLowering::Undefined},
    {M(AAS), Lowering::Bcd, LongLowering::Undefined},
    {M(AAM), Lowering::Bcd, LongLowering::Undefined},
    {M(AAD), Lowering::Bcd, LongLowering::Undefined},
    {M(SALC), Lowering::Bcd, LongLowering::Undefined},
    // x87 and SSE state: the environment holds host addresses, MXCSR reserved bits fault.
    {M(FNSTENV), Lowering::FpuEnvironment},
    {M(FNSAVE), Lowering::FpuEnvironment},
    {M(FLDENV), Lowering::FpuEnvironment},
    {M(FRSTOR), Lowering::FpuEnvironment},
    {M(FXSAVE), Lowering::FpuEnvironment},
    {M(FXRSTOR), Lowering::FpuEnvironment},
    {M(LDMXCSR), Lowering::LoadMxcsr},
    // 64-bit code only. 0Fh 0Dh is a hint on every processor that has long mode.
    {M(MOVSXD), Lowering::Undefined},
    {M(CDQE), Lowering::Undefined},
    {M(CQO), Lowering::Undefined},
    {M(CMPXCHG16B), Lowering::Undefined},
    {M(SYSCALL), Lowering::Undefined},
    {M(SYSRET), Lowering::Undefined},
    {M(SWAPGS), Lowering::Undefined},
    {M(IRETQ), Lowering::Undefined},
    {M(PUSHFQ), Lowering::Undefined},
    {M(POPFQ), Lowering::Undefined},
    {M(JRCXZ), Lowering::Undefined},
    {M(MOVSQ), Lowering::Undefined},
    {M(STOSQ), Lowering::Undefined},
    {M(LODSQ), Lowering::Undefined},
    {M(CMPSQ), Lowering::Undefined},
    {M(SCASQ), Lowering::Undefined},
    {M(PREFETCH), Lowering::Undefined},
    {M(PREFETCHW), Lowering::Undefined},
};
#undef M

// Whole sets, whose mnemonics need no rows in 64-bit code, and the features without which they are #UD.
struct SetRow {
    ZydisISASet set;
    uint32_t needs = 0;
};
#define S(name) ZYDIS_ISA_SET_##name
constexpr SetRow kSets[] = {
    {S(X87)},
    {S(FCMOV)},
    {S(PENTIUMMMX)},
    {S(SSE)},
    {S(SSE2)},
    {S(SSE2MMX)},
    {S(SSE3)},
    {S(SSE3X87)},
    {S(SSSE3)},
    {S(SSSE3MMX)},
    {S(SSEMXCSR)},
    {S(SSE_PREFETCH)},
    {S(FXSAVE)},
    {S(FXSAVE64)},
    {S(CMPXCHG16B), feature::kCmpxchg16b},
    {S(LAHF), feature::kLahf},
    {S(SSE4), feature::kSse41},
    {S(SSE42), feature::kSse42},
    {S(POPCNT), feature::kPopcnt},
    {S(MOVBE), feature::kMovbe},
    {S(LZCNT), feature::kLzcnt},
    {S(BMI1), feature::kBmi1},
    {S(BMI2), feature::kBmi2},
    {S(AVX), feature::kAvx},
    {S(AVX2), feature::kAvx2},
    {S(AVX2GATHER), feature::kAvx2},
    {S(AVXAES), feature::kAvx | feature::kAes},
    {S(F16C), feature::kF16c},
    {S(FMA), feature::kFma},
    {S(AES), feature::kAes},
    {S(PCLMULQDQ), feature::kPclmul},
    {S(ADOX_ADCX), feature::kAdx},
    {S(RDRAND), feature::kRdrand},
    {S(XSAVE), feature::kXsave},
    {S(XSAVEOPT), feature::kXsaveopt},
    {S(XSAVEC), feature::kXsavec},
    {S(XSAVES), feature::kXsaves},
    {S(RDTSCP), feature::kRdtscp},
    {S(INVPCID), feature::kInvpcid},
    {S(RDWRFSGS), feature::kFsGsBase},
    {S(SMAP), feature::kSmap},
};
#undef S

// One column of the rows, by mnemonic.
template <class Value> auto by_mnemonic(Value Row::*column) {
    std::array<Value, ZYDIS_MNEMONIC_MAX_VALUE + 1> table{};
    for (const Row& row : kRows)
        table[row.mnemonic] = row.*column;
    return table;
}

} // namespace

Lowering lowering_of(uint16_t mnemonic) {
    static const auto table = by_mnemonic(&Row::legacy);
    return mnemonic < table.size() ? table[mnemonic] : Lowering::Undefined;
}

LongLowering long_lowering_of(uint16_t mnemonic, unsigned isa_set, uint32_t features) {
    for (const SetRow& row : kSets) {
        if (static_cast<unsigned>(row.set) != isa_set)
            continue;
        // Zydis counts the VEX form among AVX (SDM Vol. 2B "PCLMULQDQ").
        const uint32_t also = mnemonic == ZYDIS_MNEMONIC_VPCLMULQDQ ? feature::kPclmul : 0;
        const uint32_t needs = row.needs | also;
        return (features & needs) == needs ? LongLowering::NotLowered : LongLowering::Undefined;
    }
    static const auto table = by_mnemonic(&Row::long_mode);
    return mnemonic < table.size() ? table[mnemonic] : LongLowering::Undefined;
}

} // namespace vmm
