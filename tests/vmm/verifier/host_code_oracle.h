// Another view of accepted code, which shares nothing with the verifier but the numbers it is told: Zydis'
// view of each instruction by itself, in order of address. It knows less (not what registers hold, so not all
// that is to be refused), but what it finds must never have been accepted.
#pragma once
#include "vmm/verifier/rules.h"

#include <string>

namespace vmm::verifier_test {

// Empty: nothing found. Otherwise what, and the instruction.
std::string broken_rule(const VerifierRules& rules, const HostCode& code);

} // namespace vmm::verifier_test
