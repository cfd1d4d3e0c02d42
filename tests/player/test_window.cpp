// The window on a real X server (Xvfb), driven by xdotool as a person would.
#include "appliance-format/bundle_writer.h"
#include "player/display.h"
#include "player/lazy_libraries.h"
#include "player/png_reader.h"
#include "player/png_writer.h"
#include "tests/player/scene_desk.h"
#include "tests/player/x_server.h"

#include <map>

using namespace session_test;

namespace {

// Brings the Xlib that everything here calls; the display's library links none.
[[maybe_unused]] const bool kLoaded = player::load_sdl().has_value();
constexpr int kScreenWidth = 2000, kScreenHeight = 1200;
constexpr unsigned long kBlue = 0x0000AA; // the guest's background: VGA colour 1

} // namespace

TEST_CASE("window: shows the guest, scales it, passes keys, and its end leaves nothing", "[window]") {
    Desk desk;
    XServer x(desk.path);
    const pid_t child = desk.start({"--serial", "serial.txt", "--control", "c"}, x.name);
    Place at;
    std::string title;
    bool shown = eventually([&] { return desk.says("pristine") && x.find_window(at, title); });
    CHECK(shown);
    if (shown) {
        CHECK(eventually([&] { return x.find_window(at, title) && title == "Session guest — Acme Ltd"; }));
        CHECK(eventually([&] { return x.find_window(at, title) && at.width == 720 && at.height == 400; }));
        CHECK(eventually([&] { return x.share(kBlue, at.x, at.y, at.width, at.height) > 0.95; }));
        const std::string window = x.window;
        x.tool("windowfocus --sync " + window);
        CHECK(x.tool("key F10"));
        CHECK(eventually([&] { return desk.says("key 44"); }));
        CHECK(x.tool("key Left"));
        CHECK(eventually([&] { return desk.says("key 4b"); }));
        // Twice as large fills the window; another shape keeps the picture's and is black beside it.
        CHECK(x.tool("windowsize --sync " + window + " 1440 800"));
        CHECK(eventually([&] { return x.find_window(at, title) && at.width == 1440; }));
        CHECK(eventually([&] { return x.share(kBlue, at.x, at.y, 1440, 800) > 0.95; }));
        CHECK(x.tool("windowsize --sync " + window + " 1120 400"));
        CHECK(eventually([&] { return x.find_window(at, title) && at.width == 1120; }));
        CHECK(eventually([&] { return x.share(0, at.x, at.y, 200, 400) == 1.0; }));
        CHECK(eventually([&] { return x.share(kBlue, at.x + 200, at.y, 720, 400) > 0.95; }));
        CHECK(x.share(0, at.x + 920, at.y, 200, 400) == 1.0);
        // The whole screen and back.
        CHECK(x.tool("key ctrl+alt+f"));
        CHECK(eventually([&] {
            return x.find_window(at, title) && at.width == kScreenWidth && at.height == kScreenHeight;
        }));
        // There VGA's text has the monitor's proportions, 4:3, and square pixels when asked for.
        CHECK(eventually([&] { return x.share(kBlue, 200, 0, 1600, kScreenHeight) > 0.9; }));
        CHECK(x.share(0, 0, 0, 200, kScreenHeight) == 1.0);
        CHECK(x.share(0, 1800, 0, 200, kScreenHeight) == 1.0);
        CHECK(x.tool("key ctrl+alt+a"));
        CHECK(eventually([&] { return x.share(kBlue, 0, 45, kScreenWidth, 1110) > 0.9; }));
        CHECK_FALSE(desk.says("key 21")); // the chord's F was not the guest's
        CHECK(x.tool("key ctrl+alt+f"));
        CHECK(eventually([&] { return x.find_window(at, title) && at.width < kScreenWidth; }));
        CHECK(x.tool("key ctrl+alt+a"));
        CHECK(eventually([&] { return x.find_window(at, title) && at.width == 720 && at.height == 540; }));
        CHECK(eventually([&] { return x.share(kBlue, at.x, at.y, 720, 540) > 0.95; }));
        CHECK(x.tool("key ctrl+alt+a"));
        CHECK(eventually([&] { return x.find_window(at, title) && at.width == 720 && at.height == 400; }));
        CHECK_FALSE(desk.says("key 1e"));
        // A click gives the mouse to a guest that takes movement only; the chord takes it back.
        CHECK(x.tool(fmt::format("mousemove {} {} click 1", at.x + 300, at.y + 200)));
        CHECK(eventually(
            [&] { return x.find_window(at, title) && title.find("Ctrl+Alt+G") != std::string::npos; }));
        CHECK(x.tool("key ctrl+alt+g"));
        CHECK(eventually([&] { return x.find_window(at, title) && title == "Session guest — Acme Ltd"; }));
        CHECK(x.tool("key w"));
        CHECK(eventually([&] { return desk.says("written"); }));
        CHECK(x.tool("key ctrl+alt+q"));
        CHECK(desk.finish(child) == 0);
    } else {
        CHECK(desk.read("out.txt").empty());
        desk.finish(child, SIGKILL);
    }
    CHECK(desk.leftovers() == 0);
    CHECK(desk.bundle_untouched());
    CHECK(desk.run("run x.encore --headless --expect pristine --timeout 60") == 0);
}

TEST_CASE("window: without a screen the error says what to do", "[window]") {
    Desk desk;
    const pid_t child = desk.start({"--serial", "serial.txt"}, ":987");
    CHECK(desk.finish(child) == 1);
    CHECK(desk.says("--headless", "out.txt"));
    CHECK_FALSE(desk.says("pristine"));
}

