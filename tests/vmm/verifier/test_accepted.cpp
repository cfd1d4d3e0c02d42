// What the verifier lets pass, each beside its nearest neighbours that it must not.
#include "tests/vmm/verifier/bench.h"

using namespace vmm;
using namespace vmm::host;
using namespace vmm::verifier_test;

TEST_CASE("verifier: registers on top of the window's base", "[verifier]") {
    Bench bench;
    const auto load = [&](const HostMemory& m) {
        return bench.verdict([&](Bench&, Emitter& e) { e.load32(kRax, m); });
    };
    CHECK(load({.base = kWindow}).empty());
    CHECK(load({.base = kWindow, .displacement = INT32_MIN}).empty());
    CHECK(load({.base = kWindow, .displacement = INT32_MAX}).empty());
    for (const uint8_t reg : {kRax, kRcx, kRdx, kRbx, kRbp, kRsi, kRdi})
        for (const uint8_t scale : {1, 2, 4, 8})
            CHECK(load({.base = kWindow, .index = reg, .scale = scale, .displacement = -5}).empty());
    CHECK(load({.base = kGuestEsp, .index = kRdx, .scale = 8, .displacement = 1}).empty());
    CHECK(load({.base = kRbx, .index = kRcx, .scale = 4, .window = true}).empty());

    CHECK(load({.base = kRax}) == refusal::kOutside);                   // no window
    CHECK(load({.base = kRax, .index = kWindow}) == refusal::kOutside); // not the form that is emitted
    CHECK(load({.displacement = 0x1000}) == refusal::kOutside);
    CHECK(load({.base = kWindow, .index = kGuestEsp}) == refusal::kIndexUnknown); // twice the base
    CHECK(load({.base = kWindow, .index = kRuntime}) == refusal::kIndexUnknown);
    CHECK(load({.base = kWindow, .index = kJumpTable}) == refusal::kIndexUnknown);
    CHECK(load({.base = kWindow, .index = kWindow}) == refusal::kIndexUnknown);
    for (uint8_t scratch = kScratch0; scratch <= kScratch3; ++scratch) { // who knows what is in there
        CHECK(load({.base = kWindow, .index = scratch}) == refusal::kIndexUnknown);
        CHECK(load({.base = kGuestEsp, .index = scratch}) == refusal::kIndexUnknown);
        CHECK(load({.base = scratch}) == refusal::kOutside);
    }
    CHECK(bench.verdict([](Bench&, Emitter& e) {
        e.byte(0x65); // gs: alone does not make the address 32 bits wide
        e.load32(kRax, {.base = kRcx});
    }) == refusal::kPrefix);
}

TEST_CASE("verifier: scratch registers are what the block made of them", "[verifier]") {
    Bench bench;
    const HostMemory indexed{.base = kWindow, .index = kScratch0};
    CHECK(bench
              .verdict([&](Bench&, Emitter& e) {
                  e.lea32(kScratch0, {.base = kRcx, .index = kRdx, .scale = 8, .displacement = 77});
                  e.store32(indexed, kRax);
              })
              .empty());
    CHECK(bench
              .verdict([&](Bench&, Emitter& e) {
                  e.mov32(kScratch0, kRcx);
                  e.mov64(kScratch1, kScratch0);
                  e.store32({.base = kWindow, .index = kScratch1}, kRax);
              })
              .empty());
    CHECK(bench.verdict([&](Bench&, Emitter& e) { // all 64 bits of a sum
        e.lea64(kScratch0, {.base = kRcx, .index = kRdx, .scale = 8, .displacement = 77});
        e.store32(indexed, kRax);
    }) == refusal::kIndexUnknown);
    CHECK(bench.verdict([&](Bench&, Emitter& e) { // 16 bits are not all of it
        e.mov16(kScratch0, kRcx);
        e.store32(indexed, kRax);
    }) == refusal::kIndexUnknown);
    CHECK(bench.verdict([&](Bench&, Emitter& e) { // used up by the load itself
        e.load64(kScratch0, {.base = kRuntime, .displacement = ENCORE_RT(fs_base_pointer)});
        e.store32(indexed, kRax);
    }) == refusal::kIndexUnknown);
    CHECK(bench.verdict([&](Bench& b, Emitter& e) { // a stub may leave anything
        e.mov32(kScratch0, kRcx);
        e.call(b.stubs.flags_image);
        e.store32(indexed, kRax);
    }) == refusal::kIndexUnknown);
    CHECK(bench.verdict([&](Bench&, Emitter& e) { // a jump comes in behind what made it narrow
        const uint32_t site = e.jump_if(4, e.address());
        e.mov32(kScratch0, kRcx);
        e.patch_rel32(site, e.address());
        e.store32(indexed, kRax);
    }) == refusal::kIndexUnknown);
}

