// The kiosk by fingers alone, on a touch screen that the X server takes for one: no key, no mouse.
#include "tests/kiosk/kiosk_desk.h"
#include "tests/player/xorg_server.h"

using namespace kiosk_test;

namespace {

constexpr unsigned long kTouch = 0x5A3CC8; // the tile of the guest that draws where it is touched
constexpr unsigned long kDown = 0xAA0000, kUp = 0x00AA00, kCount = 0xAAAAAA; // what it draws

struct TouchDesk : KioskDesk {
    TouchDesk() {
        rules("");
        fs::copy_file(POINTER_GUEST, path + "/disk.img", fs::copy_options::overwrite_existing);
        pack("touch", "Touch", kTouch);
    }
};

// One finger that taps what a visitor sees.
struct Finger {
    XorgServer& x;
    Kiosk& kiosk;
    bool tap(unsigned long colour, int from_y = 0) {
        const Place at = kiosk.place_of(colour, from_y);
        if (at.width <= 0)
            return false;
        x.tap(at.x + at.width / 2, at.y + at.height / 2);
        return true;
    }
    void slide(int from_x, int from_y, int to_x, int to_y, bool lift = true) {
        x.finger_down(from_x, from_y);
        for (int i = 1; i <= 8; ++i)
            x.finger_move(from_x + (to_x - from_x) * i / 8, from_y + (to_y - from_y) * i / 8);
        if (lift)
            x.finger_up(to_x, to_y);
    }
};

} // namespace

TEST_CASE("touch: tiles scroll below a finger and open by a tap, the ribbon starts over, jumps and ends",
          "[kiosk]") {
    if (XorgServer::missing())
        return;
    TouchDesk desk;
    for (int i = 0; i < 8; ++i)
        fs::copy(desk.path + "/catalog/beta.encore", fmt::format("{}/catalog/beta-{}.encore", desk.path, i));
    XorgServer x(desk.path, XServer::Manager::Absent, kWidth, kHeight);
    Kiosk kiosk(desk, x);
    Finger finger{x, kiosk};
    // Three in a row: all of them are there.
    REQUIRE(eventually([&] { return kiosk.shows_tiles() && kiosk.place_of(kAlpha).width < kWidth / 3; }));
    // As far as the finger goes, and nothing opens.
    const Place before = kiosk.place_of(kAlpha);
    const auto lower_edge = [&] {
        const Place now = kiosk.place_of(kAlpha);
        return now.y + now.height;
    };
    const int edge = lower_edge();
    finger.slide(before.x + 100, before.y + 160, before.x + 110, before.y + 100);
    CHECK(eventually([&] { return std::abs(lower_edge() - edge + 60) <= 2; }));
    finger.slide(before.x + 100, before.y + 100, before.x + 100, before.y + 220); // back, and not further
    CHECK(eventually([&] { return std::abs(lower_edge() - edge) <= 2; }));
    CHECK(desk.events("kiosk-session").empty());
    REQUIRE(finger.tap(kAlpha));
    REQUIRE(kiosk.live(1));
    CHECK(desk.last("kiosk-session", "scene") == "first");
    // The ribbon, from its end: finish, help, start over, scenes.
    const Place finish = kiosk.finish();
    x.tap(finish.x - 183, kRibbon / 2);
    CHECK(eventually([&] { return desk.noted("kiosk-revert"); }));
    CHECK(eventually([&] { return kiosk.shows_guest(); }));
    x.tap(finish.x - 319, kRibbon / 2);
    REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
    // The second scene's picture: both are the guest's colour, the left one is on.
    const Place pictures = kiosk.place_of(kGuest);
    REQUIRE(pictures.width > 400);
    x.tap(pictures.x + pictures.width - 60, pictures.y + pictures.height / 2);
    CHECK(eventually([&] { return desk.last("kiosk-jump", "scene") == "second"; }));
    CHECK(eventually([&] { return kiosk.shows_guest(); }));
    x.tap(finish.x + finish.width / 2, kRibbon / 2);
    CHECK(eventually([&] { return kiosk.shows_tiles(); }));
    CHECK(desk.last("kiosk-session-end", "why") == "visitor");
    CHECK(eventually([&] { return desk.noted("kiosk-receipt"); }));
    CHECK(desk.last("kiosk-receipt", "pristine").size() == 64);
    CHECK(kiosk.end() == 0);
}

TEST_CASE("touch: in the guest a tap is one click below the finger, and a drag a drag", "[kiosk]") {
    if (XorgServer::missing())
        return;
    TouchDesk desk;
    XorgServer x(desk.path, XServer::Manager::Absent, kWidth, kHeight);
    Kiosk kiosk(desk, x);
    Finger finger{x, kiosk};
    REQUIRE(eventually([&] { return kiosk.sees(kTouch); }));
    REQUIRE(finger.tap(kTouch));
    REQUIRE(kiosk.live(1));
    REQUIRE(eventually([&] { return desk.noted("kiosk-live"); }));
    // The picture of 720 by 400, as 4:3, in the room below the ribbon, and a cell of its 80 by 25.
    const Place picture = kiosk.place_of(kGuest, kRibbon);
    REQUIRE(std::abs(3 * picture.width - 4 * picture.height) <= 4);
    const auto cell_x = [&](int column) { return picture.x + (2 * column + 1) * picture.width / 160; };
    const auto cell_y = [&](int row) { return picture.y + (2 * row + 1) * picture.height / 50; };
    const auto cell_is = [&](unsigned long colour, int column, int row) {
        return x.share(colour, cell_x(column) - 3, cell_y(row) - 5, 6, 10) == 1.0;
    };
    x.tap(cell_x(40), cell_y(12));
    CHECK(eventually([&] { return cell_is(kUp, 40, 12); }));
    CHECK(eventually([&] { return cell_is(kCount, 0, 0); }));
    finger.slide(cell_x(10), cell_y(5), cell_x(26), cell_y(21), false);
    CHECK(eventually([&] { return cell_is(kDown, 26, 21) && cell_is(kDown, 10, 5); }));
    x.finger_up(cell_x(26), cell_y(21));
    CHECK(eventually([&] { return cell_is(kUp, 26, 21); }));
    CHECK(cell_is(kCount, 1, 0)); // it went down twice in all
    CHECK_FALSE(cell_is(kCount, 2, 0));
    CHECK(kiosk.end() == 0);
}

