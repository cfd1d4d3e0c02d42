// What a 32-bit guest in a window may do with addresses. The window's base is 0 in its low half, and guards
// on both sides are wide enough for the sums that are let pass here (see WindowSpace). Translated code has
// these forms from translator/window32.cpp, with which this shares nothing.
#include "vmm/verifier/checker.h"

namespace vmm {

// As part of an address that has 32 bits: whatever it is, only its low half counts, but host values shall not
// be looked at by the guest's faults.
bool Verifier::Impl::addressable(unsigned reg) const {
    // The window's base is 0 in its low half.
    return reg == kNoHostRegister || is_guest(reg) || reg == registers.stack ||
           (is_scratch(reg) && (is_data(state.of[reg]) || state.of[reg] == Value::InWindow));
}

// Added to the window's base in 64 bits.
bool Verifier::Impl::indexable(unsigned reg) const {
    return reg == kNoHostRegister || ((is_guest(reg) || is_scratch(reg)) && is_data(state.of[reg]));
}

Verifier::Impl::Place Verifier::Impl::in_window() {
    if (!code.window) {
        fail(refusal::kWatched);
        return Place::Nowhere;
    }
    return Place::Window;
}

// gs: and 67h, which wrap.
Verifier::Impl::Place Verifier::Impl::prefixed() {
    if (addressable(i.base) && addressable(i.index))
        return in_window();
    fail(refusal::kHostValue);
    return Place::Nowhere;
}

bool Verifier::Impl::based_on_window(Value base) const {
    return (base == Value::Fixed && i.base == registers.window) || base == Value::InWindow ||
           base == Value::Stack;
}

Verifier::Impl::Place Verifier::Impl::windowed() {
    if (!indexable(i.index)) {
        fail(refusal::kIndexUnknown);
        return Place::Nowhere;
    }
    const bool near = i.displacement >= -rules.stack_step && i.displacement <= rules.stack_step;
    esp_accessed =
        state.of[i.base] == Value::Stack && i.index == kNoHostRegister && near && !i.has(row::kBitString);
    return in_window();
}

// The window's base plus 32 bits, in either order?
bool Verifier::Impl::adds_window() const {
    if (i.displacement != 0 || i.scale != 1 || i.base == kNoHostRegister || i.index == kNoHostRegister)
        return false;
    const auto narrow = [&](unsigned reg) {
        return (is_guest(reg) || is_scratch(reg) || reg == registers.stack) && is_data(state.of[reg]);
    };
    return (i.base == registers.window && narrow(i.index)) || (i.index == registers.window && narrow(i.base));
}

// LEA of the biased ESP.
void Verifier::Impl::move_stack() {
    if (adds_window()) {
        state.of[registers.stack] = Value::Stack;
        state.steps = 0;
    } else if (i.base == registers.stack && i.index == kNoHostRegister &&
               state.of[registers.stack] == Value::Stack && i.displacement >= -rules.stack_step &&
               i.displacement <= rules.stack_step && state.steps < kMostSteps) {
        ++state.steps;
    } else {
        fail(refusal::kEspFar);
    }
}

// Element by element, each of at most four bytes: none can be out of the window without meeting a guard
// first, however many there are.
void Verifier::Impl::string() {
    const uint8_t kind = i.opcode & 0xFE;
    const bool source = kind == 0xA4 || kind == 0xA6 || kind == 0xAC;
    const bool destination = kind != 0xAC;
    if (!code.window) {
        fail(refusal::kWatched);
        return;
    }
    if ((source && state.of[kHostRsi] != Value::InWindow) ||
        (destination && state.of[kHostRdi] != Value::InWindow)) {
        fail(refusal::kStringUnbiased);
        return;
    }
    if (source)
        state.of[kHostRsi] = Value::Stepped;
    if (destination)
        state.of[kHostRdi] = Value::Stepped;
}

} // namespace vmm
