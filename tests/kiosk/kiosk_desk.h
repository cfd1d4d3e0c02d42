// A kiosk on an X server of its own: a catalog of signed bundles whose pictures are plain colours, the real
// encore-kiosk, its log, and a visitor who sees colours and moves the mouse.
#pragma once
#include "tests/json.h"
#include "tests/player/x_server.h"

namespace kiosk_test {

using namespace session_test;
using nlohmann::json;

constexpr unsigned long kGuest = 0x0000AA; // the guest's background: VGA colour 1
constexpr unsigned long kAlpha = 0xC81E5A, kBeta = 0x1E8C3C, kAccent = 0x0C626B, kPage = 0xF3F4F1;
constexpr int kWidth = 1280, kHeight = 800, kRibbon = 64;

struct KioskDesk : Desk {
    KioskDesk();
    void pack(const std::string& name, const std::string& title, unsigned long colour,
              const std::string& key = "k");
    void rules(const std::string& text) {
        write("config/encore/operator.toml", "[log]\nsessions = true\n" + text);
    }

    void set_pin(const std::string& pin);

    std::string bus; // the D-Bus that kiosks are on; empty: none

    // Everything the kiosk and its sessions noted.
    [[nodiscard]] std::vector<json> events(const std::string& kind = {}) const;
    [[nodiscard]] bool noted(const std::string& kind, size_t times = 1) const {
        return events(kind).size() >= times;
    }
    [[nodiscard]] std::string last(const std::string& kind, const std::string& key) const;
};

// The environment of everything that a desk starts.
void enter(const std::string& path, const std::string& display);

class Kiosk {
  public:
    enum class Start : uint8_t { Kiosk, Command }; // encore-kiosk with these arguments, or what they say
    Kiosk(KioskDesk& desk, XServer& x, std::vector<std::string> more = {}, Start what = Start::Kiosk);
    // As these words say: an executable and its arguments, those of the kiosk added.
    Kiosk(KioskDesk& desk, XServer& x, std::vector<std::string> more, std::vector<std::string> program);
    ~Kiosk();
    Kiosk(const Kiosk&) = delete;

    pid_t start(std::vector<std::string> more);
    pid_t launch(std::vector<std::string> words);
    // Ends it as staff's computer would; the exit status.
    int end(int signal = SIGTERM) { return Desk::finish(std::exchange(pid, -1), signal); }
    [[nodiscard]] bool alive() const { return ::waitpid(pid, nullptr, WNOHANG) == 0; }

    // What a visitor sees and does.
    [[nodiscard]] bool sees(unsigned long colour) { return place_of(colour).width > 40; }
    Place place_of(unsigned long colour, int from_y = 0, int to_y = kHeight);
    bool click(unsigned long colour, int from_y = 0);
    // The ribbon's last button; the bar below it has its colour, too, once there is time used.
    Place finish();
    bool click_finish();
    bool click(int x, int y) { return x_.tool(fmt::format("mousemove {} {} click 1", x, y)); }
    // Do keys go to a window of the kiosk's own?
    [[nodiscard]] bool has_keyboard() const {
        return x_.ask("getwindowfocus getwindowpid").starts_with(std::to_string(pid));
    }
    bool key(const std::string& keys) { return x_.tool("key " + keys); }
    [[nodiscard]] bool shows_tiles() { return sees(kAlpha) && sees(kBeta); }
    [[nodiscard]] bool shows_guest();
    [[nodiscard]] bool shows_ribbon() { return x_.share(0xFFFFFF, 0, 0, kWidth, kRibbon - 4) > 0.5; }
    [[nodiscard]] bool shows_sheet() { // a card on what was there, dimmed
        return x_.share(0xFFFFFF, 300, 4, 40, 4) + x_.share(kPage, 300, 4, 40, 4) == 0 && !shows_guest() &&
               !sees(kAlpha);
    }
    // A session is live: not only its stored picture is there.
    bool live(size_t times);
    bool starts(unsigned long tile);

    // The processes of guests that run now.
    [[nodiscard]] std::vector<pid_t> guests() const;

    pid_t pid = -1;

  private:
    KioskDesk& desk_;
    XServer& x_;
    std::vector<std::string> program_ = {KIOSK_BINARY};
};

// A desk, a screen and a kiosk on it that shows its tiles: auto& [desk, x, kiosk] = room.
struct Room {
    explicit Room(const std::string& rules = {}, const std::function<void(KioskDesk&)>& prepare = {},
                  std::vector<std::string> more = {}, XServer::Manager manager = XServer::Manager::Absent);
    KioskDesk desk;
    XServer x;
    Kiosk kiosk;

  private:
    static std::string prepared(KioskDesk& desk, const std::string& rules,
                                const std::function<void(KioskDesk&)>& prepare);
};

} // namespace kiosk_test
