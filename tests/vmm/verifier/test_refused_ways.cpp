// Blocks and patches that break one rule each by where they go, and what they take along.
#include "tests/vmm/verifier/bench.h"

#include <fmt/format.h>

#include <algorithm>

using namespace vmm;
using namespace vmm::host;
using namespace vmm::verifier_test;

namespace {

struct Bad {
    std::string what;
    Bench::Emit emit;
};

HostMemory rt(int32_t at) { return {.base = kRuntime, .displacement = at}; }

void call_out(Bench& b, Emitter& e, Callout which) {
    e.mov32_imm(kScratch2, static_cast<uint32_t>(which));
    e.call(b.stubs.callout);
}

} // namespace

TEST_CASE("verifier: branches", "[verifier]") {
    Bench bench;
    constexpr uint32_t kSize = 6; // of `mov r8d, imm`
    for (uint32_t into = 1; into < kSize; ++into) {
        INFO(into);
        // Back into the middle, by each form of branch
        for (const int form : {0, 1, 2})
            CHECK(bench.verdict([=](Bench&, Emitter& e) {
                const auto at = e.address();
                e.mov32_imm(kScratch0, 0x90909090);
                if (form == 0)
                    e.jump_if(4, at + into);
                else {
                    e.byte(form == 1 ? 0x74 : 0xE3);
                    e.byte(static_cast<uint8_t>(into - kSize - 2));
                }
            }) == refusal::kMiddle);
        CHECK(bench.verdict([=](Bench&, Emitter& e) { // forward
            const uint32_t site = e.jump_if(4, e.address());
            e.patch_rel32(site, e.address() + into);
            e.mov32_imm(kScratch0, 0x90909090);
        }) == refusal::kMiddle);
    }
    for (const uint32_t into : {2u, 3u, 5u}) // of itself
        CHECK(bench.verdict([=](Bench&, Emitter& e) { e.jump_if(4, e.address() + into); }) ==
              refusal::kMiddle);
    for (uint32_t into = 0; into < 12; ++into) // forward into a landing, which is taken as a whole
        CHECK(bench.verdict([=](Bench& b, Emitter& e) {
            const uint32_t site = e.jump_if(4, e.address());
            e.mov32_imm(kScratch0, kEip);
            e.load32(kScratch1, {.base = kJumpTable});
            e.call_reg(kScratch1);
            e.patch_rel32(site, e.address() + into);
            b.land(e);
        }) == refusal::kMiddle);
    for (uint32_t into = 1; into < 17; ++into) // and into the stub of a link
        CHECK(bench.verdict(
                  [=](Bench& b, Emitter& e) {
                      const uint32_t into_it = e.jump_if(4, e.address()), to_it = e.jump_if(5, e.address());
                      e.patch_rel32(to_it, e.address());
                      e.patch_rel32(into_it, e.address() + into);
                      e.mov32_imm(kScratch0, kEip);
                      e.mov32_imm(kScratch1, 0);
                      e.jump(b.stubs.leave_link);
                  },
                  true) == refusal::kMiddle);
    const auto jump = [&](uint64_t target, int form) {
        return bench.verdict([=](Bench&, Emitter& e) {
            e.mov32_imm(kScratch0, kEip);
            e.mov32_imm(kScratch1, 1);
            if (form == 0)
                e.jump(target);
            else if (form == 1)
                e.jump_if(5, target);
            else
                e.call(target);
        });
    };
    const CodeMemory& memory = bench.cache->memory();
    for (const int form : {0, 1, 2}) {
        INFO(form);
        CHECK(jump(memory.executable() - 16, form) == refusal::kBranchOut);
        CHECK(jump(uint64_t{memory.executable()} + memory.size(), form) == refusal::kBranchOut);
        CHECK(jump(memory.executable() + 64 * 1024, form) ==
              refusal::kBranchOut); // the middle of another block
        for (const Gate& gate : bench.rules.gates) {
            CHECK(jump(gate.address + 1, form) == refusal::kBranchOut);
            CHECK(jump(gate.address - 1, form) == refusal::kBranchOut);
            if (gate.called != (form == 2)) // a call-out jumped to, an exit called
                CHECK(jump(gate.address, form) == refusal::kBranchOut);
        }
        CHECK(jump(reinterpret_cast<uintptr_t>(bench.stubs.enter), form) == refusal::kBranchOut);
    }
    // To its own arrival, which an EIP in r8d is taken from
    CHECK(bench.verdict([&](Bench& b, Emitter& e) { e.jump(b.cache->cursor()); }, true) ==
          refusal::kBranchOut);
}

