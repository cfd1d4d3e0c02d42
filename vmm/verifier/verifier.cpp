// The walk over the code: in order of address, with what is known joined where forward branches lead. A
// branch back leads to a place where nothing may be known but what holds at every block's start; where the
// first walk has found one, a second one takes care of it.
#include "vmm/verifier/verifier.h"

#include "vmm/base/verify.h"
#include "vmm/verifier/checker.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace vmm {

namespace {

constexpr uint32_t kLinkStubBytes = 17;

} // namespace

Verifier::Verifier(VerifierRules rules) : impl_(std::make_unique<Impl>(std::move(rules))) {}
Verifier::~Verifier() = default;
std::optional<Refusal> Verifier::check(const HostCode& code) { return impl_->check(code); }
std::optional<Refusal> Verifier::check_copy(const HostCode& original, const HostCode& copy) {
    return impl_->check_copy(original, copy);
}

Verifier::Impl::Impl(VerifierRules told) : rules(std::move(told)), registers(rules.registers) {
    at_start.of.fill(Value::Narrow);
    for (const unsigned reg :
         {kHostRsp, unsigned{registers.jump_table}, unsigned{registers.window}, unsigned{registers.runtime}})
        at_start.of[reg] = Value::Fixed;
    at_start.of[registers.stack] = Value::Stack;
    std::array<uint8_t, 16> compared_bytes{};
    for (unsigned reg = 0; reg < compared_bytes.size(); ++reg) {
        if (is_scratch(reg))
            at_start.of[reg] = Value::Unknown;
        if (is_guest(reg) || reg == kHostRsp)
            compared_bytes[reg] = 0xFF;
    }
    std::memcpy(guest_bytes.data(), compared_bytes.data(), sizeof guest_bytes);
    name_forms();
    gate_of.resize(rules.stub_bytes);
    for (size_t n = 0; n < rules.gates.size(); ++n)
        gate_of[rules.gates[n].address - rules.code] = static_cast<uint8_t>(n + 1);
    field_of.resize(rules.runtime_bytes / 2);
    for (size_t n = 0; n < rules.fields.size(); ++n)
        for (uint32_t at = 0; at < rules.fields[n].bytes; at += 2)
            field_of[(rules.fields[n].offset + at) / 2] = static_cast<uint8_t>(n + 1);
}

// Of registers from r8 on, so the REX bits are known.
void Verifier::Impl::name_forms() {
    for (const unsigned reg : {registers.eip, registers.target, registers.jump_table, registers.runtime})
        VERIFY(reg >= 8);
    const auto low = [](unsigned reg, unsigned shift = 0) {
        return static_cast<uint8_t>((reg & 7) << shift);
    };
    const uint8_t eip = low(registers.eip), target = low(registers.target);
    forms.move_eip = {0x41, static_cast<uint8_t>(0xB8 | eip)};
    forms.move_target = {0x41, static_cast<uint8_t>(0xB8 | target)};
    forms.load_target = {0x45, 0x8B, static_cast<uint8_t>(0x80 | low(target, 3) | low(registers.jump_table))};
    forms.jump_target = {0x41, 0xFF, static_cast<uint8_t>(0xE0 | target), 0x90};
    forms.load_arrival = {0x47, 0x8B, static_cast<uint8_t>(0x44 | low(eip, 3)),
                          static_cast<uint8_t>(low(target, 3) | low(registers.runtime)),
                          static_cast<uint8_t>(rules.arrival)};
    forms.keep_rcx = {0x41, 0x89, static_cast<uint8_t>(0xC8 | target)};
    forms.take_rcx = {0x44, 0x89, static_cast<uint8_t>(0xC1 | low(target, 3))};
}

bool Verifier::Impl::guest_is_narrow() const {
    std::array<uint64_t, 2> now{}, whole{};
    static_assert(sizeof now == sizeof state.of);
    std::memcpy(now.data(), state.of.data(), sizeof now);
    std::memcpy(whole.data(), at_start.of.data(), sizeof whole);
    return (((now[0] ^ whole[0]) & guest_bytes[0]) | ((now[1] ^ whole[1]) & guest_bytes[1])) == 0;
}

void Verifier::Impl::forget_scratch() {
    for (unsigned reg = 0; reg < state.of.size(); ++reg)
        if (is_scratch(reg))
            state.of[reg] = Value::Unknown;
}

