// The differential test's command line: random cases on the processor and through the engine, in every block
// mode. Exit status 0: all agree; 1: mismatches (printed, shrunk); 2: the host cannot run it.
//
//   differential [--cases N] [--seed S] [--case K] [--mode single|unlinked|linked|copied] [--group NAME]
//                [--seconds T]
//                [--max-failures N] [--verify] [--native-only] [--other-maker] [--other-plan]
//
// --other-maker: with the lowerings for a host that is not Intel's, whatever the host is.
// --other-plan: with every host register that a plan may choose another than usual.
#include "tests/vmm/translator/differential/compare.h"
#include "tests/vmm/translator/differential/generator.h"
#include "tests/vmm/translator/differential/native_runner.h"
#include "tests/vmm/translator/differential/report.h"
#ifdef ENCORE_DIFFERENTIAL_ENGINE
#include "tests/vmm/translator/differential/engine_runner.h"
#include "vmm/translator/addressing.h"
#endif

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <map>
#include <optional>

namespace differential {
namespace {

constexpr size_t kBatch = 256;
constexpr const char* kGroupNames[] = {"alu",  "shift", "muldiv", "bits", "move", "stack",
                                       "misc", "x87",   "mmx",    "sse",  "sse2", "ssse3"};

struct Options {
    uint64_t cases = 20000, seed = 1;
    std::optional<uint64_t> only_case;
    std::string mode;
    Group group = Group::Count;
    double seconds = 1e9;
    unsigned max_failures = 10;
    bool verify_containment = false, native_only = false, other_maker = false, other_plan = false;
};

// Something that runs a case: the processor, or the engine in one block mode.
struct Side {
    std::string name;
    std::function<void(const Case&, Outcome&)> run;
};

std::optional<Options> parse(int count, char** arguments) {
    Options options;
    for (int i = 1; i < count; ++i) {
        const std::string name = arguments[i];
        const auto value = [&]() -> const char* { return i + 1 < count ? arguments[++i] : "0"; };
        if (name == "--cases")
            options.cases = std::strtoull(value(), nullptr, 0);
        else if (name == "--seed")
            options.seed = std::strtoull(value(), nullptr, 0);
        else if (name == "--case")
            options.only_case = std::strtoull(value(), nullptr, 0);
        else if (name == "--mode")
            options.mode = value();
        else if (name == "--seconds")
            options.seconds = std::strtod(value(), nullptr);
        else if (name == "--max-failures")
            options.max_failures = static_cast<unsigned>(std::strtoul(value(), nullptr, 0));
        else if (name == "--verify")
            options.verify_containment = true;
        else if (name == "--native-only")
            options.native_only = true;
        else if (name == "--other-maker")
            options.other_maker = true;
        else if (name == "--other-plan")
            options.other_plan = true;
        else if (name == "--group") {
            const std::string wanted = value();
            const auto* found = std::find(std::begin(kGroupNames), std::end(kGroupNames), wanted);
            if (found == std::end(kGroupNames))
                return std::nullopt;
            options.group = static_cast<Group>(found - std::begin(kGroupNames));
        } else
            return std::nullopt;
    }
    return options;
}

#ifdef ENCORE_DIFFERENTIAL_ENGINE
// Differs from kWindowPlan in all that a plan may choose.
constexpr vmm::RegisterPlan kOtherPlan{.guest = vmm::RegisterPlan::guest32(10),
                                       .scratch = {15, 8, 12, 9},
                                       .jump_table = 11,
                                       .window = 13,
                                       .runtime = 14};
static_assert(kOtherPlan.is_sound());
const vmm::Window32 kOtherWindow(kOtherPlan);

base::Result<std::vector<Side>> engine_sides(const Options& options,
                                             std::vector<std::unique_ptr<EngineRunner>>& runners) {
    struct Mode {
        const char* name;
        vmm::BlockMode mode;
        bool elsewhere_first = false;
    };
    constexpr Mode kModes[] = {{"single", vmm::BlockMode::SingleInstruction},
                               {"unlinked", vmm::BlockMode::Unlinked},
                               {"linked", vmm::BlockMode::Linked},
                               {"copied", vmm::BlockMode::Linked, true}};
    std::vector<Side> sides;
    for (const Mode& mode : kModes) {
        if (!options.mode.empty() && options.mode != mode.name)
            continue;
        vmm::EngineConfig config;
        config.block_mode = mode.mode;
        config.verify_containment = options.verify_containment;
        if (options.other_maker)
            config.host_maker = vmm::HostMaker::Other, config.host_rotates = false;
        if (options.other_plan)
            config.addressing = &kOtherWindow;
        runners.push_back(TRY(EngineRunner::create(config)));
        EngineRunner* runner = runners.back().get();
        sides.push_back({mode.name, [runner, mode](const Case& test, Outcome& outcome) {
                             if (mode.elsewhere_first)
                                 runner->run_elsewhere(test);
                             runner->run(test, outcome);
                         }});
    }
    return sides;
}
#endif

class Session {
  public:
    Session(Options options, std::vector<Side> sides) : options_(options), sides_(std::move(sides)) {
        cases_.resize(kBatch);
        expected_.resize(kBatch);
    }

