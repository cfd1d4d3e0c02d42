// Who may lift a session's limits: the bundle's own publisher, who prepares it, and the kiosk that started
// it; nobody else, and nobody those that the operator sets.
#include "player/session.h"
#include "tests/player/running_session.h"
#include "tests/player/scene_desk.h"

#include <sys/stat.h>

using namespace session_test;
using player::kRefused;

namespace {

void operator_says(const Desk& desk, const std::string& text) {
    fs::create_directories(desk.path + "/config/encore");
    std::ofstream(desk.path + "/config/encore/operator.toml") << text;
}

unsigned mode_of(const Desk& desk, const std::string& name) {
    struct stat status {};
    REQUIRE(::stat((desk.path + "/" + name).c_str(), &status) == 0);
    return status.st_mode & 0777;
}

constexpr const char* kExpired = "[policy]\nexpires = 2020-01-31\nscenes = [\"nowhere\"]\nmax_minutes = 1\n";
const std::string kPlay = "run x.encore --headless --serial serial.txt --expect pristine --timeout 60";

} // namespace

TEST_CASE("author: only the publisher's own key plays a bundle without its rules", "[author]") {
    Desk desk(kExpired);
    CHECK(desk.run(kPlay) == kRefused);
    REQUIRE(desk.run("keygen --name 'Mallory' --out m") == 0);
    REQUIRE(desk.run("keygen --name 'Acme Ltd' --out twin") == 0); // the same name proves nothing
    REQUIRE(desk.run("trust add m.crt") == 0);
    for (const std::string pair : {"--key m.key --cert m.crt", "--key twin.key --cert twin.crt"}) {
        INFO(pair);
        CHECK(desk.run(kPlay + " --author " + pair) == kRefused);
        CHECK(desk.output.find("only its publisher, Acme Ltd") != std::string::npos);
        CHECK(desk.output.find('\n') == desk.output.size() - 1);
    }
    CHECK(desk.run(kPlay + " --author --key m.key --cert k.crt") == 1);
    CHECK(desk.output.find("do not belong together") != std::string::npos);
    CHECK_FALSE(fs::exists(desk.path + "/serial.txt"));
    CHECK_FALSE(fs::exists(desk.path + "/cache"));
    CHECK(desk.run(kPlay + " --author --key k.key --cert k.crt") == 0);
}

TEST_CASE("author: the operator's file holds for the publisher too", "[author]") {
    Desk desk(kExpired);
    const std::string author = kPlay + " --author --key k.key --cert k.crt";
    operator_says(desk, "[policy]\nexpires = 2021-01-01\n");
    CHECK(desk.run(author) == kRefused);
    operator_says(desk, "[appliance.guest]\nscenes = [\"nowhere\"]\n");
    CHECK(desk.run(author) == kRefused);
    operator_says(desk, "[policy]\nmax_minutes = 7\n");
    Running run(desk, {"--author", "--key", "k.key", "--cert", "k.crt"});
    REQUIRE(run.says("pristine"));
    const json status = run.client->ask(R"({"do":"status"})");
    CHECK(status.at("seconds_left") <= 7 * 60);
    CHECK(status.at("seconds_left") > 0);
    CHECK(run.client->ok(R"({"do":"quit"})"));
    CHECK(run.finish() == 0);
    operator_says(desk, "[polic]\n");
    CHECK(desk.run(author) == 9);
}

TEST_CASE("author: scenes are the publisher's alone to add and change", "[author]") {
    SceneDesk desk;
    REQUIRE(desk.run("keygen --name 'Mallory' --out m") == 0);
    REQUIRE(desk.run("trust add m.crt") == 0);
    const std::string before = desk.read("x.encore"), sign = " --key m.key --cert m.crt";
    for (const std::string verb :
         {"add x.encore --name more --expect pristine --boot --timeout 60", "remove x.encore start",
          "rename x.encore start first", "set-start x.encore --boot", "notes x.encore start hello"}) {
        INFO(verb);
        CHECK(desk.run("scene " + verb + sign) == kRefused);
        CHECK(desk.output.find("only its publisher, Acme Ltd") != std::string::npos);
        CHECK(desk.output.find('\n') == desk.output.size() - 1);
        CHECK(desk.read("x.encore") == before);
    }
    // Under their own name they may.
    REQUIRE(desk.run("sign x.encore" + sign) == 0);
    CHECK(desk.run("scene set-start x.encore --boot" + sign) == 0);
}

