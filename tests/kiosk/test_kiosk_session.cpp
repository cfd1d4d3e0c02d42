// The session script that `encore kiosk install` writes, with the real kiosk, on an X server with nothing
// else.
#include "tests/kiosk/kiosk_desk.h"

using namespace kiosk_test;

namespace {

std::vector<pid_t> children(pid_t parent) {
    std::vector<pid_t> found;
    std::ifstream list(fmt::format("/proc/{0}/task/{0}/children", parent));
    for (pid_t child; list >> child;)
        found.push_back(child);
    return found;
}

bool is_kiosk(pid_t pid) {
    std::error_code error;
    return fs::read_symlink(fmt::format("/proc/{}/exe", pid), error) == fs::canonical(KIOSK_BINARY, error);
}

} // namespace

TEST_CASE("kiosk session: it shows the tiles, comes back when killed, and ends with its script", "[kiosk]") {
    KioskDesk desk;
    desk.rules("");
    REQUIRE(desk.run("kiosk install --catalog catalog") == 0);
    XServer x(desk.path, XServer::Manager::Absent, fmt::format("{}x{}", kWidth, kHeight));
    Kiosk kiosk(desk, x, {desk.path + "/data/encore/kiosk-session"}, Kiosk::Start::Command);
    const auto running = [&] { // the kiosk that the script runs now; 0: none
        for (const pid_t child : children(kiosk.pid))
            if (is_kiosk(child))
                return child;
        return pid_t{0};
    };
    REQUIRE(eventually([&] { return kiosk.shows_tiles(); }));
    const pid_t first = running();
    REQUIRE(first != 0);
    // In the middle of a session: the guest goes with its kiosk, and another kiosk shows the tiles.
    REQUIRE(kiosk.starts(kAlpha));
    const auto guests = children(first);
    REQUIRE(guests.size() == 1);
    REQUIRE(::kill(first, SIGKILL) == 0);
    REQUIRE(eventually([&] { return running() != 0 && running() != first && kiosk.shows_tiles(); }));
    CHECK(eventually([&] { return ::kill(guests[0], 0) != 0; }));
    const pid_t second = running();
    REQUIRE(kiosk.starts(kBeta));
    const auto last = children(second);
    REQUIRE(last.size() == 1);
    // As a log-out or the end of the unit does it.
    CHECK(kiosk.end(SIGTERM) == 0);
    CHECK(eventually([&] { return ::kill(second, 0) != 0 && ::kill(last[0], 0) != 0; }));
    CHECK(desk.events("kiosk-end").size() == 1);
    CHECK(desk.leftovers() == 0);
    for (const auto& entry : fs::directory_iterator(desk.path + "/run"))
        CHECK(entry.path().filename() == "encore-kiosk.lock");
    REQUIRE(desk.run("kiosk remove") == 0);
    CHECK_FALSE(fs::exists(desk.path + "/data/encore/kiosk-session"));
}
