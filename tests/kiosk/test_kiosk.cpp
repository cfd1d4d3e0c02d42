// The kiosk from end to end: real bundles, real guests, an X server, and a visitor made of xdotool.
#include "tests/kiosk/kiosk_desk.h"

using namespace kiosk_test;

TEST_CASE("kiosk: a visitor plays, is warned when idle, stays, goes, and the next one finds all as it was",
          "[kiosk]") {
    Room room("[policy]\nidle_seconds = 20\n");
    auto& [desk, x, kiosk] = room;
    REQUIRE(kiosk.starts(kAlpha));
    CHECK(kiosk.key("w")); // the guest writes to its disk
    // Nobody touches anything: half of that later the warning covers the guest.
    CHECK(eventually([&] { return kiosk.shows_sheet(); }));
    CHECK(kiosk.guests().size() == 1);
    CHECK(x.tool("mousemove_relative 3 3")); // somebody is there
    CHECK(eventually([&] { return kiosk.shows_guest(); }));
    CHECK(desk.events("kiosk-session-end").empty());
    // Again, and this time nobody is.
    CHECK(eventually([&] { return kiosk.shows_sheet(); }));
    CHECK(eventually([&] { return kiosk.shows_tiles(); }));
    CHECK(desk.last("kiosk-session-end", "why") == "idle");
    CHECK(eventually([&] { return desk.noted("kiosk-receipt"); }));
    CHECK(desk.last("kiosk-receipt", "pristine").size() == 64);
    CHECK(eventually([&] { return kiosk.guests().empty(); }));
    // What it wrote before it was reverted is known, and gone.
    CHECK(desk.events("end").size() == 1);
    // The next visitor chooses another, and turns it off from inside.
    REQUIRE(kiosk.starts(kBeta));
    CHECK(kiosk.key("q"));
    CHECK(eventually([&] { return kiosk.shows_tiles(); }));
    CHECK(desk.last("kiosk-session-end", "why") == "guest");
    CHECK(kiosk.end() == 0);
    CHECK(desk.leftovers() == 0);
    CHECK(fs::is_empty(desk.path + "/run") == false); // the lock's file stays, nothing else does
    for (const auto& entry : fs::directory_iterator(desk.path + "/run"))
        CHECK(entry.path().filename() == "encore-kiosk.lock");
}

TEST_CASE("kiosk: a guest that is killed or hangs gives way to the tiles, and a fresh one starts",
          "[kiosk]") {
    Room room("", {}, {}, XServer::Manager::Openbox);
    auto& [desk, x, kiosk] = room;
    REQUIRE(kiosk.starts(kAlpha));
    for (const int signal : {SIGKILL, SIGSTOP}) {
        const auto guests = kiosk.guests();
        REQUIRE(guests.size() == 1);
        REQUIRE(::kill(guests[0], signal) == 0);
        REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
        CHECK(eventually([&] { return kiosk.guests().empty(); }));
        CHECK(desk.last("kiosk-session-end", "why") == (signal == SIGKILL ? "crashed" : "hung"));
        if (signal == SIGSTOP) { // one click saves a report, which names nobody
            CHECK(eventually([&] { return kiosk.has_keyboard(); })); // which was the guest's
            CHECK(kiosk.key("Left Left Return"));
            std::string report;
            CHECK(eventually([&] {
                for (const auto& entry : fs::directory_iterator(desk.path + "/state/encore"))
                    if (entry.path().filename().string().starts_with("report-"))
                        report = desk.read("state/encore/" + entry.path().filename().string());
                return report.find("did not answer") != std::string::npos;
            }));
            CHECK(report.find(desk.path + "/home") == std::string::npos);
            CHECK(kiosk.key("Return"));
            CHECK(eventually([&] { return kiosk.shows_tiles(); }));
            REQUIRE(kiosk.starts(kAlpha));
            continue;
        }
        // What the message offers first is a fresh session with the same bundle.
        CHECK(eventually([&] { return kiosk.has_keyboard(); }));
        CHECK(kiosk.key("Return"));
        REQUIRE(kiosk.live(signal == SIGKILL ? 2 : 3));
        CHECK(kiosk.guests() != guests);
    }
    // The dead cannot be asked; whoever starts after them is, and is what the publisher signed.
    CHECK(eventually([&] { return desk.noted("kiosk-receipt", 2); }));
    for (const json& receipt : desk.events("kiosk-receipt")) {
        INFO(receipt.dump());
        CHECK(receipt.value("pristine", "").size() == 64);
        CHECK(receipt["of"] == "the next start");
    }
    CHECK(kiosk.end() == 0);
}