std::optional<Refusal> Verifier::Impl::check(const HostCode& which) {
    code = which;
    gate = nullptr;
    constexpr size_t kLookedAt = 16; // from any offset on
    marks.assign(code.size + kLookedAt, 0);
    for (const uint32_t head : code.heads)
        if (head < code.size)
            marks[head] |= kHead;
    reason = nullptr;
    do {
        again = false;
        begin();
        if (reason == nullptr) {
            offset = next;
            walk();
        }
    } while (again && reason == nullptr);
    if (reason == nullptr)
        return std::nullopt;
    return Refusal{reason, code.address + offset};
}

void Verifier::Impl::begin() {
    pending.clear();
    for (uint8_t& mark : marks)
        mark &= kHead;
    offset = next = 0;
    landing = way = hole = 0;
    live = true;
    state = at_start;
    switch (code.kind) {
    case HostCode::Kind::Block:
        arrive(&code.eip, rules.indirect_miss);
        break;
    case HostCode::Kind::Fragment:
        break;
    case HostCode::Kind::Stub:
        enter_stub();
        break;
    }
}

void Verifier::Impl::enter_stub() {
    gate = gate_at(code.address);
    if (gate == nullptr) {
        fail(refusal::kBranchOut);
        return;
    }
    if (gate->from_host) {
        state.of.fill(Value::Unknown);
        state.of[kHostRsp] = Value::Fixed;
        state.of[kHostRdi] = Value::RuntimeAddress;
        state.of[kHostRsi] = Value::TableEntry;
        state.stack = State::Stack::Caller;
        return;
    }
    const auto given = [&](unsigned reg, Need need) {
        constexpr Value kValues[] = {Value::Unknown, Value::Narrow, Value::Word, Value::CalloutIndex,
                                     Value::SegmentTable};
        state.of[reg] = kValues[static_cast<unsigned>(need)];
    };
    given(registers.eip, gate->eip);
    given(registers.target, gate->target);
    given(registers.number, gate->number);
    if (gate->number == Need::Callout)
        state.of[registers.eip] = state.of[registers.target] = Value::Narrow;
    state.steps = gate->saves_esp ? kMostSteps : gate->moves_esp ? 0 : 1;
}

void Verifier::Impl::walk() {
    const uint8_t* const end = code.bytes + code.size;
    const bool stub = code.kind == HostCode::Kind::Stub;
    const uint32_t body = code.kind == HostCode::Kind::Block ? code.body - code.address : ~0u;
    while (offset < code.size && reason == nullptr) {
        if ((marks[offset] & (kLabel | kHead)) != 0 || offset == body) {
            pass_labels(offset == body);
            if (reason != nullptr)
                return;
        }
        if ((marks[offset] & kLabel) != 0 && code.size - offset >= kLinkStubBytes &&
            is_stub(code.bytes + offset, code.address + offset, false)) {
            pass_stub();
            continue;
        }
        if (!live) {
            constexpr uint8_t kNop = 0x90;
            if (code.bytes[offset] != kNop) {
                fail(refusal::kUnreached);
                return;
            }
            ++offset;
            continue;
        }
        if (const char* why = take_apart(code.bytes + offset, end, stub, i); why != nullptr) {
            fail(why);
            return;
        }
        next = offset + i.length;
        marks[offset] |= kStart;
        if (led_into(i.length)) {
            fail(refusal::kMiddle);
            return;
        }
        in_hole = false;
        if (hole < code.holes.size())
            check_hole();
        follow();
        if (reason != nullptr)
            return;
        offset = next;
    }
    if (live)
        fail(refusal::kRunsOut);
    else if (landing != code.landings.size())
        fail(refusal::kLanding);
    else if (way != code.ways_out.size())
        fail(refusal::kLink);
    else if (hole != code.holes.size())
        fail(refusal::kHole);
}

// The stub of a link, as a whole: it leaves.
void Verifier::Impl::pass_stub() {
    constexpr uint32_t kEip = 2, kJump = 13; // its numbers
    next = offset + kLinkStubBytes;
    if (live && !settled())
        return;
    if (led_into(kLinkStubBytes)) {
        fail(refusal::kMiddle);
        return;
    }
    take_hole(offset + kEip, Hole::Kind::Data, true);
    take_hole(offset + kJump, Hole::Kind::Branch, true);
    live = false;
    offset = next;
}

