// Translated code is checked before it runs: every block, copy and revived block, every patch of one, and the
// stubs at the start. This file tells the verifier about Runtime and the stubs, and says what is checked and
// what happens to code that is refused: it never runs, and the machine ends with a sentence.
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
    Containment(CodeCache& cache, VerifierRules rules, std::function<void()> refused);

    // False: refused, and failure() says so from now on.
    bool check_stubs();
    bool check_block(const Block& block, BlockUse use, std::span<const uint32_t> heads);

    // PatchCheck
    void branch_patched(const uint8_t* bytes, uint32_t address, uint32_t size, uint32_t target) override;
    void stub_patched(const uint8_t* bytes, uint32_t address, uint32_t size) override;
    void block_copied(const Block& original, const Block& copy) override;

    [[nodiscard]] const std::string& failure() const { return failure_; }

    struct Statistics {
        uint64_t blocks = 0, copies = 0, patches = 0, bytes = 0;
    };
    Statistics statistics;

  private:
    bool heed(const std::optional<Refusal>& refusal, const HostCode& code);

    CodeCache& cache_;
    VerifierRules rules_;
    Verifier verifier_;
    std::function<void()> refused_;
    BlockFacts facts_;
    std::string failure_;
};

} // namespace vmm