TEST_CASE("verifier: code ends before its end", "[verifier]") {
    const std::vector<Bad> table = {
        {"nothing", [](Bench&, Emitter&) {}},
        {"an instruction", [](Bench&, Emitter& e) { e.mov32(kRax, kRcx); }},
        {"half an instruction",
         [](Bench& b, Emitter& e) {
             b.leave(e);
             e.byte(0xE9);
         }},
        {"a conditional exit",
         [](Bench& b, Emitter& e) {
             e.mov32_imm(kScratch0, kEip);
             e.jump_if(4, b.stubs.indirect_miss);
         }},
        {"a call-out",
         [](Bench& b, Emitter& e) {
             e.mov32_imm(kScratch0, 0);
             e.mov32_imm(kScratch1, 0);
             call_out(b, e, Callout::Raise);
         }},
        {"a call",
         [](Bench& b, Emitter& e) {
             e.mov32_imm(kScratch0, kEip);
             e.load32(kScratch1, {.base = kJumpTable});
             e.call_reg(kScratch1);
             b.land(e);
         }},
        {"a way round the exit",
         [](Bench& b, Emitter& e) {
             const uint32_t site = e.jump_if(4, e.address());
             b.leave(e);
             e.patch_rel32(site, e.address());
             e.mov32(kRax, kRcx);
         }},
    };
    Bench bench;
    for (const Bad& bad : table) {
        INFO(bad.what);
        const std::string said = bench.verdict(bad.emit, true);
        CHECK((said == refusal::kRunsOut ||
               (bad.what == "half an instruction" && said == refusal::kUnreached)));
    }
}

