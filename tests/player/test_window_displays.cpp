// The window on displays that come, go and change, with a window manager, without one and with one that is
// late.
#include "tests/player/xorg_server.h"

using namespace session_test;

namespace {

constexpr unsigned long kBlue = 0x0000AA; // the guest's background: VGA colour 1

// The picture of 720 by 400, as 4:3, fills all of the display that its shape allows, and is nowhere else.
bool fills(XorgServer& x, const Place& display) {
    const double scale = std::min(display.width / 720.0, display.height / 540.0);
    const int width = static_cast<int>(720 * scale), height = static_cast<int>(540 * scale);
    const int left = display.x + (display.width - width) / 2, top = display.y + (display.height - height) / 2;
    const auto part = [&](unsigned long colour, int from_x, int from_y, int across, int down) {
        return across <= 0 || down <= 0 ? 1.0 : x.share(colour, from_x, from_y, across, down);
    };
    return part(kBlue, left + 2, top + 2, width - 4, height - 4) > 0.95 &&
           part(0, display.x, display.y, display.width, top - display.y - 2) == 1.0 &&
           part(0, display.x, top + height + 2, display.width,
                display.y + display.height - top - height - 2) == 1.0;
}

} // namespace

TEST_CASE("window: over the whole display without a window manager, and so it stays when displays change",
          "[window]") {
    if (XorgServer::missing())
        return;
    Desk desk;
    XorgServer x(desk.path, XServer::Manager::Absent, 1280, 1024);
    const pid_t child = desk.start({"--serial", "serial.txt", "--full-screen"}, x.name);
    CHECK(eventually([&] { return desk.says("pristine") && fills(x, {0, 0, 1280, 1024}); }));
    x.plug("DUMMY0", {0, 0, 1024, 768}, true);
    CHECK(eventually([&] { return fills(x, {0, 0, 1024, 768}); }));
    x.plug("DUMMY0", {0, 0, 1600, 900}, true);
    CHECK(eventually([&] { return fills(x, {0, 0, 1600, 900}); }));
    // A second display beside it: the window stays on its own.
    x.plug("DUMMY1", {1600, 0, 800, 600});
    CHECK(eventually([&] { return fills(x, {0, 0, 1600, 900}); }));
    // Its own goes: it moves to what is left.
    x.unplug("DUMMY0");
    x.plug("DUMMY1", {0, 0, 800, 600}, true);
    CHECK(eventually([&] { return fills(x, {0, 0, 800, 600}); }));
    CHECK(x.tool("key ctrl+alt+q"));
    CHECK(Desk::finish(child) == 0);
}

TEST_CASE("window: it stays on the display as the guest's picture and the display change", "[window]") {
    if (XorgServer::missing())
        return;
    Desk desk;
    XorgServer x(desk.path, XServer::Manager::Absent, 1280, 800);
    const pid_t child = desk.start({"--serial", "serial.txt"}, x.name);
    Place at;
    std::string title;
    const auto stands = [&](const Place& wanted) {
        return eventually([&] {
            return x.find_window(at, title) && at.x == wanted.x && at.y == wanted.y &&
                   at.width == wanted.width && at.height == wanted.height;
        });
    };
    CHECK(stands({280, 200, 720, 400})); // the middle
    x.plug("DUMMY0", {0, 0, 640, 480}, true);
    CHECK(stands({0, 62, 640, 355})); // as large as the display allows
    CHECK(eventually([&] { return x.share(kBlue, 0, 62, 640, 355) > 0.95; }));
    CHECK(Desk::finish(child, SIGTERM) == 130);
}

TEST_CASE("window: a window manager that has just started, or answers nobody, keeps no one waiting",
          "[window]") {
    Desk desk;
    XServer x(desk.path, XServer::Manager::Absent);
    // All that a window manager does before it is ready: from here on, mapping is its business.
    ::XSelectInput(x.display, DefaultRootWindow(x.display), SubstructureRedirectMask);
    ::XSync(x.display, False);
    const pid_t child = desk.start({"--serial", "serial.txt"}, x.name);
    // It has been asked, more than once, and did nothing.
    int asked = 0;
    CHECK(eventually([&] {
        for (XEvent event; ::XCheckTypedEvent(x.display, MapRequest, &event) != 0;)
            ++asked;
        return asked >= 3;
    }));
    Place at;
    std::string title;
    CHECK(eventually([&] { return x.find_window(at, title) && desk.says("pristine"); }));
    CHECK(eventually([&] { return x.share(kBlue, at.x, at.y, at.width, at.height) > 0.95; }));
    CHECK(x.tool("mousemove 1000 600 key F10"));
    CHECK(Desk::finish(child, SIGTERM) == 130);
}
