// Fingers in the guest's window, on a touch screen that the X server takes for one.
#include "tests/player/xorg_server.h"

#include <sstream>

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
        return eventually([&] { return desk.read("serial.txt") == expected; });
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

TEST_CASE("window: a guest that takes movement only has a touchpad below the finger", "[window]") {
    if (XorgServer::missing())
        return;
    Desk desk({}, SCENE_GUEST);
    XorgServer x(desk.path, XServer::Manager::Openbox, 1280, 800);
    const pid_t child = desk.start({"--serial", "serial.txt"}, x.name);
    Place at;
    std::string title;
    REQUIRE(eventually([&] {
        return desk.says("ready") && x.find_window(at, title) && at.width == 720 && at.height == 400;
    }));
    CHECK(x.tool("windowfocus --sync " + x.window));
    CHECK(x.tool("key m"));
    REQUIRE(eventually([&] { return desk.says("mouse on"); }));
    // Buttons in the lowest bits, then movement, up is more. What moved since the last look comes in one
    // packet or more.
    struct Packets {
        int x = 0, y = 0, presses = 0;
        bool pressed = false;
    };
    const auto packets = [&] {
        Packets sum;
        std::istringstream lines(desk.read("serial.txt"));
        for (std::string line; std::getline(lines, line);) {
            unsigned buttons = 0, dx = 0, dy = 0;
            if (std::sscanf(line.c_str(), "mouse %x %x %x", &buttons, &dx, &dy) != 3)
                continue;
            sum.x += static_cast<int8_t>(dx), sum.y += static_cast<int8_t>(dy);
            sum.presses += (buttons & 1) != 0 && !sum.pressed;
            sum.pressed = (buttons & 1) != 0;
        }
        return sum;
    };
    const int left = at.x + 200, top = at.y + 100;
    // Sliding moves: as far in the guest's picture as on the glass, and presses nothing.
    x.finger_down(left, top);
    for (int i = 1; i <= 10; ++i)
        x.finger_move(left + 6 * i, top + 3 * i);
    x.finger_up(left + 60, top + 30);
    CHECK(eventually([&] { return packets().x == 60 && packets().y == -30; }));
    CHECK(packets().presses == 0);
    // A tap elsewhere clicks where the pointer is.
    x.tap(left + 200, top + 150);
    CHECK(eventually([&] { return packets().presses == 1 && !packets().pressed; }));
    // A tap and a slide at once after it drag.
    x.tap(left + 200, top + 150);
    x.finger_down(left, top);
    x.finger_move(left + 20, top);
    CHECK(eventually([&] { return packets().x == 80 && packets().pressed; }));
    x.finger_up(left + 20, top);
    CHECK(eventually([&] { return !packets().pressed; }));
    CHECK(packets().presses == 3);
    CHECK(packets().y == -30);
    // The mouse was never taken away from the person.
    REQUIRE(x.find_window(at, title));
    CHECK(title == "Session guest — Acme Ltd");
    CHECK(Desk::finish(child, SIGTERM) == 130);
}