TEST_CASE("verifier: arrivals, landings and exits", "[verifier]") {
    Bench bench;
    CHECK(bench.verdict([](Bench&, Emitter& e) { // a call that lands nowhere
        e.mov32_imm(kScratch0, kEip);
        e.load32(kScratch1, {.base = kJumpTable});
        e.call_reg(kScratch1);
    }) == refusal::kLanding);
    CHECK(bench.verdict([](Bench& b, Emitter& e) { // a landing with no check
        e.mov32_imm(kScratch0, kEip);
        e.load32(kScratch1, {.base = kJumpTable});
        e.call_reg(kScratch1);
        b.landings.push_back(static_cast<uint32_t>(e.address()));
    }) == refusal::kArrival);
    CHECK(bench.verdict([](Bench& b, Emitter& e) { b.land(e); }) != ""); // nobody called
    CHECK(bench.verdict([](Bench& b, Emitter& e) {                       // a landing behind a call-out's call
        e.call(b.stubs.flags_image);
        b.landings.push_back(static_cast<uint32_t>(e.address()));
    }) == refusal::kLanding);
    // Exits say where they lead.
    for (const uint32_t stub : {bench.stubs.indirect_miss, bench.stubs.return_miss})
        CHECK(bench.verdict([=](Bench&, Emitter& e) { e.jump(stub); }, true) == refusal::kExitEip);
    CHECK(bench.verdict([](Bench&, Emitter& e) { e.ret(); }, true) == refusal::kExitEip);
    CHECK(bench.verdict(
              [](Bench&, Emitter& e) {
                  e.load32(kScratch1, {.base = kJumpTable});
                  e.jump_reg(kScratch1);
              },
              true) == refusal::kExitEip);
    CHECK(bench.verdict(
              [](Bench& b, Emitter& e) { // without its link
                  e.mov32_imm(kScratch0, kEip);
                  e.jump(b.stubs.leave_link);
              },
              true) == refusal::kExitEip);
    // The block's own arrival
    HostCode code;
    const uint32_t base = bench.cache->cursor();
    const auto made = [&](const std::function<void(Emitter&)>& emit) {
        Emitter e(bench.cache->memory().writable(base), 4096, base);
        emit(e);
        code.body = static_cast<uint32_t>(e.address());
        bench.leave(e);
        code.address = base;
        code.bytes = bench.cache->memory().writable(base);
        code.size = e.offset();
        code.eip = kEip;
        return bench.say(code);
    };
    CHECK(made([](Emitter& e) { Bench::arrive(e, kEip); }).empty());
    CHECK(made([](Emitter& e) { Bench::arrive(e, kEip + 1); }) == refusal::kArrival);
    CHECK(made([](Emitter& e) { Bench::arrive(e, 0); }) == refusal::kArrival);
    CHECK(made([](Emitter&) {}) == refusal::kArrival);
    CHECK(made([](Emitter& e) { e.load32(kScratch0, rt(kPoll)); }) == refusal::kArrival);
    const auto by_branch = [&](uint8_t skipped, uint32_t miss, uint32_t eip) {
        return made([=](Emitter& e) {
            e.mov32(kScratch1, kRcx);
            e.lea32(kRcx, {.base = kScratch0, .displacement = static_cast<int32_t>(-eip)});
            e.byte(0xE3);
            e.byte(skipped);
            e.mov32(kRcx, kScratch1);
            e.jump(miss);
            e.mov32(kRcx, kScratch1);
            e.load32(kScratch0, rt(kPoll));
        });
    };
    CHECK(by_branch(8, bench.stubs.indirect_miss, kEip).empty());
    CHECK(by_branch(8, bench.stubs.return_miss, kEip) == refusal::kArrival);
    CHECK(by_branch(8, bench.stubs.leave, kEip) == refusal::kArrival);
    CHECK(by_branch(3, bench.stubs.indirect_miss, kEip) == refusal::kArrival);
    CHECK(by_branch(8, bench.stubs.indirect_miss, kEip - 1) == refusal::kArrival);
}