// Does a branch before that many bytes, from `offset` on, lead into their middle?
bool Verifier::Impl::led_into(unsigned length) const {
    constexpr uint64_t kLabels = 0x0101010101010101 * kLabel;
    const uint8_t* const second_byte = marks.data() + offset + 1;
    const unsigned rest = length - 1u; // up to 16
    uint64_t first = 0, last = 0;
    std::memcpy(&first, second_byte, sizeof first);
    if (rest <= sizeof first)
        return rest != 0 && (first & kLabels & ~uint64_t{0} >> 8 * (sizeof first - rest)) != 0;
    std::memcpy(&last, second_byte + rest - sizeof last, sizeof last);
    return ((first | last) & kLabels) != 0;
}

// Is this instruction's number one that copies have another of? Then it is not known.
void Verifier::Impl::check_hole() {
    const Hole& at = code.holes[hole];
    in_hole = at.at < next;
    if (!in_hole)
        return;
    ++hole;
    const Effect effect = i.row->effect;
    bool fits = at.at + 4u == next && !i.word;
    switch (at.kind) {
    case Hole::Kind::Data:
        fits = fits && ((effect == Effect::MoveImmediate && i.rm == registers.eip && !i.has(row::kByte)) ||
                        (effect == Effect::StoreImmediate && i.memory));
        break;
    case Hole::Kind::MinusEip: {
        constexpr uint8_t kDisplacement32 = 2;
        fits = fits && effect == Effect::Lea && i.base == registers.eip && i.index == kNoHostRegister &&
               !i.wide() && code.bytes[next - 5] >> 6 == kDisplacement32;
        break;
    }
    case Hole::Kind::Branch:
        fits = fits && i.has(row::kImmediate) &&
               (effect == Effect::Jump || effect == Effect::JumpIf || effect == Effect::Call) &&
               gate_at(code.address + next +
                       static_cast<uint64_t>(int64_t{static_cast<int32_t>(i.immediate)})) != nullptr;
        break;
    case Hole::Kind::TableEntry: // after the move of the EIP
        fits = fits && effect == Effect::Load && i.base == registers.jump_table &&
               i.index == kNoHostRegister && hole >= 2 && code.holes[hole - 2].kind == Hole::Kind::Data &&
               code.holes[hole - 2].at + 4u == offset;
        break;
    }
    if (!fits)
        fail(refusal::kHole);
}

void Verifier::Impl::pass_labels(bool body) {
    if ((marks[offset] & kLabel) != 0) {
        for (const Pending& from : pending) {
            if (from.offset != offset)
                continue;
            if (live)
                state.join(from.state);
            else
                state = from.state;
            live = true;
        }
    }
    if ((marks[offset] & kHead) != 0 || body) {
        // ESP may be on its way: whoever jumps here has it at home.
        const uint16_t steps = live && state.steps > 1 ? state.steps : 1;
        state.steps = 1;
        if (live && !settled())
            return;
        state = at_start;
        state.steps = steps;
        live = true;
    }
}

// lea reg, [eip register - eip], whatever the EIP where that is null; how long it is, 0 for anything else.
size_t Verifier::Impl::eip_difference(uint32_t at, uint8_t reg, const uint32_t* eip) const {
    const uint8_t* const p = code.bytes + at;
    const uint8_t rex = reg >= 8 ? 0x45 : 0x41,
                  low = static_cast<uint8_t>((reg & 7) << 3 | (registers.eip & 7));
    constexpr uint32_t kLongest = 7;
    if (at > code.size || code.size - at < kLongest || p[0] != rex || p[1] != 0x8D)
        return 0;
    uint32_t minus = 0;
    size_t length = 3;
    if (p[2] == (0x80 | low)) {
        minus = read32(p + 3);
        length = kLongest;
    } else if (p[2] == (0x40 | low)) {
        minus = static_cast<uint32_t>(static_cast<int8_t>(p[3]));
        length = 4;
    } else if (p[2] != low) {
        return 0;
    }
    return eip == nullptr || minus == 0u - *eip ? length : 0;
}