TEST_CASE("kiosk: a guest that halts for good gives way to the tiles, and is compared all the same",
          "[kiosk]") {
    Room room;
    auto& [desk, x, kiosk] = room;
    REQUIRE(kiosk.starts(kAlpha));
    CHECK(kiosk.key("exclam"));
    REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
    CHECK(desk.last("kiosk-session-end", "why") == "halted");
    CHECK(eventually([&] { return desk.noted("kiosk-receipt"); }));
    CHECK(desk.last("kiosk-receipt", "pristine").size() == 64);
    CHECK(kiosk.key("Return")); // what the message offers first is a fresh session
    REQUIRE(kiosk.live(2));
    CHECK(kiosk.end() == 0);
}

TEST_CASE("kiosk: one that is killed leaves nothing, and the next one has its seat", "[kiosk]") {
    Room room;
    auto& [desk, x, kiosk] = room;
    REQUIRE(kiosk.starts(kAlpha));
    const auto guests = kiosk.guests();
    const auto left = [&] { // but the lock, which is nobody's now
        size_t count = 0;
        for (const auto& entry : fs::directory_iterator(desk.path + "/run"))
            count += entry.path().filename() != "encore-kiosk.lock";
        return count;
    };
    CHECK(kiosk.end(SIGKILL) == -SIGKILL);
    CHECK(eventually([&] { return ::kill(guests.at(0), 0) != 0; })); // its guest went with it
    CHECK(left() == 0);
    kiosk.pid = kiosk.start({});
    REQUIRE(kiosk.starts(kAlpha));
    CHECK(kiosk.end() == 0);
    CHECK(left() == 0);
}

TEST_CASE("kiosk: keys alone do everything", "[kiosk]") {
    Room room;
    auto& [desk, x, kiosk] = room;
    const Place tile = kiosk.place_of(kAlpha);
    CHECK(x.share(kAccent, tile.x + 100, tile.y - 3, 100, 2) == 1); // where Return goes is seen at once
    CHECK(kiosk.key("Return"));
    REQUIRE(eventually([&] { return kiosk.shows_guest(); }));
    CHECK(desk.last("kiosk-session", "scene") == "first");
    CHECK(kiosk.key("Super_L"));
    REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
    CHECK(kiosk.key("2"));
    REQUIRE(eventually([&] { return desk.last("kiosk-jump", "scene") == "second" && kiosk.shows_guest(); }));
    CHECK(kiosk.key("Super_L"));
    REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
    CHECK(kiosk.key("Escape"));
    REQUIRE(eventually([&] { return kiosk.shows_guest(); }));
    CHECK(kiosk.key("Super_L"));
    REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
    CHECK(kiosk.key("Down Left Left Left Left Return")); // the row of buttons, its first: finish
    REQUIRE(eventually([&] { return kiosk.shows_tiles(); }));
    CHECK(desk.last("kiosk-session-end", "why") == "visitor");
    CHECK(eventually([&] { return desk.noted("kiosk-receipt"); }));
    CHECK(desk.last("kiosk-receipt", "pristine").size() == 64);
    CHECK(kiosk.end() == 0);
}

TEST_CASE("kiosk: touches alone do everything", "[kiosk]") {
    Room room;
    auto& [desk, x, kiosk] = room;
    REQUIRE(kiosk.starts(kAlpha));
    // The ribbon's last button is the only one in the accent colour: it ends the session.
    REQUIRE(kiosk.finish().height >= 48 - 4);
    CHECK(kiosk.click_finish());
    CHECK(eventually([&] { return kiosk.shows_tiles(); }));
    // A drag moves the tiles and chooses none.
    const Place tile = kiosk.place_of(kAlpha);
    CHECK(x.tool(fmt::format("mousemove {0} {1} mousedown 1 mousemove {0} {2} mousemove {0} {3} mouseup 1",
                             tile.x + 100, tile.y + 150, tile.y + 100, tile.y + 60)));
    CHECK(eventually([&] { return kiosk.guests().empty(); }));
    REQUIRE(kiosk.starts(kBeta));
    CHECK(kiosk.end() == 0);
}