TEST_CASE("window: the watermark lies over the guest, and warnings do when no title bar shows them",
          "[window]") {
    Desk desk("[policy]\nwatermark = \"Demonstration only\"\nidle_seconds = 12\n");
    XServer x(desk.path);
    const pid_t child = desk.start({"--serial", "serial.txt"}, x.name);
    Place at;
    std::string title;
    const bool shown = eventually([&] {
        return desk.says("pristine") && x.find_window(at, title) && at.width == 720 && at.height == 400;
    });
    CHECK(shown);
    if (shown) {
        CHECK(eventually([&] { return x.share(kBlue, at.x, at.y + 350, 300, 50) == 1.0; }));
        const double marked = x.share(kBlue, at.x + 560, at.y + 370, 150, 25);
        CHECK(marked < 0.9);
        CHECK(marked > 0.3);
        CHECK(x.tool("windowfocus --sync " + x.window));
        CHECK(x.tool("key ctrl+alt+f"));
        CHECK(eventually([&] { return x.find_window(at, title) && at.width == kScreenWidth; }));
        const auto banner = [&] { return x.share(kBlue, kScreenWidth / 2 - 200, 80, 400, 40); };
        CHECK(eventually([&] { return banner() == 1.0; }));
        CHECK(eventually([&] { return banner() < 0.3; })); // half the idle time before its end
    }
    CHECK(desk.finish(child, shown ? 0 : SIGKILL) == (shown ? 0 : -SIGKILL)); // nobody was there
    CHECK(desk.says("nobody is there", "out.txt"));
}

namespace {

// The publisher's stored picture becomes this one.
void replace_picture(const Desk& desk, const vmm::Picture& picture) {
    const auto signer = signing::Signer::load(desk.path + "/k.key", desk.path + "/k.crt", std::time(nullptr));
    const auto bundle = appliance_format::Bundle::open(desk.path + "/x.encore");
    REQUIRE((signer && bundle && (*bundle)->authenticate(signing::TrustStore::standard(std::time(nullptr)))));
    const auto png = player::encode_png(picture);
    REQUIRE(png);
    auto writer = appliance_format::BundleWriter::extend(**bundle, desk.path + "/x.encore", {.progress = {}});
    REQUIRE(writer);
    const std::string blob = (*bundle)->manifest().scenes[0].picture;
    writer->remove_blob(blob);
    appliance_format::MemorySource source{*png};
    REQUIRE(writer->add_blob(blob, source, appliance_format::kDiskChunk));
    REQUIRE(writer->finish(&*signer));
}

} // namespace

TEST_CASE("window: a scene's stored picture is there before its machine, and no black between them",
          "[window]") {
    constexpr uint32_t kMagenta = 0xCC33CC;
    SceneDesk desk;
    replace_picture(desk, {1024, 768, std::vector<uint32_t>(1024 * 768, kMagenta)});
    XServer x(desk.path);
    ::setenv("DISPLAY", x.name.c_str(), 1);
    ::setenv("SDL_VIDEO_X11_WMCLASS", "encore", 1);
    ::unsetenv("WAYLAND_DISPLAY");
    Place at;
    std::string title;
    const auto covered = [&](unsigned long colour) {
        return x.find_window(at, title) && x.share(colour, at.x, at.y, at.width, at.height) > 0.95;
    };
    std::unique_ptr<player::Display> display;
    unsigned announced = 0;
    SessionOptions options;
    options.bundle = desk.path + "/x.encore";
    options.before_machine = [&](Session& session) -> base::Result<void> {
        ++announced;
        CHECK(session.preview() != nullptr);
        if (display)
            display->show_preview();
        else
            display = TRY(player::Display::open(session, {}));
        CHECK(eventually([&] { return covered(kMagenta); }));
        CHECK((at.width == 1024 && at.height == 768)); // from the start
        return {};
    };
    auto opened = Session::open(std::move(options));
    if (!opened)
        FAIL(opened.error().message);
    Session& session = **opened;
    CHECK(session.preview() == nullptr);
    CHECK(covered(kMagenta)); // until the first frame of the guest
    session.start();
    const auto guest_takes_over = [&] {
        bool black = false;
        CHECK(eventually([&] {
            CHECK(display->frame());
            // Within the window, whichever of the two sizes it has at the moment.
            black = black || x.share(0, at.x + 100, at.y + 100, 300, 200) > 0.2;
            return covered(kBlue);
        }));
        CHECK_FALSE(black);
    };
    guest_takes_over();
    REQUIRE(session.jump("start"));
    CHECK(announced == 2);
    CHECK(covered(kMagenta));
    guest_takes_over();
    REQUIRE(session.revert()); // milliseconds: nothing stands in for it
    CHECK(announced == 2);
    guest_takes_over();
    display.reset();
}

TEST_CASE("png: what is written is read back, and what is none is refused", "[window]") {
    vmm::Picture picture{3, 2, {0x112233, 0xFFFFFF, 0, 0x0000FF, 0x00FF00, 0xFF0000}};
    const auto png = player::encode_png(picture);
    REQUIRE(png);
    const auto read = player::decode_png(*png);
    REQUIRE(read);
    CHECK(read->width == 3);
    CHECK(read->height == 2);
    CHECK(read->pixels == picture.pixels);
    CHECK_FALSE(player::decode_png({}));
    for (size_t cut = 0; cut + 12 < png->size(); ++cut)
        CHECK_FALSE(player::decode_png(std::span(*png).first(cut)));
    std::vector<uint8_t> huge = *png;
    for (const size_t byte : {16, 20}) // IHDR: width and height of 7F000003h and so on
        huge[byte] = 0x7F;
    CHECK_FALSE(player::decode_png(huge));
}
