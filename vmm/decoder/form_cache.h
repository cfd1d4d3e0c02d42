// The decoder's answers, kept by form. All that Zydis says of an instruction follows from the code size and
// from its prefixes, opcode, ModRM and SIB; displacement and immediates come last and are values, nothing
// else depends on them. So an instruction whose leading bytes were met before is a copy with its own values
// put in, in a fifth of the time. What is no such encoding (VEX, 3DNow!), does not decode or has many
// prefixes goes to Zydis every time.
#pragma once
#include "vmm/decoder/decoder.h"

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace vmm {

class FormCache {
  public:
    FormCache();

    // As the free function: same answers, field by field.
    bool decode(std::span<const uint8_t> bytes, uint32_t eip, bool code32, GuestInstruction& out);

    struct Statistics {
        uint64_t hits = 0, misses = 0;
    };
    [[nodiscard]] const Statistics& statistics() const { return statistics_; }

  private:
    static constexpr unsigned kSets = 4096, kWays = 2; // 0.9 MiB; the whole C library has 7,000 forms
    static constexpr unsigned kMostBytes = 7;          // of a form; they and their number are one 64-bit key

    // Bytes of ModRM after an opcode, as Zydis has shown so far.
    enum Modrm : uint8_t { kWithout = 0, kWith = 1, kUnknown = 2, kDepends = 3 };
    struct Opcode {
        uint8_t map = 0, opcode = 0;
        bool address32 = false;
        unsigned at = 0; // of the byte `opcode`
    };
    // What to do with a value's bytes, without asking whether there are any.
    struct Value {
        uint8_t at = 0, unused_bits = 56; // of 56
        static Value of(const EncodedValue& value);
        [[nodiscard]] int64_t extended(const uint8_t* bytes) const;
    };
    struct Form {
        GuestInstruction instruction;
        Value displacement, immediate, immediate2;
        bool counted = false;
        uint16_t flags_when_counted = 0;
        uint32_t immediate_mask = 0, immediate2_mask = 0, target_mask = 0;

        Form() = default;
        Form(const GuestInstruction& instruction, const Encoding& encoding);
        void decode(const uint8_t* at, uint32_t eip, GuestInstruction& out) const;
    };
    struct Set {
        std::array<uint64_t, kWays> keys{}; // 0: none
    };

    [[nodiscard]] static Opcode find_opcode(const uint8_t* at, bool code32);
    [[nodiscard]] Modrm& modrm_after(const Opcode& opcode, bool code32) {
        return modrm_[code32 ? 1 : 0][opcode.map][opcode.opcode];
    }
    // Prefixes to SIB; more than kMostBytes when that is not known.
    [[nodiscard]] unsigned form_bytes(const uint8_t* at, const Opcode& opcode, bool code32);
    [[nodiscard]] const Form* find(uint64_t key) const;
    void learn(const uint8_t* at, const Opcode& opcode, bool code32, const GuestInstruction& instruction,
               const Encoding& encoding);

    std::vector<Set> sets_;
    std::vector<Form> forms_;                                    // kWays for each set
    std::array<std::array<std::array<Modrm, 256>, 4>, 2> modrm_; // by code size, map, opcode
    Statistics statistics_;
};

} // namespace vmm