TEST_CASE("verifier: what call-outs take", "[verifier]") {
    Bench bench;
    const auto call = [&](uint32_t number, const std::function<void(Emitter&)>& a,
                          const std::function<void(Emitter&)>& b) {
        return bench.verdict([=](Bench& bench, Emitter& e) {
            a(e);
            b(e);
            e.mov32_imm(kScratch2, number);
            e.call(bench.stubs.callout);
        });
    };
    const auto nothing = [](Emitter&) {};
    const auto data = [](uint8_t to) { return [=](Emitter& e) { e.mov32(to, kRax); }; };
    const auto constant = [](uint8_t to, uint32_t value) {
        return [=](Emitter& e) { e.mov32_imm(to, value); };
    };
    constexpr auto kCount = static_cast<uint32_t>(Callout::Count);
    for (uint32_t number = 0; number < kCount; ++number) {
        INFO(number);
        CHECK(call(number, constant(kScratch0, 0), constant(kScratch1, 0)).empty());
        // The second argument is never the guest's, and no argument is the host's.
        CHECK(call(number, constant(kScratch0, 0), data(kScratch1)) == refusal::kCallout);
        CHECK(call(number, constant(kScratch0, 0), nothing) == refusal::kCallout);
        if (number != static_cast<uint32_t>(Callout::SlotCommit))
            CHECK(call(number, nothing, constant(kScratch1, 0)) == refusal::kCallout);
    }
    for (const uint32_t number : {kCount, kCount + 1, kMaxCallouts, kMaxCallouts + 1000, ~0u})
        CHECK(call(number, constant(kScratch0, 0), constant(kScratch1, 0)) == refusal::kCallout);
    for (const Callout which : {Callout::Raise, Callout::MoveToControl, Callout::Simple, Callout::TableLoad,
                                Callout::MaskedMove, Callout::PinFlags, Callout::String, Callout::PopSegment})
        CHECK(call(static_cast<uint32_t>(which), data(kScratch0), constant(kScratch1, 0)) ==
              refusal::kCallout);
    for (const Callout which : {Callout::SlotPrepare, Callout::SlotCommit}) { // how much of the slot
        const auto number = static_cast<uint32_t>(which);
        CHECK(call(number, data(kScratch0), constant(kScratch1, SlotAccess::pack(1, 3, kSlotBytes))).empty());
        for (const unsigned bytes : {kSlotBytes + 1, 1023u})
            CHECK(call(number, data(kScratch0), constant(kScratch1, SlotAccess::pack(1, 3, bytes))) ==
                  refusal::kCallout);
    }
    const auto unknown_number = [&](const std::function<void(Emitter&)>& number) {
        return bench.verdict([=](Bench& bench, Emitter& e) {
            e.mov32_imm(kScratch0, 0);
            e.mov32_imm(kScratch1, 0);
            number(e);
            e.call(bench.stubs.callout);
        });
    };
    CHECK(unknown_number(nothing) == refusal::kCallout);
    CHECK(unknown_number(data(kScratch2)) == refusal::kCallout);
    CHECK(unknown_number([](Emitter& e) { // either of two
              const uint32_t site = e.jump_if(4, e.address());
              e.mov32_imm(kScratch2, 1);
              e.patch_rel32(site, e.address());
          }) == refusal::kCallout);
    CHECK(unknown_number([](Emitter& e) {
              e.mov32_imm(kScratch2, 1);
              e.op_reg({.opcode = 0x01}, kRax, kScratch2);
          }) == refusal::kCallout);
    // Segment loads by stub
    const auto segment = [&](const std::function<void(Emitter&)>& selector, uint32_t table) {
        return bench.verdict([=](Bench& b, Emitter& e) {
            selector(e);
            e.mov32_imm(kScratch1, table);
            e.call(b.stubs.load_segment[3]);
        });
    };
    const auto word = [](Emitter& e) { e.movzx16(kScratch0, kRax); };
    const uint32_t first = bench.segments.first_table();
    CHECK(segment(word, first).empty());
    CHECK(segment(data(kScratch0), first) == refusal::kCallout);
    CHECK(segment(nothing, first) == refusal::kCallout);
    CHECK(segment(word, first + 64) == refusal::kCallout);
    CHECK(segment(word, first - SegmentCache::kTableBytes) == refusal::kCallout);
    CHECK(segment(word, first + SegmentCache::kTables * SegmentCache::kTableBytes) == refusal::kCallout);
    CHECK(segment(word, 0) == refusal::kCallout);
    CHECK(bench.verdict([](Bench& b, Emitter& e) { // takes bytes off a stack that nobody has looked at
        e.movzx16(kScratch0, kRax);
        e.mov32_imm(kScratch1, b.segments.first_table());
        e.call(b.stubs.pop_segment[3]);
    }) == refusal::kEspUnused);
}

