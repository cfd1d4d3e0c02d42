// The rules of a session as a person meets them: the publisher's recipe, the operator's file, and what
// `encore` does with both.
#include "player/high_water_clock.h"
#include "tests/json.h"
#include "tests/player/scene_desk.h"

using namespace session_test;
using nlohmann::json;
using player::SessionEnd;

namespace {

void operator_says(const Desk& desk, const std::string& text) {
    fs::create_directories(desk.path + "/config/encore");
    std::ofstream(desk.path + "/config/encore/operator.toml") << text;
}

std::vector<appliance_format::OperatorFile> operator_file(const std::string& text) {
    auto file = appliance_format::parse_operator_file(text, "op.toml");
    if (!file)
        FAIL(file.error().message);
    return {std::move(*file)};
}

// A session in this process, with a clock of the test's.
struct Sitting {
    Sitting(const Desk& desk, const std::string& operators = {}) {
        ::setenv("XDG_DATA_HOME", (desk.path + "/data").c_str(), 1);
        ::setenv("XDG_CACHE_HOME", (desk.path + "/cache").c_str(), 1);
        ::setenv("XDG_STATE_HOME", (desk.path + "/state").c_str(), 1);
        SessionOptions options;
        options.bundle = desk.path + "/x.encore";
        options.now = [this] { return now; };
        options.notice = [this](const std::string& text) { notices.push_back(text); };
        options.operator_files = operator_file(operators);
        auto opened = Session::open(std::move(options));
        if (!opened)
            FAIL(opened.error().message);
        session = std::move(*opened);
        session->start();
    }
    void pass(std::chrono::seconds time) {
        now += time;
        session->poll();
    }
    std::chrono::steady_clock::time_point now{std::chrono::hours(1)};
    std::vector<std::string> notices;
    std::unique_ptr<Session> session;
};

std::vector<json> log_of(const Desk& desk) {
    std::vector<json> lines;
    std::ifstream in(desk.path + "/state/encore/log/sessions.jsonl");
    for (std::string line; std::getline(in, line);)
        lines.push_back(json_of(line));
    return lines;
}

} // namespace

TEST_CASE("policy explain: every rule with its origin; what would loosen is listed, not applied",
          "[policy]") {
    Desk desk("[policy]\nmax_minutes = 30\nwatermark = \"Demo\"\nsound = false\n");
    operator_says(desk, "[policy]\nmax_minutes = 20\nsound = true\n[appliance.other]\nidle_seconds = 20\n");
    REQUIRE(desk.run("policy explain x.encore --json") == 0);
    const json answer = json_of(desk.output);
    const json& rules = answer["rules"];
    CHECK(rules.size() >= appliance_format::kRules);
    CHECK(rules["max_minutes"]["value"] == 20);
    CHECK(rules["max_minutes"]["from"] == "operator");
    CHECK(rules["max_minutes"]["line"] == 2);
    CHECK(rules["max_minutes"]["file"] == desk.path + "/config/encore/operator.toml");
    CHECK(rules["sound"]["value"] == false);
    CHECK(rules["sound"]["from"] == "publisher");
    CHECK(rules["clipboard"] == json{{"value", false}, {"from", "default"}});
    CHECK(rules["idle_seconds"]["value"].is_null());
    CHECK(rules["watermark"]["value"] == "Demo");
    CHECK(rules["clock"] == json{{"value", "host"}, {"from", "default"}});
    REQUIRE(answer["ignored"].size() == 1);
    CHECK(answer["ignored"][0]["line"] == 3);
    REQUIRE(desk.run("policy explain x.encore") == 0);
    CHECK(desk.output.find("20 minutes") != std::string::npos);
    CHECK(desk.output.find("operator.toml:2") != std::string::npos);
    CHECK(desk.output.find("not applied: ") != std::string::npos);
    // A file that cannot be understood lets nothing through.
    operator_says(desk, "[policy]\nmax_minuts = 20\n");
    for (const char* verb : {"policy explain x.encore", "run x.encore --headless --expect pristine"}) {
        CHECK(desk.run(verb) == 9);
        CHECK(desk.output.find("operator.toml:2: ") != std::string::npos);
        CHECK(desk.output.find('\n') == desk.output.size() - 1);
    }
}