// The arrival of an indirect transfer at `next`, which compares the EIP it is given in one of two ways: by a
// load whose index is the difference, or by JRCXZ over a jump to `miss`. The first is the usual one, and is
// passed with that; the other is followed.
void Verifier::Impl::arrive(const uint32_t* eip, uint32_t miss) {
    const uint32_t at = next;
    const uint8_t* const p = code.bytes + at;
    const size_t room = code.size - at;
    const auto next_is = [&](size_t from, const auto& bytes) {
        return room >= from + bytes.size() && std::equal(bytes.begin(), bytes.end(), p + from);
    };
    state.of[registers.eip] = Value::Narrow;
    if (const size_t length = eip_difference(at, registers.target, eip);
        length != 0 && next_is(length, forms.load_arrival)) {
        constexpr uint32_t kLoad = 5, kDisplacement = 3;
        if (!rules.arrival_guard) {
            offset = at;
            fail(refusal::kRuntimeIndex);
            return;
        }
        next = at + static_cast<uint32_t>(length) + kLoad;
        for (uint32_t n = at; n < next; ++n) // whoever jumps here has no EIP
            if ((marks[n] & (kLabel | kHead)) != 0) {
                fail(refusal::kMiddle);
                return;
            }
        take_hole(at + kDisplacement, Hole::Kind::MinusEip, length == 7);
        forget_scratch();
        return;
    }
    if (next_is(0, forms.keep_rcx))
        if (const size_t length = eip_difference(at + 3, kHostRcx, eip); length != 0) {
            const size_t after = 3 + length, jump = after + 5; // jrcxz +8; mov ecx, target; jmp miss
            constexpr std::array<uint8_t, 2> kSkip{0xE3, 8};
            if (next_is(after, kSkip) && next_is(after + 2, forms.take_rcx) && room >= jump + 5 &&
                p[jump] == 0xE9 &&
                static_cast<uint32_t>(code.address + at + jump + 5 + read32(p + jump + 1)) == miss)
                return;
        }
    offset = at;
    fail(refusal::kArrival);
}

// Of code that is passed as a whole: the next hole, if it lies before `next`, must be that one.
void Verifier::Impl::take_hole(uint32_t at, Hole::Kind kind, bool fits) {
    if (hole == code.holes.size() || code.holes[hole].at >= next)
        return;
    const Hole& there = code.holes[hole++];
    if (!fits || there.at != at || there.kind != kind)
        fail(refusal::kHole);
}

bool Verifier::Impl::settled() {
    if (!guest_is_narrow())
        fail(refusal::kBoundary);
    else if (state.of[registers.stack] != Value::Stack)
        fail(refusal::kEspUnbiased);
    else if (state.steps > 1)
        fail(refusal::kEspUnused);
    else if (code.kind == HostCode::Kind::Stub &&
             (state.stack != State::Stack::Shadow || state.depth != 0 ||
              state.of[registers.jump_table] != Value::Fixed || state.of[registers.window] != Value::Fixed ||
              state.of[registers.runtime] != Value::Fixed))
        fail(refusal::kHostReturn);
    return reason == nullptr;
}

const Gate* Verifier::Impl::gate_at(uint64_t target) const {
    const uint64_t at = target - rules.code;
    if (at >= gate_of.size() || gate_of[at] == 0)
        return nullptr;
    return &rules.gates[gate_of[at] - 1u];
}

// mov eip; then mov target, number; jmp leave_link or, when it is `linked`, perhaps mov target, [jump_table +
// entry]; jmp target; nop.
bool Verifier::Impl::is_stub(const uint8_t* at, uint32_t address, bool linked) const {
    const auto has = [&](size_t from, const auto& bytes) {
        return std::equal(bytes.begin(), bytes.end(), at + from);
    };
    if (!has(0, forms.move_eip))
        return false;
    if (has(6, forms.move_target) && at[12] == 0xE9)
        return address + kLinkStubBytes + read32(at + 13) == rules.leave_link;
    return linked && has(6, forms.load_target) && has(13, forms.jump_target);
}

// The branch may be the next link; then its stub is a place where it may lead, whether it does now or not.
void Verifier::Impl::check_way_out(uint64_t target) {
    leads_out = false;
    if (way == code.ways_out.size() || code.ways_out[way].site != code.address + next - 4)
        return;
    const WayOut& out = code.ways_out[way++];
    const uint32_t stub = out.stub - code.address;
    if (!i.has(row::kImmediate) || out.target != target || stub < next || stub > code.size ||
        code.size - stub < kLinkStubBytes || !is_stub(code.bytes + stub, out.stub, true)) {
        fail(refusal::kLink);
        return;
    }
    leads_out = true;
    if (!settled())
        return;
    // All that such a stub asks is that the guest's registers are at home.
    if (is_stub(code.bytes + stub, out.stub, false))
        marks[stub] |= kLabel;
    else
        jump_inside(stub);
}

