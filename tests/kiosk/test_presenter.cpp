// encore present, from end to end: scenes by keys, a black screen, and a receipt at the end.
#include "tests/kiosk/kiosk_desk.h"
#include "tests/player/xorg_server.h"

#include <X11/extensions/Xrandr.h>

using namespace kiosk_test;

namespace {

// The last visible window of this class (a regular expression); 0: none.
Window window_of(XServer& x, const std::string& wanted) {
    const std::string found = x.ask("search --onlyvisible --class '" + wanted + "'");
    return found.empty() ? 0 : std::stoul(found.substr(found.find_last_of('\n') + 1));
}

// `encore present` of the desk's bundle with two scenes.
pid_t present(const KioskDesk& desk, const XServer& x) {
    const pid_t child = ::fork();
    if (child == 0) {
        enter(desk.path, x.name);
        const int out = ::open((desk.path + "/present.txt").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        ::dup2(out, 1);
        ::dup2(out, 2);
        const std::string bundle = desk.path + "/catalog/alpha.encore";
        ::execl(ENCORE_BINARY, ENCORE_BINARY, "present", bundle.c_str(), "--theme", "light", nullptr);
        ::_exit(127);
    }
    return child;
}

// Declares a part of the screen to be a display of its own (RandR 1.5, "SetMonitor").
void add_display(XServer& x, const char* name, const Place& box, bool primary) {
    XRRMonitorInfo monitor{};
    monitor.name = ::XInternAtom(x.display, name, False);
    monitor.primary = primary ? True : False;
    monitor.x = box.x, monitor.y = box.y, monitor.width = box.width, monitor.height = box.height;
    monitor.mwidth = box.width / 4, monitor.mheight = box.height / 4;
    ::XRRSetMonitor(x.display, DefaultRootWindow(x.display), &monitor);
    ::XSync(x.display, False);
}

} // namespace

TEST_CASE("present: the demo fills the display that shows the point it is opened at", "[kiosk]") {
    KioskDesk desk;
    XServer x(desk.path, XServer::Manager::Openbox, "2304x800");
    add_display(x, "notes", {0, 0, 1280, 800}, true);
    add_display(x, "projector", {1280, 0, 1024, 768}, false);
    const pid_t child = desk.start({"--full-screen", "--at", "1792,384"}, x.name);
    CHECK(eventually([&] { return x.share(kGuest, 1280, 120, 1024, 520) > 0.99; }));
    CHECK(x.share(kGuest, 0, 0, 1280, 800) == 0);
    CHECK(Desk::finish(child, SIGTERM) == 130);
}

TEST_CASE("present: the guest is on the projector, beside the notes while it is unplugged, and back on it",
          "[kiosk]") {
    if (XorgServer::missing())
        return;
    const auto manager = GENERATE(XServer::Manager::Openbox, XServer::Manager::Absent);
    KioskDesk desk;
    desk.rules("");
    XorgServer x(desk.path, XServer::Manager::Absent, 1280, 800);
    x.plug("DUMMY1", {1280, 0, 1024, 768});
    if (manager == XServer::Manager::Openbox)
        x.start_manager();
    const pid_t child = present(desk, x);
    const auto notes_there = [&] { return x.share(kPage, 0, 0, 1280, 800) > 0.2; };
    // All of it: VGA's text is 4:3, as the projector is.
    CHECK(eventually([&] { return x.share(kGuest, 1280, 10, 1024, 748) > 0.97; }));
    CHECK(eventually(notes_there));
    CHECK(x.share(kGuest, 0, 0, 380, 96) == 0);
    x.unplug("DUMMY1");
    // 720 by 400 at most, on the display that is left.
    CHECK(eventually([&] {
        XWindowAttributes at{};
        int left = 0, top = 0;
        Window guest = window_of(x, "^encore$"), unused = 0;
        return guest != 0 && ::XGetWindowAttributes(x.display, guest, &at) != 0 &&
               ::XTranslateCoordinates(x.display, guest, DefaultRootWindow(x.display), 0, 0, &left, &top,
                                       &unused) != 0 &&
               left >= 0 && left + at.width <= 1280 && at.width <= 720 && at.height <= 400;
    }));
    CHECK(eventually(notes_there));
    x.plug("DUMMY1", {1280, 0, 800, 600}); // another projector
    CHECK(eventually([&] { return x.share(kGuest, 1280, 10, 800, 580) > 0.97; }));
    CHECK(eventually(notes_there));
    x.plug("DUMMY1", {1280, 0, 1280, 720}); // and another mode of it
    CHECK(eventually([&] { return x.share(kGuest, 1440, 10, 960, 700) > 0.97; }));
    CHECK(eventually([&] { return x.share(0, 1280, 0, 150, 720) == 1.0; }));
    CHECK(Desk::finish(child, SIGTERM) == 0);
    CHECK(desk.read("present.txt").starts_with("pristine "));
}

TEST_CASE("present: scenes by keys, black screen, start over, and a receipt at the end", "[kiosk]") {
    KioskDesk desk;
    desk.rules("");
    XServer x(desk.path, XServer::Manager::Openbox);
    const pid_t child = present(desk, x);
    REQUIRE(eventually([&] { return window_of(x, "^encore-kiosk$") != 0 && window_of(x, "^encore$") != 0; }));
    const auto guest_share = [&](unsigned long colour) { // of the guest's window
        Window at = window_of(x, "^encore$"), unused = 0;
        XWindowAttributes attributes{};
        int left = 0, top = 0;
        if (at == 0 || ::XGetWindowAttributes(x.display, at, &attributes) == 0 ||
            ::XTranslateCoordinates(x.display, at, DefaultRootWindow(x.display), 0, 0, &left, &top,
                                    &unused) == 0)
            return 0.0;
        ::XRaiseWindow(x.display, at);
        ::XSync(x.display, False);
        return x.share(colour, left, top, attributes.width, attributes.height);
    };
    CHECK(eventually([&] { return guest_share(kGuest) > 0.9; }));
    x.tool(fmt::format("windowactivate --sync {}", window_of(x, "^encore-kiosk$")));
    CHECK(x.tool("key b"));
    CHECK(eventually([&] { return guest_share(0x000000) == 1.0; }));
    x.tool(fmt::format("windowactivate --sync {}", window_of(x, "^encore-kiosk$")));
    CHECK(x.tool("key b"));
    CHECK(eventually([&] { return guest_share(kGuest) > 0.9; }));
    // The next scene, with a chord where the guest has the keys.
    x.tool(fmt::format("windowactivate --sync {}", window_of(x, "^encore$")));
    CHECK(x.tool("key ctrl+alt+n"));
    CHECK(eventually([&] { return desk.last("jump", "scene") == "second"; }));
    CHECK(x.tool("key ctrl+alt+b"));
    CHECK(eventually([&] { return guest_share(0x000000) == 1.0; }));
    CHECK(x.tool("key ctrl+alt+r")); // starting over lights the screen again
    CHECK(eventually([&] { return guest_share(kGuest) > 0.9; }));
    CHECK(Desk::finish(child, SIGTERM) == 0);
    CHECK(desk.read("present.txt").starts_with("pristine "));
    CHECK(desk.leftovers() == 0);
}

TEST_CASE("present: a bundle that must not be played is refused in one line", "[kiosk]") {
    KioskDesk desk;
    REQUIRE(desk.run("trust remove 'Acme Ltd'") == 0);
    XServer x(desk.path, XServer::Manager::Absent);
    ::setenv("DISPLAY", x.name.c_str(), 1);
    CHECK(desk.run("present catalog/alpha.encore") != 0);
    CHECK(std::ranges::count(desk.output, '\n') == 1);
    CHECK(desk.output.find("encore trust add") != std::string::npos);
}
