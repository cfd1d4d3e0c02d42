// Fingers in the guest's window, on a touch screen that the X server takes for one.
#include "tests/player/xorg_server.h"

using namespace session_test;

TEST_CASE("window: one tap is one click where the finger is, and a drag is one drag", "[window]") {
    if (XorgServer::missing())
        return;
    Desk desk({}, POINTER_GUEST);
    XorgServer x(desk.path, XServer::Manager::Openbox, 1280, 800);
    const pid_t child = desk.start({"--serial", "serial.txt"}, x.name);
    Place at;
    std::string title;
    REQUIRE(eventually([&] {
        return desk.says("pointer on") && x.find_window(at, title) && at.width == 720 && at.height == 400;
    }));
    // Of the guest's text: 80 by 25 cells.
    const auto across = [&](int column) { return at.x + column * 9 + 4; };
    const auto down = [&](int row) { return at.y + row * 16 + 8; };
    std::string expected = "pointer on\r\n";
    const auto guest_says = [&](const std::string& more) {
        expected += more;
        return eventually([&] { return desk.read("serial.txt") == expected; }, 10);
    };
    x.tap(across(30), down(10));
    CHECK(guest_says("down 1e 0a\r\nup 1e 0a\r\n"));
    // Faster than the guest looks: it begins where it began all the same.
    x.finger_down(across(10), down(5));
    x.finger_move(across(15), down(8));
    x.finger_move(across(20), down(12));
    x.finger_up(across(20), down(12));
    CHECK(guest_says("down 0a 05\r\nup 14 0c\r\n"));
    // A second finger does not press again, nor moves what the first one holds.
    x.finger_down(across(40), down(15), 0);
    x.finger_down(across(60), down(20), 1);
    x.finger_move(across(61), down(21), 1);
    x.finger_up(across(61), down(21), 1);
    x.finger_up(across(40), down(15), 0);
    CHECK(guest_says("down 28 0f\r\nup 28 0f\r\n"));
    CHECK(Desk::finish(child, SIGTERM) == 130);
    CHECK(desk.read("serial.txt") == expected);
}
