// Many short sessions in one kiosk process, ended in every way there is: what it holds does not grow, and
// every session that could be asked ended as its publisher signed it.
#include "tests/kiosk/kiosk_desk.h"

#include <X11/extensions/XRes.h>
#include <random>

using namespace kiosk_test;

namespace {

struct Holdings {
    size_t resident_kib = 0, threads = 0, files = 0, x_resources = 0;
};

Holdings holdings(pid_t pid, XServer& x) {
    Holdings now;
    const std::string folder = fmt::format("/proc/{}", pid);
    std::ifstream status(folder + "/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("VmRSS:"))
            now.resident_kib = std::stoul(line.substr(6));
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder + "/task"))
        ++now.threads;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder + "/fd"))
        ++now.files;
    // Everything that all clients hold at the server: the guests' are gone between sessions.
    int clients = 0;
    XResClient* list = nullptr;
    if (::XResQueryClients(x.display, &clients, &list) != 0) {
        for (int i = 0; i < clients; ++i) {
            int types = 0;
            XResType* found = nullptr;
            if (::XResQueryClientResources(x.display, list[i].resource_base, &types, &found) == 0)
                continue;
            for (int t = 0; t < types; ++t)
                now.x_resources += found[t].count;
            ::XFree(found);
        }
        ::XFree(list);
    }
    return now;
}

} // namespace

TEST_CASE("kiosk soak: sessions come and go, and nothing grows", "[soak]") {
    const char* wanted = std::getenv("ENCORE_SESSIONS");
    const size_t sessions = wanted != nullptr ? std::stoul(wanted) : 200;
    KioskDesk desk;
    desk.rules("");
    XServer x(desk.path, XServer::Manager::Absent, "1280x800");
    Kiosk kiosk(desk, x);
    std::mt19937 random(4);
    Holdings early, late;
    size_t asked = 0; // sessions that were not killed and have a scene
    for (size_t i = 0; i < sessions; ++i) {
        INFO("session " << i);
        REQUIRE(kiosk.starts(kAlpha));
        REQUIRE(kiosk.key("w a"));
        switch (random() % 4) {
        case 0: // the visitor finishes
            ++asked;
            REQUIRE(kiosk.click(kAccent));
            break;
        case 1: // ... by keys, after a jump
            ++asked;
            REQUIRE(kiosk.key("Super_L"));
            REQUIRE(eventually([&] { return kiosk.shows_sheet(); }, 5));
            REQUIRE(kiosk.key("2"));
            REQUIRE(eventually([&] { return kiosk.shows_guest(); }, 10));
            REQUIRE(kiosk.click(kAccent));
            break;
        case 2: // turned off from inside
            REQUIRE(kiosk.key("q"));
            break;
        case 3: // killed
            for (const pid_t guest : kiosk.guests())
                ::kill(guest, SIGKILL);
            REQUIRE(eventually([&] { return kiosk.shows_sheet(); }, 10));
            REQUIRE(kiosk.key("Escape"));
            break;
        }
        REQUIRE(eventually([&] { return kiosk.shows_tiles(); }, 10));
        REQUIRE(eventually([&] { return kiosk.guests().empty(); }, 20));
        if (i == sessions / 4)
            early = holdings(kiosk.pid, x);
    }
    late = holdings(kiosk.pid, x);
    const auto receipts = desk.events("kiosk-receipt");
    CHECK(receipts.size() == asked);
    for (const json& receipt : receipts)
        CHECK(receipt.value("pristine", "").size() == 64);
    fmt::print("{} sessions, {} receipts: RSS {} -> {} KiB, threads {} -> {}, files {} -> {}, X resources {} "
               "-> {}\n",
               sessions, receipts.size(), early.resident_kib, late.resident_kib, early.threads, late.threads,
               early.files, late.files, early.x_resources, late.x_resources);
    std::vector<int> live;
    for (const json& event : desk.events("kiosk-live"))
        live.push_back(event["milliseconds"].get<int>());
    std::ranges::sort(live);
    fmt::print("tile to live: median {} ms, 95 % {} ms\n", live[live.size() / 2],
               live[live.size() * 95 / 100]);
    CHECK(late.resident_kib < early.resident_kib + 4096);
    CHECK(late.threads <= early.threads);
    CHECK(late.files <= early.files);
    CHECK(late.x_resources <= early.x_resources + 8);
    CHECK(kiosk.end() == 0);
}
