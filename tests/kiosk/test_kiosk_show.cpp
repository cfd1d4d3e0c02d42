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
    Room room("",
              [](KioskDesk& desk) {
                  REQUIRE(desk.run("scene remove catalog/alpha.encore second --key k.key --cert k.crt") == 0);
              },
              {"--attract", "5"});
    auto& [desk, x, kiosk] = room;
    const Place tile = kiosk.place_of(kAlpha);
    const auto shows = [&](unsigned long colour) { return x.share(colour, 0, 100, kWidth, 300) > 0.8; };
    // The picture of Alpha's scene is its guest; Beta has no scene, but a picture.
    REQUIRE(eventually([&] { return shows(kGuest); }));
    REQUIRE(eventually([&] { return shows(kBeta); }));
    // A finger where a tile will be: the pointer is there a moment before it presses.
    CHECK(x.tool(fmt::format("mousemove {} {} sleep 0.1 click 1", tile.x + 100, tile.y + 100)));
    CHECK(eventually([&] { return kiosk.shows_tiles(); }));
    REQUIRE(eventually([&] { return shows(kGuest); })); // nothing was opened: it begins again
    CHECK(desk.events("kiosk-session").empty());
    CHECK(kiosk.key("Return"));
    CHECK(eventually([&] { return kiosk.shows_tiles(); }));
    REQUIRE(eventually([&] { return shows(kGuest); }));
    CHECK(desk.events("kiosk-session").empty());
    // The second one counts.
    CHECK(kiosk.key("a"));
    CHECK(eventually([&] { return kiosk.click(kBeta) && !kiosk.guests().empty(); }));
    REQUIRE(kiosk.live(1));
    CHECK(desk.last("kiosk-session", "appliance") == "beta");
    CHECK(kiosk.end() == 0);
}

TEST_CASE("kiosk: among many tiles typing finds one, keys open it, and nothing found is said", "[kiosk]") {
    Room room;
    auto& [desk, x, kiosk] = room;
    CHECK(field_share(x, kWhite) == 0); // two tiles need no search
    CHECK(kiosk.key("z"));
    for (int i = 0; i < 22; ++i)
        desk.pack(fmt::format("demo-{}", i), fmt::format("Ledger {}", i), i == 17 ? 0x8040C0 : 0x806040);
    REQUIRE(eventually([&] { return field_share(x, kWhite) > 0.5; }));
    CHECK(kiosk.shows_tiles()); // what was typed without a field filters nothing
    CHECK(kiosk.key("l e d g e r"));
    CHECK(eventually([&] { return !kiosk.sees(kAlpha) && kiosk.sees(0x806040); }));
    CHECK(kiosk.key("space 1 7"));
    REQUIRE(eventually([&] { return kiosk.sees(0x8040C0) && !kiosk.sees(0x806040); }));
    CHECK(kiosk.key("x x"));
    REQUIRE(eventually([&] { return !kiosk.sees(0x8040C0); }));
    CHECK(x.share(kInk, 500, 430, 280, 60) > 0.01); // "Nothing found"
    CHECK(kiosk.key("BackSpace BackSpace"));
    CHECK(eventually([&] { return kiosk.sees(0x8040C0) && !kiosk.sees(0x806040); }));
    CHECK(kiosk.key("Escape"));
    REQUIRE(eventually([&] { return kiosk.shows_tiles(); }));
    // By touch: the field's own cross.
    CHECK(kiosk.key("b e t a"));
    CHECK(eventually([&] { return kiosk.sees(kBeta) && !kiosk.sees(kAlpha); }));
    CHECK(kiosk.click(kWidth - 60, 66));
    REQUIRE(eventually([&] { return kiosk.shows_tiles(); }));
    CHECK(kiosk.key("b e t a Return"));
    REQUIRE(kiosk.live(1));
    CHECK(desk.last("kiosk-session", "appliance") == "beta");
    CHECK(kiosk.click_finish());
    CHECK(eventually([&] { return kiosk.shows_tiles(); })); // all of them again
    CHECK(kiosk.end() == 0);
}

