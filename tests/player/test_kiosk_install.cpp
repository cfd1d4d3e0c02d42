// What `encore kiosk install` writes: files that say what they are for, a session script that sh really runs.
#include "player/kiosk_install.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sys/stat.h>
#include <sys/wait.h>

using namespace player;

namespace {

namespace fs = std::filesystem;

class Stage {
  public:
    Stage() {
        std::string name = fs::temp_directory_path() / "encore-kiosk-XXXXXX";
        REQUIRE(::mkdtemp(name.data()));
        path = name;
    }
    ~Stage() { fs::remove_all(path); }
    Stage(const Stage&) = delete;
    [[nodiscard]] std::string read(const std::string& file) const {
        std::ifstream in(file, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    // The session script, with a program that writes down its arguments and ends as it is told.
    int session(const std::string& body, std::vector<std::string> arguments,
                const std::string& environment = {}) {
        arguments.insert(arguments.begin(), {"-c", body, "kiosk"});
        const KioskPlan plan{.root = path, .program = "/bin/sh", .arguments = std::move(arguments)};
        auto files = kiosk_files(plan);
        REQUIRE(files);
        REQUIRE(install_kiosk(*files, false));
        const int status = std::system(
            fmt::format("cd '{}' && env -u DISPLAY {} '{}' 2> errors", path, environment, files->front().path)
                .c_str());
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    std::string path;
};

} // namespace

TEST_CASE("kiosk install: a user's files are a script to run and a unit that runs it", "[kiosk]") {
    Stage stage;
    auto files = kiosk_files({.root = stage.path, .program = "/opt/encore-kiosk", .arguments = {}});
    REQUIRE(files);
    REQUIRE(files->size() == 2);
    REQUIRE(install_kiosk(*files, false));
    struct stat script {};
    REQUIRE(::stat((*files)[0].path.c_str(), &script) == 0);
    CHECK((script.st_mode & 0777) == 0755);
    CHECK(stage.read((*files)[1].path).find("encore/kiosk-session\"\n") != std::string::npos);
    CHECK((*files)[1].path.ends_with("/systemd/user/encore-kiosk.service"));
}

TEST_CASE("kiosk install: a computer's files are a choice at log-in and the X server's locks", "[kiosk]") {
    Stage stage;
    auto files =
        kiosk_files({.system = true, .root = stage.path, .program = "/opt/encore-kiosk", .arguments = {}});
    REQUIRE(files);
    REQUIRE(install_kiosk(*files, false));
    CHECK(stage.read(stage.path + "/usr/share/xsessions/encore-kiosk.desktop")
              .find("Exec=\"/usr/local/lib/encore/kiosk-session\"\n") != std::string::npos);
    const std::string wayland =
        stage.read(stage.path + "/usr/share/wayland-sessions/encore-kiosk-wayland.desktop");
    CHECK(wayland.find("Exec=cage -- \"/usr/local/lib/encore/kiosk-session\"\n") != std::string::npos);
    CHECK(wayland.find("TryExec=cage\n") != std::string::npos);
    CHECK(stage.read(stage.path + "/etc/X11/xorg.conf.d/90-encore-kiosk.conf").find("DontVTSwitch") !=
          std::string::npos);
}

TEST_CASE("kiosk install: the session ends when the kiosk ends well, with its arguments as given",
          "[kiosk]") {
    Stage stage;
    CHECK(stage.session("printf '%s\\n' \"$@\" > got", {"--catalog", "/a b/$HOME's \"100%\" `x` \\"}) == 0);
    CHECK(stage.read(stage.path + "/got") == "--catalog\n/a b/$HOME's \"100%\" `x` \\\n");
}

TEST_CASE("kiosk install: a kiosk that dies comes back, one that never stays up does not for ever",
          "[kiosk]") {
    Stage stage;
    CHECK(stage.session("echo x >> starts; [ $(wc -l < starts) -eq 3 ] || kill -9 $$", {}) == 0);
    CHECK(stage.read(stage.path + "/starts") == "x\nx\nx\n");
    fs::remove(stage.path + "/starts");
    CHECK(stage.session("echo x >> starts; exit 1", {}) == 1);
    CHECK(stage.read(stage.path + "/starts") == "x\nx\nx\nx\nx\n");
    fs::remove(stage.path + "/starts");
    CHECK(stage.session("echo x >> starts; exit 2", {}) == 2);
    CHECK(stage.read(stage.path + "/starts") == "x\n");
}

TEST_CASE("kiosk install: with a home that cannot be written sessions write elsewhere, and that goes again",
          "[kiosk]") {
    Stage stage;
    const std::string body =
        "mkdir -p \"$XDG_CACHE_HOME\" \"$XDG_STATE_HOME\" && : >\"$XDG_CACHE_HOME/x\" && "
        "echo \"$XDG_CACHE_HOME\" >where";
    CHECK(stage.session(body, {}, "XDG_CACHE_HOME= XDG_STATE_HOME= HOME=/proc/none TMPDIR=" + stage.path) ==
          0);
    const std::string where = stage.read(stage.path + "/where");
    CHECK(where.starts_with(stage.path + "/encore-kiosk."));
    CHECK_FALSE(fs::exists(fs::path(where.substr(0, where.find('\n'))).parent_path()));
    // One that can be is used.
    CHECK(stage.session(body, {}, fmt::format("XDG_CACHE_HOME={0}/c XDG_STATE_HOME={0}/s", stage.path)) == 0);
    CHECK(stage.read(stage.path + "/where") == stage.path + "/c\n");
    CHECK(fs::exists(stage.path + "/c/x"));
}

TEST_CASE("kiosk install: what it did not do, it says", "[kiosk]") {
    KioskPlan plan{
        .system = true, .program = "/opt/encore-kiosk", .arguments = {"--catalog", "/srv/my demos"}};
    auto files = kiosk_files(plan);
    REQUIRE(files);
    CHECK(kiosk_next_steps(plan, *files).find("No account was made, and none is logged in by itself") !=
          std::string::npos);
    CHECK(kiosk_next_steps(plan, *files).find("--account kiosk --catalog '/srv/my demos'\n") !=
          std::string::npos);
    plan.account = "seat";
    const std::string text = kiosk_next_steps(plan, *files);
    CHECK(text.find("seat is not logged in by itself yet") != std::string::npos);
    CHECK(text.find("sudo -u seat -H encore pin set\n") != std::string::npos);
    plan.has_pin = true;
    CHECK(kiosk_next_steps(plan, *files).find("pin set") == std::string::npos);
}

TEST_CASE("kiosk install: somebody else's file stays, and removal takes only what is ours", "[kiosk]") {
    Stage stage;
    auto files = kiosk_files({.root = stage.path, .program = "/opt/encore-kiosk", .arguments = {}});
    REQUIRE(files);
    const std::string unit = (*files)[1].path;
    fs::create_directories(fs::path(unit).parent_path());
    std::ofstream(unit) << "[Service]\nExecStart=/bin/true\n";
    auto refused = install_kiosk(*files, false);
    REQUIRE(!refused);
    CHECK(refused.error().message.find(unit) != std::string::npos);
    CHECK(!fs::exists((*files)[0].path)); // nothing half done
    REQUIRE(install_kiosk(*files, true));
    std::ofstream((*files)[0].path) << "#!/bin/sh\n";
    auto removed = remove_kiosk(*files);
    REQUIRE(removed);
    CHECK(*removed == std::vector<std::string>{unit});
    CHECK(fs::exists((*files)[0].path));
}
