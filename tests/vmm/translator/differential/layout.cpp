#include "tests/vmm/translator/differential/layout.h"

#include "vmm/base/verify.h"

#include <cstring>

namespace differential {

namespace {

constexpr Descriptor kFlat{0, 0xFFFFF, false, false, true, true};
constexpr Descriptor kFlatCode{0, 0xFFFFF, true, false, true, true};

// Numbers at which arithmetic turns: integer edges, and floating-point patterns by their halves.
constexpr uint32_t kInteresting[] = {0,          1,          2,          0x7F,       0x80,       0xFF,
                                     0x7FFF,     0x8000,     0xFFFF,     0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
                                     0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001,
                                     0x00000001, 0x00800000, 0x007FFFFF, 0x4B000000, 0x4F000000, 0x3FF00000,
                                     0xBFF00000, 0x7FF00000, 0x7FF80000, 0x7FF40000, 0x00100000, 0x000FFFFF,
                                     0x41DFFFFF, 0x40490FDB, 0x43E00000, 0x3FFF8000, 0x12345678, 0x99999999};

constexpr size_t kPoolBytes = 256 * 1024;

struct Pool {
    std::array<uint8_t, kPoolBytes> bytes{};
    Pool() {
        Random random(0x5EED);
        for (size_t at = 0; at < kPoolBytes; at += 4) {
            uint32_t value = static_cast<uint32_t>(random.next());
            switch (random.below(4)) {
            case 0:
                value = kInteresting[random.below(std::size(kInteresting))];
                break;
            case 1: // a float or the top of a double of moderate size
                value = (value & 0x807FFFFF) | (0x3F000000 + (random.below(64) << 20));
                break;
            default:
                break;
            }
            std::memcpy(&bytes[at], &value, 4);
        }
        for (size_t at = 0; at + 16 <= kPoolBytes; at += 16 * (1 + random.below(12))) {
            const uint16_t exponent =
                static_cast<uint16_t>(0x3FE0 + random.below(64) + (random.below(2) << 15));
            bytes[at + 7] |= 0x80; // a normal extended-precision number
            std::memcpy(&bytes[at + 8], &exponent, 2);
        }
    }
};

const Pool& pool() {
    static const Pool instance;
    return instance;
}

} // namespace

const Descriptor& descriptor(uint16_t selector) {
    if ((selector & ~3) == (kFlatData & ~3))
        return kFlat;
    if ((selector & ~3) == (kCode32 & ~3))
        return kFlatCode;
    VERIFY((selector & 4) != 0 && selector >> 3 < kLdtCount);
    return kLdt[selector >> 3];
}

void fill_memory(uint64_t seed, Memory& memory) {
    Random random(seed);
    const auto slice = [&](uint32_t length) {
        return pool().bytes.data() + (random.below(kPoolBytes - length) & ~3u);
    };
    std::memcpy(memory.data.data(), slice(kDataBytes), kDataBytes);
    std::memcpy(memory.stack.data(), slice(kStackBytes), kStackBytes);
}

const std::array<uint8_t, kPage>& read_only_page() {
    static const auto page = [] {
        std::array<uint8_t, kPage> bytes{};
        std::memcpy(bytes.data(), pool().bytes.data(), kPage);
        return bytes;
    }();
    return page;
}

std::vector<uint8_t> Case::assemble() const {
    std::vector<uint32_t> starts;
    uint32_t at = 0;
    for (const Atom& atom : atoms) {
        starts.push_back(at);
        at += static_cast<uint32_t>(atom.bytes.size());
    }
    starts.push_back(at);
    const uint32_t segment_base = code16() ? kCodeBase : 0;
    std::vector<uint8_t> code;
    for (size_t i = 0; i < atoms.size(); ++i) {
        const Atom& atom = atoms[i];
        std::vector<uint8_t> bytes = atom.bytes;
        const uint32_t target = starts[std::min<size_t>(atom.target, atoms.size())];
        const uint32_t relative = target - starts[i] - atom.fixup_from;
        const uint32_t absolute = code_address - segment_base + target;
        switch (atom.fixup) {
        case Atom::Fixup::None:
            break;
        case Atom::Fixup::Rel8:
            bytes[atom.fixup_at] = static_cast<uint8_t>(relative);
            break;
        case Atom::Fixup::Rel16:
            std::memcpy(&bytes[atom.fixup_at], &relative, 2);
            break;
        case Atom::Fixup::Rel32:
            std::memcpy(&bytes[atom.fixup_at], &relative, 4);
            break;
        case Atom::Fixup::Abs32:
            std::memcpy(&bytes[atom.fixup_at], &absolute, 4);
            break;
        }
        code.insert(code.end(), bytes.begin(), bytes.end());
    }
    return code;
}

Slot code_slot(const Case& test) {
    Slot slot;
    slot.address = test.code_address & ~(kSlotBytes - 1);
    slot.bytes.fill(kSentinel);
    const std::vector<uint8_t> code = test.assemble();
    const uint32_t offset = test.code_address - slot.address;
    VERIFY(offset + code.size() < kSlotBytes);
    std::memcpy(&slot.bytes[offset], code.data(), code.size());
    return slot;
}

} // namespace differential
