// Code written for the verifier, beside real stubs and a real Runtime.
#pragma once
#include "tests/vmm/verifier/host_world.h"
#include "vmm/translator/callouts.h"
#include "vmm/verifier/reasons.h"

#include <catch2/catch.hpp>

#include <functional>
#include <string>
#include <vector>

namespace vmm::verifier_test {

inline constexpr uint32_t kEip = 0x12345678;

struct Bench : HostWorld {
    using HostWorld::HostWorld;
    std::vector<uint32_t> landings; // to be noted by what emits

    static void arrive(Emitter& e, uint32_t eip) {
        e.lea32(host::kScratch1, {.base = host::kScratch0, .displacement = static_cast<int32_t>(-eip)});
        e.load32(host::kScratch0,
                 {.base = host::kRuntime, .index = host::kScratch1, .displacement = kArrival});
    }
    void land(Emitter& e) {
        landings.push_back(static_cast<uint32_t>(e.address()));
        arrive(e, kEip + 5);
    }
    void leave(Emitter& e) const {
        e.mov32_imm(host::kScratch0, kEip);
        e.jump(stubs.indirect_miss);
    }

    using Emit = std::function<void(Bench&, Emitter&)>;
    // What the verifier says of a block with an arrival, this code and, unless it is `open`, an exit.
    std::string verdict(const Emit& emit, bool open = false, bool window = true) {
        const uint32_t base = cache->cursor();
        Emitter emitter(cache->memory().writable(base), 4096, base);
        HostCode code;
        code.address = base;
        code.bytes = cache->memory().writable(base);
        code.eip = kEip;
        code.window = window;
        arrive(emitter, kEip);
        code.body = static_cast<uint32_t>(emitter.address());
        landings.clear();
        emit(*this, emitter);
        if (!open)
            leave(emitter);
        code.size = emitter.offset();
        code.landings = landings;
        return say(code);
    }
    std::string say(const HostCode& code) {
        const auto refusal = verifier->check(code);
        return refusal ? refusal->reason : "";
    }
};

} // namespace vmm::verifier_test
