// What a kiosk does by itself: the show when nobody is there, search once there are many tiles, tiles that
// come and go with their drives, and time that staff add.
#include "tests/kiosk/kiosk_desk.h"

using namespace kiosk_test;

namespace {

constexpr unsigned long kInk = 0x161C1E, kWhite = 0xFFFFFF;

// The share of a colour in the header, where the search field is when there is one.
double field_share(XServer& x, unsigned long colour) { return x.share(colour, kWidth - 340, 46, 220, 40); }

} // namespace

TEST_CASE("kiosk: nobody there, it shows the scenes in turn; the touch or key that ends it opens nothing",
          "[kiosk]") {
    KioskDesk desk;
    desk.rules("");
    REQUIRE(desk.run("scene remove catalog/alpha.encore second --key k.key --cert k.crt") == 0);
    XServer x(desk.path, XServer::Manager::Absent, "1280x800");
    Kiosk kiosk(desk, x, {"--attract", "2"});
    REQUIRE(eventually([&] { return kiosk.shows_tiles(); }));
    const Place tile = kiosk.place_of(kAlpha);
    const auto shows = [&](unsigned long colour) { return x.share(colour, 0, 100, kWidth, 300) > 0.8; };
    // The picture of Alpha's scene is its guest; Beta has no scene, but a picture.
    REQUIRE(eventually([&] { return shows(kGuest); }, 10));
    const auto began = std::chrono::steady_clock::now();
    REQUIRE(eventually([&] { return shows(kBeta); }, 14));
    CHECK(std::chrono::steady_clock::now() - began > std::chrono::seconds(6));
    // A finger where a tile will be: the pointer is there a moment before it presses.
    CHECK(x.tool(fmt::format("mousemove {} {} sleep 0.1 click 1", tile.x + 100, tile.y + 100)));
    CHECK(eventually([&] { return kiosk.shows_tiles(); }, 3));
    REQUIRE(eventually([&] { return shows(kGuest); }, 10)); // nothing was opened: it begins again
    CHECK(desk.events("kiosk-session").empty());
    for (const char* key : {"Return", "a"}) {
        CHECK(kiosk.key(key));
        CHECK(eventually([&] { return kiosk.shows_tiles(); }, 3));
        REQUIRE(eventually([&] { return shows(kGuest); }, 10));
    }
    CHECK(desk.events("kiosk-session").empty());
    // The second one counts.
    CHECK(kiosk.key("a"));
    CHECK(eventually([&] { return kiosk.click(kBeta) && !kiosk.guests().empty(); }, 5));
    REQUIRE(kiosk.live(1));
    CHECK(desk.last("kiosk-session", "appliance") == "beta");
    CHECK(kiosk.end() == 0);
}

TEST_CASE("kiosk: among many tiles typing finds one, keys open it, and nothing found is said", "[kiosk]") {
    KioskDesk desk;
    desk.rules("");
    XServer x(desk.path, XServer::Manager::Absent, "1280x800");
    Kiosk kiosk(desk, x);
    REQUIRE(eventually([&] { return kiosk.shows_tiles(); }));
    CHECK(field_share(x, kWhite) == 0); // two tiles need no search
    CHECK(kiosk.key("z"));
    for (int i = 0; i < 22; ++i)
        desk.pack(fmt::format("demo-{}", i), fmt::format("Ledger {}", i), i == 17 ? 0x8040C0 : 0x806040);
    REQUIRE(eventually([&] { return field_share(x, kWhite) > 0.5; }));
    CHECK(kiosk.shows_tiles()); // what was typed without a field filters nothing
    CHECK(kiosk.key("l e d g e r"));
    CHECK(eventually([&] { return !kiosk.sees(kAlpha) && kiosk.sees(0x806040); }, 5));
    CHECK(kiosk.key("space 1 7"));
    REQUIRE(eventually([&] { return kiosk.sees(0x8040C0) && !kiosk.sees(0x806040); }, 5));
    CHECK(kiosk.key("x x"));
    REQUIRE(eventually([&] { return !kiosk.sees(0x8040C0); }, 5));
    CHECK(x.share(kInk, 500, 430, 280, 60) > 0.01); // "Nothing found"
    CHECK(kiosk.key("BackSpace BackSpace"));
    CHECK(eventually([&] { return kiosk.sees(0x8040C0) && !kiosk.sees(0x806040); }, 5));
    CHECK(kiosk.key("Escape"));
    REQUIRE(eventually([&] { return kiosk.shows_tiles(); }, 5));
    // By touch: the field's own cross.
    CHECK(kiosk.key("b e t a"));
    CHECK(eventually([&] { return kiosk.sees(kBeta) && !kiosk.sees(kAlpha); }, 5));
    CHECK(kiosk.click(kWidth - 60, 66));
    REQUIRE(eventually([&] { return kiosk.shows_tiles(); }, 5));
    CHECK(kiosk.key("b e t a Return"));
    REQUIRE(kiosk.live(1));
    CHECK(desk.last("kiosk-session", "appliance") == "beta");
    CHECK(kiosk.click(kAccent));
    CHECK(eventually([&] { return kiosk.shows_tiles(); }, 5)); // all of them again
    CHECK(kiosk.end() == 0);
}
