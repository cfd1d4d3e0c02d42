// Guests that mean harm: random code, page tables and descriptors. Whatever they do is theirs; the host
// process survives, the verifier stays content and the run can always be stopped.
#include "tests/guest/guest.h"

#include <chrono>
#include <cstring>
#include <random>

using namespace vmm;
using namespace vmm::guest;

namespace {

// Bytes that are instructions more often than noise is: random opcodes among common and sensitive ones.
void random_code(std::mt19937& random, std::vector<uint8_t>& code) {
    static constexpr uint8_t kSpice[] = {0x0F, 0x66, 0x67, 0xF0, 0xF2, 0xF3, 0x8E, 0x8B, 0x89,
                                         0xFF, 0x9C, 0x9D, 0xCF, 0xCB, 0xC3, 0xE8, 0xEB, 0x74,
                                         0x50, 0x58, 0x60, 0x61, 0xA4, 0xAB, 0xD9, 0xDD, 0xC8,
                                         0xC9, 0x1F, 0x07, 0x17, 0xCD, 0xFB, 0xFA, 0x2E, 0x65};
    for (uint8_t& byte : code) {
        const uint32_t r = random();
        byte = (r & 0x300) == 0 ? kSpice[(r >> 16) % sizeof kSpice] : static_cast<uint8_t>(r);
    }
}

uint32_t random_register(std::mt19937& random) {
    switch (random() % 6) {
    case 0:
        return random();
    case 1:
        return random() % 64;
    case 2:
        return 0xFFFFFFFF - random() % 64;
    default:
        return kData + random() % 0x20000;
    }
}

struct Mix {
    bool user, paging, random_tables, random_segments, sixteen;
};

void attack(Guest& g, const Mix& mix, unsigned seed, unsigned milliseconds) {
    std::mt19937 random(seed);
    std::vector<uint8_t> code(0x2000);
    const CpuState fresh = g.state;
    g.deliver_faults();
    g.watchdog_ms = 5;
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
    std::vector<uint8_t> low(0x10000);
    g.memory->read(0, low.data(), low.size());
    while (std::chrono::steady_clock::now() < end) {
        g.state = fresh;
        g.memory->write(0, low.data(), low.size());
        random_code(random, code);
        g.memory->write(kCode, code.data(), code.size());
        if (mix.paging)
            g.paging();
        if (mix.random_tables)
            for (unsigned i = 0; i < 200; ++i) {
                const uint32_t entry = random() & (random() % 4 ? 0x00FFFFFF : 0xFFFFFFFF);
                g.page((random() % 2048) << 12, entry | (random() % 8 != 0));
                if (random() % 16 == 0)
                    g.put32(kDirectory + 4 * (random() % 1024), entry);
            }
        if (mix.user)
            g.user();
        if (mix.sixteen)
            g.real_mode();
        if (mix.random_segments)
            for (uint16_t selector = kFree; selector < 0x100; selector = static_cast<uint16_t>(selector + 8))
                g.put64(kGdt + selector,
                        (uint64_t{random()} << 32 | random()) | (random() % 4 ? uint64_t{1} << 47 : 0));
        if (mix.random_segments && !mix.sixteen)
            for (SegReg reg : {SegReg::Ds, SegReg::Es, SegReg::Fs, SegReg::Gs}) {
                const uint64_t bits =
                    descriptor(random_register(random), random() & 0xFFFFF,
                               (mix.user ? 0xF1u : 0x91u) | (random() & 0x6), random() & 0xC);
                g.set_segment(
                    reg, static_cast<uint16_t>(kFree + 8 * static_cast<unsigned>(reg) + (mix.user ? 3 : 0)),
                    bits);
            }
        for (uint32_t& reg : g.state.gpr)
            if (random() % 8 != 0)
                reg = random_register(random);
        if (random() % 2)
            g.esp() = mix.user ? kUserStack : kKernelStack;
        g.state.eflags = 2 | (random() & 0xED5);
        g.state.eip = mix.sixteen ? random() % 0x1000 : kCode + random() % 0x1000;
        if (random() % 4 == 0)
            g.engine->state_replaced();
        (void)g.run();
    }
    SUCCEED();
}

unsigned seed_of(unsigned base) { return base * 7919; }
constexpr unsigned kMilliseconds = 700; // for each mix and block mode

} // namespace

GUEST_TEST("hostile: random code in ring 0", "[hostile]") { attack(g, {}, seed_of(1), kMilliseconds); }
GUEST_TEST("hostile: random code in ring 0 with paging", "[hostile]") {
    attack(g, {false, true, false, false, false}, seed_of(2), kMilliseconds);
}
GUEST_TEST("hostile: random code in ring 3 with paging", "[hostile]") {
    attack(g, {true, true, false, false, false}, seed_of(3), kMilliseconds);
}
GUEST_TEST("hostile: random page tables", "[hostile]") {
    attack(g, {false, true, true, false, false}, seed_of(4), kMilliseconds);
}
GUEST_TEST("hostile: random page tables under ring 3", "[hostile]") {
    attack(g, {true, true, true, false, false}, seed_of(5), kMilliseconds);
}
GUEST_TEST("hostile: random segments", "[hostile]") {
    attack(g, {false, false, false, true, false}, seed_of(6), kMilliseconds);
}
GUEST_TEST("hostile: random segments under ring 3 and paging", "[hostile]") {
    attack(g, {true, true, true, true, false}, seed_of(7), kMilliseconds);
}
GUEST_TEST("hostile: random code in real mode", "[hostile]") {
    attack(g, {false, false, false, true, true}, seed_of(8), kMilliseconds);
}
