// What of the kiosk needs no screen: when sessions end, which key is which, how tiles are sorted, and what is
// left in the runtime folder.
#include "kiosk/catalog.h"
#include "kiosk/key_codes.h"
#include "kiosk/seat_lock.h"
#include "kiosk/session_clock.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sys/socket.h>
#include <sys/un.h>

using namespace kiosk;
using namespace std::chrono_literals;
using Phase = SessionClock::Phase;

TEST_CASE("session clock: idleness is warned of, forgiven at a touch, and ends the session", "[kiosk]") {
    const SessionClock::Time start{1h};
    const SessionClock clock({.idle = 120s, .maximum = {}, .warning = 30s}, start);
    CHECK(clock.look(start + 500s, 89s).phase == Phase::Going);
    const auto warned = clock.look(start + 500s, 95s);
    CHECK(warned.phase == Phase::IdleWarning);
    CHECK(warned.left == 25s);
    CHECK(clock.look(start + 501s, 1s).phase == Phase::Going);
    CHECK(clock.look(start + 700s, 120s).phase == Phase::IdleOver);
    CHECK_FALSE(clock.left(start + 700s));
}

TEST_CASE("session clock: quiet before the session began does not count", "[kiosk]") {
    const SessionClock::Time start{1h};
    const SessionClock clock({.idle = 60s, .maximum = {}, .warning = 30s}, start);
    CHECK(clock.look(start + 1s, 3600s).phase == Phase::Going);
    CHECK(clock.look(start + 31s, 3600s).phase == Phase::IdleWarning);
}

TEST_CASE("session clock: a limit shorter than two warnings is half warning", "[kiosk]") {
    const SessionClock::Time start{1h};
    const SessionClock clock({.idle = 10s, .maximum = {}, .warning = 30s}, start);
    CHECK(clock.look(start + 20s, 4900ms).phase == Phase::Going);
    CHECK(clock.look(start + 20s, 5s).phase == Phase::IdleWarning);
    CHECK(clock.warning_length(Phase::IdleWarning) == 5s);
}

TEST_CASE("session clock: time that staff add comes on top, also after the end", "[kiosk]") {
    const SessionClock::Time start{1h};
    SessionClock clock({.idle = {}, .maximum = 600s, .warning = 30s}, start);
    CHECK(clock.look(start + 569s, 0s).phase == Phase::Going);
    CHECK(clock.look(start + 575s, 0s).phase == Phase::TimeWarning);
    CHECK(clock.look(start + 600s, 0s).phase == Phase::TimeOver);
    clock.extend(start + 500s, 60s);
    CHECK(clock.left(start + 500s) == 160s);
    clock.extend(start + 800s, 60s); // late: all of it from now on
    CHECK(clock.left(start + 800s) == 60s);
    CHECK(clock.look(start + 800s, 0s).phase == Phase::Going);
    CHECK(clock.share_used(start) == 0);
}

TEST_CASE("session clock: whatever staff add, no session is longer than the rules can say", "[kiosk]") {
    const SessionClock::Time start{1h};
    SessionClock clock({.idle = {}, .maximum = 600s, .warning = 30s}, start);
    for (int i = 0; i < 10; ++i)
        clock.extend(start, 24h);
    CHECK(clock.left(start) == 7 * 24h);
    clock.extend(start + 24h, 24h);
    CHECK(clock.left(start + 24h) == 6 * 24h);
    CHECK(clock.look(start + 7 * 24h, 0s).phase == Phase::TimeOver);
}

TEST_CASE("session clock: no limits, no end", "[kiosk]") {
    SessionClock clock(SessionTimes{}, SessionClock::Time{});
    clock.extend(SessionClock::Time{1h}, 60s);
    CHECK(clock.look(SessionClock::Time{1000h}, 1000h).phase == Phase::Going);
    CHECK(clock.share_used(SessionClock::Time{1000h}) == 0);
}

TEST_CASE("key codes: X11's keys of a PC are those of a PS/2 keyboard", "[kiosk]") {
    CHECK(scan_code_for_x11(9) == 0x01);     // Esc
    CHECK(scan_code_for_x11(38) == 0x1E);    // A
    CHECK(scan_code_for_x11(36) == 0x1C);    // Enter
    CHECK(scan_code_for_x11(65) == 0x39);    // space
    CHECK(scan_code_for_x11(95) == 0x57);    // F11
    CHECK(scan_code_for_x11(94) == 0x56);    // between shift and Z
    CHECK(scan_code_for_x11(104) == 0xE01C); // keypad Enter
    CHECK(scan_code_for_x11(113) == 0xE04B); // left
    CHECK(scan_code_for_x11(119) == 0xE053); // Delete
    CHECK(scan_code_for_x11(127) == 0xE11D); // Pause
    CHECK(scan_code_for_x11(0) == 0);
    CHECK(scan_code_for_x11(7) == 0);
    CHECK(scan_code_for_x11(255) == 0);
    CHECK(scan_code_for_x11(0xFFFFFFFF) == 0);
}

TEST_CASE("catalog: titles are sorted as people read them, numbers by their value", "[kiosk]") {
    const std::vector<std::string> right = {"Alpha",     "beta",      "Ledger 2",  "ledger 9",
                                            "Ledger 10", "Ledger 11", "Version 1", "Version 1.10"};
    auto titles = right;
    std::ranges::reverse(titles);
    std::ranges::sort(titles, {}, title_order);
    CHECK(titles == right);
    CHECK_FALSE(title_order("\xFF\xFE not UTF-8").empty()); // hostile titles have a place as well
    CHECK(title_order("") < title_order("a"));
}

namespace {

namespace fs = std::filesystem;

struct Place {
    Place() {
        std::string name = fs::temp_directory_path() / "encore-place-XXXXXX";
        REQUIRE(::mkdtemp(name.data()));
        path = name;
    }
    ~Place() { fs::remove_all(path); }
    Place(const Place&) = delete;
    std::string path;
};

} // namespace

TEST_CASE("seat lock: one kiosk has the seat", "[kiosk]") {
    const Place place;
    {
        const auto first = take_seat(place.path);
        REQUIRE(first);
        const auto second = take_seat(place.path);
        REQUIRE_FALSE(second);
        CHECK(second.error().message == "a kiosk runs here already");
    }
    CHECK(take_seat(place.path));
    fs::remove(place.path + "/encore-kiosk.lock");
    fs::create_symlink(place.path + "/victim", place.path + "/encore-kiosk.lock");
    CHECK_FALSE(take_seat(place.path));
    CHECK_FALSE(fs::exists(place.path + "/victim"));
    CHECK_FALSE(take_seat(place.path + "/nowhere"));
}
