// What instructions do to registers.
#include "vmm/verifier/checker.h"

namespace vmm {

namespace {

constexpr unsigned kAnyBytes = 16; // an operand's most: XMM

// 4-7 are AH..BH, parts of the first four, in an instruction without REX.
unsigned byte_register(const HostInstruction& i, unsigned reg) {
    return i.high_bytes() && reg < 8 ? reg & 3 : reg;
}

} // namespace

void Verifier::Impl::read(unsigned reg, unsigned bytes) {
    if (bytes == 1)
        reg = byte_register(i, reg);
    if (is_guest(reg))
        return;
    if (reg == registers.stack ? bytes == 1 : !is_scratch(reg) || !is_data(state.of[reg]))
        fail(refusal::kHostValue);
}

// `bytes` are 8 where a whole register becomes `value`, which only scratch registers do.
void Verifier::Impl::write(unsigned reg, unsigned bytes, Value value, bool keeps) {
    if (bytes == 1)
        reg = byte_register(i, reg);
    Value& now = state.of[reg];
    if (is_guest(reg)) {
        if (bytes == 8)
            fail(refusal::kWide);
        else if (bytes == 4)
            now = keeps && !is_data(now) ? Value::Unknown : Value::Narrow;
        else if (now != Value::Narrow)
            now = Value::Stepped;
    } else if (is_scratch(reg)) {
        if (bytes == 8 || (bytes == 4 && !keeps))
            now = value;
        else
            now = is_data(now) ? Value::Narrow : Value::Unknown;
    } else if (reg == registers.stack) {
        if (bytes == 4)
            now = keeps ? Value::Unknown : Value::Narrow;
        else if (bytes != 2) // its low half moves it no farther than one step
            fail(refusal::kEspFar);
    } else {
        fail(reg == kHostRsp ? refusal::kStackWritten : refusal::kFixedWritten);
    }
}

void Verifier::Impl::follow() {
    esp_accessed = false;
    if (code.kind == HostCode::Kind::Stub && follow_in_stub())
        return;
    switch (i.row->effect) {
    case Effect::None:
        if (i.memory)
            operand(kAnyBytes);
        break;
    case Effect::Plain:
        plain();
        break;
    case Effect::Store:
        store();
        break;
    case Effect::Load:
        load();
        break;
    case Effect::StoreImmediate:
        store_immediate();
        break;
    case Effect::Extend:
        extend();
        break;
    case Effect::Lea:
        lea();
        break;
    case Effect::MoveImmediate:
        if (i.has(row::kByte) || i.word) {
            write(i.rm, operand_bytes());
        } else {
            write(i.rm, 4, in_hole ? Value::Narrow : Value::Constant);
            if (is_scratch(i.rm))
                state.constants[i.rm] = i.immediate;
        }
        break;
    case Effect::Reverse:
        if (!i.wide()) {
            read(i.rm, 4);
            write(i.rm, operand_bytes());
        } else if (state.of[i.rm] == Value::Difference) {
            write(i.rm, 8, Value::Reversed);
        } else {
            write(i.rm, 8, Value::Unknown);
        }
        break;
    case Effect::Group3:
        group3();
        break;
    case Effect::Group5:
        group5();
        break;
    case Effect::String:
        string();
        break;
    case Effect::MaskedMove: // gs:[edi]
        if (!i.window)
            fail(refusal::kStringUnbiased);
        else
            (void)in_window();
        break;
    case Effect::Rotate:
        if (i.reg != registers.target || i.rm != registers.eip) {
            fail(refusal::kNotAllowed);
            break;
        }
        read(i.rm, 4);
        write(i.reg, 4);
        break;
    case Effect::Nop:
        break;
    case Effect::Mxcsr: {
        constexpr unsigned kLoad = 2;
        if (i.memory && i.extension == kLoad)
            fail(refusal::kNotAllowed);
        else if (i.memory)
            operand(4);
        break;
    }
    case Effect::Jump:
    case Effect::JumpIf:
    case Effect::JumpIfZero: {
        const bool near = i.has(row::kImmediate);
        const int64_t distance =
            near ? int64_t{static_cast<int32_t>(i.immediate)} : int64_t{static_cast<int8_t>(i.immediate)};
        const uint64_t target = code.address + next + static_cast<uint64_t>(distance);
        jump_to(target, i.row->effect != Effect::Jump);
        break;
    }
    case Effect::Call:
        call_to(code.address + next + static_cast<uint64_t>(int64_t{static_cast<int32_t>(i.immediate)}));
        break;
    case Effect::Return:
        return_back();
        break;
    default:
        fail(refusal::kNotAllowed);
        break;
    }
    if (esp_accessed && state.of[registers.stack] == Value::Stack)
        state.steps = 0;
}

void Verifier::Impl::plain() {
    const unsigned bytes = operand_bytes();
    if (i.wide()) {
        fail(refusal::kPrefix);
        return;
    }
    const bool scalar = i.repeat != 0;
    const bool reg_general = i.has(row::kReg), converts = i.has(row::kWritesRegIfScalar) && scalar;
    const bool rm_general = i.has(row::kRm) || (i.has(row::kReadsRmIfScalar) && scalar);
    const bool movd = i.has(row::kWritesRmUnlessF3) && !scalar;
    const bool reads_only =
        (i.has(row::kLastReads) && i.extension == 7) || (i.has(row::kFourthReads) && i.extension == 4);
    if (reg_general && !(i.has(row::kVector) && i.has(row::kWritesReg)))
        read(i.reg, bytes);
    if (i.memory)
        operand(reg_general || rm_general ? (i.has(row::kVector) ? kAnyBytes : bytes) : kAnyBytes);
    else if (rm_general)
        read(i.rm, bytes);
    if (i.has(row::kWritesReg) || converts)
        write(i.reg, bytes, Value::Narrow, i.has(row::kKeeps));
    if (!i.memory && ((i.has(row::kWritesRm) && !reads_only) || movd))
        write(i.rm, bytes, Value::Narrow, i.has(row::kKeeps));
}

void Verifier::Impl::move(unsigned to, unsigned from) {
    if (i.wide()) {
        move64(to, from);
        return;
    }
    const unsigned bytes = operand_bytes();
    if (bytes == 4 && to == from && is_scratch(to) && state.of[to] == Value::Reversed) {
        write(to, 8, Value::LimitIndex);
        return;
    }
    read(from, bytes);
    const Value value = is_scratch(from) ? state.of[from] : Value::Narrow;
    write(to, bytes, value);
    if (bytes == 4 && is_scratch(to) && is_scratch(from))
        state.constants[to] = state.constants[from];
}

void Verifier::Impl::move64(unsigned to, unsigned from) {
    const bool known = is_guest(from) || is_scratch(from);
    if (!known) {
        fail(refusal::kHostValue);
    } else if (is_data(state.of[from])) {
        write(to, 4, state.of[from]);
        if (is_scratch(to) && is_scratch(from))
            state.constants[to] = state.constants[from];
    } else {
        write(to, 8, Value::Unknown);
    }
}

void Verifier::Impl::store() {
    if (!i.memory) {
        move(i.rm, i.reg);
        return;
    }
    if (i.wide()) {
        fail(refusal::kPrefix);
        return;
    }
    read(i.reg, operand_bytes());
    if (i.base == registers.runtime && !i.window)
        store_runtime(operand_bytes());
    else
        operand(operand_bytes());
}

void Verifier::Impl::store_immediate() {
    if (!i.memory) // MOV r/m, imm32
        write(i.rm, operand_bytes());
    else if (i.base == registers.runtime && !i.window)
        store_runtime(operand_bytes());
    else
        operand(operand_bytes());
}

void Verifier::Impl::load() {
    if (!i.memory) {
        move(i.reg, i.rm);
        return;
    }
    const unsigned bytes = i.wide() ? 8 : operand_bytes();
    switch (place(bytes)) {
    case Place::Nowhere:
        return;
    case Place::Window:
    case Place::Slot:
        if (i.wide())
            fail(refusal::kPrefix);
        else
            write(i.reg, bytes);
        return;
    case Place::Runtime:
        if (bytes == 2)
            fail(refusal::kRuntimeField);
        else
            load_runtime(i.reg, bytes);
        return;
    case Place::Table: {
        const bool direct = i.index == kNoHostRegister && i.displacement >= 0 && i.displacement % 4 == 0 &&
                            static_cast<uint32_t>(i.displacement) + 4 <= rules.table_bytes;
        const bool indexed = is_scratch(i.index) && i.scale == 4 && i.displacement == 0 &&
                             (state.of[i.index] == Value::Word || state.of[i.index] == Value::Byte);
        if (bytes != 4 || !is_scratch(i.reg) || !(direct || indexed))
            fail(refusal::kTable);
        else
            write(i.reg, 8, Value::TableEntry);
        return;
    }
    case Place::Pointer:
        if (bytes != 4 || !is_scratch(i.reg))
            fail(refusal::kOutside);
        else
            write(i.reg, 4);
        return;
    case Place::Segments:
        fail(refusal::kOutside);
        return;
    }
}

void Verifier::Impl::extend() {
    const bool byte = (i.opcode & 1) == 0, zero = i.opcode < 0xB8;
    const unsigned from = byte ? 1 : 2;
    const Value value = !zero ? Value::Narrow : byte ? Value::Byte : Value::Word;
    if (!i.memory) {
        read(i.rm, from);
        write(i.reg, operand_bytes(), value);
    } else if (i.base == registers.runtime && !i.window && zero && !i.word) {
        load_runtime(i.reg, from);
    } else {
        operand(from);
        write(i.reg, operand_bytes(), value);
    }
}

void Verifier::Impl::lea() {
    if (i.window) {
        fail(refusal::kPrefix);
    } else if (i.wide()) {
        lea64();
    } else if (!addressable(i.base) || !addressable(i.index)) {
        fail(refusal::kHostValue);
    } else {
        constexpr uint32_t kLowHalf = 0xFFFF;
        const auto added = static_cast<uint32_t>(i.displacement);
        const Value base = i.base == kNoHostRegister ? Value::Unknown : state.of[i.base];
        const bool tags = i.index == kNoHostRegister && (base == Value::Word || base == Value::Byte) &&
                          (added & kLowHalf) == 0;
        write(i.reg, 4, tags ? Value::Tagged : Value::Narrow);
        if (tags && is_scratch(i.reg))
            state.constants[i.reg] = added;
    }
}

void Verifier::Impl::lea64() {
    if (i.reg == registers.stack) {
        move_stack();
        return;
    }
    if (!is_guest(i.reg) && !is_scratch(i.reg)) {
        write(i.reg, 8, Value::Unknown); // says which
        return;
    }
    if (adds_window()) {
        state.of[i.reg] = Value::InWindow;
        return;
    }
    // Of a limit check: limit - offset and a little, from -2^33 to below 2^32.
    const bool difference = is_scratch(i.reg) && is_scratch(i.base) && state.of[i.base] == Value::Inverted &&
                            is_scratch(i.index) && is_data(state.of[i.index]) && i.scale == 1 &&
                            i.displacement <= 1;
    write(i.reg, 8, difference ? Value::Difference : Value::Unknown);
}

void Verifier::Impl::group3() {
    constexpr unsigned kNot = 2, kNeg = 3;
    const unsigned bytes = operand_bytes();
    if (i.wide()) {
        if (i.memory || i.extension != kNot)
            fail(refusal::kPrefix);
        else
            write(i.rm, 8, is_scratch(i.rm) && is_data(state.of[i.rm]) ? Value::Inverted : Value::Unknown);
        return;
    }
    if (i.memory) {
        operand(bytes);
        return;
    }
    read(i.rm, bytes);
    if (i.extension == kNot || i.extension == kNeg)
        write(i.rm, bytes);
}

void Verifier::Impl::group5() {
    constexpr unsigned kCall = 2, kJump = 4;
    if (i.extension == kCall || i.extension == kJump) {
        if (i.memory || i.word || i.lock)
            fail(refusal::kIndirect);
        else
            jump_indirect(i.extension == kCall);
        return;
    }
    if (i.extension > 1) {
        fail(refusal::kNotAllowed);
        return;
    }
    if (i.memory) {
        operand(operand_bytes());
        return;
    }
    read(i.rm, operand_bytes());
    write(i.rm, operand_bytes());
}

} // namespace vmm