void Verifier::Impl::jump_inside(uint32_t to) {
    if (to <= offset) {
        // Never to the arrival, which expects an EIP, and stubs do not loop.
        if (code.kind != HostCode::Kind::Block || to < code.body - code.address) {
            fail(refusal::kBranchOut);
        } else if ((marks[to] & kStart) == 0) {
            fail(refusal::kMiddle);
        } else if (settled() && (marks[to] & kHead) == 0 && to != code.body - code.address) {
            marks[to] |= kHead;
            again = true;
        }
        return;
    }
    if (to < next) {
        fail(refusal::kMiddle);
        return;
    }
    marks[to] |= kLabel;
    for (Pending& other : pending)
        if (other.offset == to) {
            other.state.join(state);
            return;
        }
    pending.push_back({to, state});
}

void Verifier::Impl::jump_to(uint64_t target, bool conditional) {
    check_way_out(target);
    live = conditional;
    if (leads_out)
        return;
    if (target - code.address < code.size)
        jump_inside(static_cast<uint32_t>(target - code.address));
    else if (const Gate* to = gate_at(target); to != nullptr)
        go_through(*to, false);
    else
        fail(refusal::kBranchOut);
}

// To a gate; or the guest's CALL, by a link or by an exit of this block.
void Verifier::Impl::call_to(uint64_t target) {
    check_way_out(target);
    const bool inside = target - code.address < code.size;
    if (inside && target - code.address < next) {
        fail(refusal::kBranchOut);
    } else if (inside || leads_out) {
        if (!leads_out)
            jump_inside(static_cast<uint32_t>(target - code.address));
        after_call();
    } else if (const Gate* to = gate_at(target); to != nullptr) {
        go_through(*to, true);
    } else {
        fail(refusal::kBranchOut);
    }
}

// The guest's CALL has come back, to its landing.
void Verifier::Impl::after_call() {
    if (reason != nullptr)
        return;
    if (landing == code.landings.size() || code.landings[landing] != code.address + next) {
        fail(refusal::kLanding);
        return;
    }
    ++landing;
    state = at_start;
    arrive(nullptr, rules.return_miss);
}

bool Verifier::Impl::argument(unsigned reg, Argument kind) const {
    const Value value = state.of[reg];
    switch (kind) {
    case Argument::Nothing:
        return true;
    case Argument::Data:
        return is_data(value);
    case Argument::Constant:
        return value == Value::Constant;
    case Argument::Tagged:
        return value == Value::Constant || value == Value::Tagged;
    }
    return false;
}

bool Verifier::Impl::takes(const CalloutRule& rule) const {
    if (!argument(registers.eip, rule.a) || !argument(registers.target, rule.b))
        return false;
    constexpr uint32_t kBytesMask = 0x3FF;
    return !rule.b_has_slot_bytes ||
           (state.constants[registers.target] >> 8 & kBytesMask) <= rules.slot_bytes;
}

bool Verifier::Impl::holds(unsigned reg, Need need) const {
    const Value value = state.of[reg];
    const uint32_t constant = state.constants[reg];
    switch (need) {
    case Need::Nothing:
        return true;
    case Need::Data:
        return is_data(value);
    case Need::Word:
        return value == Value::Word || value == Value::Byte;
    case Need::Callout:
        return value == Value::Constant && constant < rules.callouts.size() &&
               takes(rules.callouts[constant]);
    case Need::SegmentTable: {
        const uint32_t from = constant - rules.segment_tables;
        return value == Value::Constant && from % rules.segment_table_bytes == 0 &&
               from / rules.segment_table_bytes < rules.segment_table_count;
    }
    }
    return false;
}

void Verifier::Impl::go_through(const Gate& to, bool call) {
    // A stub that was called may pass its caller on.
    const bool passed_on = gate != nullptr && gate->called && !call && to.called;
    if (to.from_host || (to.called != call && !passed_on)) {
        fail(refusal::kBranchOut);
        return;
    }
    if (!holds(registers.number, to.number)) {
        fail(refusal::kCallout);
        return;
    }
    if (!holds(registers.eip, to.eip) || !holds(registers.target, to.target)) {
        fail(to.called ? refusal::kCallout : refusal::kExitEip);
        return;
    }
    const uint16_t steps = state.steps;
    if (to.saves_esp)
        state.steps = 0; // wherever it is
    if (!settled())
        return;
    if (to.moves_esp && steps != 0) {
        fail(refusal::kEspUnused);
        return;
    }
    if (!call)
        return;
    state = at_start;
    if (to.answers_number)
        state.of[registers.number] = Value::Narrow;
}