TEST_CASE("kiosk: staff add the operator's minutes to a session by PIN, and the ribbon counts them",
          "[kiosk]") {
    Room room("[policy]\nmax_minutes = 2\n[kiosk]\nextension_minutes = 3\n",
              [](KioskDesk& desk) { desk.set_pin("2468"); });
    auto& [desk, x, kiosk] = room;
    using Clock = std::chrono::steady_clock;
    const auto before_start = Clock::now();
    REQUIRE(kiosk.starts(kAlpha));
    const auto after_start = Clock::now();
    // The ribbon's lower edge is the time used, of all there is.
    const auto used = [&] { return x.share(kAccent, 0, kRibbon - 2, kWidth, 1); };
    REQUIRE(eventually([&] { return used() > 0.05; })); // six seconds of two minutes
    for (const char* pin : {"1 1 1 1 Return", "2 4 6 8 Return"}) {
        const size_t tries = desk.events("kiosk-staff-pin").size();
        CHECK(kiosk.key("ctrl+alt+shift+x"));
        REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
        CHECK(kiosk.key(pin));
        REQUIRE(eventually([&] { return desk.events("kiosk-staff-pin").size() == tries + 1; }));
        if (tries == 0) {
            CHECK(kiosk.key("Left Return Escape")); // no menu has come that this could choose from
            CHECK(eventually([&] { return kiosk.shows_guest(); }));
            CHECK(desk.events("kiosk-extended").empty());
        }
    }
    const double before = used();
    CHECK(before == 0);              // the menu dims it
    CHECK(kiosk.key("Left Return")); // beside "back": more time
    REQUIRE(eventually([&] { return desk.noted("kiosk-extended") && kiosk.shows_guest(); }));
    CHECK(desk.events("kiosk-extended").back()["minutes"] == 3);
    // Of five minutes, not of two, and not begun anew.
    CHECK(eventually([&] {
        const std::chrono::duration<double> least = Clock::now() - after_start;
        const double seconds = used() * 300;
        const std::chrono::duration<double> most = Clock::now() - before_start;
        return seconds > least.count() - 2 && seconds < most.count() + 1;
    }));
    CHECK(kiosk.end() == 0);
}

TEST_CASE("kiosk: when its time is up a session ends with a word to who played it", "[kiosk]") {
    Room room("[policy]\nmax_minutes = 1\n");
    auto& [desk, x, kiosk] = room;
    REQUIRE(kiosk.starts(kAlpha));
    CHECK(kiosk.key("w"));
    // The ribbon warns for the last seconds, and nothing covers the guest.
    REQUIRE(eventually([&] { return desk.noted("kiosk-session-end"); }));
    CHECK(desk.last("kiosk-session-end", "why") == "time");
    CHECK(eventually([&] { return kiosk.shows_sheet(); }));
    CHECK(eventually([&] { return kiosk.shows_tiles(); })); // by itself
    CHECK(eventually([&] { return desk.noted("kiosk-receipt"); }));
    CHECK(desk.last("kiosk-receipt", "pristine").size() == 64);
    CHECK(kiosk.end() == 0);
}

TEST_CASE("kiosk: a drive that comes brings its tiles, and takes them along when it goes", "[kiosk]") {
    KioskDesk desk;
    desk.rules("");
    desk.pack("stick", "From a stick", 0x8040C0);
    fs::create_directory(desk.path + "/aside");
    fs::rename(desk.path + "/catalog/stick.encore", desk.path + "/aside/stick.encore");
    XServer x(desk.path, XServer::Manager::Absent, "1280x800");
    Kiosk kiosk(desk, x, {"--catalog", desk.path + "/drive"}); // not there yet
    REQUIRE(eventually([&] { return kiosk.shows_tiles(); }));
    for (int i = 0; i < 2; ++i) {
        fs::rename(desk.path + "/aside", desk.path + "/drive");
        CHECK(eventually([&] { return kiosk.sees(0x8040C0) && kiosk.shows_tiles(); }));
        if (i == 1)
            REQUIRE(kiosk.starts(0x8040C0)); // it plays from there
        fs::rename(desk.path + "/drive", desk.path + "/aside");
        if (i == 1) {
            CHECK(kiosk.key("a"));
            CHECK(kiosk.click_finish());
        }
        CHECK(eventually([&] { return !kiosk.sees(0x8040C0) && kiosk.shows_tiles(); }));
    }
    CHECK(kiosk.alive());
    CHECK(kiosk.end() == 0);
}
