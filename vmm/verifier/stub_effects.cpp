// What only stubs do: change between translated code's stack and the host's, hand the guest's registers to
// C++ and take them back, and look segment registers up. Everything else they do as blocks do.
#include "vmm/verifier/checker.h"

namespace vmm {

namespace {

constexpr int32_t kPushed = 8;

} // namespace

// The field that the operand is all of, or an element of.
const Field* Verifier::Impl::whole_field(unsigned bytes) const {
    if (!i.memory || i.window || i.base != registers.runtime || i.index != kNoHostRegister ||
        state.of[registers.runtime] != Value::Fixed)
        return nullptr;
    const Field* field = field_here();
    const uint32_t at = runtime_offset();
    return field != nullptr && at + bytes <= field->offset + field->bytes && (at - field->offset) % bytes == 0
               ? field
               : nullptr;
}

bool Verifier::Impl::follow_in_stub() {
    switch (i.row->effect) {
    case Effect::Push:
        stub_push(false);
        return true;
    case Effect::Pop:
        stub_push(true);
        if (i.rm == kHostRsp)
            fail(refusal::kStackWritten);
        else // below where the stack began lies what was pushed here
            state.of[i.rm] = is_scratch(i.rm) && state.depth <= 0 ? Value::Flags : Value::Unknown;
        return true;
    case Effect::PushFlags:
        stub_push(false);
        return true;
    case Effect::PopFlags:
        stub_push(true);
        return true;
    case Effect::PopMemory:
        stub_push(true);
        if (const Field* field = whole_field(8); field == nullptr || field->holds != Field::Holds::Flags)
            fail(refusal::kRuntimeField);
        return true;
    case Effect::Group5:
        if (!i.memory)
            return false;
        if (i.extension == 2) {
            call_host();
            return true;
        }
        if (i.extension == 6) {
            stub_push(false);
            if (const Field* field = whole_field(8); field == nullptr || field->holds != Field::Holds::Flags)
                fail(refusal::kRuntimeField);
            return true;
        }
        return false;
    case Effect::Mxcsr:
        if (i.memory && whole_field(4) == nullptr)
            fail(refusal::kRuntimeField);
        return true;
    case Effect::Extend:
        if (i.memory || i.opcode != 0xB7 || i.rm >= 16 || state.of[i.rm] != Value::Flags)
            return false;
        write(i.reg, 4, Value::Word);
        return true;
    case Effect::Lea:
        return stub_lea();
    case Effect::Store:
    case Effect::Load:
        return i.memory ? stub_memory() : stub_move();
    case Effect::StoreImmediate:
        if (i.memory && whole_field(4) == nullptr)
            fail(refusal::kRuntimeField);
        return true;
    case Effect::Plain:
        if (!i.memory)
            return false;
        if (!i.has(row::kReg | row::kRm)) { // XMM registers
            if (const Field* field = whole_field(16);
                field == nullptr || field->holds != Field::Holds::Vector)
                fail(refusal::kRuntimeField);
            return true;
        }
        if (const Field* field = whole_field(i.wide() ? 8 : 4);
            field == nullptr || i.word || i.has(row::kByte) || i.has(row::kWritesRm) || !is_scratch(i.reg))
            fail(refusal::kRuntimeField);
        else if (i.has(row::kWritesReg))
            write(i.reg, i.wide() ? 8 : 4, i.wide() ? Value::Unknown : Value::Narrow);
        return true;
    default:
        return false;
    }
}

// On the stack of C++ alone: translated code's has no room to spare.
void Verifier::Impl::stub_push(bool pops) {
    if (state.stack == State::Stack::Shadow || state.depth == State::kUnknownDepth) {
        fail(refusal::kHostReturn);
        return;
    }
    state.depth += pops ? kPushed : -kPushed;
    const auto most = static_cast<int32_t>(rules.host_frame);
    if (state.depth < -most || state.depth > (state.stack == State::Stack::Caller ? 0 : most))
        fail(refusal::kHostReturn);
}

// call [Runtime::callouts + number * 8]
void Verifier::Impl::call_host() {
    const Field* field = field_here();
    if (i.window || i.word || i.base != registers.runtime || i.index != registers.number || i.scale != 8 ||
        field == nullptr || field->holds != Field::Holds::Callouts || runtime_offset() != field->offset ||
        state.of[registers.number] != Value::CalloutIndex || state.of[kHostRdi] != Value::RuntimeAddress) {
        fail(refusal::kRuntimeIndex);
        return;
    }
    if (state.stack != State::Stack::Host || state.depth != 0) {
        fail(refusal::kHostReturn);
        return;
    }
    for (const unsigned reg : {0u, 1u, 2u, 6u, 7u, 8u, 9u, 10u, 11u}) // the ABI's caller-saved
        state.of[reg] = Value::Unknown;
}

bool Verifier::Impl::stub_move() {
    if (!i.wide())
        return false;
    const unsigned to = i.row->effect == Effect::Store ? i.rm : i.reg,
                   from = i.row->effect == Effect::Store ? i.reg : i.rm;
    if (from == kHostRsp && is_scratch(to) && state.stack == State::Stack::Shadow && state.depth == 0) {
        state.of[to] = Value::ShadowStack;
        return true;
    }
    if (to == kHostRsp && is_scratch(from) && state.of[from] == Value::ShadowStack && state.depth == 0) {
        state.stack = State::Stack::Shadow;
        return true;
    }
    if (is_scratch(to) && from == kHostRsi && state.of[from] == Value::TableEntry) {
        state.of[to] = Value::TableEntry;
        return true;
    }
    return false;
}

bool Verifier::Impl::stub_lea() {
    if (!i.wide() || i.window) {
        const bool times8 = i.base == kNoHostRegister && i.index < 16 && state.of[i.index] == Value::Byte &&
                            i.scale == 8 && i.displacement == 0 && is_scratch(i.reg);
        if (times8 && !i.window)
            state.of[i.reg] = Value::ByteTimes8;
        return times8 && !i.window;
    }
    const bool plain = i.index == kNoHostRegister && i.base != kNoHostRegister;
    const Value base = i.base == kNoHostRegister ? Value::Unknown : state.of[i.base];
    if (i.reg == kHostRsp) {
        if (!plain || i.base != kHostRsp || (i.displacement != kPushed && i.displacement != -kPushed))
            fail(refusal::kStackWritten);
        else
            stub_push(i.displacement > 0);
        return true;
    }
    if (i.reg == registers.runtime && plain && base == Value::RuntimeAddress &&
        i.displacement == -rules.runtime) {
        state.of[registers.runtime] = Value::Fixed;
        return true;
    }
    if (i.reg == kHostRdi && plain && i.base == registers.runtime && base == Value::Fixed &&
        i.displacement == rules.runtime) {
        state.of[kHostRdi] = Value::RuntimeAddress;
        return true;
    }
    if (is_scratch(i.reg) && plain && base == Value::ShadowStack && i.displacement == kPushed) {
        state.of[i.reg] = Value::ShadowStack; // without its top
        return true;
    }
    if (is_scratch(i.reg) && base == Value::SegmentTable && i.index < 16 && i.scale == 8 &&
        i.displacement == 0 && state.of[i.index] == Value::ByteTimes8) {
        state.of[i.reg] = Value::SegmentEntry;
        return true;
    }
    if (i.reg == kHostRcx) { // a sum to compare with zero
        state.of[kHostRcx] = Value::Unknown;
        return true;
    }
    return false;
}

bool Verifier::Impl::stub_memory() {
    const bool loads = i.row->effect == Effect::Load;
    if (i.word) {
        fail(refusal::kForm);
        return true;
    }
    const unsigned bytes = i.wide() ? 8 : 4;
    if (i.window) {
        if (!i.wide() || !loads || !is_scratch(i.reg))
            return false;
        (void)place(bytes); // a descriptor, to compare
        state.of[i.reg] = Value::Unknown;
        return true;
    }
    const Value base = i.base == kNoHostRegister ? Value::Unknown : state.of[i.base];
    if (base == Value::SegmentEntry) {
        if (!loads || place(bytes) != Place::Segments || (!is_scratch(i.reg) && i.reg != kHostRcx))
            fail(refusal::kOutside);
        else if (const auto at = static_cast<uint32_t>(i.displacement) - rules.segment_base_pointers;
                 i.wide() && (at == 0 || at == 8))
            state.of[i.reg] = Value::BasePointer;
        else
            state.of[i.reg] = i.wide() ? Value::Unknown : Value::Narrow;
        return true;
    }
    if (i.base != registers.runtime)
        return false;
    const Field* field = whole_field(bytes);
    if (field == nullptr || bytes > field->element) {
        fail(refusal::kRuntimeField);
        return true;
    }
    using Holds = Field::Holds;
    if (i.reg == kHostRsp) {
        if (loads && state.depth != 0 && state.stack != State::Stack::Shadow)
            fail(refusal::kHostReturn);
        else if (loads && field->holds == Holds::HostStack && state.stack == State::Stack::Shadow)
            state.stack = State::Stack::Host;
        else if (loads && field->holds == Holds::ShadowStack && state.stack != State::Stack::Caller)
            state.stack = State::Stack::Shadow;
        else if (!loads && field->holds == Holds::ShadowStack && state.stack == State::Stack::Shadow &&
                 state.depth == 0)
            return true;
        else if (!loads && field->holds == Holds::HostStack && state.stack == State::Stack::Caller &&
                 state.depth == -static_cast<int32_t>(rules.host_frame))
            state.stack = State::Stack::Host;
        else
            fail(refusal::kStackWritten);
        state.depth = 0;
        return true;
    }
    if (loads) {
        if (i.reg == registers.jump_table || i.reg == registers.window) {
            if (field->holds != (i.reg == registers.jump_table ? Holds::JumpTable : Holds::WindowBase) ||
                !i.wide())
                fail(refusal::kFixedWritten);
            else
                state.of[i.reg] = Value::Fixed;
        } else if (field->holds == Holds::Data && !i.wide()) {
            write(i.reg, 4);
        } else if (field->holds == Holds::ShadowStack && i.wide() && is_scratch(i.reg)) {
            state.of[i.reg] = Value::ShadowStack;
        } else {
            fail(refusal::kRuntimeField);
        }
        return true;
    }
    const Value value = state.of[i.reg];
    bool fits = false;
    switch (field->holds) {
    case Holds::Data: // halves of a segment register, or 32 bits of the guest's
        fits = i.wide() ? is_scratch(i.reg) : is_guest(i.reg) || i.reg == registers.stack || is_data(value);
        break;
    case Holds::Flags:
        fits = i.wide() && is_scratch(i.reg);
        break;
    case Holds::BasePointer:
        fits = i.wide() && value == Value::BasePointer;
        break;
    case Holds::ShadowStack:
        fits = i.wide() && value == Value::ShadowStack;
        break;
    default:
        break;
    }
    if (!fits)
        fail(refusal::kRuntimeField);
    return true;
}

} // namespace vmm