TEST_CASE("verifier: patches", "[verifier]") {
    Bench bench;
    const uint32_t base = bench.cache->cursor(), body = base + 4096;
    uint8_t* const bytes = bench.cache->memory().writable(base);
    const auto patched = [&](const std::function<void(Emitter&)>& emit, uint32_t target) {
        Emitter e(bytes, 4096, base);
        emit(e);
        const auto refusal = Verifier::check_branch(bytes, base, e.offset(), target);
        return std::string(refusal ? refusal->reason : "");
    };
    CHECK(patched([=](Emitter& e) { e.jump(body); }, body).empty());
    CHECK(patched([=](Emitter& e) { e.jump_if(4, body); }, body).empty());
    CHECK(patched([=](Emitter& e) { e.call(body); }, body).empty());
    for (const int32_t beside : {-1, 1, 4096, -4096}) {
        CHECK(patched([=](Emitter& e) { e.jump(body + beside); }, body) == refusal::kBranchOut);
        CHECK(patched([=](Emitter& e) { e.jump_if(4, body + beside); }, body) == refusal::kBranchOut);
        CHECK(patched([=](Emitter& e) { e.call(body + beside); }, body) == refusal::kBranchOut);
    }
    CHECK(patched([=](Emitter& e) { e.mov32_imm(kRax, body - base - 5); }, body) == refusal::kBranchOut);
    CHECK(patched([=](Emitter& e) { e.jump_reg(kScratch1); }, body) == refusal::kBranchOut);
    // A link's stub that goes through the jump table from now on
    const auto through_table = [&](int32_t at, bool eip) {
        Emitter e(bytes, 4096, base);
        if (eip)
            e.mov32_imm(kScratch0, kEip);
        e.load32(kScratch1, {.base = kJumpTable, .displacement = at});
        e.jump_reg(kScratch1);
        e.byte(0x90);
        return bench.say(
            {.kind = HostCode::Kind::Fragment, .bytes = bytes, .address = base, .size = e.offset()});
    };
    CHECK(through_table(4096, true).empty());
    CHECK(through_table(4096, false) == refusal::kExitEip);
    CHECK(through_table(65536 * 4, true) == refusal::kTable);
    CHECK(through_table(-4, true) == refusal::kTable);
}

namespace {

// A block as the translator makes them, with a link, a landing and everything that copies change.
struct Made {
    Made(Bench& bench, uint32_t at, uint32_t eip) {
        Emitter e(bench.cache->memory().writable(at), 4096, at);
        const auto hole = [&](Hole::Kind kind) {
            holes.push_back({static_cast<uint16_t>(e.offset() - 4), kind});
        };
        code.address = at;
        code.bytes = bench.cache->memory().writable(at);
        code.eip = eip;
        e.lea32(kScratch1, {.base = kScratch0, .displacement = static_cast<int32_t>(-eip)});
        hole(Hole::Kind::MinusEip);
        e.load32(kScratch0, {.base = kRuntime, .index = kScratch1, .displacement = kArrival});
        code.body = static_cast<uint32_t>(e.address());
        e.store32_imm({.base = kGuestEsp, .displacement = -4}, eip + 5);
        hole(Hole::Kind::Data);
        e.lea64(kGuestEsp, {.base = kGuestEsp, .displacement = -4});
        const uint32_t call = e.call(e.address());
        landings.push_back(static_cast<uint32_t>(e.address()));
        e.lea32(kScratch1, {.base = kScratch0, .displacement = static_cast<int32_t>(-(eip + 5))});
        hole(Hole::Kind::MinusEip);
        e.load32(kScratch0, {.base = kRuntime, .index = kScratch1, .displacement = kArrival});
        const uint32_t conditional = e.jump_if(4, e.address());
        e.store32_imm(rt(kRtEip), eip + 7);
        hole(Hole::Kind::Data);
        e.mov32_imm(kScratch0, 0);
        e.mov32_imm(kScratch1, 0);
        e.mov32_imm(kScratch2, static_cast<uint32_t>(Callout::Cli));
        e.call(bench.stubs.callout);
        hole(Hole::Kind::Branch);
        e.mov32_imm(kScratch0, eip + 64);
        hole(Hole::Kind::Data);
        e.load32(kScratch1,
                 {.base = kJumpTable, .displacement = static_cast<int32_t>((eip + 64) % 65536 * 4)});
        hole(Hole::Kind::TableEntry);
        e.jump_reg(kScratch1);
        for (const uint32_t site : {call, conditional}) {
            e.patch_rel32(site, e.address());
            const auto stub = static_cast<uint32_t>(e.address());
            ways_out.push_back({at + site, stub, stub});
            e.mov32_imm(kScratch0, eip + site);
            hole(Hole::Kind::Data);
            e.mov32_imm(kScratch1, site);
            e.jump(bench.stubs.leave_link);
            hole(Hole::Kind::Branch);
        }
        code.size = e.offset();
        code.landings = landings;
        code.ways_out = ways_out;
        code.holes = holes;
    }
    Made(const Made&) = delete;

