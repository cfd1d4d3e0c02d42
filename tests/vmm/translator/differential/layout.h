// What both sides of the differential test agree on: where code, data and stack lie, which segments exist,
// what a case is and what a run of it leaves behind. The linear addresses are real host addresses on the
// native side and page-table entries on the engine's.
#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace differential {

inline constexpr uint32_t kPage = 4096;

// Code: readable and executable. Each case owns a slot, filled with the sentinel (HLT: #GP(0) at CPL 3).
inline constexpr uint32_t kCodeBase = 0x20000000, kCodePages = 16;
inline constexpr uint32_t kSlotBytes = 512, kSlots = kCodePages * kPage / kSlotBytes;
inline constexpr uint8_t kSentinel = 0xF4;

// Data: two pages read/write, one unmapped, one read-only. Stack: two pages with unmapped neighbours. Neither
// is executable.
inline constexpr uint32_t kDataBase = 0x20100000, kDataBytes = 2 * kPage;
inline constexpr uint32_t kHoleBase = kDataBase + 2 * kPage;
inline constexpr uint32_t kReadOnlyBase = kDataBase + 3 * kPage;
inline constexpr uint32_t kStackBase = 0x20200000, kStackBytes = 2 * kPage;

// Selectors: those of Linux's GDT for user code, and ours in the LDT.
inline constexpr uint16_t kCode32 = 0x23, kFlatData = 0x2B;
enum LdtIndex : uint16_t { kLdtCode16, kLdtData16, kLdtStack16, kLdtFs, kLdtGs, kLdtExpandDown, kLdtCount };
constexpr uint16_t ldt_selector(LdtIndex index) { return static_cast<uint16_t>(index << 3 | 7); }

struct Descriptor {
    uint32_t base = 0;
    uint32_t limit = 0xFFFFF; // as stored: 20 bits
    bool code = false, expand_down = false, big = true, pages = true;
};
inline constexpr std::array<Descriptor, kLdtCount> kLdt{{
    {kCodeBase, 0xFFFF, true, false, false, false},
    {kDataBase, 0xFFFF, false, false, false, false},
    {kStackBase, 0x1FFF, false, false, false, false},
    {kDataBase + 0x123, 0x0FFF, false, false, true, false},
    {kDataBase + 0x800, 0x1, false, false, true, true},
    {kDataBase - 0x1000, 0x0FFF, false, true, true, false},
}};
// The descriptor behind a selector that cases use.
const Descriptor& descriptor(uint16_t selector);

// Order of vmm::SegReg: ES CS SS DS FS GS.
enum Seg : uint8_t { kEs, kCs, kSs, kDs, kFs, kGs };

struct Registers {
    std::array<uint32_t, 8> gpr{};
    uint32_t eip = 0, eflags = 0x202;
    std::array<uint16_t, 6> selectors{};
    alignas(64) std::array<uint8_t, 512> fx{}; // FXSAVE format
};

struct Memory {
    std::array<uint8_t, kDataBytes> data{};
    std::array<uint8_t, kStackBytes> stack{};
};

// A removable piece of a case: one instruction with the moves that prepare its operands.
struct Atom {
    std::vector<uint8_t> bytes;
    enum class Fixup : uint8_t { None, Rel8, Rel16, Rel32, Abs32 } fixup = Fixup::None;
    uint32_t fixup_at = 0;   // offset of the field in bytes
    uint32_t fixup_from = 0; // offset in bytes that a relative field counts from
    uint32_t target = 0;     // atom index; == atom count: the sentinel
};

struct Case {
    uint64_t index = 0;
    Registers initial;
    std::vector<Atom> atoms;
    uint32_t code_address = 0; // linear
    uint64_t memory_seed = 0;
    [[nodiscard]] bool code16() const { return initial.selectors[kCs] != kCode32; }
    [[nodiscard]] std::vector<uint8_t> assemble() const;
};

// Processor time after which a run is taken for endless. Seconds, because an access that is locked and
// crosses a cache line traps into the host's kernel, which may take three to log it.
inline constexpr std::chrono::seconds kMostCaseTime{10};

// What a run left behind. `vector` 0xFF: it never ended and was abandoned.
inline constexpr uint8_t kTimedOut = 0xFF;
struct Outcome {
    Registers registers;
    Memory memory;
    uint8_t vector = kTimedOut;
    uint32_t error_code = 0, fault_address = 0;
};

// Fills data, stack and the read-only page as the case wants them before the run.
void fill_memory(uint64_t seed, Memory& memory);
const std::array<uint8_t, kPage>& read_only_page();
// The bytes of a case's slot and its linear address.
struct Slot {
    uint32_t address = 0;
    std::array<uint8_t, kSlotBytes> bytes{};
};
Slot code_slot(const Case& test);

// xoshiro-like small generator (splitmix64): seeds reproduce everywhere.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed) {}
    uint64_t next() {
        uint64_t z = state_ += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
    uint32_t below(uint32_t bound) { return static_cast<uint32_t>((next() >> 32) * bound >> 32); }
    bool chance(unsigned percent) { return below(100) < percent; }

  private:
    uint64_t state_;
};

} // namespace differential
