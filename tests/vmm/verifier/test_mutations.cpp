// What the translator makes of anything is accepted, and no block of it with one rule broken is. The guest
// code is random bytes under random modes, which the decoder makes instructions of.
//
// ENCORE_MUTATIONS: how many; some thousands by default.
#include "tests/vmm/verifier/bench.h"
#include "tests/vmm/verifier/host_code_oracle.h"
#include "tests/vmm/verifier/mutations.h"
#include "vmm/translator/block_translator.h"

#include <fmt/format.h>

#include <cstdlib>

using namespace vmm;
using namespace vmm::verifier_test;

namespace {

class Maker : public CodeSource {
  public:
    explicit Maker(uint32_t seed) : random_(seed) {}
    const uint8_t* next_page(uint32_t& backing) override {
        backing = 2;
        return page_ + kPageSize;
    }

    // Many random blocks; what each is checked with, as it was made.
    const Block& translate(Bench& bench, HostCode& out) {
        BlockTranslator& translator = this->translator(bench);
        if (bench.cache->room() < 2 * BlockTranslator::kMaxBlockBytes)
            bench.cache->flush();
        // Half of it opcodes that code has often, each with a random byte for its operands.
        for (size_t n = 0; n < sizeof page_; ++n)
            page_[n] = static_cast<uint8_t>(n % 2 == 0 ? kCommon[random_() % sizeof kCommon] : random_());
        if (random_() % 4 == 0)
            for (uint8_t& byte : page_)
                byte = static_cast<uint8_t>(random_());
        ModeKey key;
        key.bits = random_() & ~(ModeKey::kTrapFlag | ModeKey::kOneInstruction | ModeKey::kBreakpoints);
        if (random_() % 8 != 0)
            key.bits &=
                ~(ModeKey::kWatched | ModeKey::kAlignCheck | ModeKey::kEmulateFpu | ModeKey::kTaskSwitched);
        if (random_() % 2 != 0) { // flat and 32 bits wide, as most code
            key.bits &= (1u << ModeKey::kSegmentShift) - 1;
            key.bits |= ModeKey::kCode32 | ModeKey::kStack32 | ModeKey::kProtected | ModeKey::kSse;
            key.bits &= ~ModeKey::kV86;
        }
        key.cs_limit = random_() % 4 != 0 ? 0xFFFFFFFF : 0xFFFF;
        const uint32_t offset = random_() % kPageSize;
        const uint32_t eip = (key.cs_limit == 0xFFFF ? 0x8000u : 0x08048000u) + offset;
        TranslateOptions options;
        options.brief = random_() % 2 != 0;
        options.link = random_() % 4 != 0;
        options.same_page_only = random_() % 2 != 0;
        options.cross = random_() % 2 != 0;
        options.call_out = random_() % 16 == 0;
        const Block* block = translator.translate(
            eip, key, {.backing = 1, .first = page_ + offset, .first_length = kPageSize - offset}, *this,
            options);
        REQUIRE(block != nullptr);
        out = block_code(*bench.cache, *block, BlockUse::Fresh, facts_);
        return *block;
    }

    Random& random() { return random_; }

  private:
    BlockTranslator& translator(Bench& bench) {
        if (!translator_)
            translator_ =
                std::make_unique<BlockTranslator>(*bench.cache, bench.stubs, bench.runtime->runtime(),
                                                  bench.segments, true, HostMaker::Intel, true);
        return *translator_;
    }

    static constexpr uint8_t kCommon[] = {
        0x01, 0x03, 0x21, 0x2B, 0x31, 0x39, 0x3B,
        0x85, 0x87, 0x88, 0x89, 0x8A, 0x8B, 0x8D, // ALU, MOV, LEA
        0x89, 0x8B, 0x89, 0x8B, 0x50, 0x53, 0x55,
        0x58, 0x5B, 0x5D, 0x6A, 0x83, 0xC1, 0xD3, // PUSH, POP, shifts
        0xF7, 0xFF, 0x40, 0x4A, 0x0F, 0x66, 0xF3,
        0xA4, 0xA5, 0xAA, 0xAB, 0xA7, 0x74, 0x75, // strings, Jcc
        0xEB, 0xE8, 0xE2, 0xC3, 0xD9, 0xDD, 0xF0,
        0x64, 0x9C, 0x9D, 0x60, 0xC9, 0xCD, 0xE4, // the rest
    };
    Random random_;
    std::unique_ptr<BlockTranslator> translator_;
    BlockFacts facts_;
    uint8_t page_[kPageSize + 32]{};
};

} // namespace