    int run() {
        const auto start = std::chrono::steady_clock::now();
        const auto elapsed = [&] {
            return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        };
        const uint64_t first = options_.only_case.value_or(0);
        const uint64_t end = options_.only_case ? first + 1 : options_.cases;
        for (uint64_t at = first;
             at < end && elapsed() < options_.seconds && failures_ < options_.max_failures; at += kBatch)
            batch(at, std::min<uint64_t>(end, at + kBatch));
        fmt::print("{} cases, seed {}, {:.1f} s: {} mismatches\n", done_, options_.seed, elapsed(),
                   failures_);
        std::string ends = "ended by vector:";
        for (const auto& [vector, count] : vectors_)
            ends += fmt::format(" {}:{}", vector, count);
        fmt::print("{}; {} at the sentinel; native side {:.0f} cases/s\n", ends, at_sentinel_,
                   static_cast<double>(done_) / native_seconds_);
        for (const auto& [mnemonic, count] : blamed_)
            fmt::print("  {:6} {}\n", count, mnemonic);
        return failures_ == 0 ? 0 : 1;
    }

  private:
    void batch(uint64_t first, uint64_t end) {
        const size_t count = end - first;
        const auto start = std::chrono::steady_clock::now();
        {
            NativeRunner native;
            for (size_t i = 0; i < count; ++i) {
                cases_[i] = generate(options_.seed, first + i, options_.group);
                native.run(cases_[i], expected_[i]);
            }
        }
        native_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        for (size_t i = 0; i < count; ++i) {
            ++vectors_[expected_[i].vector];
            at_sentinel_ += ended_at_sentinel(cases_[i], expected_[i]);
        }
        for (const Side& side : sides_)
            for (size_t i = 0; i < count && failures_ < options_.max_failures; ++i)
                check(side, cases_[i], expected_[i]);
        done_ += count;
    }

    static bool ended_at_sentinel(const Case& test, const Outcome& outcome) {
        const uint32_t size = static_cast<uint32_t>(test.assemble().size());
        return outcome.registers.eip == test.initial.eip + size;
    }

    // Twice: the second time through blocks that exist and may be linked.
    bool agrees(const Side& side, const Case& test, const Outcome& expected) {
        for (int pass = 0; pass < 2; ++pass) {
            side.run(test, actual_);
            if (!compare(test, expected, actual_).empty())
                return false;
        }
        return true;
    }

    void check(const Side& side, const Case& test, const Outcome& expected) {
        if (agrees(side, test, expected))
            return;
        Outcome last_expected = expected; // of the last run that failed
        std::vector<std::string> differences = compare(test, expected, actual_);
        const bool timed_out = actual_.vector == kTimedOut;
        const auto fails = [&](const Case& candidate) {
            Outcome native;
            {
                NativeRunner runner;
                runner.run(candidate, native);
            }
            if (agrees(side, candidate, native))
                return false;
            last_expected = native;
            differences = compare(candidate, native, actual_);
            return true;
        };
        constexpr unsigned kRepeats = 3;
        unsigned seen = 0;
        for (unsigned i = 0; i < kRepeats; ++i)
            seen += fails(test) ? 1 : 0;
        if (seen < kRepeats && (expected.vector == kTimedOut || timed_out)) { // no endless loop
            fmt::print("case {} in mode {} timed out, and not each time\n", test.index, side.name);
            return;
        }
        ++failures_;
        const Case smallest = shrink(test, fails);
        ++blamed_[mnemonic_at(smallest, last_expected.registers.eip)];
        fmt::print("MISMATCH in mode {}, seen again in {} of {} repeats\n{}\n", side.name, seen, kRepeats,
                   describe(smallest, last_expected, differences));
        std::fflush(stdout);
    }

    Options options_;
    std::vector<Side> sides_;
    std::vector<Case> cases_;
    std::vector<Outcome> expected_;
    Outcome actual_;
    uint64_t done_ = 0, at_sentinel_ = 0;
    unsigned failures_ = 0;
    double native_seconds_ = 0;
    std::map<unsigned, uint64_t> vectors_;
    std::map<std::string, unsigned> blamed_;
};

int real_main(int count, char** arguments) {
    const std::optional<Options> options = parse(count, arguments);
    if (!options) {
        fmt::print(
            stderr,
            "usage: differential [--cases N] [--seed S] [--case K] [--mode single|unlinked|linked|copied] "
            "[--group NAME] [--seconds T] [--max-failures N] [--verify] [--native-only] [--other-maker] "
            "[--other-plan]\n");
        return 2;
    }
    if (auto ready = NativeRunner::prepare(); !ready) {
        fmt::print(stderr, "{}\n", ready.error().message);
        return 2;
    }
    std::vector<Side> sides;
#ifdef ENCORE_DIFFERENTIAL_ENGINE
    std::vector<std::unique_ptr<EngineRunner>> runners;
    if (!options->native_only) {
        auto made = engine_sides(*options, runners);
        if (!made) {
            fmt::print(stderr, "{}\n", made.error().message);
            return 2;
        }
        sides = std::move(*made);
    }
#endif
    if (sides.empty()) // the harness against itself
        sides.push_back({"native", [](const Case& test, Outcome& outcome) {
                             NativeRunner runner;
                             runner.run(test, outcome);
                         }});
    const int result = Session(*options, std::move(sides)).run();
#ifdef ENCORE_DIFFERENTIAL_ENGINE
    // Of the last mode, which is to copy what it can.
    constexpr uint64_t kEnough = 1000;
    if (result == 0 && options->mode.empty() && options->cases >= kEnough && !runners.empty() &&
        runners.back()->copied_blocks() == 0) {
        fmt::print("no block was copied to another address\n");
        return 1;
    }
#endif
    return result;
}

} // namespace
} // namespace differential

int main(int count, char** arguments) { return differential::real_main(count, arguments); }
