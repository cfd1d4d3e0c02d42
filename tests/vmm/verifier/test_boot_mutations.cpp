// No block of a real system's boot is refused, and none of them with one rule broken is accepted: firmware, a
// kernel that unpacks itself, Linux and its first programs.
//
// ENCORE_MUTATIONS: how many; some thousands by default, of blocks farther apart.
#include "tests/vmm/verifier/host_code_oracle.h"
#include "tests/vmm/verifier/mutations.h"
#include "vmm/machine.h"

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <mutex>
#include <set>
#include <thread>

using namespace vmm;
using namespace vmm::verifier_test;

namespace {

// Blocks from power-on to Linux's first programs, about, and mutations of one.
constexpr unsigned kBlocks = 40'000, kOfOne = 10;

// Written by the vCPU's thread, with the mutex.
struct Boot {
    std::mutex mutex;
    std::atomic<unsigned> made{0};
    VerifierRules rules;
    MutationCount count;
    Random random{20261130};
    unsigned stride = 1;
    uint64_t seen = 0;
    std::set<uint32_t> pages; // of the guest's, as far as it is known where they are
    std::string wrong;

    void look(Verifier& verifier, const HostCode& code) {
        const std::lock_guard lock(mutex);
        constexpr size_t kEnough = 4000; // of text
        if (seen++ % stride != 0 || wrong.size() > kEnough)
            return;
        pages.insert(code.eip >> 12);
        if (const std::string broken = broken_rule(rules, code); !broken.empty())
            wrong += fmt::format("accepted: {}\n", broken);
        wrong += count.mutate(code, verifier, rules, random);
        made = count.made;
    }
};
Boot* boot = nullptr;

std::vector<uint8_t> content(const char* name) {
    std::ifstream in(
        fmt::format("/usr/lib/debian-installer/images/12/i386/text/debian-installer/i386/{}", name),
        std::ios::binary);
    REQUIRE(in.good());
    return {std::istreambuf_iterator<char>(in), {}};
}

} // namespace

// The engine's calls, which the linker's --wrap leads here.
#define CHECK_OF_VERIFIER _ZN3vmm8Verifier5checkERKNS_8HostCodeE
#define RULES_OF_ENGINE                                                                                      \
    _ZN3vmm17containment_rulesERKNS_10CodeMemoryERKNS_5StubsERKNS_13RuntimeMemoryERKNS_12SegmentCacheE
#define JOINED(a, b) a##b
#define NAMED(a, b) JOINED(a, b)
extern "C" {
std::optional<Refusal> NAMED(__real_, CHECK_OF_VERIFIER)(Verifier* verifier, const HostCode& code);
std::optional<Refusal> NAMED(__wrap_, CHECK_OF_VERIFIER)(Verifier* verifier, const HostCode& code) {
    static thread_local bool looking = false; // the mutations are checked, too
    const auto refusal = NAMED(__real_, CHECK_OF_VERIFIER)(verifier, code);
    if (!refusal && !looking && code.kind == HostCode::Kind::Block) {
        looking = true;
        boot->look(*verifier, code);
        looking = false;
    }
    return refusal;
}
VerifierRules NAMED(__real_, RULES_OF_ENGINE)(const CodeMemory&, const Stubs&, const RuntimeMemory&,
                                              const SegmentCache&);
VerifierRules NAMED(__wrap_, RULES_OF_ENGINE)(const CodeMemory& memory, const Stubs& stubs,
                                              const RuntimeMemory& runtime, const SegmentCache& segments) {
    return boot->rules = NAMED(__real_, RULES_OF_ENGINE)(memory, stubs, runtime, segments);
}
}

TEST_CASE("verifier: no block of a system's boot is refused, and each with one rule broken is",
          "[verifier]") {
    const char* const asked = std::getenv("ENCORE_MUTATIONS");
    const unsigned wanted = asked != nullptr ? static_cast<unsigned>(std::strtoul(asked, nullptr, 10)) : 6000;
    Boot this_boot;
    boot = &this_boot;
    this_boot.stride = std::max(1u, kBlocks * kOfOne / wanted);
    MachineConfig config;
    config.platform.ram_bytes = 256u << 20;
    config.platform.kernel = std::make_shared<KernelBoot>();
    config.platform.kernel->kernel = content("linux");
    config.platform.kernel->initrd = content("initrd.gz");
    config.platform.kernel->command_line = "priority=low";
    config.verify_containment = true;
    auto made = Machine::create(config);
    REQUIRE(made);
    Machine& machine = **made;
    machine.start();
    while (this_boot.made < wanted && machine.wait(50) == ExitReason::None) {
    }
    CHECK(machine.exit_reason() == ExitReason::None);
    CHECK(machine.error() == "");
    machine.pause();
    machine.stop();
    made->reset();
    const std::lock_guard lock(this_boot.mutex);
    CHECK(this_boot.wrong == "");
    CHECK(this_boot.count.made >= wanted);
    CHECK(this_boot.count.accepted == 0);
    CHECK(this_boot.pages.size() > 100); // not some loop over and over
    for (const auto& [name, breaks] : kMutators) {
        (void)breaks;
        if (asked == nullptr) // some find a place in one block of thousands
            break;
        INFO(name);
        CHECK(this_boot.count.refused[name] != 0);
    }
    if (asked != nullptr)
        WARN(fmt::format("{} blocks accepted; {}", this_boot.seen, this_boot.count.summary()));
}
