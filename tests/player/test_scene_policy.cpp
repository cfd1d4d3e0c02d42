// What a scene owes the world around it: a host that can run it, the time of day, an identity of its own.
#include "appliance-format/bundle_writer.h"
#include "player/host_features.h"
#include "player/scene_capture.h"
#include "tests/player/scene_desk.h"

using namespace session_test;

namespace {

// The publisher changes the manifest and signs it again.
void republish(const Desk& desk, const std::function<void(appliance_format::Manifest&)>& change) {
    const auto signer = signing::Signer::load(desk.path + "/k.key", desk.path + "/k.crt");
    REQUIRE(signer);
    const auto bundle = appliance_format::Bundle::open(desk.path + "/x.encore");
    REQUIRE(bundle);
    REQUIRE((*bundle)->authenticate(signing::TrustStore::standard()));
    const auto done = player::edit_scenes(**bundle, *signer,
                                          [&](appliance_format::Manifest& manifest) -> base::Result<void> {
                                              change(manifest);
                                              return {};
                                          });
    if (!done)
        FAIL(done.error().message);
}

} // namespace

TEST_CASE("host features: this host has all that guests are promised, and unknown names are missing",
          "[scene]") {
    CHECK(player::missing_host_features().empty());
    CHECK(player::missing_host_features({}).empty());
    CHECK(player::missing_host_features({"sse2", "warp-drive", "cmov"}) ==
          std::vector<std::string>{"warp-drive"});
    CHECK(player::check_host_features("x"));
    const auto refused = player::check_host_features("x.encore", {"warp-drive", "time-travel"});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == player::kHostLacks);
    CHECK(refused.error().message.find("warp-drive, time-travel") != std::string::npos);
}

TEST_CASE("scene: one that needs a processor nobody has is refused before anything runs", "[scene]") {
    SceneDesk desk;
    republish(desk, [](appliance_format::Manifest& manifest) {
        CHECK(manifest.scenes[0].cpu_features == player::promised_cpu_features());
        manifest.scenes[0].cpu_features.push_back("warp-drive");
    });
    CHECK(desk.run("verify x.encore") == 0);
    CHECK(desk.run("run x.encore --headless --serial serial.txt --type a --expect key --timeout 30") ==
          player::kHostLacks);
    CHECK(desk.output ==
          "encore: x.encore: scene start needs a processor with warp-drive, which this computer's does "
          "not have; play it on another computer\n");
    CHECK_FALSE(fs::exists(desk.path + "/serial.txt"));
    // The machine at power-on was promised nothing unusual; a jump to the scene leaves the session as it is.
    auto session = desk.open("");
    session->start();
    uint64_t heard = 0;
    REQUIRE(hears(*session, heard, "pristine"));
    const auto jumped = session->jump("start");
    REQUIRE_FALSE(jumped);
    CHECK(jumped.error().code == player::kHostLacks);
    REQUIRE(session->typist().type("a"));
    CHECK(hears(*session, heard, "key 1e"));
}
