// The control socket, driven as a script drives it.
#include "tests/player/session_client.h"
#include "tests/player/session_desk.h"

#include <sys/stat.h>

using namespace session_test;
using nlohmann::json;

namespace {

// A session that runs until told to stop, with its socket at "c".
struct Running {
    Desk desk;
    pid_t child = desk.start({"--headless", "--serial", "serial.txt", "--control", "c"});
    Client client{desk.path + "/c"};
    bool ended = false;
    bool says(const std::string& text) {
        return eventually([&] { return desk.says(text); });
    }
    ~Running() {
        if (!ended)
            Desk::finish(child, SIGKILL);
    }
};

} // namespace

TEST_CASE("control: a script sees the screen, types, resets, reverts and quits", "[control]") {
    Running run;
    Client& client = run.client;
    REQUIRE(run.says("pristine"));
    struct stat status {};
    REQUIRE(::stat((run.desk.path + "/c").c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0600);

    const json about = client.ask(R"({"do":"status"})");
    CHECK(about.at("ok") == true);
    CHECK(about.at("appliance") == "guest");
    CHECK(about.at("publisher") == "Acme Ltd");
    CHECK(about.at("width") == 720);
    CHECK(about.at("overlay_bytes") == 0);
    CHECK(client.ask(R"({"do":"screen-text"})").at("text").get<std::string>().find("session guest") !=
          std::string::npos);
    const std::string shot = run.desk.path + "/shot.png";
    CHECK(client.ask(appliance_format::json_text(json{{"do", "screenshot"}, {"file", shot}})).at("height") ==
          400);
    CHECK(run.desk.read("shot.png").substr(1, 3) == "PNG");

    CHECK(client.ok(R"({"do":"type","text":"ü","layout":"de"})"));
    CHECK(run.says("key 1a"));
    CHECK(client.ok(R"({"do":"key","keys":"z","layout":"de"})"));
    CHECK(run.says("key 15"));
    CHECK(client.ok(R"({"do":"key","keys":"f10"})"));
    CHECK(run.says("key 44"));
    CHECK(client.ok(R"({"do":"key","key":"left","pressed":true})"));
    CHECK(client.ok(R"({"do":"key","key":"left","pressed":false})"));
    CHECK(run.says("key 4b"));
    CHECK(client.ok(R"({"do":"mouse","dx":5,"dy":-5,"click":"left"})"));
    CHECK_FALSE(client.ok(R"({"do":"mouse","x":5,"y":5})")); // a guest without the absolute pointer

    CHECK(client.ok(R"({"do":"type","text":"w"})"));
    CHECK(run.says("written"));
    CHECK(client.ask(R"({"do":"status"})").at("overlay_bytes") == 65536);
    CHECK(client.ok(R"({"do":"reset"})"));
    CHECK(run.says("dirty"));
    CHECK(client.ask(R"({"do":"status"})").at("resets") == 1);
    CHECK(client.ok(R"({"do":"revert"})"));
    CHECK(run.says("dirty\r\npristine"));
    const json reverted = client.ask(R"({"do":"status"})");
    CHECK(reverted.at("overlay_bytes") == 0);
    CHECK(reverted.at("reverts") == 1);
    CHECK(client.ok(R"({"do":"power"})"));
    CHECK(client.ok(R"({"do":"quit"})"));
    run.ended = true;
    CHECK(Desk::finish(run.child) == 0);
    CHECK_FALSE(fs::exists(run.desk.path + "/c"));
    CHECK(run.desk.leftovers() == 0);
    CHECK(run.desk.bundle_untouched());
}

TEST_CASE("control: nonsense is answered with an error and harms nobody", "[control]") {
    Running run;
    Client other(run.desk.path + "/c");
    for (const char* line : {"nonsense",
                             "[]",
                             "{",
                             "{}",
                             "42",
                             "null",
                             "\"do\"",
                             R"({"do":7})",
                             R"({"do":"fly"})",
                             R"({"do":"type"})",
                             R"({"do":"type","text":5})",
                             R"({"do":"type","text":"\u20ac"})",
                             R"({"do":"type","text":"a","layout":"nowhere"})",
                             R"({"do":"type","text":"a","layout":5})",
                             R"({"do":"key"})",
                             R"({"do":"key","keys":"ctrl-"})",
                             R"({"do":"key","key":"a"})",
                             R"({"do":"key","key":"a","pressed":1})",
                             R"({"do":"mouse","dx":"far"})",
                             R"({"do":"mouse","click":"elbow"})",
                             R"({"do":"mouse","buttons":"left"})",
                             R"({"do":"screenshot"})",
                             R"({"do":"screenshot","file":"/nonexistent/x.png"})",
                             "\xff\xfe\x01"}) {
        INFO(line);
        const json answer = run.client.ask(line);
        CHECK(answer.at("ok") == false);
        CHECK_FALSE(answer.at("error").get<std::string>().empty());
    }
    CHECK(run.client.ok(R"({"do":"mouse","dx":1e300,"dy":-99999999999,"wheel":1e9})"));
    CHECK_FALSE(run.client.ok(std::string(60000, '[')));
    // A line without end is refused once, and what follows it is understood again.
    run.client.send(std::string(200000, 'x'));
    CHECK(run.client.receive().at("ok") == false);
    run.client.send("\n");
    CHECK(run.client.ok(R"({"do":"status"})"));
    // Several requests in one packet, one request in several.
    run.client.send("{\"do\":\"status\"}\n{\"do\":\"status\"}\n{\"do\":");
    CHECK(run.client.receive().at("ok") == true);
    CHECK(run.client.receive().at("ok") == true);
    run.client.send("\"status\"}\n");
    CHECK(run.client.receive().at("ok") == true);
    CHECK(other.ok(R"({"do":"status"})"));
    // More than are served at once (the others wait in the socket's queue).
    std::vector<std::unique_ptr<Client>> crowd;
    for (int i = 0; i < 20; ++i)
        crowd.push_back(std::make_unique<Client>(run.desk.path + "/c"));
    CHECK(other.ok(R"({"do":"status"})"));
    crowd.clear();
    CHECK(other.ok(R"({"do":"quit"})"));
    run.ended = true;
    CHECK(Desk::finish(run.child) == 0);
}

TEST_CASE("control: a socket left by kill -9 is replaced, a served one is not", "[control]") {
    Running run;
    CHECK(run.desk.run("run x.encore --headless --control c --timeout 5") == 1);
    CHECK(run.desk.output.find("in use") != std::string::npos);
    Desk::finish(run.child, SIGKILL);
    run.ended = true;
    CHECK(run.desk.run("run x.encore --headless --control c --expect pristine --timeout 60") == 0);
}

TEST_CASE("control: a guest that halted for good is said to have, and stays until a reset or a revert",
          "[control]") {
    Running run;
    Client& client = run.client;
    const auto state_is = [&](const char* state) {
        return eventually([&] { return client.ask(R"({"do":"status"})").at("state") == state; });
    };
    for (const char* rescue : {R"({"do":"reset"})", R"({"do":"revert"})"}) {
        REQUIRE(eventually([&] { return run.desk.read("serial.txt").ends_with("pristine\r\n"); }));
        CHECK(state_is("running"));
        CHECK(client.ok(R"({"do":"type","text":"!"})"));
        REQUIRE(state_is("halted"));
        CHECK(client.ask(R"({"do":"screen-text"})").at("text").get<std::string>().find("session guest") !=
              std::string::npos);
        CHECK(client.ok(rescue));
        REQUIRE(state_is("running"));
    }
    REQUIRE(eventually([&] { return run.desk.read("serial.txt").ends_with("pristine\r\n"); }));
    CHECK(client.ok(R"({"do":"quit"})"));
    run.ended = true;
    CHECK(Desk::finish(run.child) == 0);
}
