// The containment verifier on blocks written for it: what it must refuse, beside what it must let pass.
#include "vmm/translator/emitter.h"
#include "vmm/translator/runtime_memory.h"
#include "vmm/translator/verifier.h"

#include <catch2/catch.hpp>

#include <functional>

using namespace vmm;
using namespace vmm::host;

namespace {

struct Bench {
    std::unique_ptr<RuntimeMemory> runtime = RuntimeMemory::create().value();
    std::unique_ptr<CodeCache> cache = CodeCache::create(1 << 20, 16, nullptr, 0).value();

    // What the verifier says of a block with this code, without the listing.
    std::string verdict(const std::function<void(Emitter&)>& emit) {
        const uint32_t base = cache->cursor();
        Emitter emitter(cache->memory().writable(base), 4096, base);
        Block block;
        block.entry = block.body = base;
        emit(emitter);
        block.host_end = static_cast<uint32_t>(emitter.address());
        const std::string breach = containment_breach(*cache, block, runtime->runtime());
        return breach.substr(0, breach.find('\n'));
    }
};

const char* const kOutside = "memory operand outside the window";

} // namespace

TEST_CASE("verifier: registers on top of the window's base", "[translator]") {
    Bench bench;
    const auto load = [&](const HostMemory& m) {
        return bench.verdict([&](Emitter& e) { e.load32(kRax, m); });
    };
    CHECK(load({.base = kWindow}).empty());
    CHECK(load({.base = kWindow, .displacement = INT32_MIN}).empty());
    CHECK(load({.base = kWindow, .displacement = INT32_MAX}).empty());
    for (const uint8_t reg : {kRax, kRcx, kRdx, kRbx, kRbp, kRsi, kRdi})
        for (const uint8_t scale : {1, 2, 4, 8})
            CHECK(load({.base = kWindow, .index = reg, .scale = scale, .displacement = -5}).empty());
    CHECK(load({.base = kGuestEsp, .index = kRdx, .scale = 8, .displacement = 1}).empty());
    CHECK(load({.base = kRbx, .index = kRcx, .scale = 4, .window = true}).empty());

    CHECK(load({.base = kRax}) == kOutside);                   // no window
    CHECK(load({.base = kRax, .index = kWindow}) == kOutside); // not the form that is emitted
    CHECK(load({.displacement = 0x1000}) == kOutside);
    CHECK(load({.base = kWindow, .index = kGuestEsp}) == kOutside); // twice the base
    CHECK(load({.base = kWindow, .index = kRuntime}) == kOutside);
    CHECK(load({.base = kWindow, .index = kJumpTable}) == kOutside);
    CHECK(load({.base = kWindow, .index = kWindow}) == kOutside);
    for (uint8_t scratch = kScratch0; scratch <= kScratch3; ++scratch) { // who knows what is in there
        CHECK(load({.base = kWindow, .index = scratch}) == kOutside);
        CHECK(load({.base = kGuestEsp, .index = scratch}) == kOutside);
        CHECK(load({.base = scratch}) == kOutside);
    }
    CHECK(bench.verdict([](Emitter& e) {
        e.byte(0x65); // gs: alone does not make the address 32 bits wide
        e.load32(kRax, {.base = kRcx});
    }) == "window access with a 64-bit address");
}

TEST_CASE("verifier: scratch registers are what the block made of them", "[translator]") {
    Bench bench;
    const HostMemory indexed{.base = kWindow, .index = kScratch0};
    CHECK(bench
              .verdict([&](Emitter& e) {
                  e.lea32(kScratch0, {.base = kRcx, .index = kRdx, .scale = 8, .displacement = 77});
                  e.store32(indexed, kRax);
              })
              .empty());
    CHECK(bench
              .verdict([&](Emitter& e) {
                  e.mov32(kScratch0, kRcx);
                  e.mov64(kScratch1, kScratch0);
                  e.store32({.base = kWindow, .index = kScratch1}, kRax);
              })
              .empty());
    CHECK(bench.verdict([&](Emitter& e) { // all 64 bits of a sum
        e.lea64(kScratch0, {.base = kRcx, .index = kRdx, .scale = 8, .displacement = 77});
        e.store32(indexed, kRax);
    }) == kOutside);
    CHECK(bench.verdict([&](Emitter& e) { // 16 bits are not all of it
        e.mov16(kScratch0, kRcx);
        e.store32(indexed, kRax);
    }) == kOutside);
    CHECK(bench.verdict([&](Emitter& e) { // used up by the load itself
        e.mov32(kScratch0, kRcx);
        e.load64(kScratch0, indexed);
        e.store32(indexed, kRax);
    }) == kOutside);
    CHECK(bench.verdict([&](Emitter& e) { // a call-out may leave anything
        e.mov32(kScratch0, kRcx);
        e.call(e.address());
        e.store32(indexed, kRax);
    }) == kOutside);
    CHECK(bench.verdict([&](Emitter& e) { // a jump comes in behind what made it narrow
        const uint32_t site = e.jump_if(4, e.address());
        e.mov32(kScratch0, kRcx);
        e.patch_rel32(site, e.address());
        e.store32(indexed, kRax);
    }) == kOutside);
}