TEST_CASE("kiosk: three wrong PINs open nothing, not even to the right one that follows", "[kiosk]") {
    Room room("", [](KioskDesk& desk) { desk.set_pin("2468"); });
    auto& [desk, x, kiosk] = room;
    REQUIRE(kiosk.starts(kAlpha));
    CHECK(kiosk.key("ctrl+alt+shift+x"));
    REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
    for (size_t i = 1; i <= 3; ++i) {
        CHECK(kiosk.key("1 1 1 1 Return"));
        CHECK(eventually([&] { return desk.events("kiosk-staff-pin").size() == i; }));
    }
    CHECK(kiosk.key("2 4 6 8 Return"));
    REQUIRE(eventually([&] { return desk.events("kiosk-staff-pin").size() == 4; }));
    for (const json& attempt : desk.events("kiosk-staff-pin"))
        CHECK(attempt["right"] == false);
    CHECK(kiosk.alive());
    CHECK(kiosk.guests().size() == 1);
    CHECK(kiosk.key("Escape"));
    CHECK(eventually([&] { return kiosk.shows_guest(); })); // and the visitor's session goes on
    // Once the count is gone, the right one leads out.
    fs::remove_all(desk.path + "/state/encore/staff-pin-tries");
    CHECK(kiosk.end() == 0);
}

TEST_CASE("kiosk: staff leave by chord and PIN", "[kiosk]") {
    Room room("", [](KioskDesk& desk) { desk.set_pin("2468"); });
    auto& [desk, x, kiosk] = room;
    // Without a keyboard: five touches in the corner.
    for (int i = 0; i < 5; ++i)
        CHECK(kiosk.click(20, 20));
    REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
    CHECK(kiosk.key("2 4 6 8 Return"));
    REQUIRE(eventually([&] { return desk.noted("kiosk-staff-pin"); }));
    REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
    CHECK(kiosk.key("Left Return")); // the choice before "back": close the kiosk
    int status = -1;
    CHECK(eventually([&] { return ::waitpid(kiosk.pid, &status, WNOHANG) == kiosk.pid; }));
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    kiosk.pid = -1;
}

TEST_CASE("kiosk: the catalog's folder may go and come back; what is refused stays shut", "[kiosk]") {
    Room room("", [](KioskDesk& desk) { // one by a stranger, one changed after signing
        REQUIRE(desk.run("keygen --name Stranger --out s") == 0);
        desk.pack("stranger", "Stranger", 0x3344CC, "s");
        fs::copy(desk.path + "/catalog/beta.encore", desk.path + "/catalog/zeta.encore");
        std::fstream file(desk.path + "/catalog/zeta.encore",
                          std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(700);
        file.put('X');
    });
    auto& [desk, x, kiosk] = room;
    CHECK_FALSE(kiosk.sees(0x3344CC)); // nothing of what an untrusted bundle claims is shown
    const Place alpha = kiosk.place_of(kAlpha), beta = kiosk.place_of(kBeta);
    CHECK(kiosk.click(alpha.x + 3 * (beta.x - alpha.x) + 100, alpha.y + 60)); // the last tile in the row
    CHECK(eventually([&] { return kiosk.shows_sheet(); }));
    CHECK(kiosk.guests().empty());
    CHECK(kiosk.key("Escape"));
    REQUIRE(eventually([&] { return kiosk.shows_tiles(); }));
    fs::rename(desk.path + "/catalog", desk.path + "/gone");
    CHECK(eventually([&] { return !kiosk.sees(kAlpha) && !kiosk.sees(kBeta); }));
    CHECK(kiosk.alive());
    fs::rename(desk.path + "/gone", desk.path + "/catalog");
    CHECK(eventually([&] { return kiosk.shows_tiles(); }));
    // Taken away while it is played: the session says what happened or goes on, and the kiosk stays.
    REQUIRE(kiosk.starts(kAlpha));
    fs::remove_all(desk.path + "/catalog");
    CHECK(kiosk.key("a"));
    CHECK(kiosk.click_finish());
    CHECK(eventually([&] { return !kiosk.sees(kAlpha) && !kiosk.shows_guest(); }));
    CHECK(kiosk.end() == 0);
}