TEST_CASE("policy explain: a network that is allowed to a machine without a card is pointed out",
          "[policy]") {
    Desk desk("[policy]\nnetwork = true\n");
    REQUIRE(desk.run("policy explain x.encore") == 0);
    CHECK(desk.output.find("but the machine has no network card") != std::string::npos);
    std::string recipe = desk.read("r.toml");
    recipe.replace(recipe.find("memory"), 0, "network = true\n");
    desk.write("r.toml", recipe);
    REQUIRE(desk.run("pack r.toml -o card.encore --key k.key --cert k.crt") == 0);
    REQUIRE(desk.run("policy explain card.encore") == 0);
    CHECK(desk.output.find("no network card") == std::string::npos);
    REQUIRE(desk.run("inspect card.encore") == 0);
    CHECK(desk.output.find("RTL8139") != std::string::npos);
    operator_says(desk, "[policy]\nnetwork = false\n");
    REQUIRE(desk.run("policy explain card.encore --json") == 0);
    const json network = json_of(desk.output)["rules"]["network"];
    CHECK(network["value"] == false);
    CHECK(network["from"] == "operator");
}

TEST_CASE("session: ends when nobody touches it, says so before, and goes on when somebody does",
          "[session]") {
    Desk desk("[policy]\nidle_seconds = 120\n");
    Sitting one(desk);
    CHECK(one.session->idle_left() == std::chrono::seconds(120));
    one.pass(std::chrono::seconds(89));
    CHECK(one.notices.empty());
    one.pass(std::chrono::seconds(2));
    REQUIRE(one.notices.size() == 1);
    CHECK(one.notices[0].find("29 s") != std::string::npos);
    one.session->note_activity();
    one.pass(std::chrono::seconds(60));
    CHECK(one.session->state() == SessionEnd::None);
    REQUIRE(one.session->typist().type("a")); // keys count, whoever presses them
    REQUIRE(eventually([&] { return one.session->idle_left() > std::chrono::seconds(100); }));
    one.pass(std::chrono::seconds(119));
    CHECK(one.notices.size() == 2);
    CHECK(one.session->state() == SessionEnd::None);
    one.pass(std::chrono::seconds(1));
    CHECK(one.session->state() == SessionEnd::Idle);

    Sitting tighter(desk, "[policy]\nidle_seconds = 20\n");
    tighter.pass(std::chrono::seconds(21));
    CHECK(tighter.session->state() == SessionEnd::Idle);
}

TEST_CASE("session: the operator's time limit ends it; staff can give more", "[session]") {
    Desk desk("[policy]\nmax_minutes = 60\n");
    Sitting sitting(desk, "[policy]\nmax_minutes = 10\n");
    CHECK(sitting.session->time_left() == std::chrono::minutes(10));
    sitting.pass(std::chrono::minutes(5));
    CHECK(sitting.notices.size() == 1);
    sitting.session->extend(std::chrono::minutes(15));
    CHECK(sitting.session->time_left() == std::chrono::minutes(20));
    sitting.pass(std::chrono::seconds(0));
    sitting.pass(std::chrono::minutes(15));
    CHECK(sitting.session->state() == SessionEnd::None);
    CHECK(sitting.notices.size() == 2); // the same warning again, for the new end
    sitting.pass(std::chrono::minutes(5));
    CHECK(sitting.session->state() == SessionEnd::TimeLimit);
}