    HostCode code;
    std::vector<uint32_t> landings;
    std::vector<WayOut> ways_out;
    std::vector<Hole> holes;
};

} // namespace

TEST_CASE("verifier: links and the numbers that copies change", "[verifier]") {
    Bench bench;
    const uint32_t base = bench.cache->cursor();
    REQUIRE(bench.say(Made(bench, base, kEip).code).empty());
    const auto changed = [&](const std::function<void(Made&)>& change) {
        Made made(bench, base, kEip);
        change(made);
        made.code.ways_out = made.ways_out;
        made.code.holes = made.holes;
        return bench.say(made.code);
    };
    for (const unsigned n : {0u, 1u})
        for (const int32_t by : {-4, -1, 1, 4}) {
            const auto moved = static_cast<uint32_t>(by);
            CHECK(!changed([=](Made& m) { m.ways_out[n].site += moved; }).empty());
            CHECK(!changed([=](Made& m) { m.ways_out[n].target += moved; }).empty());
            CHECK(!changed([=](Made& m) { m.ways_out[n].stub += moved; }).empty());
        }
    CHECK(changed([](Made& m) { m.ways_out.pop_back(); }).empty()); // then it is a branch like any other
    CHECK(changed([](Made& m) { m.ways_out.erase(m.ways_out.begin()); }).empty());
    CHECK(changed([](Made& m) { m.ways_out.push_back(m.ways_out.back()); }) == refusal::kLink);
    // To another block, as one that was linked
    CHECK(changed([&](Made& m) {
              const uint32_t body = base + 8192;
              const auto distance = static_cast<int32_t>(body - (m.ways_out[1].site + 4));
              std::memcpy(bench.cache->memory().writable(m.ways_out[1].site), &distance, 4);
              m.ways_out[1].target = body;
          }).empty());
    const size_t holes = Made(bench, base, kEip).holes.size();
    for (size_t n = 0; n < holes; ++n) {
        INFO(n);
        for (const int by : {-4, -1, 1, 4})
            CHECK(changed([=](Made& m) { m.holes[n].at = static_cast<uint16_t>(m.holes[n].at + by); }) ==
                  refusal::kHole);
        for (const auto kind :
             {Hole::Kind::Data, Hole::Kind::MinusEip, Hole::Kind::Branch, Hole::Kind::TableEntry})
            if (Made made(bench, base, kEip); made.holes[n].kind != kind)
                CHECK(changed([=](Made& m) { m.holes[n].kind = kind; }) == refusal::kHole);
        if (n != 0)
            CHECK(changed([=](Made& m) { std::swap(m.holes[n], m.holes[n - 1]); }) == refusal::kHole);
    }
    // The number of a call-out, and its arguments, are none to change.
    Made made(bench, base, kEip);
    for (uint32_t at = 0; at + 4 <= made.code.size; ++at) {
        const bool known =
            std::any_of(made.holes.begin(), made.holes.end(), [&](const Hole& h) { return h.at == at; });
        if (!known)
            CHECK(changed([=](Made& m) {
                      m.holes.push_back({static_cast<uint16_t>(at), Hole::Kind::Data});
                      std::sort(m.holes.begin(), m.holes.end(), [](auto& a, auto& b) { return a.at < b.at; });
                  }) != "");
    }
}

