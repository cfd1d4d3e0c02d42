// Where memory operands lie.
#include "vmm/verifier/checker.h"

namespace vmm {

const Field* Verifier::Impl::field_here() const {
    const uint32_t at = runtime_offset();
    if (at >= rules.runtime_bytes || field_of[at / 2] == 0)
        return nullptr;
    return &rules.fields[field_of[at / 2] - 1u];
}

Verifier::Impl::Place Verifier::Impl::place(unsigned bytes) {
    if (i.window)
        return prefixed();
    if (i.base == kNoHostRegister) {
        const int64_t last = rules.slot + rules.slot_bytes;
        if (i.index == kNoHostRegister && i.displacement >= rules.slot &&
            i.displacement + int64_t{bytes} <= last)
            return Place::Slot;
        fail(refusal::kOutside);
        return Place::Nowhere;
    }
    const Value base = state.of[i.base];
    if (base == Value::Fixed && i.base == registers.runtime)
        return Place::Runtime;
    if (base == Value::Fixed && i.base == registers.jump_table)
        return Place::Table;
    if (based_on_window(base))
        return windowed();
    const bool plain = i.index == kNoHostRegister;
    if (base == Value::BasePointer && plain && i.displacement == 0)
        return Place::Pointer;
    if (base == Value::SegmentEntry && plain && i.displacement >= 0 &&
        static_cast<uint32_t>(i.displacement) + bytes <= rules.segment_entry_bytes)
        return Place::Segments;
    fail(i.base == registers.stack ? refusal::kEspUnbiased : refusal::kOutside);
    return Place::Nowhere;
}

void Verifier::Impl::operand(unsigned bytes) {
    switch (place(bytes)) {
    case Place::Nowhere:
    case Place::Window:
        return;
    case Place::Slot:
        // The bit's number moves the operand, by at most 32 bytes where it is one byte.
        if (i.has(row::kBitString) && (state.of[i.reg] != Value::Byte ||
                                       i.displacement + int64_t{32 + 4} > rules.slot + rules.slot_bytes))
            fail(refusal::kBitString);
        return;
    case Place::Runtime:
        fail(i.index == kNoHostRegister ? refusal::kRuntimeField : refusal::kRuntimeIndex);
        return;
    case Place::Table:
        fail(refusal::kTable);
        return;
    case Place::Pointer:
    case Place::Segments:
        fail(refusal::kOutside);
        return;
    }
}

// MOV and MOVZX from Runtime and what lies around it.
void Verifier::Impl::load_runtime(unsigned to, unsigned bytes) {
    const bool scratch = is_scratch(to);
    if (i.index != kNoHostRegister) {
        const Value index = i.index < 16 ? state.of[i.index] : Value::Unknown;
        const bool arrives = rules.arrival_guard && is_scratch(i.index) && is_data(index) && i.scale == 1 &&
                             i.displacement == rules.arrival && bytes == 4;
        const auto segment = static_cast<int32_t>(runtime_offset());
        const bool checks_limit = index == Value::LimitIndex && i.scale == 8 && bytes == 4 && segment >= 0 &&
                                  segment % rules.limit_stride == 0 &&
                                  segment / rules.limit_stride < static_cast<int32_t>(rules.limit_count);
        const bool checks_split = rules.arrival_guard && index == Value::Byte && i.scale == 8 && bytes == 1 &&
                                  i.displacement >= rules.split_first && i.displacement <= rules.split_last;
        if (!scratch || !(arrives || checks_limit || checks_split)) {
            fail(refusal::kRuntimeIndex);
            return;
        }
        write(to, 8, Value::Unknown);
        return;
    }
    if (i.displacement == rules.poll && bytes == 4 && scratch) {
        write(to, 8, Value::Unknown);
        return;
    }
    const Field* field = field_here();
    const uint32_t at = runtime_offset();
    if (field == nullptr || !field->read || bytes > field->element ||
        at + bytes > field->offset + field->bytes) {
        fail(refusal::kRuntimeField);
        return;
    }
    switch (field->holds) {
    case Field::Holds::Data:
        if (bytes == 8)
            break;
        write(to, 4, bytes == 4 ? Value::Narrow : bytes == 2 ? Value::Word : Value::Byte);
        return;
    case Field::Holds::BitIndex:
        if (bytes != 4)
            break;
        write(to, 4, Value::Byte);
        return;
    case Field::Holds::BasePointer:
        if (bytes != 8 || !scratch)
            break;
        write(to, 8, Value::BasePointer);
        return;
    default:
        break;
    }
    fail(refusal::kRuntimeField);
}

void Verifier::Impl::store_runtime(unsigned bytes) {
    const Field* field = i.index == kNoHostRegister ? field_here() : nullptr;
    if (i.index != kNoHostRegister)
        fail(refusal::kRuntimeIndex);
    else if (field == nullptr || !field->written || bytes != field->bytes ||
             runtime_offset() != field->offset)
        fail(refusal::kRuntimeField);
}

} // namespace vmm
