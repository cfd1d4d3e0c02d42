// What a scene owes the world around it: a host that can run it, the time of day, an identity of its own.
#include "appliance-format/bundle_writer.h"
#include "player/host_features.h"
#include "player/scene_capture.h"
#include "tests/player/scene_desk.h"
#include "vmm/arch/tsc.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <set>

using namespace session_test;

namespace {

// The publisher changes the manifest and signs it again.
void republish(const Desk& desk, const std::function<void(appliance_format::Manifest&)>& change) {
    const auto signer = signing::Signer::load(desk.path + "/k.key", desk.path + "/k.crt", std::time(nullptr));
    REQUIRE(signer);
    const auto bundle = appliance_format::Bundle::open(desk.path + "/x.encore");
    REQUIRE(bundle);
    REQUIRE((*bundle)->authenticate(signing::TrustStore::standard(std::time(nullptr))));
    const auto done = player::edit_scenes(**bundle, *signer,
                                          [&](appliance_format::Manifest& manifest) -> base::Result<void> {
                                              change(manifest);
                                              return {};
                                          });
    if (!done)
        FAIL(done.error().message);
}

// A scene of the guest that answers questions, see scene_guest.S.
struct TellerDesk : SceneDesk {
    explicit TellerDesk(const std::string& policy = {}) : SceneDesk(policy, SCENE_GUEST, "--at ready") {}
};

// A session with that guest.
class Teller {
  public:
    explicit Teller(std::unique_ptr<Session> session) : session_(std::move(session)) {}
    [[nodiscard]] Session* operator->() const { return session_.get(); }

    // Presses a key and waits for the line that answers; all of it but `prefix`.
    std::string ask(const std::string& key, const std::string& prefix) {
        REQUIRE(session_->typist().type(key));
        size_t at = std::string::npos, end = std::string::npos;
        const bool answered = eventually([&] {
            session_->poll();
            heard_ += session_->serial().text_since(place_);
            at = heard_.find(prefix);
            end = at == std::string::npos ? at : heard_.find("\r\n", at);
            return end != std::string::npos;
        });
        if (!answered)
            FAIL("asked " << key << ", heard " << heard_);
        const std::string answer = heard_.substr(at + prefix.size(), end - at - prefix.size());
        heard_.erase(0, end);
        return answer;
    }