TEST_CASE("session: only allowed scenes are begun or jumped to", "[session]") {
    SceneDesk desk;
    const auto open = [&](const std::string& rules, std::optional<std::string> scene) {
        SessionOptions options;
        options.bundle = desk.path + "/x.encore";
        options.scene = std::move(scene);
        options.operator_files = operator_file("[appliance.guest]\n" + rules);
        return Session::open(std::move(options));
    };
    auto session = open("scenes = [\"start\"]\n", {});
    REQUIRE(session);
    CHECK((*session)->scene() == "start");
    const auto jumped = (*session)->jump("");
    REQUIRE_FALSE(jumped);
    CHECK(jumped.error().code == player::kRefused);
    CHECK((*session)->state() == SessionEnd::None);
    session->reset();
    CHECK(open("scenes = [\"start\"]\n", "").error().code == player::kRefused);
    CHECK(open("scenes = [\"power-on\"]\n", "start").error().code == player::kRefused);
    auto powered = open("scenes = [\"power-on\"]\n", {}); // the start is not allowed: the first that is
    REQUIRE(powered);
    CHECK((*powered)->scene().empty());
    powered->reset();
    CHECK(open("scenes = [\"nowhere\"]\n", {}).error().code == player::kRefused);
}

TEST_CASE("session: an expired appliance is refused, also when the date is set back; grace lets it begin",
          "[session]") {
    Desk desk("[policy]\nexpires = 2020-01-31\n");
    CHECK(desk.run("run x.encore --headless --expect pristine") == player::kRefused);
    CHECK(desk.output.find("2020-01-31; ask Acme Ltd for a new bundle") != std::string::npos);
    CHECK(desk.output.find('\n') == desk.output.size() - 1);
    CHECK(desk.run("policy explain x.encore") == 0);
    CHECK(desk.output.find("today it is expired") != std::string::npos);

    // It was later once: the state folder remembers. The certificate, good for years, is not what ends.
    const auto today = std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now());
    const auto policy_day = [](std::chrono::sys_days day) {
        return signing::date_text(std::chrono::system_clock::to_time_t(day));
    };
    const auto policy_until = [&](std::chrono::sys_days day, const std::string& more) {
        return fmt::format("[policy]\nexpires = {}\n{}", policy_day(day), more);
    };
    Desk later(policy_until(today + std::chrono::days(30), ""));
    CHECK(later.run("run x.encore --headless --expect pristine --timeout 60") == 0);
    const player::HighWaterClock clock(later.path + "/state/encore/clock");
    CHECK(clock.remembered() > 1'700'000'000);
    REQUIRE(clock.remember(std::chrono::system_clock::to_time_t(today + std::chrono::days(60))));
    CHECK(later.run("run x.encore --headless --expect pristine") == player::kRefused);
    const std::string told = "it has been " + policy_day(today + std::chrono::days(60)) +
                             " here before, though this computer's clock says 2";
    CHECK(later.output.find(told) != std::string::npos);
    CHECK(later.output.find("remove " + clock.path()) != std::string::npos);
    REQUIRE(later.run("policy explain x.encore") == 0);
    CHECK(later.output.find("today it is expired; " + told) != std::string::npos);
    CHECK(later.run("doctor") == 1);
    CHECK(later.output.find("problem clock") != std::string::npos);

    // Grace: it begins, and says so.
    Desk grace(policy_until(today - std::chrono::days(1), "grace_days = 3\n"));
    CHECK(grace.run("run x.encore --headless --expect pristine --timeout 60") == 0);
    CHECK(grace.output.find("this appliance's time ended on") != std::string::npos);
}

