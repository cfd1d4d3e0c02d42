#include "tests/appliance-format/bundle_fixture.h"

using namespace fixture;

namespace {
Manifest full_manifest() {
    Manifest m = small_content().manifest;
    m.policy.clock = ClockPolicy::Continues;
    m.policy.identity = IdentityPolicy::Same;
    m.scenes[0].tsc_khz = 2'600'000;
    m.optional_features = {"hints"};
    m.packs = {{"blobs/chunks.0", 5000, signing::sha256(Bytes{1})}};
    ObjectRef root{signing::sha256(Bytes{2}), 0, 10, 20, 30};
    m.blobs = {{"disk0", 1 << 20, kDiskChunk, root},
               {"start/ram", 16 << 20, kMemoryChunk, {}},
               {"start/devices", 100, kDiskChunk, root},
               {"start/hot", 8, kDiskChunk, root}};
    return m;
}
} // namespace

TEST_CASE("manifest: survives writing and parsing, byte for byte", "[manifest]") {
    Manifest m = full_manifest();
    std::string json = write_manifest(m);
    auto parsed = parse_manifest(json);
    REQUIRE(parsed);
    CHECK(*parsed == m);
    CHECK(write_manifest(*parsed) == json);
    CHECK(json.find(' ') == json.find(" appliance\"")); // no spaces but those in texts
}

TEST_CASE("manifest: unknown keys are ignored, unknown critical features refused", "[manifest]") {
    std::string json = write_manifest(full_manifest());
    auto edit = [&](std::string_view from, std::string_view to) {
        std::string text = json;
        text.replace(text.find(from), from.size(), to);
        return parse_manifest(text);
    };
    CHECK(edit("\"policy\":{", "\"planets\":7,\"policy\":{"));
    CHECK(edit("\"critical\":[]", "\"critical\":[\"warp\"]").error().code == kUnsupported);
    CHECK(edit("\"critical\":[]", "\"critical\":[\"\"]").error().code == kDamaged);
    CHECK(edit("\"format\":1", "\"format\":7").error().code == kUnsupported);
    CHECK(edit("\"format\":1", "\"format\":1.0").error().code == kDamaged);
    CHECK(edit("\"policy\":{", "\"aplanets\":7,\"policy\":{").error().code == kDamaged); // not sorted
}

TEST_CASE("manifest: one that says nothing of clock and identity means host and fresh", "[manifest]") {
    std::string json = write_manifest(full_manifest());
    const auto edit = [&](std::string_view from, std::string_view to) {
        REQUIRE(json.find(from) != std::string::npos);
        json.replace(json.find(from), from.size(), to);
    };
    edit("\"clock\":\"continues\",\"identity\":\"same\",", "");
    const auto parsed = parse_manifest(json);
    REQUIRE(parsed);
    CHECK(parsed->policy.clock == ClockPolicy::Host);
    CHECK(parsed->policy.identity == IdentityPolicy::Fresh);
    edit("\"policy\":{", "\"policy\":{\"clock\":\"sundial\",");
    CHECK(parse_manifest(json).error().code == kDamaged);
}

TEST_CASE("manifest: what does not fit together is refused", "[manifest]") {
    auto refused = [](auto change) {
        Manifest m = full_manifest();
        change(m);
        return !check_manifest(m) && !parse_manifest(write_manifest(m));
    };
    CHECK_FALSE(refused([](Manifest&) {}));
    CHECK(refused([](Manifest& m) { m.media[0].blob = "nowhere"; }));
    CHECK(refused([](Manifest& m) { m.start = "nowhere"; }));
    CHECK(refused([](Manifest& m) { m.scenes.push_back(m.scenes[0]); }));
    CHECK(refused([](Manifest& m) { m.scenes[0].ram = "disk0"; }));
    CHECK(refused([](Manifest& m) { m.scenes[0].media.clear(); }));
    CHECK(refused([](Manifest& m) { m.scenes[0].devices.clear(); }));
    CHECK(refused([](Manifest& m) { m.blobs.push_back(m.blobs[0]); }));
    CHECK(refused([](Manifest& m) { m.blobs[0].name = "../x"; }));
    CHECK(refused([](Manifest& m) { m.packs[0].size = 0; }));
    CHECK(refused([](Manifest& m) { m.packs[0].member = "elsewhere/chunks.0"; }));
    CHECK(refused([](Manifest& m) { m.machine.memory = 12345; }));
    CHECK(refused([](Manifest& m) { m.policy.max_minutes = 0; }));
    CHECK(refused([](Manifest& m) { m.boot.cmdline = "quiet"; }));
    CHECK(refused([](Manifest& m) { m.boot.order = {MediaKind::Disk, MediaKind::Disk}; }));
    CHECK(refused([](Manifest& m) { m.appliance.name = "Not Simple"; }));
}
