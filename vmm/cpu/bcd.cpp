// Decimal adjustment (SDM Vol. 2A "AAA", "AAD", "AAM", "AAS", "DAA", "DAS"), which 64-bit mode lacks.
//
// Flags that the SDM leaves undefined come out as Intel's processors leave them (checked exhaustively), for
// that is whom our CPUID names: SF, ZF and PF of the AL that results, OF clear, and clear CF and AF for AAM.
// AMD's take SF, ZF, PF and OF of AAA and AAS from AX before its high digit is cleared, and OF of DAA and
// DAS from the addition.
#include "vmm/cpu/cpu.h"

namespace vmm {

namespace {

using namespace eflags;

// Sign, zero and parity of a result whose sign bit is `sign`; parity is of the low byte.
uint32_t result_flags(uint32_t result, uint32_t sign) {
    const uint32_t mask = sign | (sign - 1);
    uint32_t flags = 0;
    if ((result & sign) != 0)
        flags |= kSf;
    if ((result & mask) == 0)
        flags |= kZf;
    if (__builtin_parity(result & 0xFF) == 0)
        flags |= kPf;
    return flags;
}

void set_arithmetic(CpuState& state, uint32_t flags) { state.eflags = (state.eflags & ~kArithmetic) | flags; }

void set_al(CpuState& state, uint8_t value) {
    uint32_t& eax = state.reg(Reg::Eax);
    eax = (eax & 0xFFFFFF00) | value;
}

void set_ax(CpuState& state, uint16_t value) {
    uint32_t& eax = state.reg(Reg::Eax);
    eax = (eax & 0xFFFF0000) | value;
}

// Both adjust AL by 6 for the low digit and 60h for the high one.
bool low_digit_adjusts(const CpuState& state) {
    return (state.gpr[0].low & 0xF) > 9 || (state.eflags & kAf) != 0;
}
bool high_digit_adjusts(const CpuState& state) {
    return (state.gpr[0].low & 0xFF) > 0x99 || (state.eflags & kCf) != 0;
}

// AAA and AAS: `adjust` is added to AX, then the high digit of AL is cleared.
void ascii_adjust(CpuState& state, uint16_t adjust, bool subtract) {
    const auto old = static_cast<uint16_t>(state.reg(Reg::Eax));
    uint32_t flags = 0;
    if (low_digit_adjusts(state))
        flags = kAf | kCf;
    else
        adjust = 0;
    const auto result = static_cast<uint16_t>((subtract ? old - adjust : old + adjust) & 0xFF0F);
    set_ax(state, result);
    set_arithmetic(state, flags | result_flags(result, 0x80));
}

} // namespace

void Cpu::daa() {
    const auto old = static_cast<uint8_t>(state_.reg(Reg::Eax));
    uint8_t result = old;
    uint32_t flags = 0;
    if (low_digit_adjusts(state_)) {
        result = static_cast<uint8_t>(result + 6);
        flags |= kAf;
    }
    if (high_digit_adjusts(state_)) {
        result = static_cast<uint8_t>(result + 0x60);
        flags |= kCf;
    }
    set_al(state_, result);
    set_arithmetic(state_, flags | result_flags(result, 0x80));
}

void Cpu::das() {
    const auto old = static_cast<uint8_t>(state_.reg(Reg::Eax));
    uint8_t result = old;
    uint32_t flags = 0;
    const bool borrow = (state_.eflags & kCf) != 0;
    if (low_digit_adjusts(state_)) {
        flags |= kAf;
        if (borrow || old < 6)
            flags |= kCf;
        result = static_cast<uint8_t>(result - 6);
    }
    if (high_digit_adjusts(state_)) {
        result = static_cast<uint8_t>(result - 0x60);
        flags |= kCf;
    }
    set_al(state_, result);
    set_arithmetic(state_, flags | result_flags(result, 0x80));
}

void Cpu::aaa() { ascii_adjust(state_, 0x106, false); }
void Cpu::aas() { ascii_adjust(state_, 0x106, true); }

GuestResult<void> Cpu::aam(uint8_t divisor) {
    if (divisor == 0)
        return guest_fault(Vector::DivideError);
    const auto al = static_cast<uint8_t>(state_.reg(Reg::Eax));
    const uint32_t quotient = al / divisor, remainder = al % divisor;
    set_ax(state_, static_cast<uint16_t>(quotient << 8 | remainder));
    set_arithmetic(state_, result_flags(remainder, 0x80));
    return {};
}

void Cpu::aad(uint8_t multiplier) {
    const uint32_t ax = state_.reg(Reg::Eax) & 0xFFFF;
    const uint32_t al = ax & 0xFF;
    const uint32_t product = ((ax >> 8) * multiplier) & 0xFF;
    const uint32_t sum = al + product;
    uint32_t flags = result_flags(sum, 0x80);
    if (sum > 0xFF)
        flags |= kCf;
    if (((al ^ product ^ sum) & 0x10) != 0)
        flags |= kAf;
    if (((al ^ sum) & (product ^ sum) & 0x80) != 0)
        flags |= kOf;
    set_ax(state_, static_cast<uint16_t>(sum & 0xFF));
    set_arithmetic(state_, flags);
}

} // namespace vmm
