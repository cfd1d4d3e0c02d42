// What a screen reader finds: every control that can have the focus has a role and a name, on every screen,
// and what a sheet covers is not there. Read as screen readers do, by AT-SPI on a D-Bus of this test's own.
#include "tests/kiosk/kiosk_desk.h"

#include <atspi/atspi.h>
#include <set>

using namespace kiosk_test;

namespace {

class Bus {
  public:
    explicit Bus(const std::string& folder) {
        int ready[2];
        REQUIRE(::pipe(ready) == 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            enter(folder, {});
            ::unsetenv("DISPLAY"); // the bus for accessibility would be announced on somebody's screen
            const int log = ::open((folder + "/bus.txt").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
            ::dup2(log, 1);
            ::dup2(log, 2);
            const std::string fd = "--print-address=" + std::to_string(ready[1]);
            ::execlp("dbus-daemon", "dbus-daemon", "--session", "--nofork", "--nopidfile", fd.c_str(),
                     nullptr);
            ::_exit(127);
        }
        ::close(ready[1]);
        for (char c = 0; ::read(ready[0], &c, 1) == 1 && c != '\n';)
            address.push_back(c);
        ::close(ready[0]);
        REQUIRE_FALSE(address.empty()); // is dbus-daemon installed?
    }
    ~Bus() {
        ::kill(pid_, SIGTERM);
        ::waitpid(pid_, nullptr, 0);
    }
    Bus(const Bus&) = delete;
    std::string address;

  private:
    pid_t pid_ = -1;
};

struct Spoken {
    std::string role, name, description;
};

std::string taken(gchar* text) {
    std::string copy = text != nullptr ? text : "";
    g_free(text);
    return copy;
}

using Wanted = std::function<bool(const Spoken&, AtspiStateSet*)>;

void walk(AtspiAccessible* node, std::vector<Spoken>& found, int depth, const Wanted& wanted) {
    if (node == nullptr || depth > 20)
        return;
    AtspiStateSet* states = atspi_accessible_get_state_set(node);
    Spoken spoken{taken(atspi_accessible_get_role_name(node, nullptr)),
                  taken(atspi_accessible_get_name(node, nullptr)),
                  taken(atspi_accessible_get_description(node, nullptr))};
    if (states != nullptr && atspi_state_set_contains(states, ATSPI_STATE_SHOWING) != FALSE &&
        wanted(spoken, states))
        found.push_back(std::move(spoken));
    if (states != nullptr)
        g_object_unref(states);
    const int count = atspi_accessible_get_child_count(node, nullptr);
    for (int i = 0; i < count && i < 200; ++i) {
        AtspiAccessible* child = atspi_accessible_get_child_at_index(node, i, nullptr);
        walk(child, found, depth + 1, wanted);
        if (child != nullptr)
            g_object_unref(child);
    }
}

// All that can have the focus now.
std::vector<Spoken> controls() {
    std::vector<Spoken> found;
    AtspiAccessible* desktop = atspi_get_desktop(0);
    atspi_accessible_clear_cache(desktop); // as it is now
    walk(desktop, found, 0, [](const Spoken& spoken, AtspiStateSet* states) {
        return atspi_state_set_contains(states, ATSPI_STATE_FOCUSABLE) != FALSE && spoken.role != "frame";
    });
    g_object_unref(desktop);
    return found;
}

std::multiset<std::string> names_there() {
    std::multiset<std::string> names;
    for (const Spoken& control : controls())
        names.insert(control.name);
    return names;
}

// What the sheet says that is up, which is painted and no control's name; empty: none is.
std::string alert() {
    std::vector<Spoken> found;
    AtspiAccessible* desktop = atspi_get_desktop(0);
    walk(desktop, found, 0, [](const Spoken& spoken, AtspiStateSet*) { return spoken.role == "alert"; });
    g_object_unref(desktop);
    return found.empty() ? std::string() : found.front().name + ": " + found.front().description;
}

} // namespace

TEST_CASE("kiosk: a screen reader finds a role and a name for all that can be done", "[kiosk]") {
    std::unique_ptr<Bus> bus; // outlives the kiosk
    Room room("", [&](KioskDesk& desk) {
        REQUIRE(desk.run("keygen --name Stranger --out s") == 0);
        desk.pack("stranger", "Stranger", 0x3344CC, "s");
        desk.set_pin("2468");
        bus = std::make_unique<Bus>(desk.path);
        desk.bus = bus->address;
    });
    auto& [desk, x, kiosk] = room;
    ::setenv("DBUS_SESSION_BUS_ADDRESS", desk.bus.c_str(), 1);
    ::unsetenv("DISPLAY");
    ::unsetenv("AT_SPI_BUS_ADDRESS");
    ::setenv("NO_AT_BRIDGE", "1", 1); // this process listens only
    REQUIRE(atspi_init() <= 1);
    const auto says = [&](const std::vector<std::string>& names) {
        const bool all =
            eventually([&] { return names_there() == std::multiset(names.begin(), names.end()); });
        std::string there;
        for (const Spoken& control : controls()) {
            INFO(control.role << " '" << control.name << "' " << control.description);
            CHECK(control.role == "push button");
            CHECK_FALSE(control.name.empty());
            there += " '" + control.name + "'";
        }
        INFO("there:" << there);
        REQUIRE(all);
    };
    says({"Alpha", "Beta", "stranger"});
    const auto tiles = controls();
    REQUIRE(tiles.size() == 3);
    CHECK(tiles[0].description == "The Alpha demo. Verified: Acme Ltd");
    CHECK(tiles[2].description == "This computer does not trust its publisher yet.");
    CHECK(kiosk.key("End Return")); // the refused one
    says({"Details", "Save a report", "OK"});
    CHECK(
        alert() ==
        "stranger: This computer does not trust its publisher yet.\nPlease ask staff, or try another demo.");
    CHECK(kiosk.key("Escape"));
    says({"Alpha", "Beta", "stranger"});
    CHECK(kiosk.key("Home Return"));
    REQUIRE(kiosk.live(1));
    says({"Scenes", "Start over", "Help", "Finish"});
    CHECK(kiosk.key("Super_L"));
    says({"first", "second", "Finish", "Help", "Start over", "Back to the demo"}); // the ribbon is covered
    CHECK(kiosk.key("Escape ctrl+alt+shift+x"));
    says({"1", "2", "3", "4", "5", "6", "7", "8", "9", "0", "Delete", "Enter", "Cancel"});
    CHECK(kiosk.key("1 1 1 1 Return"));
    CHECK(eventually([&] { return alert() == "Staff only: Wrong PIN."; }));
    CHECK(kiosk.key("2 4 6 8 Return"));
    says({"Close the kiosk", "More time", "Back"});
    CHECK(kiosk.key("Escape"));
    for (const pid_t guest : kiosk.guests())
        ::kill(guest, SIGKILL);
    says({"Details", "Save a report", "Show all demos", "Start again"});
    CHECK(kiosk.key("Escape"));
    says({"Alpha", "Beta", "stranger"});
    atspi_exit();
    CHECK(kiosk.end() == 0);
}