TEST_CASE("log: a session leaves its start, what was done with it and its end; nothing without being asked",
          "[log]") {
    SceneDesk desk;
    CHECK(desk.run("run x.encore --headless --type a --expect 'key 1e' --timeout 60") == 0);
    CHECK_FALSE(fs::exists(desk.path + "/state/encore/log"));
    CHECK(desk.run("run x.encore --headless --log --receipt --type jkl --expect 'key 26' --timeout 60") == 0);
    auto lines = log_of(desk);
    REQUIRE(lines.size() == 3);
    CHECK(lines[0]["event"] == "start");
    CHECK(lines[0]["appliance"] == "guest");
    CHECK(lines[0]["publisher"] == "Acme Ltd");
    CHECK(lines[0]["scene"] == "start");
    CHECK(lines[1]["event"] == "receipt");
    CHECK(lines[1]["pristine"] == true);
    CHECK(lines[1]["root"].get<std::string>().size() == 64);
    CHECK(lines[2]["event"] == "end");
    CHECK(lines[2]["reason"] == "asked");
    CHECK(desk.read("state/encore/log/sessions.jsonl").find("jkl") == std::string::npos);
    // The operator can ask for all.
    operator_says(desk, "[log]\nsessions = true\n");
    CHECK(desk.run("run x.encore --headless --type q --timeout 60") == 0);
    lines = log_of(desk);
    REQUIRE(lines.size() == 5);
    CHECK(lines[4]["reason"] == "power-off");
}

TEST_CASE("pin: set and tried from the command line, counted, removed", "[pin]") {
    Desk desk;
    const auto pin = [&](const std::string& typed, const std::string& verb) {
        desk.write("typed", typed + "\n");
        return desk.run("pin " + verb + " < typed");
    };
    CHECK(pin("2468", "check") == 1);
    CHECK(desk.output.find("encore pin set") != std::string::npos);
    CHECK(pin("12", "set") == 2);
    REQUIRE(pin("2468", "set") == 0);
    CHECK(desk.read("config/encore/staff-pin").find("$scrypt$") == 0);
    CHECK(pin("2468", "check") == 0);
    CHECK(pin("1", "check") == 1);
    CHECK(pin("2", "check") == 1);
    CHECK(pin("3", "check") == 1);
    CHECK(pin("2468", "check") == 1); // the right one, too soon
    CHECK(desk.output.find("wait") != std::string::npos);
    REQUIRE(pin("1357", "set") == 0); // who may set it need not wait
    CHECK(pin("1357", "check") == 0);
    CHECK(desk.run("pin remove") == 0);
    CHECK(desk.run("pin remove") == 1);
}

TEST_CASE("scene: notes are the publisher's to set, and a rule about a scene follows its new name",
          "[scene]") {
    SceneDesk desk;
    CHECK(desk.run("scene notes x.encore start 'Say hello' --key k.key --cert k.crt") == 0);
    CHECK(desk.run("scene list x.encore --json") == 0);
    CHECK(json_of(desk.output)[0]["notes"] == "Say hello");
    desk.write("notes.txt", "Two\nlines\n");
    CHECK(desk.run("scene notes x.encore start --file notes.txt --key k.key --cert k.crt") == 0);
    CHECK(desk.run("scene list x.encore --json") == 0);
    CHECK(json_of(desk.output)[0]["notes"] == "Two\nlines");
    CHECK(desk.run("scene notes x.encore start \"$(printf 'a\\001b')\" --key k.key --cert k.crt") == 2);
    CHECK(desk.run("scene notes x.encore nowhere hello --key k.key --cert k.crt") != 0);
    CHECK(desk.run("scene notes x.encore start --key k.key --cert k.crt") == 0);
    CHECK(desk.run("scene list x.encore --json") == 0);
    CHECK(json_of(desk.output)[0]["notes"] == "");
    CHECK(desk.run("run x.encore --headless --type a --expect 'key 1e' --timeout 60") == 0);

    Desk ruled("[policy]\nscenes = [\"ready\"]\n");
    CHECK(ruled.run("run x.encore --headless") == player::kRefused); // no such scene yet
    CHECK(ruled.run("scene add x.encore --name ready --start --warm 0 --expect pristine --timeout 60" +
                    kSign) == 0);
    CHECK(ruled.run("scene rename x.encore ready first --key k.key --cert k.crt") == 0);
    CHECK(ruled.run("policy explain x.encore --json") == 0);
    CHECK(json_of(ruled.output)["rules"]["scenes"]["value"] == json{"first"});
    CHECK(ruled.run("run x.encore --headless --type a --expect 'key 1e' --timeout 60") == 0);
}