  private:
    std::unique_ptr<Session> session_;
    std::string heard_; // and not asked for yet
    uint64_t place_ = 0;
};

std::time_t guest_clock(Teller& guest) {
    const std::string said = guest.ask("c", "clock ");
    std::tm tm{};
    INFO(said);
    REQUIRE(::strptime(said.c_str(), "%Y%m%d %H%M%S", &tm) != nullptr);
    return ::timegm(&tm);
}

struct Counters {
    uint64_t tsc = 0, pm_timer = 0, ticks = 0;
};
Counters counters(Teller& guest) {
    Counters found;
    const std::string said = guest.ask("n", "mono ");
    REQUIRE(std::sscanf(said.c_str(), "%lx %lx %lx", &found.tsc, &found.pm_timer, &found.ticks) == 3);
    return found;
}

// Time-stamp counts a second, as the guest measures them with its ACPI timer while four timer interrupts
// come. The interrupts themselves are no measure: a busy host's come late, and then at once. The median of
// three, because the host may also come between the readings of the two.
double tsc_hz(Teller& guest) {
    constexpr double kPmHz = 3'579'545;
    constexpr uint32_t kPmMask = 0xFFFFFF;
    std::array<double, 3> rates{};
    for (double& rate : rates) {
        const Counters before = counters(guest);
        guest.ask("t", "rate ");
        const Counters after = counters(guest);
        rate = static_cast<double>(after.tsc - before.tsc) * kPmHz /
               ((after.pm_timer - before.pm_timer) & kPmMask);
    }
    std::sort(rates.begin(), rates.end());
    return rates[1];
}

bool near(std::time_t one, std::time_t other, std::time_t seconds = 10) {
    return std::abs(one - other) <= seconds;
}

std::unique_ptr<const signing::Signer> publisher(const Desk& desk) {
    auto signer = signing::Signer::load(desk.path + "/k.key", desk.path + "/k.crt", std::time(nullptr));
    REQUIRE(signer);
    return std::make_unique<const signing::Signer>(std::move(*signer));
}

// The value of a field of a saved state; see vmm/base/state_archive.h for the encoding.
uint8_t* field_of(std::vector<uint8_t>& state, const std::string& section, const std::string& field) {
    const auto record = [&](char kind, const std::string& name) {
        return std::string{kind, static_cast<char>(name.size())} + name;
    };
    const std::string in_section = record('S', section), in_field = record('F', field);
    const auto from = std::search(state.begin(), state.end(), in_section.begin(), in_section.end());
    REQUIRE(from != state.end());
    const auto at = std::search(from, state.end(), in_field.begin(), in_field.end());
    REQUIRE(at != state.end());
    return &*at + in_field.size() + sizeof(uint32_t);
}

// The publisher's scene, saved by a machine that was otherwise.
void doctor(const Desk& desk, const std::function<void(std::vector<uint8_t>&)>& change) {
    const auto signer = publisher(desk);
    const auto bundle = appliance_format::Bundle::open(desk.path + "/x.encore");
    REQUIRE(bundle);
    REQUIRE((*bundle)->authenticate(signing::TrustStore::standard(std::time(nullptr))));
    const std::string blob = (*bundle)->manifest().scenes[0].devices;
    auto state = (*bundle)->open_blob(blob)->read_all(1 << 20);
    REQUIRE(state);
    change(*state);
    auto writer = appliance_format::BundleWriter::extend(**bundle, desk.path + "/x.encore", {.progress = {}});
    REQUIRE(writer);
    writer->remove_blob(blob);
    appliance_format::MemorySource source{*state};
    REQUIRE(writer->add_blob(blob, source, appliance_format::kMemoryChunk));
    REQUIRE(writer->finish(signer.get()));
}

constexpr int64_t kHour = 3'600, kAge = 30 * 24 * kHour;

// As if it had been captured thirty days ago.
void age(const Desk& desk) {
    doctor(desk, [](std::vector<uint8_t>& state) {
        uint8_t* at = field_of(state, "rtc_mc146818", "offset");
        int64_t offset = 0;
        std::memcpy(&offset, at, sizeof offset);
        offset -= kAge * 1'000'000'000;
        std::memcpy(at, &offset, sizeof offset);
    });
}

// The guest's own hand on its clock: it sets it an hour ahead.
void an_hour_passes(Teller& guest) {
    const auto machine = guest->machine();
    machine->pause();
    machine->arrive({guest->identity().machine(), machine->time_of_day() + uint64_t{kHour} * 1'000'000'000});
    machine->start();
}

using Clock = std::function<std::time_t(std::time_t captured)>;

// What the guest's clock shows where a scene's session opens, after an hour and a revert, and after another
// hour and a jump; it runs in between, and a receipt leaves it as it is.
void check_clock(const std::string& policy, const Clock& opened, const Clock& reverted, const Clock& jumped) {
    TellerDesk desk(policy);
    const std::time_t captured = std::time(nullptr) - kAge;
    age(desk);
    Teller session(desk.open());
    session->start();
    CHECK(near(guest_clock(session), opened(captured)));
    an_hour_passes(session);
    CHECK(near(guest_clock(session), opened(captured) + kHour));
    REQUIRE(session->revert());
    CHECK(near(guest_clock(session), reverted(captured)));
    an_hour_passes(session);
    REQUIRE(session->jump("start"));
    CHECK(near(guest_clock(session), jumped(captured)));
    CHECK(session->revert_with_receipt());
    CHECK(near(guest_clock(session), jumped(captured)));
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

TEST_CASE("scene: clock = host shows the host's time after each resume, revert and jump", "[scene]") {
    const auto now = [](std::time_t) { return std::time(nullptr); };
    check_clock("", now, now, now); // host is what a recipe that says nothing means
}

TEST_CASE("scene: clock = frozen shows the moment of capture each time", "[scene]") {
    const auto then = [](std::time_t captured) { return captured; };
    check_clock("[policy]\nclock = \"frozen\"\n", then, then, then);
}

TEST_CASE("scene: clock = continues starts at the capture and is never set back", "[scene]") {
    const auto hours = [](int number) {
        return [number](std::time_t captured) { return captured + number * kHour; };
    };
    check_clock("[policy]\nclock = \"continues\"\n", hours(0), hours(1), hours(2));
}

TEST_CASE("scene: counters go on from the capture, in another process and after a revert", "[scene]") {
    TellerDesk desk;
    Counters before;
    {
        SessionOptions options;
        options.bundle = desk.path + "/x.encore";
        options.author = publisher(desk);
        auto opened = Session::open(std::move(options));
        REQUIRE(opened);
        Teller session(std::move(*opened));
        session->start();
        before = counters(session);
        REQUIRE(session->capture_as_author("later"));
    }
    Teller session(desk.open("later"));
    session->start();
    for (int i = 0; i < 3; ++i) {
        const Counters after = counters(session);
        CHECK(after.tsc > before.tsc);
        // However long that took, all three say the same: half a second is more than a busy host puts between
        // two readings, and little beside what a jump would be.
        const double seconds = static_cast<double>(after.tsc - before.tsc) / 1e3 / vmm::tsc_khz();
        const auto pm = static_cast<int64_t>(seconds * 3'579'545);
        const auto apart =
            static_cast<int32_t>((after.pm_timer - before.pm_timer - pm) << 8) / 256; // 24 bits
        CHECK(std::abs(apart) < 3'579'545 / 2);
        CHECK(after.ticks - before.ticks == Approx(seconds * 18.2065).margin(40));
        const Counters again = counters(session);
        CHECK(again.tsc > after.tsc);
        CHECK(again.ticks >= after.ticks);
        REQUIRE(session->revert());
    }
}

TEST_CASE("scene: a guest from a host of another time-stamp frequency keeps the one it knows", "[scene]") {
    TellerDesk desk;
    const double host = vmm::tsc_khz() * 1e3;
    {
        Teller session(desk.open());
        CHECK(session->manifest().scenes[0].tsc_khz == Approx(vmm::tsc_khz()).epsilon(0.001));
        session->start();
        CHECK(tsc_hz(session) == Approx(host).epsilon(0.25));
    }
    const uint32_t promised = vmm::tsc_khz() / 2;
    doctor(desk, [&](std::vector<uint8_t>& state) {
        std::memcpy(field_of(state, "cpu", "tsc_khz"), &promised, sizeof promised);
    });
    Teller session(desk.open());
    CHECK(session->machine()->tsc_khz() == promised);
    session->start();
    CHECK(tsc_hz(session) == Approx(host / 2).epsilon(0.25));
    CHECK(session->revert_with_receipt());
    CHECK(tsc_hz(session) == Approx(host / 2).epsilon(0.25));
}

TEST_CASE("scene: each session, revert and jump is another machine to its guest, and is told", "[scene]") {
    TellerDesk desk;
    Teller session(desk.open()), other(desk.open());
    session->start();
    other->start();
    std::set<std::string> seen;
    const auto look = [&](Teller& at) {
        const std::string id = at->identity().generation_text();
        CHECK(id.size() == 32);
        CHECK(at.ask("g", "generation ") == id + " gpe 0020");
        CHECK(seen.insert(id).second);
    };
    look(session);
    look(other);
    const auto mac = session->identity().mac();
    CHECK((mac[0] & 3) == 2); // local, not a group's
    CHECK(mac != other->identity().mac());
    REQUIRE(session->revert_with_receipt());
    look(session);
    REQUIRE(session->jump("start"));
    look(session);
    REQUIRE(session->jump(""));
    CHECK(session.ask("", "rea") == "dy");
    CHECK(session.ask("g", "generation ") == session->identity().generation_text() + " gpe 0000");
    CHECK(session->identity().mac() == mac);
}

TEST_CASE("scene: --seed makes a machine that can be had again", "[scene]") {
    TellerDesk desk;
    const std::string id = player::SessionIdentity::from_seed(5).generation_text();
    for (int i = 0; i < 2; ++i)
        CHECK(desk.run("run x.encore --headless --seed 5 --type g --expect 'generation " + id +
                       " gpe 0020' --receipt --timeout 60") == 0);
    CHECK(desk.run("run x.encore --headless --seed -1 --timeout 5") == 2);
    CHECK(player::SessionIdentity::from_seed(5).mac() == player::SessionIdentity::from_seed(5).mac());
    CHECK(player::SessionIdentity::from_seed(5).seed() != player::SessionIdentity::from_seed(6).seed());
}

TEST_CASE("scene: identity = same keeps the machine that was captured, and tells its guest nothing",
          "[scene]") {
    TellerDesk desk("[policy]\nidentity = \"same\"\n");
    const std::string id = player::SessionIdentity::of_appliance("guest").generation_text();
    for (int i = 0; i < 2; ++i) {
        Teller session(desk.open());
        session->start();
        CHECK(session.ask("g", "generation ") == id + " gpe 0000");
        REQUIRE(session->revert());
        CHECK(session.ask("g", "generation ") == id + " gpe 0000");
    }
}

TEST_CASE("scene: keyboard, mouse, disk, timer and clock work after resume and after the 200th revert",
          "[scene]") {
    TellerDesk desk;
    Teller session(desk.open());
    const vmm::Picture stored = session->machine()->picture();
    REQUIRE(stored.width == 720);
    session->start();
    const auto everything_works = [&] {
        CHECK(session.ask("x", "key ") == "2d");
        CHECK(session.ask("m", "mouse ") == "on");
        vmm::PointerEvent event;
        event.x = 5;
        event.y = -3;
        event.buttons = 1;
        session->machine()->pointer(event);
        CHECK(session.ask("", "mouse ") == "09 05 03"); // status: always one, left button; up is positive
        CHECK(session.ask("d", "disk ") == "pristine");
        CHECK(session.ask("", "disk ") == "written");
        CHECK(session.ask("d", "disk ") == "dirty");
        CHECK(tsc_hz(session) == Approx(vmm::tsc_khz() * 1e3).epsilon(0.25));
        CHECK(near(guest_clock(session), std::time(nullptr)));
        const Counters one = counters(session), two = counters(session);
        CHECK(two.tsc > one.tsc);
        CHECK(two.pm_timer != one.pm_timer);
    };
    everything_works();
    for (unsigned i = 0; i < 200; ++i) {
        const auto root = session->revert_with_receipt();
        if (!root)
            FAIL("revert " << i << ": " << root.error().message);
    }
    // The picture is right at once, without a key press.
    const vmm::Picture shown = session->machine()->picture();
    REQUIRE(shown.pixels.size() == stored.pixels.size());
    size_t same = 0;
    for (size_t i = 0; i < shown.pixels.size(); ++i)
        same += shown.pixels[i] == stored.pixels[i];
    CHECK(same > shown.pixels.size() * 999 / 1000); // but for the cursor, which blinks
    everything_works();
}
