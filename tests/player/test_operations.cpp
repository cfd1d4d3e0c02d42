// What an operator relies on: the staff PIN's count of tries, the clock that does not go back, the log.
#include "player/doctor.h"
#include "player/high_water_clock.h"
#include "player/operations_log.h"
#include "player/staff_pin.h"
#include "tests/json.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace player;
using nlohmann::json;

namespace {

namespace fs = std::filesystem;

class Folder {
  public:
    Folder() {
        std::string name = fs::temp_directory_path() / "encore-operations-XXXXXX";
        REQUIRE(::mkdtemp(name.data()));
        path = name;
    }
    ~Folder() { fs::remove_all(path); }
    Folder(const Folder&) = delete;
    std::string path;
};

std::string read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}
void write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

std::vector<json> lines(const std::string& path) {
    std::vector<json> out;
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);)
        out.push_back(json_of(line));
    return out;
}

} // namespace

TEST_CASE("staff pin: wrong tries cost growing waits that survive a restart; the right one ends them",
          "[pin]") {
    const Folder folder;
    int64_t now = 1'800'000'000;
    const StaffPin::Places places{folder.path + "/config/staff-pin", folder.path + "/system-pin",
                                  folder.path + "/state/tries"};
    const auto staff = [&] { return StaffPin(places, [&] { return now; }); };
    using Verdict = StaffPin::Verdict;
    CHECK_FALSE(staff().is_set());
    CHECK(staff().check("2468")->verdict == Verdict::NotSet);
    REQUIRE(staff().set("2468"));
    struct stat info {};
    REQUIRE(::stat(places.own.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    CHECK(staff().check("2468")->verdict == Verdict::Right);
    int64_t expected = 0;
    for (int wrong = 1; wrong <= 12; ++wrong) {
        expected = wrong < 3 ? 0 : std::min<int64_t>(3600, 30 << (wrong - 3));
        auto answer = staff().check("1111"); // each by a process of its own, as far as it can tell
        REQUIRE(answer);
        CHECK(answer->verdict == Verdict::Wrong);
        CHECK(answer->wait.count() == expected);
        if (expected == 0)
            continue;
        now += expected - 1;
        CHECK(staff().check("2468")->verdict == Verdict::Wait); // even the right one
        CHECK(staff().wait().count() == 1);
        now += 1;
    }
    now -= 1'000'000; // the clock set back: no longer than an hour
    CHECK(staff().wait().count() == 3600);
    now += 1'000'000;
    CHECK(staff().check("2468")->verdict == Verdict::Right);
    CHECK(staff().wait().count() == 0);
    CHECK(staff().check("1111")->wait.count() == 0); // counted from one again
}

TEST_CASE("staff pin: tries count within a process that cannot write them down", "[pin]") {
    const Folder folder;
    write(folder.path + "/file", "in the way");
    StaffPin staff({folder.path + "/pin", folder.path + "/none", folder.path + "/file/tries"},
                   [] { return int64_t{1'800'000'000}; });
    REQUIRE(staff.set("2468"));
    for (int i = 0; i < 3; ++i)
        CHECK(staff.check("1111")->verdict == StaffPin::Verdict::Wrong);
    CHECK(staff.check("2468")->verdict == StaffPin::Verdict::Wait);
}

TEST_CASE("staff pin: the administrator's is used when the user has none; a damaged one opens nothing",
          "[pin]") {
    const Folder folder;
    const StaffPin::Places places{folder.path + "/own", folder.path + "/system", folder.path + "/tries"};
    StaffPin system({places.system, "", places.tries});
    REQUIRE(system.set("system"));
    StaffPin staff(places);
    CHECK(staff.is_set());
    CHECK(staff.check("system")->verdict == StaffPin::Verdict::Right);
    REQUIRE(staff.set("mine"));
    CHECK(staff.check("system")->verdict == StaffPin::Verdict::Wrong);
    CHECK(staff.check("mine")->verdict == StaffPin::Verdict::Right);
    REQUIRE(staff.remove());
    CHECK_FALSE(staff.remove());
    write(places.own, "");
    auto answer = staff.check("system");
    REQUIRE_FALSE(answer);
    CHECK(answer.error().message.find("damaged") != std::string::npos);
}

TEST_CASE("high-water clock: never goes back, and a damaged file is as none", "[clock]") {
    const Folder folder;
    const HighWaterClock clock(folder.path + "/state/clock");
    CHECK(clock.now(1000) == 1000);
    REQUIRE(clock.remember(1'800'000'000));
    CHECK(clock.now(1'700'000'000) == 1'800'000'000);
    CHECK(clock.now(1'900'000'000) == 1'900'000'000);
    REQUIRE(clock.remember(1'700'000'000));
    CHECK(clock.remembered() == 1'800'000'000);
    REQUIRE(clock.remember(1'800'000'100));
    CHECK(clock.remembered() == 1'800'000'100);
    for (const char* damage : {"", "encore-clock 1 ", "encore-clock 1 99", "encore-clock 1 -5\n",
                               "encore-clock 1 99999999999999999999\n", "encore-clock 2 5\n"}) {
        write(clock.path(), damage);
        CHECK(clock.remembered() == 0);
    }
    REQUIRE(clock.remember(1'800'000'000));
    CHECK(clock.remembered() == 1'800'000'000);
    CHECK(HighWaterClock("").now(5) == 5);
}

TEST_CASE("operations log: one JSON object a line, full files put aside, their number bounded", "[log]") {
    const Folder folder;
    auto log = OperationsLog::open({folder.path + "/log", 2000, 3});
    REQUIRE(log);
    for (int64_t i = 0; i < 200; ++i)
        (*log)->record("start", {{"appliance", std::string("demo")}, {"number", i}, {"good", true}});
    std::vector<json> all;
    for (const char* suffix : {".3", ".2", ".1", ""}) {
        const std::string path = (*log)->path() + suffix;
        CHECK(fs::file_size(path) <= 2000);
        for (const json& line : lines(path))
            all.push_back(line);
    }
    CHECK_FALSE(fs::exists((*log)->path() + ".4"));
    for (size_t i = 0; i < all.size(); ++i) // the last ones, none missing
        CHECK(all[i]["number"] == static_cast<int64_t>(200 - all.size() + i));
    CHECK(all.back()["event"] == "start");
    CHECK(all.back()["process"] == ::getpid());
    CHECK(all.back()["time"].get<std::string>().size() == 24);
    struct stat info {};
    REQUIRE(::stat((*log)->path().c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
}

TEST_CASE("operations log: writers in several processes lose and mix nothing", "[log]") {
    const Folder folder;
    constexpr int kWriters = 4, kLines = 100;
    std::vector<pid_t> children;
    for (int w = 0; w < kWriters; ++w) {
        const pid_t child = ::fork();
        if (child == 0) {
            auto log = OperationsLog::open({folder.path, 4000, 50});
            for (int64_t i = 0; log && i < kLines; ++i)
                (*log)->record("x", {{"writer", int64_t{w}}, {"number", i}});
            ::_exit(log && (*log)->dropped() == 0 ? 0 : 1);
        }
        children.push_back(child);
    }
    for (const pid_t child : children) {
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        CHECK(status == 0);
    }
    std::vector<int64_t> next(kWriters, 0);
    std::vector<std::string> paths;
    for (int i = 50; i > 0; --i)
        paths.push_back(fmt::format("{}/sessions.jsonl.{}", folder.path, i));
    paths.push_back(folder.path + "/sessions.jsonl");
    for (const std::string& path : paths)
        for (const json& line : lines(path))
            CHECK(line["number"] == next[line["writer"].get<size_t>()]++);
    CHECK(next == std::vector<int64_t>(kWriters, kLines));
}

TEST_CASE("operations log: a full disk drops lines, whole ones, and the log says how many", "[log]") {
    const Folder folder;
    auto log = OperationsLog::open({folder.path, 1 << 20, 2});
    REQUIRE(log);
    (*log)->record("first");
    // A limit on file size makes write() fail half-way, as a full disk does (setrlimit(2), SIGXFSZ).
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    rlimit small = before;
    small.rlim_cur = fs::file_size((*log)->path()) + 10;
    auto* const handler = ::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    (*log)->record("second");
    (*log)->record("third");
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
    ::signal(SIGXFSZ, handler);
    CHECK((*log)->dropped() == 2);
    (*log)->record("fourth");
    const auto all = lines((*log)->path());
    REQUIRE(all.size() == 3);
    CHECK(all[0]["event"] == "first");
    CHECK(all[1]["event"] == "lost");
    CHECK(all[1]["lines"] == 2);
    CHECK(all[2]["event"] == "fourth");
    CHECK((*log)->dropped() == 0);
}

TEST_CASE("operations log: texts cannot break a line", "[log]") {
    const Folder folder;
    auto log = OperationsLog::open({folder.path, 1 << 20, 2});
    REQUIRE(log);
    (*log)->record("x", {{"text", std::string("a\nb\"\xff\x01") + std::string(5000, 'z')}});
    const auto all = lines((*log)->path());
    REQUIRE(all.size() == 1);
    CHECK(all[0]["text"].get<std::string>().size() < 1100);
    CHECK(read((*log)->path()).find('\n') == read((*log)->path()).size() - 1);
}

TEST_CASE("doctor: a clock that went back or cannot be right is a problem, with what to do", "[doctor]") {
    using Level = Finding::Level;
    constexpr int64_t kNow = 1'800'000'000, kDay = 86400;
    CHECK(check_clock(kNow, 0, "f").level == Level::Ok);
    CHECK(check_clock(kNow, kNow + kDay / 2, "f").level == Level::Ok); // within a day
    CHECK(check_clock(kNow, kNow - 100 * kDay, "f").level == Level::Ok);
    const Finding back = check_clock(kNow, kNow + 30 * kDay, "/state/clock");
    CHECK(back.level == Level::Problem);
    CHECK(back.advice.find("/state/clock") != std::string::npos);
    CHECK(check_clock(0, 0, "f").level == Level::Problem);
}

TEST_CASE("doctor: it says which walls stand around readers of images, and what is not read without",
          "[doctor]") {
    using Level = Finding::Level;
    const auto says = [](const Finding& finding, Level level, const std::string& text) {
        INFO(finding.says);
        CHECK(finding.level == level);
        CHECK((finding.level == Level::Ok) == finding.advice.empty());
        CHECK(finding.says.find(text) != std::string::npos);
    };
    says(check_walls({true, true, true}), Level::Ok, "images: user namespaces, Landlock, seccomp");
    says(check_walls({true, false, true}), Level::Ok, "user namespaces, seccomp; not here: Landlock");
    says(check_walls({false, true, true}), Level::Ok, "Landlock, seccomp; not here: user namespaces");
    says(check_walls({false, false, true}), Level::Note, "VMDK images are not read");
    says(check_walls({false, false, false}), Level::Note, "images that are not raw are not read");
}

TEST_CASE("doctor: missing firmware and folders that cannot be written are problems", "[doctor]") {
    const Folder folder;
    write(folder.path + "/bios", "x");
    write(folder.path + "/empty", "");
    CHECK(check_firmware({folder.path + "/bios"}).level == Finding::Level::Ok);
    CHECK(check_firmware({folder.path + "/bios", folder.path + "/empty"}).level == Finding::Level::Problem);
    CHECK(check_firmware({folder.path + "/none"}).level == Finding::Level::Problem);
    CHECK(check_firmware({folder.path}).level == Finding::Level::Problem);
    CHECK(check_disk(folder.path + "/none").level == Finding::Level::Problem);
    for (const Finding& finding : examine_host())
        CHECK((finding.level == Finding::Level::Ok) == finding.advice.empty());
}

TEST_CASE("doctor: reports name neither home, person nor computer", "[doctor]") {
    const Private secrets{"/home/maria", "maria", "desk7.acme.example"};
    CHECK(redacted("/home/maria/.cache on desk7: maria, maria's and marianne@desk7.acme.example", secrets) ==
          "~/.cache on HOST: USER, USER's and marianne@HOST");
    CHECK(redacted("/home/maria2/x", secrets) == "/home/maria2/x");
    CHECK(redacted("/srv/x", {"/", "", ""}) == "/srv/x");
    const std::vector<Finding> findings{
        {Finding::Level::Problem, "disk", "/home/maria/.cache is full", "ask \"maria\""}};
    const json report = json_of(report_json(findings, secrets));
    CHECK(report["findings"][0]["says"] == "~/.cache is full");
    CHECK(report["findings"][0]["advice"] == "ask \"USER\"");
    CHECK(report["findings"][0]["level"] == "problem");
    CHECK(report["memory_bytes"] > 0);
    const Folder folder;
    REQUIRE(save_report(findings, folder.path + "/report.json"));
    struct stat info {};
    REQUIRE(::stat((folder.path + "/report.json").c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    CHECK(json_of(read(folder.path + "/report.json"))["findings"].size() == 1);
    CHECK_FALSE(save_report(findings, folder.path + "/none/report.json"));
}
