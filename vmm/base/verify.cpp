#include "vmm/base/verify.h"

#include <cstdio>
#include <cstdlib>

namespace base {
void verify_failed(const char* expression, const char* file, int line) {
    std::fprintf(stderr, "encore: internal check failed: %s (%s:%d)\n", expression, file, line);
    std::abort();
}
} // namespace base