TEST_CASE("verifier: a copy, and each with one bit that is another", "[verifier]") {
    Bench bench;
    const uint32_t base = bench.cache->cursor(), elsewhere = base + 8192, eip = kEip + 0x00345000;
    const Made original(bench, base, kEip);
    Made copy(bench, elsewhere, eip);
    const auto said = [&] {
        const auto refusal = bench.verifier->check_copy(original.code, copy.code);
        return std::string(refusal ? refusal->reason : "");
    };
    REQUIRE(said().empty());
    uint8_t* bytes = bench.cache->memory().writable(elsewhere);
    for (uint32_t at = 0; at < copy.code.size; ++at)
        for (unsigned bit = 0; bit < 8; ++bit) {
            INFO(fmt::format("bit {} of byte {}", bit, at));
            bytes[at] ^= static_cast<uint8_t>(1u << bit);
            // Which entry of the table it takes, and the number of its link, are the copy's own.
            const bool entry = std::any_of(copy.holes.begin(), copy.holes.end(), [&](const Hole& h) {
                return h.kind == Hole::Kind::TableEntry && at - h.at < 4;
            });
            const bool number = std::any_of(copy.ways_out.begin(), copy.ways_out.end(), [&](const WayOut& w) {
                return elsewhere + at - (w.stub + 8) < 4;
            });
            if (!entry && !number)
                CHECK(said() == refusal::kCopy);
            bytes[at] ^= static_cast<uint8_t>(1u << bit);
        }
    copy.code.eip += 1;
    CHECK(said() == refusal::kCopy);
    copy.code.eip -= 1;
    copy.code.body += 1;
    CHECK(said() == refusal::kCopy);
    copy.code.body -= 1;
    copy.landings[0] += 1;
    CHECK(said() == refusal::kCopy);
}

TEST_CASE("verifier: stubs, and each with one byte that is another", "[verifier]") {
    Bench bench;
    CodeMemory& memory = bench.cache->memory();
    const auto stub = [&](size_t n) {
        HostCode code;
        code.kind = HostCode::Kind::Stub;
        code.address = bench.rules.gates[n].address;
        code.bytes = memory.writable(code.address);
        const bool last = n + 1 == bench.rules.gates.size();
        code.size = (last ? bench.rules.code + bench.rules.stub_bytes : bench.rules.gates[n + 1].address) -
                    code.address;
        return code;
    };
    unsigned refused = 0, accepted = 0;
    for (size_t n = 0; n < bench.rules.gates.size(); ++n) {
        HostCode code = stub(n);
        REQUIRE(bench.say(code).empty());
        std::vector<uint8_t> copy(code.bytes, code.bytes + code.size);
        code.bytes = copy.data();
        for (uint8_t& byte : copy)
            for (unsigned bit = 0; bit < 8; ++bit) {
                byte ^= static_cast<uint8_t>(1u << bit);
                (bench.say(code).empty() ? accepted : refused) += 1;
                byte ^= static_cast<uint8_t>(1u << bit);
            }
    }
    // What is accepted stays within its fields: a guest register saved where another belongs, say.
    CHECK(refused > 4 * accepted);
    const auto stub_of = [&](uint32_t address) {
        for (size_t n = 0; n < bench.rules.gates.size(); ++n)
            if (bench.rules.gates[n].address == address)
                return stub(n);
        throw std::runtime_error("no such stub");
    };
    // `leave` without one of its pops
    HostCode leave = stub_of(bench.stubs.leave);
    std::vector<uint8_t> copy(leave.bytes, leave.bytes + leave.size);
    REQUIRE(copy.back() == 0xC3);
    copy[copy.size() - 2] = 0x90;
    leave.bytes = copy.data();
    CHECK(!bench.say(leave).empty());
}
