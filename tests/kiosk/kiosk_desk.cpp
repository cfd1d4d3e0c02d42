#include "tests/kiosk/kiosk_desk.h"

#include "player/png_writer.h"

namespace kiosk_test {

KioskDesk::KioskDesk() {
    for (const char* folder : {"/catalog", "/run", "/home"})
        fs::create_directory(path + folder);
    fs::permissions(path + "/run", fs::perms::owner_all);
    fs::create_directories(path + "/config/encore");
    pack("alpha", "Alpha", kAlpha);
    REQUIRE(run("scene add catalog/alpha.encore --name first --start --warm 0 --at "
                "pristine "
                "--timeout 60 --key k.key --cert k.crt") == 0);
    REQUIRE(run("scene add catalog/alpha.encore --name second --from first --warm 0 --type w --at written "
                "--timeout 60 --key k.key --cert k.crt") == 0);
    pack("beta", "Beta", kBeta);
}

void KioskDesk::pack(const std::string& name, const std::string& title, unsigned long colour,
                     const std::string& key) {
    vmm::Picture picture;
    picture.width = 64, picture.height = 40;
    picture.pixels.assign(size_t{64} * 40, static_cast<uint32_t>(colour));
    REQUIRE(player::write_png(picture, path + "/" + name + ".png"));
    write(name + ".toml",
          fmt::format("[appliance]\nname = \"{0}\"\ntitle = \"{1}\"\ndescription = \"The {1} demo\"\n"
                      "picture = \"{0}.png\"\n[machine]\nmemory = \"16M\"\n[[disk]]\nimage = \"disk.img\"\n"
                      "[policy]\nmax_minutes = 30\n",
                      name, title));
    REQUIRE(run(fmt::format("pack {0}.toml -o catalog/{0}.encore --key {1}.key --cert {1}.crt", name, key)) ==
            0);
}

void KioskDesk::set_pin(const std::string& pin) {
    write("pin.txt", pin + "\n");
    REQUIRE(run("pin set < pin.txt") == 0);
}

std::vector<json> KioskDesk::events(const std::string& kind) const {
    std::vector<json> found;
    std::ifstream in(path + "/state/encore/log/sessions.jsonl");
    for (std::string line; std::getline(in, line);)
        if (json event = appliance_format::parse_json(line);
            event.is_object() && (kind.empty() || event.value("event", "") == kind))
            found.push_back(std::move(event));
    return found;
}

std::string KioskDesk::last(const std::string& kind, const std::string& key) const {
    const auto all = events(kind);
    return all.empty() ? std::string() : all.back().value(key, "");
}

void enter(const std::string& path, const std::string& display) {
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

Kiosk::Kiosk(KioskDesk& desk, XServer& x, std::vector<std::string> more, Start what) : desk_(desk), x_(x) {
    pid = what == Start::Kiosk ? start(std::move(more)) : launch(std::move(more));
}

Kiosk::Kiosk(KioskDesk& desk, XServer& x, std::vector<std::string> more, std::vector<std::string> program)
    : desk_(desk), x_(x), program_(std::move(program)) {
    pid = start(std::move(more));
}

Kiosk::~Kiosk() {
    if (pid > 0)
        Desk::finish(pid, SIGTERM);
}

pid_t Kiosk::start(std::vector<std::string> more) {
    std::vector<std::string> words = program_;
    words.insert(words.end(), {"--catalog", desk_.path + "/catalog", "--no-removable", "--theme", "light"});
    words.insert(words.end(), more.begin(), more.end());
    return launch(std::move(words));
}

pid_t Kiosk::launch(std::vector<std::string> words) {
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

Place Kiosk::place_of(unsigned long colour, int from_y, int to_y) {
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

bool Kiosk::click(unsigned long colour, int from_y) {
    const Place at = place_of(colour, from_y);
    return at.width > 0 && click(at.x + at.width / 2, at.y + at.height / 2);
}

Place Kiosk::finish() {
    Place found;
    REQUIRE(eventually([&] { return (found = place_of(kAccent, 0, kRibbon - 4)).width >= 48; }));
    return found;
}

bool Kiosk::click_finish() {
    const Place at = finish();
    return click(at.x + at.width / 2, at.y + at.height / 2);
}

bool Kiosk::shows_guest() {
    constexpr int kRoom = kHeight - kRibbon, kShown = kRoom * 4 / 3; // VGA's text, as 4:3
    return x_.share(kGuest, (kWidth - kShown) / 2 + 16, kRibbon + 16, kShown - 32, kRoom - 32) > 0.9;
}

bool Kiosk::live(size_t times) {
    return eventually([&] { return desk_.noted("kiosk-live", times) && shows_guest() && shows_ribbon(); });
}

bool Kiosk::starts(unsigned long tile) {
    const size_t before = desk_.events("kiosk-live").size();
    return eventually([&] { return sees(tile); }) && click(tile) && live(before + 1);
}

std::vector<pid_t> Kiosk::guests() const {
    std::vector<pid_t> found;
    std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", pid));
    for (pid_t child; children >> child;)
        found.push_back(child);
    return found;
}

Room::Room(const std::string& rules, const std::function<void(KioskDesk&)>& prepare,
           std::vector<std::string> more, XServer::Manager manager)
    : x(prepared(desk, rules, prepare), manager, fmt::format("{}x{}", kWidth, kHeight)),
      kiosk(desk, x, std::move(more)) {
    REQUIRE(eventually([&] { return kiosk.shows_tiles(); }));
}

std::string Room::prepared(KioskDesk& desk, const std::string& rules,
                           const std::function<void(KioskDesk&)>& prepare) {
    desk.rules(rules);
    if (prepare)
        prepare(desk);
    return desk.path;
}

} // namespace kiosk_test