TEST_CASE("verifier: the base and a register in one", "[translator]") {
    Bench bench;
    const HostMemory sum{.base = kWindow, .index = kRbx};
    CHECK(bench
              .verdict([&](Emitter& e) {
                  e.lea64(kScratch0, sum);
                  e.store32({.base = kScratch0, .index = kRcx, .scale = 8, .displacement = -9}, kRax);
              })
              .empty());
    CHECK(bench.verdict([&](Emitter& e) { // twice a register
        e.lea64(kScratch0, {.base = kWindow, .index = kRbx, .scale = 2});
        e.store32({.base = kScratch0, .index = kRcx}, kRax);
    }) == kOutside);
    CHECK(bench.verdict([&](Emitter& e) { // two displacements
        e.lea64(kScratch0, {.base = kWindow, .index = kRbx, .displacement = 1 << 30});
        e.store32({.base = kScratch0, .displacement = INT32_MAX}, kRax);
    }) == kOutside);
    CHECK(bench.verdict([&](Emitter& e) { // three registers
        e.lea64(kScratch0, sum);
        e.lea64(kScratch1, {.base = kScratch0, .index = kRcx});
        e.store32({.base = kScratch1, .index = kRdx}, kRax);
    }) == kOutside);
    CHECK(bench.verdict([&](Emitter& e) { // the base twice
        e.lea64(kScratch0, sum);
        e.store32({.base = kWindow, .index = kScratch0}, kRax);
    }) == kOutside);
    CHECK(bench.verdict([&](Emitter& e) {
        e.lea64(kScratch0, sum);
        e.store32({.base = kScratch0, .index = kScratch1}, kRax);
    }) == kOutside);
}

TEST_CASE("verifier: guest registers stay 32 bits wide", "[translator]") {
    Bench bench;
    const char* const kWide = "guest register written beyond its 32 bits";
    const char* const kBiased = "guest register is not 32 bits wide where another block may begin";
    CHECK(bench.verdict([](Emitter& e) { e.mov64(kRax, kWindow); }) == kWide);
    CHECK(bench.verdict([](Emitter& e) { e.mov64(kRax, kScratch0); }) == kWide);
    CHECK(bench.verdict([](Emitter& e) { e.lea64(kRax, {.base = kRax, .index = kRcx}); }) == kWide);
    CHECK(bench.verdict([](Emitter& e) { e.bswap64(kRax); }) == kWide);
    CHECK(bench
              .verdict([](Emitter& e) {
                  e.mov32(kScratch0, kRcx);
                  e.mov64(kRcx, kScratch0);
              })
              .empty());
    // A string instruction's pointers, which are the guest's again before anything else may happen.
    const HostMemory biased{.base = kRdi, .index = kWindow};
    constexpr uint8_t kStosb = 0xAA;
    CHECK(bench
              .verdict([&](Emitter& e) {
                  e.lea64(kRdi, biased);
                  e.byte(kStosb);
                  e.mov32(kRdi, kRdi);
              })
              .empty());
    CHECK(bench.verdict([&](Emitter& e) { e.byte(kStosb); }) == "string operand not biased by the window");
    CHECK(bench.verdict([&](Emitter& e) {
        e.lea64(kRdi, biased);
        e.byte(kStosb);
    }) == kBiased);
    CHECK(bench.verdict([&](Emitter& e) {
        e.lea64(kRdi, biased);
        e.byte(kStosb);
        e.jump(e.address());
        e.mov32(kRdi, kRdi);
    }) == kBiased);
    CHECK(bench.verdict([&](Emitter& e) {
        e.lea64(kRdi, biased);
        e.load32(kRax, {.base = kWindow, .index = kRdi});
        e.mov32(kRdi, kRdi);
    }) == kOutside);
}

TEST_CASE("verifier: the biased stack pointer is biased once", "[translator]") {
    Bench bench;
    const HostMemory rebias{.base = kGuestEsp, .index = kWindow};
    CHECK(bench
              .verdict([&](Emitter& e) {
                  e.mov32(kGuestEsp, kRax);
                  e.lea64(kGuestEsp, rebias);
                  e.load32(kRax, {.base = kGuestEsp, .index = kRcx, .scale = 4});
              })
              .empty());
    CHECK(bench.verdict([&](Emitter& e) { e.mov32(kGuestEsp, kRax); }) ==
          "ESP written without its window base");
    CHECK(bench.verdict([&](Emitter& e) { e.lea64(kGuestEsp, rebias); }) ==
          "biased ESP out of reach of its window");
    CHECK(bench.verdict([&](Emitter& e) { e.lea64(kGuestEsp, {.base = kScratch0, .index = kWindow}); }) ==
          "biased ESP out of reach of its window");
    CHECK(bench.verdict([&](Emitter& e) { // CMPXCHG may leave all of its destination as it was
        e.op_reg({.opcode = 0xB1, .map = 1}, kRax, kGuestEsp);
        e.lea64(kGuestEsp, rebias);
    }) != "");
}
