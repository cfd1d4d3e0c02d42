#include "vmm/decoder/form_cache.h"

#include <algorithm>
#include <cstring>

namespace vmm {

namespace {

// Bytes that must be readable: values are loaded four bytes at a time.
constexpr unsigned kReadable = 20;

// SDM Vol. 2A 2.1.1.
constexpr std::array<bool, 256> kPrefix = [] {
    std::array<bool, 256> table{};
    for (const unsigned prefix : {0xF0, 0xF2, 0xF3, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65, 0x66, 0x67})
        table[prefix] = true;
    return table;
}();
constexpr uint8_t kAddressSize = 0x67, kEscape = 0x0F, kEscape38 = 0x38, kEscape3A = 0x3A;

uint64_t key_of(const uint8_t* at, unsigned count, bool code32) {
    uint64_t bytes = 0;
    std::memcpy(&bytes, at, sizeof bytes);
    const uint64_t kept = bytes & ((uint64_t{1} << (8 * count)) - 1);
    return kept | uint64_t{count} << 56 | uint64_t{code32} << 63;
}

unsigned set_of(uint64_t key, unsigned sets) {
    constexpr uint64_t kMix = 0x9E3779B97F4A7C15;
    return static_cast<unsigned>(((key ^ key >> 32) * kMix) >> 32) & (sets - 1);
}

// `length` bytes of 16, zeros after them.
void copy_bytes(const uint8_t* from, unsigned length, uint8_t* to) {
    std::array<uint64_t, 2> halves;
    std::memcpy(halves.data(), from, sizeof halves);
    if (length < 8)
        halves = {halves[0] & ((uint64_t{1} << (8 * length)) - 1), 0};
    else
        halves[1] &= (uint64_t{1} << (8 * (length - 8))) - 1;
    std::memcpy(to, halves.data(), sizeof halves);
}

} // namespace

FormCache::FormCache() : sets_(kSets), forms_(size_t{kSets} * kWays) {
    for (auto& maps : modrm_)
        for (auto& opcodes : maps)
            opcodes.fill(kUnknown);
}

FormCache::Value FormCache::Value::of(const EncodedValue& value) {
    return {value.at, static_cast<uint8_t>(56 - 8 * value.bytes)};
}

// In two steps, so that no bytes, too, are a shift by less than 64.
int64_t FormCache::Value::extended(const uint8_t* bytes) const {
    uint32_t raw = 0;
    std::memcpy(&raw, bytes + at, sizeof raw);
    const uint64_t high = uint64_t{raw} << 8 << unused_bits;
    return static_cast<int64_t>(high) >> 8 >> unused_bits;
}

FormCache::Form::Form(const GuestInstruction& from, const Encoding& encoding)
    : instruction(from), displacement(Value::of(encoding.displacement)),
      immediate(Value::of(encoding.immediate)), immediate2(Value::of(encoding.immediate2)),
      counted(encoding.counted), flags_when_counted(encoding.flags_when_counted) {
    const auto mask = [](const EncodedValue& value) {
        return value.is_signed ? ~0u : static_cast<uint32_t>((uint64_t{1} << (8 * value.bytes)) - 1);
    };
    immediate_mask = mask(encoding.immediate);
    immediate2_mask = mask(encoding.immediate2);
    if (encoding.relative)
        target_mask = from.operand_bytes == 2 ? 0xFFFF : ~0u;
}

void FormCache::Form::decode(const uint8_t* at, uint32_t eip, GuestInstruction& out) const {
    out = instruction;
    out.eip = eip;
    copy_bytes(at, instruction.length, out.bytes);
    out.memory.displacement = static_cast<int32_t>(displacement.extended(at));
    out.immediate = static_cast<uint32_t>(immediate.extended(at)) & immediate_mask;
    out.immediate2 = static_cast<uint32_t>(immediate2.extended(at)) & immediate2_mask;
    out.target = (eip + instruction.length + out.immediate) & target_mask;
    if (counted)
        out.flags_written = (out.immediate & 31) == 0 ? 0 : flags_when_counted;
}

FormCache::Opcode FormCache::find_opcode(const uint8_t* at, bool code32) {
    Opcode found{.opcode = *at, .address32 = code32};
    while (kPrefix[found.opcode] && found.at < kMostBytes) {
        if (found.opcode == kAddressSize)
            found.address32 = !code32;
        found.opcode = at[++found.at];
    }
    if (found.opcode != kEscape)
        return found;
    found.map = 1;
    found.opcode = at[++found.at];
    if (found.opcode == kEscape38 || found.opcode == kEscape3A) {
        found.map = found.opcode == kEscape38 ? 2 : 3;
        found.opcode = at[++found.at];
    }
    return found;
}

unsigned FormCache::form_bytes(const uint8_t* at, const Opcode& opcode, bool code32) {
    const Modrm modrm = modrm_after(opcode, code32);
    if (modrm > kWith)
        return kMostBytes + 1;
    const uint8_t value = at[opcode.at + 1];
    const unsigned sib =
        unsigned{modrm} & unsigned{opcode.address32} & unsigned{value < 0xC0} & unsigned{(value & 7) == 4};
    return opcode.at + 1 + modrm + sib;
}

const FormCache::Form* FormCache::find(uint64_t key) const {
    const unsigned set = set_of(key, kSets);
    for (unsigned way = 0; way < kWays; ++way)
        if (sets_[set].keys[way] == key)
            return &forms_[set * kWays + way];
    return nullptr;
}

bool FormCache::decode(std::span<const uint8_t> bytes, uint32_t eip, bool code32, GuestInstruction& out) {
    // Near a page's end zeros stand for what cannot be fetched. A form that seems to reach into them is
    // longer than what there is, as the instruction is.
    std::array<uint8_t, kReadable> padded;
    const uint8_t* at = bytes.data();
    if (bytes.size() < kReadable) {
        padded.fill(0);
        std::memcpy(padded.data(), bytes.data(), bytes.size());
        at = padded.data();
    }
    const Opcode opcode = find_opcode(at, code32);
    if (const unsigned count = form_bytes(at, opcode, code32); count <= kMostBytes)
        if (const Form* form = find(key_of(at, count, code32))) {
            ++statistics_.hits;
            if (form->instruction.length > bytes.size())
                return false;
            form->decode(at, eip, out);
            return true;
        }
    ++statistics_.misses;
    Encoding encoding;
    if (!vmm::decode(bytes, eip, code32, out, &encoding))
        return false;
    if (encoding.form_bytes != 0)
        learn(at, opcode, code32, out, encoding);
    return true;
}

// Kept only if this reads the form as Zydis does, and gives again what it is learned from.
void FormCache::learn(const uint8_t* at, const Opcode& opcode, bool code32,
                      const GuestInstruction& instruction, const Encoding& encoding) {
    if (opcode.map != instruction.map || opcode.opcode != instruction.opcode)
        return;
    Modrm& known = modrm_after(opcode, code32);
    const Modrm now = instruction.has_modrm ? kWith : kWithout;
    known = known == kUnknown || known == now ? now : kDepends;
    const unsigned count = form_bytes(at, opcode, code32);
    if (count != encoding.form_bytes || count > kMostBytes)
        return;
    const Form form(instruction, encoding);
    GuestInstruction again;
    form.decode(at, instruction.eip, again);
    if (!(again == instruction))
        return;
    const uint64_t key = key_of(at, count, code32);
    Set& set = sets_[set_of(key, kSets)];
    Form* ways = &forms_[size_t{set_of(key, kSets)} * kWays];
    for (unsigned way = kWays - 1; way > 0; --way) {
        set.keys[way] = set.keys[way - 1];
        ways[way] = ways[way - 1];
    }
    set.keys[0] = key;
    ways[0] = form;
}

} // namespace vmm
