// Machines side by side in one process: each has a thread, and that is how a host fault finds its processor.
#include "tests/guest/guest.h"

#include <string>
#include <thread>

using namespace vmm;
using namespace vmm::guest;

// Each first touch of a page is a host fault, and the last a guest's.
GUEST32(touch_pages, R"(
again:
    mov [ecx], ebx
    add ecx, 0x1000
    cmp ecx, 0x400000
    jb again
    mov [0x900000], ebx
)");

static std::string touch(Guest& g, uint32_t value) {
    std::string said;
    for (unsigned round = 0; round < 8; ++round) {
        g.engine->state_replaced(); // maps nothing any more
        g.ecx() = 0x100000;
        g.ebx() = value + round;
        g.state.eip = kCode;
        said += g.run(touch_pages);
        said += g.get32(0x3FF000) == value + round ? "; " : " but nothing written; ";
    }
    return said;
}

GUEST_TEST("threads: two machines fault at the same time, each for itself", "[threads]") {
    std::string expected;
    for (unsigned round = 0; round < 8; ++round)
        expected += "#14(0002)@900000 at 10010; ";
    Guest other(g.mode);
    other.paging();
    g.paging();
    std::string said;
    std::thread beside([&] { said = touch(other, 0x1000); });
    CHECK(touch(g, 0x2000) == expected);
    beside.join();
    CHECK(said == expected);
}
