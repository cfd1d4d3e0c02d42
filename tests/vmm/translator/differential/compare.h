// Whether two runs of a case agree, and if not, where.
#pragma once
#include "tests/vmm/translator/differential/layout.h"

#include <string>
#include <vector>

namespace differential {

// One line per difference; empty when they agree. `expected` is the processor's.
std::vector<std::string> compare(const Case& test, const Outcome& expected, const Outcome& actual);

} // namespace differential