TEST_CASE("verifier: the base and a register in one", "[verifier]") {
    Bench bench;
    const HostMemory sum{.base = kWindow, .index = kRbx};
    CHECK(bench
              .verdict([&](Bench&, Emitter& e) {
                  e.lea64(kScratch0, sum);
                  e.store32({.base = kScratch0, .index = kRcx, .scale = 8, .displacement = -9}, kRax);
              })
              .empty());
    CHECK(bench.verdict([&](Bench&, Emitter& e) { // twice a register
        e.lea64(kScratch0, {.base = kWindow, .index = kRbx, .scale = 2});
        e.store32({.base = kScratch0, .index = kRcx}, kRax);
    }) == refusal::kOutside);
    CHECK(bench.verdict([&](Bench&, Emitter& e) { // two displacements
        e.lea64(kScratch0, {.base = kWindow, .index = kRbx, .displacement = 1 << 30});
        e.store32({.base = kScratch0, .displacement = INT32_MAX}, kRax);
    }) == refusal::kOutside);
    CHECK(bench.verdict([&](Bench&, Emitter& e) { // three registers
        e.lea64(kScratch0, sum);
        e.lea64(kScratch1, {.base = kScratch0, .index = kRcx});
        e.store32({.base = kScratch1, .index = kRdx}, kRax);
    }) == refusal::kOutside);
    CHECK(bench.verdict([&](Bench&, Emitter& e) { // the base twice
        e.lea64(kScratch0, sum);
        e.store32({.base = kWindow, .index = kScratch0}, kRax);
    }) == refusal::kIndexUnknown);
    CHECK(bench.verdict([&](Bench&, Emitter& e) {
        e.lea64(kScratch0, sum);
        e.store32({.base = kScratch0, .index = kScratch1}, kRax);
    }) == refusal::kIndexUnknown);
}

TEST_CASE("verifier: guest registers stay 32 bits wide", "[verifier]") {
    Bench bench;
    CHECK(bench.verdict([](Bench&, Emitter& e) { e.mov64(kRax, kWindow); }) == refusal::kHostValue);
    CHECK(bench.verdict([](Bench&, Emitter& e) { e.mov64(kRax, kScratch0); }) == refusal::kWide);
    CHECK(bench.verdict([](Bench&, Emitter& e) { e.lea64(kRax, {.base = kRax, .index = kRcx}); }) ==
          refusal::kWide);
    CHECK(bench.verdict([](Bench&, Emitter& e) { e.bswap64(kRax); }) == refusal::kWide);
    CHECK(bench
              .verdict([](Bench&, Emitter& e) {
                  e.mov32(kScratch0, kRcx);
                  e.mov64(kRcx, kScratch0);
              })
              .empty());
    // A string instruction's pointers, which are the guest's again before anything else may happen.
    const HostMemory biased{.base = kRdi, .index = kWindow};
    constexpr uint8_t kStosb = 0xAA;
    CHECK(bench
              .verdict([&](Bench&, Emitter& e) {
                  e.lea64(kRdi, biased);
                  e.byte(kStosb);
                  e.mov32(kRdi, kRdi);
              })
              .empty());
    CHECK(bench.verdict([&](Bench&, Emitter& e) { e.byte(kStosb); }) == refusal::kStringUnbiased);
    CHECK(bench.verdict([&](Bench&, Emitter& e) {
        e.lea64(kRdi, biased);
        e.byte(kStosb);
    }) == refusal::kBoundary);
    CHECK(bench.verdict([&](Bench&, Emitter& e) {
        e.lea64(kRdi, biased);
        e.byte(kStosb);
        e.jump(e.address());
        e.mov32(kRdi, kRdi);
    }) == refusal::kBoundary);
    CHECK(bench.verdict([&](Bench&, Emitter& e) {
        e.lea64(kRdi, biased);
        e.load32(kRax, {.base = kWindow, .index = kRdi});
        e.mov32(kRdi, kRdi);
    }) == refusal::kIndexUnknown);
}

TEST_CASE("verifier: the biased stack pointer is biased once", "[verifier]") {
    Bench bench;
    const HostMemory rebias{.base = kGuestEsp, .index = kWindow};
    CHECK(bench
              .verdict([&](Bench&, Emitter& e) {
                  e.mov32(kGuestEsp, kRax);
                  e.lea64(kGuestEsp, rebias);
                  e.load32(kRax, {.base = kGuestEsp, .index = kRcx, .scale = 4});
              })
              .empty());
    CHECK(bench.verdict([&](Bench&, Emitter& e) { e.mov32(kGuestEsp, kRax); }) == refusal::kEspUnbiased);
    CHECK(bench.verdict([&](Bench&, Emitter& e) { e.lea64(kGuestEsp, rebias); }) == refusal::kEspFar);
    CHECK(bench.verdict([&](Bench&, Emitter& e) {
        e.lea64(kGuestEsp, {.base = kScratch0, .index = kWindow});
    }) == refusal::kEspFar);
    CHECK(bench.verdict([&](Bench&, Emitter& e) { // CMPXCHG may leave all of its destination as it was
        e.op_reg({.opcode = 0xB1, .map = 1}, kRax, kGuestEsp);
        e.lea64(kGuestEsp, rebias);
    }) != "");
}
