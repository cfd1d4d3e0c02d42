// Many short sessions in one kiosk process, ended in every way there is: what it holds does not grow, and
// each leaves a receipt that says "pristine".
#include "tests/kiosk/kiosk_desk.h"

#include <X11/extensions/XRes.h>
#include <map>
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

// What the manifest, which its publisher signed, says of each scene's memory.
std::map<std::string, std::string> signed_roots(KioskDesk& desk) {
    REQUIRE(desk.run("inspect catalog/alpha.encore --json") == 0);
    const json manifest = json_of(desk.output)["manifest"];
    std::map<std::string, std::string> roots;
    for (const json& scene : manifest["scenes"])
        for (const json& blob : manifest["blobs"])
            if (blob["name"] == scene["ram"])
                roots[scene["name"]] = blob["root"]["sha256"];
    REQUIRE(roots.size() == 2);
    return roots;
}

} // namespace

TEST_CASE("kiosk soak: sessions come and go, and nothing grows", "[soak]") {
    const char* wanted = std::getenv("ENCORE_SESSIONS");
    const size_t sessions = wanted != nullptr ? std::stoul(wanted) : 200;
    Room room;
    auto& [desk, x, kiosk] = room;
    std::mt19937 random(4);
    Holdings early, late;
    std::map<std::string, size_t> receipts;
    auto roots = signed_roots(desk);
    for (size_t i = 0; i < sessions; ++i) {
        INFO("session " << i);
        REQUIRE(kiosk.starts(kAlpha));
        REQUIRE(kiosk.key("w a"));
        switch (random() % 4) {
        case 0: // the visitor finishes
            REQUIRE(kiosk.click_finish());
            break;
        case 1: // ... by keys, after a jump
            REQUIRE(kiosk.key("Super_L"));
            REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
            REQUIRE(kiosk.key("2"));
            REQUIRE(eventually([&] { return kiosk.shows_guest(); }));
            REQUIRE(kiosk.click_finish());
            break;
        case 2: // turned off from inside
            REQUIRE(kiosk.key("q"));
            break;
        case 3: // killed
            for (const pid_t guest : kiosk.guests())
                ::kill(guest, SIGKILL);
            REQUIRE(eventually([&] { return kiosk.shows_sheet(); }));
            REQUIRE(kiosk.key("Escape"));
            break;
        }
        REQUIRE(eventually([&] { return kiosk.shows_tiles(); }));
        REQUIRE(eventually([&] { return kiosk.guests().empty(); }));
        // Its receipt is there, of the machine itself or, where that is gone, of the one that starts next.
        REQUIRE(eventually([&] { return desk.noted("kiosk-receipt", i + 1); }));
        const json receipt = desk.events("kiosk-receipt").back();
        INFO(appliance_format::json_text(receipt));
        REQUIRE(receipt.value("pristine", "") == roots[receipt.value("scene", "")]);
        ++receipts[receipt["of"]];
        if (i == sessions / 4)
            early = holdings(kiosk.pid, x);
    }
    late = holdings(kiosk.pid, x);
    CHECK(desk.events("kiosk-session-end").size() == sessions);
    CHECK(desk.events("kiosk-receipt").size() == sessions);
    fmt::print(
        "{} sessions, {} receipts of theirs and {} of the next start: RSS {} -> {} KiB, threads {} -> {}, "
        "files {} -> {}, X resources {} -> {}\n",
        sessions, receipts["the session"], receipts["the next start"], early.resident_kib, late.resident_kib,
        early.threads, late.threads, early.files, late.files, early.x_resources, late.x_resources);
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
