// Blocks with one rule broken: made by Zydis' view of the host code, and each breaks a rule by what it is.
#pragma once
#include "tests/vmm/verifier/host_world.h"
#include "vmm/translator/containment.h"

#include <Zydis/Zydis.h>

#include <map>
#include <random>
#include <string>
#include <vector>

namespace vmm::verifier_test {

using Random = std::mt19937;

struct Instruction {
    uint32_t at = 0;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

// A block that can be changed, by its instructions.
struct Translated : CodeCopy {
    explicit Translated(const HostCode& made);

    std::vector<Instruction> instructions;
};

// Finds a place in the block for itself and breaks a rule there; false: there is none.
using Mutator = bool (*)(Translated&, Random&, const VerifierRules&);
extern const std::map<std::string, Mutator> kMutators;

// What has become of mutated blocks.
class MutationCount {
  public:
    // Breaks each rule in the block once, and checks it by `verifier`. What was accepted, with its code.
    std::string mutate(const HostCode& made, Verifier& verifier, const VerifierRules& rules, Random& random);
    [[nodiscard]] std::string summary() const;

    std::map<std::string, unsigned> refused, seen_otherwise; // by mutation; by broken_rule(), too
    unsigned blocks = 0, made = 0, accepted = 0;
    size_t instructions = 0;
};

} // namespace vmm::verifier_test