void Verifier::Impl::jump_indirect(bool call) {
    if (i.rm != registers.target || state.of[registers.target] != Value::TableEntry) {
        fail(refusal::kIndirect);
        return;
    }
    if (!is_data(state.of[registers.eip])) {
        fail(refusal::kExitEip);
        return;
    }
    if (!settled())
        return;
    if (call && code.kind == HostCode::Kind::Stub)
        fail(refusal::kBranchOut);
    else if (call)
        after_call();
    else
        live = false;
}

void Verifier::Impl::return_back() {
    live = false;
    if (code.kind != HostCode::Kind::Stub) {
        if (!is_data(state.of[registers.eip]))
            fail(refusal::kExitEip);
        (void)settled();
        return;
    }
    if (state.stack == State::Stack::Host) {
        if (state.depth != static_cast<int32_t>(rules.host_frame))
            fail(refusal::kHostReturn);
        return;
    }
    if (!gate->called || (gate->answers_number && !is_data(state.of[registers.number]))) {
        fail(refusal::kHostReturn);
        return;
    }
    (void)settled();
}

std::optional<Refusal> Verifier::check_branch(const uint8_t* bytes, uint32_t address, uint32_t size,
                                              uint32_t target) {
    const bool jump = size == 5 && (bytes[0] == 0xE9 || bytes[0] == 0xE8);
    const bool conditional = size == 6 && bytes[0] == 0x0F && (bytes[1] & 0xF0) == 0x80;
    if ((jump || conditional) && address + size + read32(bytes + size - 4) == target)
        return std::nullopt;
    return Refusal{refusal::kBranchOut, address};
}

// Byte for byte like its original, but for the holes, which have what they must, and the links, which lead to
// their stubs.
std::optional<Refusal> Verifier::Impl::check_copy(const HostCode& original, const HostCode& copy) {
    const Refusal refusal{refusal::kCopy, copy.address};
    const uint32_t moved = copy.address - original.address, eip_moved = copy.eip - original.eip;
    if (copy.size != original.size || copy.body - original.body != moved || copy.window != original.window ||
        copy.landings.size() != original.landings.size())
        return refusal;
    for (size_t n = 0; n < copy.landings.size(); ++n)
        if (copy.landings[n] - original.landings[n] != moved)
            return refusal;
    // The original with what may differ taken from the copy.
    compared.assign(original.bytes, original.bytes + original.size);
    uint8_t* const expected = compared.data();
    for (const WayOut& to : copy.ways_out) {
        const uint32_t site = to.site - copy.address, stub = to.stub - copy.address;
        if (site > copy.size - 4 || stub > copy.size - kLinkStubBytes || to.target != to.stub ||
            to.site + 4 + read32(copy.bytes + site) != to.stub || !is_stub(copy.bytes + stub, to.stub, false))
            return refusal;
        constexpr uint32_t kMoveEip = 6, kJump = 13;
        std::memcpy(expected + site, copy.bytes + site, 4);
        std::memcpy(expected + stub + kMoveEip, copy.bytes + stub + kMoveEip, kLinkStubBytes - kMoveEip);
        // Whatever the original's stub does by now: its jump is a hole, and seen to as one.
        const uint32_t unmoved = read32(expected + stub + kJump) + moved;
        std::memcpy(expected + stub + kJump, &unmoved, sizeof unmoved);
    }
    for (const Hole& at : copy.holes) {
        const uint32_t before = read32(expected + at.at), now = read32(copy.bytes + at.at);
        bool fits = false;
        switch (at.kind) {
        case Hole::Kind::Data:
            fits = now - before == eip_moved;
            break;
        case Hole::Kind::MinusEip:
            fits = before - now == eip_moved;
            break;
        case Hole::Kind::Branch:
            fits = before - now == moved;
            break;
        case Hole::Kind::TableEntry:
            fits = now % 4 == 0 && now <= rules.table_bytes - 4;
            break;
        }
        if (!fits)
            return refusal;
        std::memcpy(expected + at.at, copy.bytes + at.at, 4);
    }
    if (std::memcmp(expected, copy.bytes, copy.size) != 0)
        return refusal;
    return std::nullopt;
}

} // namespace vmm
