// The kiosk by fingers alone, on a touch screen that the X server takes for one: no keyboard, no mouse.
#include "tests/kiosk/kiosk_desk.h"
#include "tests/player/xorg_server.h"

using namespace kiosk_test;

TEST_CASE("touch: tiles by tap", "[kiosk]") {
    if (XorgServer::missing())
        return;
    KioskDesk desk;
    desk.rules("");
    XorgServer x(desk.path, XServer::Manager::Absent, kWidth, kHeight);
    Kiosk kiosk(desk, x);
    REQUIRE(eventually([&] { return kiosk.shows_tiles(); }));
    const Place alpha = kiosk.place_of(kAlpha);
    x.tap(alpha.x + 100, alpha.y + 100);
    CHECK(kiosk.live(1));
    CHECK(kiosk.end() == 0);
}
