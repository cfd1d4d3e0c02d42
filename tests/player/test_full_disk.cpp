// Sessions and captures on a file system that is full: a small tmpfs of this test's own, in a user and mount
// namespace (user_namespaces(7)), which takes no privilege where the host allows it. test_saved_session has
// the same with a limit on file sizes, which every host allows.
#include "tests/player/running_session.h"
#include "tests/player/scene_desk.h"

#include <cerrno>
#include <cstring>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

using namespace session_test;

namespace {

bool write_to(const char* file, const std::string& text) {
    const int fd = ::open(file, O_WRONLY | O_CLOEXEC);
    const bool written =
        fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    const int error = errno;
    ::close(fd);
    errno = error;
    return written;
}

// Once for the process: from here on its mounts are nobody else's.
void own_mounts() {
    static bool done = false;
    if (done)
        return;
    const uid_t user = ::getuid();
    const gid_t group = ::getgid();
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 || !write_to("/proc/self/setgroups", "deny") ||
        !write_to("/proc/self/uid_map", fmt::format("0 {} 1", user)) ||
        !write_to("/proc/self/gid_map", fmt::format("0 {} 1", group)) ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
        fmt::print("skipped: this host gives no user namespace with mounts of its own ({})\n",
                   std::strerror(errno));
        std::exit(77);
    }
    done = true;
}

// A tmpfs of so many KiB, and the file that fills it.
class SmallDisk {
  public:
    SmallDisk(std::string folder, unsigned kib) : folder_(std::move(folder)) {
        fs::create_directories(folder_);
        REQUIRE(::mount("none", folder_.c_str(), "tmpfs", 0, fmt::format("size={}k", kib).c_str()) == 0);
    }
    ~SmallDisk() { ::umount2(folder_.c_str(), MNT_DETACH); }
    SmallDisk(const SmallDisk&) = delete;

    void fill() const {
        std::ofstream out(folder_ + "/filler", std::ios::binary | std::ios::app);
        const std::string page(4096, 'x');
        while (out.write(page.data(), static_cast<std::streamsize>(page.size())).flush())
            ;
        struct statvfs now {};
        REQUIRE(::statvfs(folder_.c_str(), &now) == 0);
        REQUIRE(now.f_bfree == 0);
    }
    void make_room() const { REQUIRE(fs::remove(folder_ + "/filler")); }

  private:
    std::string folder_;
};

} // namespace

TEST_CASE("full disk: a session whose overlay finds no room rests, says why, and goes on when there is some",
          "[full]") {
    own_mounts();
    SceneDesk desk({}, SESSION_GUEST, "--at pristine");
    const SmallDisk disk(desk.path + "/cache", 1024);
    Running run(desk, {});
    REQUIRE(run.client->ok(R"({"do":"type","text":"a"})"));
    REQUIRE(run.says("key 1e"));
    disk.fill();
    REQUIRE(run.client->ok(R"({"do":"type","text":"w"})"));
    REQUIRE(
        eventually([&] { return run.state().starts_with("paused: disk full (No space left on device)"); }));
    CHECK(eventually([&] { return desk.says("the disk is full; free some space", "out.txt"); }));
    REQUIRE(run.client->ok(R"({"do":"type","text":"b"})")); // while it rests
    CHECK(run.client->ok(R"({"do":"resume"})"));            // there still is none
    CHECK(run.state().starts_with("paused"));
    CHECK_FALSE(desk.says("wri"));
    disk.make_room();
    CHECK(run.says("written\r\nkey 30"));
    CHECK(eventually([&] { return run.state() == "running"; }));
    CHECK_FALSE(desk.says("write error"));
    // What was written is there, and a revert takes it back.
    REQUIRE(run.client->ok(R"({"do":"type","text":"r"})"));
    CHECK(run.says("dirty"));
    CHECK(run.client->ok(R"({"do":"revert","receipt":true})"));
    REQUIRE(run.client->ok(R"({"do":"quit"})"));
    CHECK(run.finish() == 0);
    CHECK(desk.leftovers() == 0);
}

TEST_CASE("full disk: a capture that finds no room leaves the bundle as it was, and the guest alive",
          "[full]") {
    own_mounts();
    SceneDesk desk({}, SESSION_GUEST, "--at pristine");
    const std::string packed = desk.read("x.encore");
    const auto size = static_cast<unsigned>(packed.size() >> 10);
    const auto capture = [](Running& run, const char* name) {
        return run.client->ask(fmt::format(R"({{"do":"capture","scene":"{}"}})", name));
    };
    // Where the bundle lies, and where the session's data lies: each full in turn. A new bundle is written
    // beside the old one before it takes its place, so it takes room for both.
    for (const char* folder : {"bundles", "cache"}) {
        INFO(folder);
        fs::create_directories(desk.path + "/bundles");
        const SmallDisk disk(desk.path + "/" + folder, 4 * size + 4096);
        fs::copy(desk.path + "/x.encore", desk.path + "/bundles/x.encore",
                 fs::copy_options::overwrite_existing);
        desk.bundle = "bundles/x.encore";
        Running run(desk, {"--author", "--key", "k.key", "--cert", "k.crt"});
        REQUIRE(run.client->ok(R"({"do":"type","text":"a"})"));
        REQUIRE(run.says("key 1e"));
        disk.fill();
        const json answer = capture(run, "full");
        CHECK(answer.at("ok") == false);
        if (!answer.at("ok"))
            CHECK(answer.at("error").get<std::string>().find("No space left on device") != std::string::npos);
        CHECK(desk.read(desk.bundle) == packed);
        REQUIRE(run.client->ok(R"({"do":"type","text":"b"})"));
        CHECK(run.says("key 30"));
        disk.make_room();
        CHECK(capture(run, "later").at("ok") == true);
        REQUIRE(run.client->ok(R"({"do":"quit"})"));
        CHECK(run.finish() == 0);
        CHECK(desk.run("verify bundles/x.encore") == 0);
        CHECK(desk.run("scene list bundles/x.encore") == 0);
        CHECK(desk.output == "start  (start)\nlater\n");
        size_t files = 0; // the bundle, and nothing half-written
        for ([[maybe_unused]] const auto& entry : fs::directory_iterator(desk.path + "/bundles"))
            ++files;
        CHECK(files == 1);
    }
}
