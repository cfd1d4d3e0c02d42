// Scenes and saved sessions made by a person at the window (Xvfb and xdotool), and by a script that waits for
// a picture.
#include "tests/player/scene_desk.h"
#include "tests/player/session_client.h"
#include "tests/player/x_server.h"

using namespace session_test;

namespace {

constexpr unsigned long kBlue = 0x0000AA; // the session guest's background

// The window of a guest at rest, in front and ready for keys.
bool at_window(XServer& x) {
    Place at;
    std::string title;
    return eventually([&] {
        return x.find_window(at, title) && x.share(kBlue, at.x, at.y, at.width, at.height) > 0.95 &&
               x.tool("windowfocus --sync " + x.window);
    });
}

} // namespace

TEST_CASE("scene add --interactive: the chord captures what the person made of the machine", "[author]") {
    SceneDesk desk({}, SESSION_GUEST, "--at pristine");
    XServer x(desk.path);
    // A person who closes the window has captured nothing.
    const std::vector<std::string> add{"scene", "add",           "x.encore", "--name", "by-hand", "--from",
                                       "start", "--interactive", "--key",    "k.key",  "--cert",  "k.crt"};
    const std::string before = desk.read("x.encore");
    pid_t child = desk.spawn(add, x.name);
    bool there = at_window(x);
    CHECK(there);
    if (there)
        CHECK(x.tool("key ctrl+alt+q"));
    CHECK(desk.finish(child, there ? 0 : SIGKILL) == 130);
    CHECK(desk.says("nothing was written", "out.txt"));
    CHECK(desk.read("x.encore") == before);

    child = desk.spawn(add, x.name);
    there = at_window(x);
    CHECK(there);
    if (there) {
        CHECK(x.tool("key w")); // the guest writes to its disk; the chord's keys are not its
        CHECK(x.tool("sleep 2 key ctrl+alt+s"));
    }
    CHECK(desk.finish(child, there ? 0 : SIGKILL) == 0);
    CHECK(desk.says("scene by-hand added and signed", "out.txt"));
    CHECK(desk.run("scene list x.encore") == 0);
    CHECK(desk.output == "start  (start)\nby-hand\n");
    CHECK(desk.run("verify x.encore") == 0);
    CHECK(
        desk.run(
            "run x.encore --scene by-hand --headless --serial serial.txt --type a --expect 'key 1e' --type r "
            "--expect dirty --timeout 60") == 0);
    CHECK(desk.read("serial.txt") == "key 1e\r\ndirty\r\n");
    CHECK(desk.run("run x.encore --scene start --headless --type r --expect pristine --timeout 60") == 0);
    CHECK(desk.leftovers() == 0);
}

TEST_CASE("run --save: Ctrl+Alt+W saves the session, which goes on here and elsewhere", "[author]") {
    SceneDesk desk({}, SESSION_GUEST, "--at pristine");
    XServer x(desk.path);
    const pid_t child = desk.start({"--save", "kept.session", "--serial", "serial.txt"}, x.name);
    const bool there = at_window(x);
    CHECK(there);
    if (there) {
        CHECK(x.tool("key w"));
        CHECK(eventually([&] { return desk.says("written"); }));
        CHECK(x.tool("key ctrl+alt+w"));
        CHECK(eventually([&] { return fs::exists(desk.path + "/kept.session"); }));
        Place at;
        std::string title;
        // The window says so, and the session goes on.
        CHECK(
            eventually([&] { return x.find_window(at, title) && title.find("saved") != std::string::npos; }));
        CHECK(x.tool("key b"));
        CHECK(eventually([&] { return desk.says("key 30"); }));
        CHECK(desk.read("serial.txt") == "written\r\nkey 30\r\n"); // the chord was not the guest's
        CHECK(x.tool("key ctrl+alt+q"));
    }
    CHECK(desk.finish(child, there ? 0 : SIGKILL) == 0);
    // It goes on where it was saved: before the second key, after the first.
    CHECK(desk.run(
              "run --session kept.session --headless --serial again.txt --type a --expect 'key 1e' --type r "
              "--expect dirty --timeout 60") == 0);
    CHECK(desk.read("again.txt") == "key 1e\r\ndirty\r\n");
    CHECK(desk.leftovers() == 0);
}

TEST_CASE("scene add --expect-picture: a guest at work is not at rest because its host is busy", "[author]") {
    Desk desk({}, PICTURE_GUEST);
    const pid_t child =
        desk.spawn({"scene", "add", "x.encore", "--name", "drawn", "--start", "--warm", "0",
                    "--expect-picture", "320x200", "--timeout", "100", "--key", "k.key", "--cert", "k.crt"});
    // A twentieth of the processor is left for it.
    int status = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(110);
    while (::waitpid(child, &status, WNOHANG) == 0) {
        if (std::chrono::steady_clock::now() > end)
            ::kill(child, SIGKILL);
        ::kill(child, SIGSTOP);
        std::this_thread::sleep_for(std::chrono::milliseconds(190));
        ::kill(child, SIGCONT);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    INFO(desk.read("out.txt"));
    REQUIRE(status == 0);
    CHECK(desk.run("run x.encore --headless --serial serial.txt --type a --expect key --timeout 60") == 0);
    CHECK(desk.read("serial.txt") == "key\r\n"); // nothing is drawn any more
}
