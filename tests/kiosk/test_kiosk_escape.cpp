// Ways out of the kiosk that visitors try. A window manager with all its shortcuts runs, and a "desktop" of a
// colour of its own lies below: none of it may be seen or get a key.
#include "tests/kiosk/kiosk_desk.h"

using namespace kiosk_test;

namespace {

constexpr unsigned long kDesktop = 0xFF00FF, kDecoy = 0xFFAA00;

// Somebody else's window, which lives before the kiosk does and wants to be seen.
class Decoy {
  public:
    explicit Decoy(XServer& x) : display_(::XOpenDisplay(x.name.c_str())) {
        REQUIRE(display_ != nullptr);
        const Window root = DefaultRootWindow(display_);
        ::XSetWindowBackground(display_, root, kDesktop);
        ::XClearWindow(display_, root);
        window_ = ::XCreateSimpleWindow(display_, root, 100, 100, 300, 200, 0, 0, kDecoy);
        ::XSelectInput(display_, window_, KeyPressMask | ButtonPressMask | StructureNotifyMask);
        ::XMapWindow(display_, window_);
        ::XSync(display_, False);
    }
    ~Decoy() { ::XCloseDisplay(display_); }
    Decoy(const Decoy&) = delete;

    void rise() {
        ::XRaiseWindow(display_, window_);
        ::XSync(display_, False);
    }
    // Keys and clicks that reached it.
    int caught() {
        int count = 0;
        XEvent event;
        while (::XCheckMaskEvent(display_, KeyPressMask | ButtonPressMask, &event) != 0)
            ++count;
        return count;
    }

  private:
    Display* display_;
    Window window_ = 0;
};

// The topmost window on the screen is the kiosk's, and covers all of it: no menu, no dialog, nothing else.
bool kiosk_on_top(XServer& x) {
    Window root = 0, parent = 0, *children = nullptr;
    unsigned count = 0;
    if (::XQueryTree(x.display, DefaultRootWindow(x.display), &root, &parent, &children, &count) == 0)
        return false;
    bool on_top = false;
    for (unsigned i = count; i-- > 0;) {
        XWindowAttributes attributes{};
        if (::XGetWindowAttributes(x.display, children[i], &attributes) == 0 ||
            attributes.map_state != IsViewable || attributes.c_class != InputOutput)
            continue;
        XClassHint hint{};
        if (::XGetClassHint(x.display, children[i], &hint) != 0) {
            on_top = std::string(hint.res_name).find("encore-kiosk") != std::string::npos &&
                     attributes.x == 0 && attributes.y == 0 && attributes.width == kWidth &&
                     attributes.height == kHeight;
            ::XFree(hint.res_name);
            ::XFree(hint.res_class);
        }
        break;
    }
    ::XFree(children);
    return on_top;
}

struct Attempt {
    const char* what;
    const char* tool; // what xdotool does
};

constexpr Attempt kAttempts[] = {
    {"switch windows", "key alt+Tab"},
    {"switch windows backwards", "key alt+shift+Tab"},
    {"close the window", "key alt+F4"},
    {"the window's menu", "key alt+space"},
    {"lower the window", "key alt+Escape"},
    {"show the desktop", "key super+d"},
    {"the file manager", "key super+e"},
    {"another desktop", "key ctrl+alt+Left"},
    {"another desktop by number", "key super+F2"},
    {"Ctrl+Alt+Delete", "key ctrl+alt+Delete"},
    {"stop the X server", "key ctrl+alt+BackSpace"},
    {"a text console", "key ctrl+alt+F1"},
    {"run a command", "key alt+F2"},
    {"the help key", "key F1"},
    {"quit", "key ctrl+q"},
    {"open a file", "key ctrl+o"},
    {"print to a file", "key ctrl+p"},
    {"save the screen", "key Print"},
    {"the context menu's key", "key shift+F10"},
    {"the toolkit's inspector", "key ctrl+shift+i"},
    {"the toolkit's inspector, the other chord", "key ctrl+shift+d"},
    {"type a character by number", "key ctrl+shift+u"},
    {"a context menu", "mousemove 640 400 click 3"},
    {"a context menu at the edge", "mousemove 2 798 click 3"},
    {"paste", "mousemove 640 400 click 2"},
    {"drag something out", "mousemove 300 300 mousedown 1 mousemove 600 20 mousemove 1279 1 mouseup 1"},
    {"move the window", "keydown alt mousemove 500 500 mousedown 1 mousemove 900 700 mouseup 1 keyup alt"},
};

} // namespace

TEST_CASE("kiosk: none of the ways out that visitors try leads to the desktop", "[kiosk]") {
    KioskDesk desk;
    desk.rules("");
    XServer x(desk.path, XServer::Manager::Openbox, "1280x800");
    Decoy decoy(x);
    Kiosk kiosk(desk, x);
    REQUIRE(eventually([&] { return kiosk.shows_tiles() && kiosk_on_top(x); }));
    decoy.caught();
    const auto still_locked = [&](const char* what) {
        INFO(what);
        CHECK(eventually([&] { return kiosk_on_top(x); }));
        CHECK_FALSE(kiosk.place_of(kDesktop).width > 0);
        CHECK_FALSE(kiosk.place_of(kDecoy).width > 0);
        CHECK(decoy.caught() == 0);
        CHECK(kiosk.alive());
    };
    for (const Attempt& attempt : kAttempts) { // at the tiles
        x.tool(attempt.tool);
        still_locked(attempt.what);
        if (!kiosk.shows_tiles()) { // a drag may have begun at a tile
            kiosk.key("Escape");
            if (const Place at = kiosk.place_of(kAccent, 0, kRibbon - 4); at.width > 0)
                kiosk.click(at.x + at.width / 2, at.y + at.height / 2);
        }
        REQUIRE(eventually([&] { return kiosk.shows_tiles(); }));
    }
    REQUIRE(kiosk.starts(kAlpha));
    for (const Attempt& attempt : kAttempts) { // with a guest
        x.tool(attempt.tool);
        still_locked(attempt.what);
    }
    // By other programs' means.
    decoy.rise();
    CHECK(eventually([&] { return kiosk_on_top(x); }));
    const std::string frame = x.ask("search --onlyvisible --class encore-kiosk");
    x.tool("windowminimize " + frame.substr(0, frame.find('\n')));
    still_locked("minimise");
    x.tool("windowmove " + frame.substr(0, frame.find('\n')) + " 400 300");
    // Whoever may move windows shows what is below for a moment; it is back by itself.
    CHECK(eventually([&] { return kiosk_on_top(x) && kiosk.place_of(kDesktop).width == 0; }));
    still_locked("move");
    // A second kiosk finds the seat taken.
    CHECK(Desk::finish(kiosk.start({})) == 1);
    CHECK(desk.read("kiosk.txt").find("a kiosk runs here already") != std::string::npos);
    still_locked("a second kiosk");
    for (const pid_t guest : kiosk.guests())
        ::kill(guest, SIGSTOP);
    CHECK(eventually([&] { return kiosk.guests().empty(); }));
    still_locked("a guest that is stopped");
    CHECK(kiosk.end() == 0);
}
