// The kiosk inside cage, a Wayland compositor that shows one program. cage itself runs as a window of an X
// server, so that keys, clicks and pixels are the real ones on both sides.
#include "tests/kiosk/kiosk_desk.h"

using namespace kiosk_test;

namespace {

bool missing() {
    for (const char* program : {"/usr/bin/cage", "/usr/bin/Xwayland"})
        if (!fs::exists(program)) {
            WARN("skipped: there is no " << program << "; install cage and xwayland");
            return true;
        }
    return false;
}

// What starts a program in cage, which refuses to be root.
std::vector<std::string> in_cage(const KioskDesk& desk) {
    ::setenv("WLR_BACKENDS", "x11", 1);
    ::setenv("WLR_RENDERER", "pixman", 1);
    for (const char* binary : {ENCORE_BINARY, MACHINE_BINARY, KIOSK_BINARY}) // where that user can read them
        fs::copy(binary, desk.path);
    if (::getuid() != 0)
        return {"cage", "--", desk.path + "/encore-kiosk"};
    constexpr uid_t kNobody = 65534;
    REQUIRE(::chown(desk.path.c_str(), kNobody, kNobody) == 0);
    for (const auto& entry : fs::recursive_directory_iterator(desk.path))
        REQUIRE(::lchown(entry.path().c_str(), kNobody, kNobody) == 0);
    return {"setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "cage",
            "--",
            desk.path + "/encore-kiosk"};
}

// cage's only window, the whole of the X server's screen.
bool fill_screen(XServer& x) {
    return eventually([&] {
        Window root = 0, parent = 0, *children = nullptr;
        unsigned count = 0;
        if (::XQueryTree(x.display, DefaultRootWindow(x.display), &root, &parent, &children, &count) == 0 ||
            count == 0)
            return false;
        ::XMoveResizeWindow(x.display, children[0], 0, 0, kWidth, kHeight);
        ::XFree(children);
        ::XSync(x.display, False);
        return true;
    });
}

} // namespace

TEST_CASE("cage: a visitor chooses, plays, is warned when idle, and keys for a desktop reach none",
          "[kiosk]") {
    if (missing())
        return;
    KioskDesk desk;
    desk.rules("[policy]\nidle_seconds = 20\n");
    desk.set_pin("2468");
    XServer x(desk.path, XServer::Manager::Absent, "1280x800");
    ::XDisableAccessControl(x.display);
    ::XSync(x.display, False);
    Kiosk kiosk(desk, x, {}, in_cage(desk));
    REQUIRE(fill_screen(x));
    REQUIRE(eventually([&] { return kiosk.place_of(kBeta).x > 600; })); // as wide as it will be
    REQUIRE(kiosk.starts(kAlpha));
    for (const char* keys : {"alt+Tab", "alt+F4", "alt+Escape", "ctrl+alt+F2", "ctrl+alt+BackSpace"}) {
        INFO(keys);
        CHECK(kiosk.key(keys));
        CHECK(eventually([&] { return kiosk.shows_guest() && kiosk.shows_ribbon(); }));
    }
    CHECK(desk.events("kiosk-session").size() == 1);
    // Nobody touches anything.
    CHECK(eventually([&] { return kiosk.shows_sheet(); }));
    CHECK(x.tool("mousemove_relative 3 3"));
    CHECK(eventually([&] { return kiosk.shows_guest(); }));
    CHECK(desk.events("kiosk-session-end").empty());
    CHECK(kiosk.key("Super_L"));
    REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
    CHECK(kiosk.key("2"));
    CHECK(eventually([&] { return desk.last("kiosk-jump", "scene") == "second" && kiosk.shows_guest(); }));
    CHECK(kiosk.key("q")); // the guest's own
    CHECK(eventually([&] { return kiosk.shows_tiles(); }));
    CHECK(desk.last("kiosk-session-end", "why") == "guest");
    // Staff close it, and the compositor with it.
    CHECK(kiosk.key("ctrl+alt+shift+x"));
    REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
    CHECK(kiosk.key("2 4 6 8 Return"));
    REQUIRE(eventually([&] { return desk.noted("kiosk-staff-pin"); }));
    REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
    CHECK(kiosk.key("Left Return"));
    CHECK(Desk::finish(std::exchange(kiosk.pid, -1)) == 0);
    CHECK(desk.events("kiosk-start").size() == 1);
    CHECK(desk.leftovers() == 0);
}
