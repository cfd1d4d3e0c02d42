// A kiosk on an X server of its own: a catalog of signed bundles whose pictures are plain colours, the real
// encore-kiosk, its log, and a visitor who sees colours and moves the mouse.
#pragma once
#include "player/png_writer.h"
#include "tests/json.h"
#include "tests/player/x_server.h"

namespace kiosk_test {

using namespace session_test;
using nlohmann::json;

constexpr unsigned long kGuest = 0x0000AA; // the guest's background: VGA colour 1
constexpr unsigned long kAlpha = 0xC81E5A, kBeta = 0x1E8C3C, kAccent = 0x0C626B, kPage = 0xF3F4F1;
constexpr int kWidth = 1280, kHeight = 800, kRibbon = 64;

struct KioskDesk : Desk {
    KioskDesk() {
        for (const char* folder : {"/catalog", "/run", "/home"})
            fs::create_directory(path + folder);
        fs::permissions(path + "/run", fs::perms::owner_all);
        fs::create_directories(path + "/config/encore");
        pack("alpha", "Alpha", kAlpha);
        REQUIRE(run("scene add catalog/alpha.encore --name first --start --warm 0 --at "
                    "pristine "
                    "--timeout 60 --key k.key --cert k.crt") == 0);
        REQUIRE(
            run("scene add catalog/alpha.encore --name second --from first --warm 0 --type w --at written "
                "--timeout 60 --key k.key --cert k.crt") == 0);
        pack("beta", "Beta", kBeta);
    }
    void pack(const std::string& name, const std::string& title, unsigned long colour,
              const std::string& key = "k") {
        vmm::Picture picture;
        picture.width = 64, picture.height = 40;
        picture.pixels.assign(size_t{64} * 40, static_cast<uint32_t>(colour));
        REQUIRE(player::write_png(picture, path + "/" + name + ".png"));
        write(
            name + ".toml",
            fmt::format("[appliance]\nname = \"{0}\"\ntitle = \"{1}\"\ndescription = \"The {1} demo\"\n"
                        "picture = \"{0}.png\"\n[machine]\nmemory = \"16M\"\n[[disk]]\nimage = \"disk.img\"\n"
                        "[policy]\nmax_minutes = 30\n",
                        name, title));
        REQUIRE(run(fmt::format("pack {0}.toml -o catalog/{0}.encore --key {1}.key --cert {1}.crt", name,
                                key)) == 0);
    }
    void rules(const std::string& text) {
        write("config/encore/operator.toml", "[log]\nsessions = true\n" + text);
    }

    void set_pin(const std::string& pin) {
        write("pin.txt", pin + "\n");
        REQUIRE(run("pin set < pin.txt") == 0);
    }

    std::string bus; // the D-Bus that kiosks are on; empty: none

    // Everything the kiosk and its sessions noted.
    [[nodiscard]] std::vector<json> events(const std::string& kind = {}) const {
        std::vector<json> found;
        std::ifstream in(path + "/state/encore/log/sessions.jsonl");
        for (std::string line; std::getline(in, line);)
            if (json event = appliance_format::parse_json(line);
                event.is_object() && (kind.empty() || event.value("event", "") == kind))
                found.push_back(std::move(event));
        return found;
    }
    [[nodiscard]] bool noted(const std::string& kind, size_t times = 1) const {
        return events(kind).size() >= times;
    }
    [[nodiscard]] std::string last(const std::string& kind, const std::string& key) const {
        const auto all = events(kind);
        return all.empty() ? std::string() : all.back().value(key, "");
    }
};

// The environment of everything that a desk starts.
inline void enter(const std::string& path, const std::string& display) {
    for (const auto& [name, folder] : {std::pair{"HOME", "/home"},
                                       {"XDG_DATA_HOME", "/data"},
                                       {"XDG_CACHE_HOME", "/cache"},
                                       {"XDG_CONFIG_HOME", "/config"},
                                       {"XDG_STATE_HOME", "/state"},
                                       {"XDG_RUNTIME_DIR", "/run"}})
        ::setenv(name, (path + folder).c_str(), 1);
    for (const char* name : {"WAYLAND_DISPLAY", "LANGUAGE", "DBUS_SESSION_BUS_ADDRESS", "GDK_SCALE"})
        ::unsetenv(name);
    ::setenv("NO_AT_BRIDGE", "1", 1);
    ::setenv("LANG", "C.UTF-8", 1);
    if (!display.empty())
        ::setenv("DISPLAY", display.c_str(), 1);
}

class Kiosk {
  public:
    enum class Start : uint8_t { Kiosk, Command }; // encore-kiosk with these arguments, or what they say
    Kiosk(KioskDesk& desk, XServer& x, std::vector<std::string> more = {}, Start what = Start::Kiosk)
        : desk_(desk), x_(x) {
        pid = what == Start::Kiosk ? start(std::move(more)) : launch(std::move(more));
    }
    // As these words say: an executable and its arguments, those of the kiosk added.
    Kiosk(KioskDesk& desk, XServer& x, std::vector<std::string> more, std::vector<std::string> program)
        : desk_(desk), x_(x), program_(std::move(program)) {
        pid = start(std::move(more));
    }
    ~Kiosk() {
        if (pid > 0)
            Desk::finish(pid, SIGTERM);
    }
    Kiosk(const Kiosk&) = delete;