TEST_CASE("limits: the control socket does not lift them", "[limits]") {
    Desk desk("[policy]\nmax_minutes = 5\nidle_seconds = 100\n");
    Running run(desk, {});
    REQUIRE(run.says("pristine"));
    CHECK(run.client->ask(R"({"do":"extend","minutes":60})").at("error").get<std::string>().find("kiosk") !=
          std::string::npos);
    CHECK_FALSE(run.client->ok(R"({"do":"activity"})"));
    CHECK(run.client->ask(R"({"do":"status"})").at("seconds_left") <= 300);
    CHECK(run.client->ask(R"({"do":"nothing"})").at("error").get<std::string>().find("extend") ==
          std::string::npos);
    CHECK(run.client->ok(R"({"do":"quit"})"));
    CHECK(run.finish() == 0);
}

// Whoever starts the player decides nothing by it; encore-kiosk beside it does. Here that is Python by
// another name, which inherits what the shell inherits.
TEST_CASE("limits: an inherited socket lifts them for encore-kiosk and for nobody else", "[limits]") {
    Desk desk("[policy]\nmax_minutes = 5\n");
    fs::create_directory(desk.path + "/installed");
    fs::copy(ENCORE_BINARY, desk.path + "/installed/encore");
    fs::copy(MACHINE_BINARY, desk.path + "/installed/encore-machine");
    const std::string python = fs::canonical("/usr/bin/python3");
    fs::copy(python, desk.path + "/installed/encore-kiosk");
    desk.write("shell.py", R"(
import json, os, socket, subprocess, sys
own, theirs = socket.socketpair()
os.set_inheritable(theirs.fileno(), True)
os.environ.update({f"XDG_{kind}_HOME": os.getcwd() + "/" + kind.lower() for kind in ("DATA", "CACHE", "CONFIG", "STATE")})
run = ["installed/encore", "run", "x.encore", "--headless", "--shell", str(theirs.fileno())]
between = ["timeout", "100"] if sys.argv[1] == "grandchild" else []
child = subprocess.Popen(between + run, close_fds=False)
theirs.close()
answers = own.makefile("rw")
def ask(**request):
    print(json.dumps(request), file=answers, flush=True)
    return json.loads(answers.readline())
print(ask(do="extend", minutes=60)["ok"], ask(do="activity")["ok"], ask(do="status")["seconds_left"] > 3000)
ask(do="quit")
child.wait()
)");
    const auto shell = [&](const std::string& program, const char* how) {
        const std::string line = fmt::format(
            "cd {} && PYTHONHOME=/usr {} -B shell.py {} > out.txt 2> err.txt", desk.path, program, how);
        REQUIRE(std::system(line.c_str()) == 0);
        return desk.read("out.txt");
    };
    CHECK(shell("./installed/encore-kiosk", "child") == "True True True\n");
    CHECK(shell(python, "child") == "False False False\n");
    CHECK(shell("./installed/encore-kiosk", "grandchild") == "False False False\n");
    CHECK(desk.run("run x.encore --headless --shell 3 3</dev/null") == 2);
}

TEST_CASE("files that hold what a guest had are their owner's alone, whatever the umask", "[limits]") {
    SceneDesk desk;
    const mode_t before = ::umask(0);
    desk.write("old.session", "an older file");
    ::chmod((desk.path + "/old.session").c_str(), 0666);
    Running run(desk, {"--log"});
    CHECK(run.client->ok(json{{"do", "save"}, {"file", "new.session"}}.dump()));
    CHECK(run.client->ok(json{{"do", "save"}, {"file", "old.session"}}.dump()));
    CHECK(run.client->ok(json{{"do", "screenshot"}, {"file", "shot.png"}}.dump()));
    for (const auto& entry : fs::recursive_directory_iterator(desk.path + "/cache"))
        if (entry.is_regular_file())
            CHECK((entry.status().permissions() & fs::perms(0077)) == fs::perms::none);
    CHECK(run.client->ok(R"({"do":"quit"})"));
    CHECK(run.finish() == 0);
    ::umask(before);
    for (const char* file :
         {"new.session", "old.session", "shot.png", "serial.txt", "state/encore/log/sessions.jsonl"}) {
        INFO(file);
        CHECK(mode_of(desk, file) == 0600);
    }
    // A bundle that is not for everybody stays so when it is written anew.
    ::chmod((desk.path + "/x.encore").c_str(), 0640);
    REQUIRE(desk.run("scene set-start x.encore --boot --key k.key --cert k.crt") == 0);
    CHECK(mode_of(desk, "x.encore") == 0640);
}
