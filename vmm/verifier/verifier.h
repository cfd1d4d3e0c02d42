// The containment verifier: a function over bytes. It takes host code apart by its own table of encodings,
// follows what each register holds along the code's ways, and says that the code
//  - consists of instructions from the table, each entered at its start;
//  - accesses memory only in the window and what its guards cover, in Runtime's fields that are meant for it,
//    the slot, the jump table and what polls and checks read;
//  - goes nowhere but to its own instructions, to stubs with what they take, to other blocks by the links it
//    is told of, and where the jump table or the shadow stack lead;
//  - leaves the guest's registers 32 bits wide and hands no host value to the guest
// or names the rule that is broken and where. "Translated code" in
// vmm/README.md says what follows from that, and what it rests on.
//
// It shares nothing with the emitter but the numbers in VerifierRules.
#pragma once
#include "vmm/verifier/rules.h"

#include <cstdint>
#include <memory>
#include <optional>

namespace vmm {

struct Refusal {
    const char* reason = nullptr; // from reasons.h
    uint32_t at = 0;              // host address of the instruction
};

class Verifier {
  public:
    explicit Verifier(VerifierRules rules);
    ~Verifier();

    // Nothing: it keeps to the rules. One thread at a time.
    [[nodiscard]] std::optional<Refusal> check(const HostCode& code);
    // The same for a copy of code that was checked, and has its links and holes at the same offsets.
    [[nodiscard]] std::optional<Refusal> check_copy(const HostCode& original, const HostCode& copy);
    // A patch that makes one branch, at a place that was checked as a link or an arrival, lead to `target`,
    // which is where its link may lead or a stub that takes an EIP.
    [[nodiscard]] static std::optional<Refusal> check_branch(const uint8_t* bytes, uint32_t address,
                                                             uint32_t size, uint32_t target);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace vmm
