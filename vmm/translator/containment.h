// Translated code is checked before it runs. This file tells the verifier about Runtime and the stubs, and
// says what is checked: the stubs at the start, every patch, and of blocks, copies and revived blocks all
// until so much code has been made, then one in so many; all of them where that is asked for, as all tests
// do. Code that is refused never runs, and the machine ends with a sentence.
#pragma once
#include "vmm/code_cache/code_cache.h"
#include "vmm/translator/runtime_memory.h"
#include "vmm/translator/segment_cache.h"
#include "vmm/translator/stubs.h"
#include "vmm/verifier/verifier.h"

#include <functional>
#include <string>
#include <vector>

namespace vmm {

VerifierRules containment_rules(const CodeMemory& memory, const Stubs& stubs, const RuntimeMemory& runtime,
                                const SegmentCache& segments);
// What of a block the verifier is told besides its bytes.
struct BlockFacts {
    std::vector<WayOut> ways_out;
    std::vector<Hole> holes;
};
// Fresh: what copies of it change is checked. A revived one may have links that no longer have those numbers.
enum class BlockUse : uint8_t { Fresh, Copy, Revived };
// A block as the verifier takes it; its landings are the cache's.
HostCode block_code(CodeCache& cache, const Block& block, BlockUse use, BlockFacts& facts);
// The instructions up to the refused one.
std::string listing(const HostCode& code, const Refusal& refusal);

class Containment final : public PatchCheck {
  public:
    // `refused` is called at the first refusal.
    enum class Blocks : uint8_t { All, Sampled };
    Containment(CodeCache& cache, VerifierRules rules, Blocks which, std::function<void()> refused);

    // False: refused, and failure() says so from now on.
    bool check_stubs();
    bool check_block(const Block& block, BlockUse use, std::span<const uint32_t> heads);

    // PatchCheck
    void branch_patched(const uint8_t* bytes, uint32_t address, uint32_t size, uint32_t target) override;
    void stub_patched(const uint8_t* bytes, uint32_t address, uint32_t size) override;
    void block_copied(const Block& original, const Block& copy) override;

    [[nodiscard]] const std::string& failure() const { return failure_; }

    struct Statistics {
        uint64_t blocks = 0, copies = 0, patches = 0, bytes = 0, left_out = 0;
    };
    Statistics statistics;

  private:
    // Checking everything is 3.0 % to 3.4 % of an installer's boot, which makes 20 MiB of host code and
    // copies 50; so sampled it is 1.3 %. What a translator does wrong it does in the first megabytes of a
    // system, or again and again.
    static constexpr uint64_t kFirstBytes = 8u << 20, kOneIn = 16;
    [[nodiscard]] bool is_due(const Block& block);
    bool heed(const std::optional<Refusal>& refusal, const HostCode& code);

    CodeCache& cache_;
    VerifierRules rules_;
    Verifier verifier_;
    const Blocks which_;
    uint64_t sampled_ = 0;
    std::function<void()> refused_;
    BlockFacts facts_;
    std::string failure_;
};

} // namespace vmm