TEST_CASE("touch: the warning goes by a touch, the show ends by one, staff get in by five", "[kiosk]") {
    if (XorgServer::missing())
        return;
    TouchDesk desk;
    desk.rules("[policy]\nidle_seconds = 20\n");
    desk.set_pin("2468");
    XorgServer x(desk.path, XServer::Manager::Absent, kWidth, kHeight);
    Kiosk kiosk(desk, x, {"--attract", "10"});
    Finger finger{x, kiosk};
    REQUIRE(eventually([&] { return kiosk.sees(kAlpha); }));
    REQUIRE(finger.tap(kAlpha));
    REQUIRE(kiosk.live(1));
    REQUIRE(eventually([&] { return kiosk.shows_sheet(); })); // half the time before the end
    x.tap(kWidth / 2, 40);                                    // beside the card
    CHECK(eventually([&] { return kiosk.shows_guest(); }));
    CHECK(desk.events("kiosk-session-end").empty());
    REQUIRE(eventually([&] { return desk.last("kiosk-session-end", "why") == "idle"; }));
    // Nobody is there: pictures, until somebody is.
    REQUIRE(eventually([&] { return kiosk.shows_tiles(); }));
    REQUIRE(eventually([&] { return !kiosk.sees(kPage); }));
    const size_t sessions = desk.events("kiosk-session").size();
    x.tap(kWidth / 4, kHeight / 3);
    CHECK(eventually([&] { return kiosk.shows_tiles(); }));
    CHECK(desk.events("kiosk-session").size() == sessions); // what ended the show opened nothing
    for (int i = 0; i < 5; ++i)
        x.tap(20, 20);
    REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
    // The number pad: three columns below its dots, the accent colour is Enter.
    const Place enter = kiosk.place_of(kAccent);
    REQUIRE(enter.width > 40);
    const int step_x = enter.width + 12, step_y = enter.height + 12;
    const auto press = [&](int digit) {
        const int column = digit == 0 ? 1 : (digit - 1) % 3, row = digit == 0 ? 3 : (digit - 1) / 3;
        x.tap(enter.x + enter.width / 2 - (2 - column) * step_x,
              enter.y + enter.height / 2 - (3 - row) * step_y);
    };
    const auto dots = [&] { return x.share(0x161C1E, enter.x - 151, enter.y - 278, 170, 18); };
    // For half a second after the show nothing can be pressed: what ended it may not be over.
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    for (const int digit : {2, 4, 6, 8}) {
        const double filled = dots();
        press(digit);
        REQUIRE(eventually([&] { return dots() > filled; }));
    }
    x.tap(enter.x + enter.width / 2, enter.y + enter.height / 2);
    REQUIRE(eventually([&] { return desk.noted("kiosk-staff-pin"); }));
    CHECK(desk.events("kiosk-staff-pin").back()["right"] == true);
    CHECK(kiosk.end() == 0);
}

TEST_CASE("kiosk: in the middle of a session the display gets another size, and all of it fits", "[kiosk]") {
    if (XorgServer::missing())
        return;
    TouchDesk desk;
    XorgServer x(desk.path, XServer::Manager::Absent, kWidth, kHeight);
    Kiosk kiosk(desk, x);
    REQUIRE(eventually([&] { return kiosk.sees(kAlpha); }));
    REQUIRE(Finger{x, kiosk}.tap(kAlpha));
    REQUIRE(kiosk.live(1));
    for (const auto& [width, height] : {std::pair{1024, 768}, {1920, 1080}, {800, 600}, {kWidth, kHeight}}) {
        INFO(width << "x" << height);
        x.plug("DUMMY0", {0, 0, width, height}, true);
        const int room = height - kRibbon;
        const double scale = std::min(width / 720.0, room / 540.0);
        const int guest_width = static_cast<int>(720 * scale), guest_height = static_cast<int>(540 * scale);
        const int left = (width - guest_width) / 2, top = kRibbon + (room - guest_height) / 2;
        CHECK(eventually([&] {
            return x.share(kGuest, left + 2, top + 2, guest_width - 4, guest_height - 4) > 0.95 &&
                   x.share(0xFFFFFF, 0, 0, width, kRibbon - 4) > 0.4 &&
                   x.share(kAccent, width - 26, kRibbon / 2 - 10, 8, 20) == 1.0; // its last button
        }));
    }
    x.tap(kWidth - 60, kRibbon / 2);
    CHECK(eventually([&] { return kiosk.shows_tiles(); }));
    CHECK(kiosk.end() == 0);
}