TEST_CASE("verifier: what the translator makes is accepted, and with one rule broken refused", "[verifier]") {
    const char* const asked = std::getenv("ENCORE_MUTATIONS");
    const unsigned wanted = asked != nullptr ? static_cast<unsigned>(std::strtoul(asked, nullptr, 10)) : 6000;
    constexpr uint32_t kSeed = 20261129;
    Bench bench;
    Maker maker(kSeed);
    MutationCount count;
    while (count.made < wanted) {
        HostCode block;
        maker.translate(bench, block);
        const auto refusal = bench.verifier->check(block);
        INFO(fmt::format("block {}", count.blocks));
        INFO((refusal ? refusal->reason + listing(block, *refusal) : std::string()));
        REQUIRE(!refusal);
        CHECK(broken_rule(bench.rules, block) == "");
        CHECK(count.mutate(block, *bench.verifier, bench.rules, maker.random()) == "");
        REQUIRE(count.accepted < 5);
    }
    for (const auto& [name, breaks] : kMutators) {
        (void)breaks;
        INFO(name);
        CHECK(count.refused[name] != 0);
        // Only what is no matter of single instructions is not seen in the other view.
        const bool by_value = name == "a call-out that there is not" || name == "an arrival for another EIP";
        CHECK((count.seen_otherwise[name] != 0) != by_value);
    }
    if (asked != nullptr)
        WARN(count.summary());
}

TEST_CASE("containment: refused code is told in a sentence, once", "[verifier]") {
    Bench bench;
    unsigned told = 0;
    Containment containment(*bench.cache, bench.rules, Containment::Blocks::Sampled, [&] { ++told; });
    CHECK(containment.check_stubs());
    Maker maker(1);
    HostCode ignored;
    const Block& block = maker.translate(bench, ignored);
    CHECK(containment.check_block(block, BlockUse::Fresh, {}));
    CHECK(containment.failure().empty());
    uint8_t& first = *bench.cache->memory().writable(block.body);
    first = 0xF4; // HLT
    CHECK_FALSE(containment.check_block(block, BlockUse::Fresh, {}));
    CHECK(containment.failure().find(refusal::kNotAllowed) != std::string::npos);
    CHECK(containment.failure().find('\n') == std::string::npos);
    CHECK_FALSE(containment.check_block(block, BlockUse::Fresh, {}));
    CHECK(told == 1);
}

TEST_CASE("containment: after the first megabytes a sample of blocks is checked, and every patch",
          "[verifier]") {
    Bench bench;
    Containment sampled(*bench.cache, bench.rules, Containment::Blocks::Sampled, [] {});
    Containment all(*bench.cache, bench.rules, Containment::Blocks::All, [] {});
    Maker maker(2);
    HostCode ignored;
    const Block& block = maker.translate(bench, ignored);
    const unsigned many = (16u << 20) / (block.host_end - block.entry);
    for (unsigned n = 0; n < many; ++n) {
        REQUIRE(sampled.check_block(block, BlockUse::Fresh, {}));
        REQUIRE(all.check_block(block, BlockUse::Fresh, {}));
    }
    CHECK(all.statistics.left_out == 0);
    CHECK(all.statistics.blocks == many);
    CHECK(sampled.statistics.left_out > many / 3);
    CHECK(sampled.statistics.blocks > many / 2);
    uint8_t* at = bench.cache->memory().writable(block.body);
    sampled.branch_patched(at, block.body, 5, block.entry); // not one that leads there
    CHECK_FALSE(sampled.failure().empty());
}
