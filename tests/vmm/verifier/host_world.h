// What the verifier is told of: real stubs, a real Runtime, the memory that code lies in. Nothing here runs.
#pragma once
#include "vmm/base/verify.h"
#include "vmm/code_cache/code_cache.h"
#include "vmm/translator/containment.h"
#include "vmm/translator/emitter.h"
#include "vmm/translator/ring0_stubs.h"

#include <memory>
#include <vector>

namespace vmm::host { // as kWindowPlan has it
inline constexpr uint8_t kScratch0 = kWindowPlan.scratch[0], kScratch1 = kWindowPlan.scratch[1],
                         kScratch2 = kWindowPlan.scratch[2], kScratch3 = kWindowPlan.scratch[3],
                         kGuestEsp = kWindowPlan.stack(), kJumpTable = kWindowPlan.jump_table,
                         kWindow = kWindowPlan.window, kRuntime = kWindowPlan.runtime;
} // namespace vmm::host

namespace vmm::verifier_test {

// A block with all that it is checked with, to be changed.
struct CodeCopy {
    explicit CodeCopy(const HostCode& made)
        : code(made), bytes(made.bytes, made.bytes + made.size),
          landings(made.landings.begin(), made.landings.end()), heads(made.heads.begin(), made.heads.end()),
          ways_out(made.ways_out.begin(), made.ways_out.end()), holes(made.holes.begin(), made.holes.end()) {
        code.bytes = bytes.data();
        code.landings = landings;
        code.heads = heads;
        code.ways_out = ways_out;
        code.holes = holes;
    }
    CodeCopy(const CodeCopy&) = delete;

    HostCode code;
    std::vector<uint8_t> bytes;
    std::vector<uint32_t> landings, heads;
    std::vector<WayOut> ways_out;
    std::vector<Hole> holes;
};

struct HostWorld {
    std::unique_ptr<RuntimeMemory> runtime = RuntimeMemory::create().value();
    std::unique_ptr<CodeCache> cache = CodeCache::create(1 << 20, 16, nullptr, 0).value();
    SegmentCache segments;
    Stubs stubs;
    VerifierRules rules;
    std::unique_ptr<Verifier> verifier;

    explicit HostWorld(bool arrival_guard = true) {
        CodeMemory& memory = cache->memory();
        Emitter emitter(memory.writable(memory.executable()), 4096, memory.executable());
        stubs = emit_stubs(emitter, true);
        VERIFY(segments.create());
        emit_ring0_stubs(emitter, stubs);
        cache->set_stub_end(static_cast<uint32_t>(emitter.address()));
        rules = containment_rules(memory, stubs, *runtime, segments);
        rules.arrival_guard = arrival_guard; // whether this process has one or not
        verifier = std::make_unique<Verifier>(rules);
    }
    HostWorld(const HostWorld&) = delete;
};

} // namespace vmm::verifier_test
