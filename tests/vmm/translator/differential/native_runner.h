// Runs cases on the processor itself: compatibility mode, entered by a far jump from 64-bit code, left by
// whatever signal the case ends in. One runner at a time; the calling thread only.
#pragma once
#include "tests/vmm/translator/differential/layout.h"
#include "vmm/base/result.h"

namespace differential {

class NativeRunner {
  public:
    // Maps the fixed addresses and installs the LDT; needs FSGSBASE and a kernel with modify_ldt.
    static base::Result<void> prepare();
    // Signal handlers and watchdog for the duration of a batch.
    NativeRunner();
    ~NativeRunner();
    NativeRunner(const NativeRunner&) = delete;
    NativeRunner& operator=(const NativeRunner&) = delete;

    void run(const Case& test, Outcome& outcome);
};

} // namespace differential