    pid_t start(std::vector<std::string> more) {
        std::vector<std::string> words = program_;
        words.insert(words.end(),
                     {"--catalog", desk_.path + "/catalog", "--no-removable", "--theme", "light"});
        words.insert(words.end(), more.begin(), more.end());
        return launch(std::move(words));
    }
    pid_t launch(std::vector<std::string> words) {
        const pid_t child = ::fork();
        if (child == 0) {
            enter(desk_.path, x_.name);
            if (!desk_.bus.empty()) { // screen readers find what is on it
                ::setenv("DBUS_SESSION_BUS_ADDRESS", desk_.bus.c_str(), 1);
                ::unsetenv("NO_AT_BRIDGE");
            }
            const int out = ::open((desk_.path + "/kiosk.txt").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
            ::dup2(out, 1);
            ::dup2(out, 2);
            std::vector<char*> argv;
            for (std::string& word : words)
                argv.push_back(word.data());
            argv.push_back(nullptr);
            ::execvp(argv[0], argv.data());
            ::_exit(127);
        }
        return child;
    }
    // Ends it as staff's computer would; the exit status.
    int end(int signal = SIGTERM) { return Desk::finish(std::exchange(pid, -1), signal); }
    [[nodiscard]] bool alive() const { return ::waitpid(pid, nullptr, WNOHANG) == 0; }

    // What a visitor sees and does.
    [[nodiscard]] bool sees(unsigned long colour) { return place_of(colour).width > 40; }
    Place place_of(unsigned long colour, int from_y = 0, int to_y = kHeight) {
        XImage* image =
            ::XGetImage(x_.display, DefaultRootWindow(x_.display), 0, 0, kWidth, kHeight, AllPlanes, ZPixmap);
        if (image == nullptr)
            return {};
        int left = kWidth, top = kHeight, right = -1, bottom = -1;
        for (int y = from_y; y < to_y; ++y)
            for (int x = 0; x < kWidth; ++x)
                if ((XGetPixel(image, x, y) & 0xFFFFFF) == colour) {
                    left = std::min(left, x), right = std::max(right, x);
                    top = std::min(top, y), bottom = std::max(bottom, y);
                }
        XDestroyImage(image);
        return right < 0 ? Place{} : Place{left, top, right - left + 1, bottom - top + 1};
    }
    bool click(unsigned long colour, int from_y = 0) {
        const Place at = place_of(colour, from_y);
        return at.width > 0 && click(at.x + at.width / 2, at.y + at.height / 2);
    }
    // The ribbon's last button; the bar below it has its colour, too, once there is time used.
    Place finish() {
        Place found;
        REQUIRE(eventually([&] { return (found = place_of(kAccent, 0, kRibbon - 4)).width >= 48; }));
        return found;
    }
    bool click_finish() {
        const Place at = finish();
        return click(at.x + at.width / 2, at.y + at.height / 2);
    }
    bool click(int x, int y) { return x_.tool(fmt::format("mousemove {} {} click 1", x, y)); }
    bool key(const std::string& keys) { return x_.tool("key " + keys); }
    [[nodiscard]] bool shows_tiles() { return sees(kAlpha) && sees(kBeta); }
    [[nodiscard]] bool shows_guest() {
        constexpr int kRoom = kHeight - kRibbon, kShown = kRoom * 4 / 3; // VGA's text, as 4:3
        return x_.share(kGuest, (kWidth - kShown) / 2 + 16, kRibbon + 16, kShown - 32, kRoom - 32) > 0.9;
    }
    [[nodiscard]] bool shows_ribbon() { return x_.share(0xFFFFFF, 0, 0, kWidth, kRibbon - 4) > 0.5; }
    [[nodiscard]] bool shows_sheet() { // a card on what was there, dimmed
        return x_.share(0xFFFFFF, 300, 4, 40, 4) + x_.share(kPage, 300, 4, 40, 4) == 0 && !shows_guest() &&
               !sees(kAlpha);
    }
    // A session is live: not only its stored picture is there.
    bool live(size_t times) {
        return eventually(
            [&] { return desk_.noted("kiosk-live", times) && shows_guest() && shows_ribbon(); });
    }
    bool starts(unsigned long tile) {
        const size_t before = desk_.events("kiosk-live").size();
        return eventually([&] { return sees(tile); }) && click(tile) && live(before + 1);
    }

    // The processes of guests that run now.
    [[nodiscard]] std::vector<pid_t> guests() const {
        std::vector<pid_t> found;
        std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", pid));
        for (pid_t child; children >> child;)
            found.push_back(child);
        return found;
    }

    pid_t pid = -1;

  private:
    KioskDesk& desk_;
    XServer& x_;
    std::vector<std::string> program_ = {KIOSK_BINARY};
};

// A desk, a screen and a kiosk on it that shows its tiles: auto& [desk, x, kiosk] = room.
struct Room {
    explicit Room(const std::string& rules = {}, const std::function<void(KioskDesk&)>& prepare = {},
                  std::vector<std::string> more = {}, XServer::Manager manager = XServer::Manager::Absent)
        : x(prepared(desk, rules, prepare), manager, fmt::format("{}x{}", kWidth, kHeight)),
          kiosk(desk, x, std::move(more)) {
        REQUIRE(eventually([&] { return kiosk.shows_tiles(); }));
    }
    KioskDesk desk;
    XServer x;
    Kiosk kiosk;

  private:
    static std::string prepared(KioskDesk& desk, const std::string& rules,
                                const std::function<void(KioskDesk&)>& prepare) {
        desk.rules(rules);
        if (prepare)
            prepare(desk);
        return desk.path;
    }
};

} // namespace kiosk_test
