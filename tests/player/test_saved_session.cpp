// Sessions that are written to a file and go on elsewhere, and sessions whose host runs out of disk: the real
// executable, and sessions in this process where a test looks inside.
#include "tests/player/running_session.h"
#include "tests/player/scene_desk.h"

#include <sys/resource.h>

using namespace session_test;
using player::SessionEnd;

namespace {

// A desk whose bundle opens at a scene, and sessions of it, or of what is saved, in this process.
struct SavedDesk : SceneDesk {
    SavedDesk() : SceneDesk({}, SESSION_GUEST, "--expect pristine") {}
    [[nodiscard]] std::unique_ptr<Session> open(const std::string& saved = {}) const {
        if (saved.empty())
            return SceneDesk::open();
        SessionOptions options;
        options.saved_session = path + "/" + saved;
        auto session = Session::open(std::move(options));
        if (!session)
            FAIL(session.error().message);
        return std::move(*session);
    }
};

// All of RAM, of a machine at rest.
std::vector<uint8_t> ram_of(Session& session) {
    std::vector<uint8_t> bytes;
    for (uint64_t at = 0; at < session.manifest().machine.memory; at += machine::kMostMemory) {
        const auto part = session.machine()->read_memory(at, machine::kMostMemory);
        bytes.insert(bytes.end(), part.begin(), part.end());
    }
    REQUIRE(bytes.size() == session.manifest().machine.memory);
    return bytes;
}

// Of the player and of the machine's process: both write.
void limit_files(const Running& run, rlim_t bytes) {
    const pid_t machine = Desk::machine_of(run.child);
    REQUIRE(machine != 0);
    for (const pid_t process : {run.child, machine}) {
        rlimit limit{};
        REQUIRE(::prlimit(process, RLIMIT_FSIZE, nullptr, &limit) == 0);
        limit.rlim_cur = std::min(bytes, limit.rlim_max);
        REQUIRE(::prlimit(process, RLIMIT_FSIZE, &limit, nullptr) == 0);
    }
}

} // namespace

TEST_CASE("saved session: one process saves, another goes on exactly there, a revert leads back to the scene",
          "[saved]") {
    SavedDesk desk;
    {
        Running run(desk, {});
        REQUIRE(run.client->ok(R"({"do":"type","text":"w"})"));
        REQUIRE(run.says("written"));
        REQUIRE(desk.run("session save kept.session --control c --end") == 0);
        CHECK(desk.output.find("saved") != std::string::npos);
        CHECK(run.finish() == 0);
    }
    CHECK(desk.bundle_untouched() == false); // it has a scene since it was packed
    const std::string bundle = desk.read("x.encore");
    REQUIRE(desk.run("session show kept.session --json") == 0);
    const auto info = json_of(desk.output);
    CHECK(info.at("bundle").at("file") == "x.encore");
    CHECK(info.at("scene") == "start");
    // Elsewhere: another folder, another cache, the bundle beside it. No boot comes first; the disk is
    // written.
    fs::create_directory(desk.path + "/elsewhere");
    fs::rename(desk.path + "/kept.session", desk.path + "/elsewhere/kept.session");
    fs::copy(desk.path + "/x.encore", desk.path + "/elsewhere");
    CHECK(
        desk.run(
            "run --session elsewhere/kept.session --headless --serial serial.txt --type a --expect 'key 1e' "
            "--keys r --expect dirty --timeout 60") == 0);
    CHECK(desk.read("serial.txt") == "key 1e\r\ndirty\r\n");
    CHECK(desk.output.find("was not signed by Acme Ltd") != std::string::npos);
    // Back at what the publisher signed, and it says so.
    {
        Running run(desk, {}); // the bundle alone is as it was
        REQUIRE(run.client->ok(R"({"do":"type","text":"r"})"));
        CHECK(run.says("pristine"));
        CHECK(run.client->ask(R"({"do":"status"})").at("resumed") == false);
    }
    CHECK(desk.run(
              "run --session elsewhere/kept.session x.encore --headless --type a --expect 'key 1e' --receipt "
              "--timeout 60") == 0);
    CHECK(desk.output.find("pristine ") != std::string::npos);
    CHECK(desk.read("x.encore") == bundle);
    CHECK(desk.leftovers() == 0);
}

TEST_CASE("saved session: memory, devices and the timer's count are those of the moment it was saved",
          "[saved]") {
    SavedDesk desk;
    std::vector<uint8_t> before;
    uint32_t ticks = 0;
    {
        auto session = desk.open();
        session->start();
        uint64_t heard = 0;
        REQUIRE(session->typist().type("aw"));
        REQUIRE(hears(*session, heard, "written"));
        REQUIRE(session->save(desk.path + "/kept.session", Session::AfterSave::End));
        CHECK(session->poll() == SessionEnd::Asked);
        before = ram_of(*session);
        ticks = session->machine()->read<uint32_t>(0x46C);
    }
    // What is in the file is what differs from the bundle.
    CHECK(fs::file_size(desk.path + "/kept.session") < fs::file_size(desk.path + "/x.encore"));
    auto session = desk.open("kept.session");
    CHECK(session->resumed());
    CHECK(session->title() == "Session guest — Acme Ltd — saved session");
    CHECK(ram_of(*session) == before);
    CHECK(session->machine()->read<uint32_t>(0x46C) == ticks);
    CHECK(session->machine()->text_screen().find("session guest") != std::string::npos);
    session->start();
    CHECK(eventually([&] {
        session->poll();
        session->machine()->pause();
        const auto now = session->machine()->read<uint32_t>(0x46C);
        session->machine()->start();
        return now > ticks + 3;
    }));
    // A saved session of a saved session.
    uint64_t heard = 0;
    REQUIRE(session->typist().type("b"));
    REQUIRE(hears(*session, heard, "key 30"));
    REQUIRE(session->save(desk.path + "/again.session", Session::AfterSave::GoOn));
    REQUIRE(session->typist().type("c"));
    CHECK(hears(*session, heard, "key 2e")); // it went on
    auto again = desk.open("again.session");
    again->start();
    heard = 0;
    REQUIRE(again->typist().type("r"));
    CHECK(hears(*again, heard, "dirty")); // the disk, two files ago
    const auto root = again->revert_with_receipt();
    REQUIRE(root);
    CHECK_FALSE(again->resumed());
    CHECK(again->title() == "Session guest — Acme Ltd");
    heard = 0;
    (void)again->serial().text_since(heard);
    REQUIRE(again->typist().type("r"));
    CHECK(hears(*again, heard, "pristine"));
    CHECK(again->revert());
}

TEST_CASE("saved session: of a session that began at power-on", "[saved]") {
    Desk desk;
    {
        Running run(desk, {});
        REQUIRE(run.says("pristine"));
        REQUIRE(run.client->ok(R"({"do":"type","text":"w"})"));
        REQUIRE(run.says("written"));
        REQUIRE(desk.run("session save kept.session --control c") == 0);
        REQUIRE(run.client->ok(R"({"do":"quit"})"));
        CHECK(run.finish() == 0);
    }
    CHECK(desk.run("run --session kept.session --headless --serial serial.txt --keys r --expect dirty "
                   "--timeout 60") == 0);
    Running run(desk, {"--session", "kept.session"});
    REQUIRE(run.client->ok(R"({"do":"revert"})"));
    CHECK(run.says("pristine"));
    CHECK(desk.bundle_untouched());
}

TEST_CASE("saved session: the wrong bundle, none, and a damaged file are clear errors and nothing runs",
          "[saved]") {
    SavedDesk desk;
    {
        auto session = desk.open();
        session->start();
        REQUIRE(session->save(desk.path + "/kept.session", Session::AfterSave::End));
    }
    const std::string how = " --headless --serial serial.txt --type a --expect key --timeout 30";
    REQUIRE(desk.run("pack r.toml -o other.encore --key k.key --cert k.crt") == 0);
    CHECK(desk.run("run --session kept.session other.encore" + how) == 1);
    REQUIRE(desk.run("session show kept.session --json") == 0);
    const std::string root = json_of(desk.output).at("bundle").at("root");
    const auto other = appliance_format::Bundle::open(desk.path + "/other.encore");
    REQUIRE(other);
    CHECK(desk.run("run --session kept.session other.encore" + how) == 1);
    CHECK(desk.output.find(root) != std::string::npos);
    CHECK(desk.output.find(signing::to_hex((*other)->identity())) != std::string::npos);
    fs::create_directory(desk.path + "/alone");
    fs::copy(desk.path + "/kept.session", desk.path + "/alone");
    fs::rename(desk.path + "/x.encore", desk.path + "/away.encore");
    CHECK(desk.run("run --session alone/kept.session" + how) == 1);
    CHECK(desk.output.find("x.encore (root " + root) != std::string::npos);
    fs::rename(desk.path + "/away.encore", desk.path + "/x.encore");
    CHECK(desk.run("run kept.session" + how) == 2); // it is not a bundle
    CHECK(desk.output.find("run --session kept.session") != std::string::npos);
    CHECK(desk.run("run --session x.encore" + how) == 8); // nor is that a session
    CHECK(desk.run("run" + how) == 2);
    CHECK(desk.run("run --session kept.session --boot" + how) == 2);
    CHECK(desk.run("run --session kept.session --memory 32M" + how) == 2);
    CHECK(desk.run("session save y.session --control nobody") == 1);
    CHECK(desk.run("session save /nosuch/y.session") == 2);
    const std::string good = desk.read("kept.session");
    for (const size_t at :
         {size_t{5}, size_t{600}, size_t{1100}, size_t{2100}, good.size() / 2, good.size() - 600}) {
        INFO(at);
        std::string changed = good;
        changed[at] = static_cast<char>(changed[at] ^ 0x20);
        desk.write("kept.session", changed);
        fs::remove(desk.path + "/serial.txt");
        const int status =
            desk.run("run --session kept.session --headless --serial serial.txt --type r --expect "
                     "pristine --timeout 60");
        CHECK((status == 0 || status == 4 || status == 8)); // 0: nobody came to that chunk
        CHECK((status == 0) == desk.says("pristine"));
    }
    desk.write("kept.session", good.substr(0, good.size() - 512));
    CHECK(desk.run("run --session kept.session" + how) == 4);
    CHECK(desk.leftovers() == 0);
}

TEST_CASE("saved session: a key that was on its way when the machine was saved is in the file", "[saved]") {
    SavedDesk desk;
    {
        auto session = desk.open();
        session->start();
        session->machine()->pause();
        session->machine()->key({0x1E, true}); // nobody at rest takes it
        REQUIRE(session->save(desk.path + "/kept.session", Session::AfterSave::End));
    }
    auto session = desk.open("kept.session");
    session->start();
    uint64_t heard = 0;
    CHECK(hears(*session, heard, "key 1e"));
}

// ------------------------------------------------------------------------------------------------ full disks

TEST_CASE("full disk: the guest is paused, says why, and goes on by itself when there is room", "[full]") {
    SavedDesk desk;
    Running run(desk, {});
    limit_files(run, 4096); // nothing of the overlay fits
    REQUIRE(run.client->ok(R"({"do":"type","text":"w"})"));
    REQUIRE(eventually([&] { return run.state().starts_with("paused: disk full (File too large)"); }));
    CHECK(eventually([&] { return desk.says("the disk is full; free some space", "out.txt"); }));
    // The guest rests: keys are not answered, the timer stands.
    REQUIRE(run.client->ok(R"({"do":"type","text":"a"})"));
    CHECK(run.client->ask(R"({"do":"save","file":"x.session"})")
              .at("error")
              .get<std::string>()
              .starts_with("disk full"));
    CHECK(run.client->ok(R"({"do":"resume"})")); // there still is none
    CHECK(run.client->ok(R"({"do":"screen-text"})"));
    CHECK_FALSE(desk.says("wri"));
    CHECK(run.state().starts_with("paused"));
    limit_files(run, RLIM_INFINITY);
    CHECK(run.says("written\r\nkey 1e"));
    CHECK(eventually([&] { return run.state() == "running"; }));
    CHECK_FALSE(desk.says("write error"));
    // Again, and this time a revert is the way out.
    REQUIRE(run.client->ok(R"({"do":"revert"})"));
    limit_files(run, 4096);
    REQUIRE(run.client->ok(R"({"do":"type","text":"w"})"));
    REQUIRE(eventually([&] { return run.state().starts_with("paused"); }));
    REQUIRE(run.client->ok(R"({"do":"revert","receipt":true})"));
    CHECK(run.state() == "running");
    REQUIRE(run.client->ok(R"({"do":"type","text":"b"})"));
    CHECK(run.says("key 30"));
    // And the end of the session another.
    REQUIRE(run.client->ok(R"({"do":"type","text":"w"})"));
    REQUIRE(eventually([&] { return run.state().starts_with("paused"); }));
    REQUIRE(run.client->ok(R"({"do":"quit"})"));
    CHECK(run.finish() == 0);
    CHECK(desk.leftovers() == 0);
}

TEST_CASE("full disk: a capture or a save says so, the bundle stays, the guest goes on", "[full]") {
    SavedDesk desk;
    const std::string bundle = desk.read("x.encore");
    Running run(desk, {"--author", "--key", "k.key", "--cert", "k.crt"});
    REQUIRE(run.client->ok(R"({"do":"type","text":"a"})"));
    REQUIRE(run.says("key 1e"));
    limit_files(run, 1024);
    for (const char* request :
         {R"({"do":"capture","scene":"full"})", R"({"do":"save","file":"full.session"})"}) {
        const auto answer = run.client->ask(request);
        CHECK(answer.at("ok") == false);
        CHECK(answer.at("error").get<std::string>().find("File too large") != std::string::npos);
    }
    limit_files(run, RLIM_INFINITY);
    CHECK(run.client->ok(R"({"do":"type","text":"b"})"));
    CHECK(run.says("key 30"));
    CHECK_FALSE(fs::exists(desk.path + "/full.session"));
    CHECK(desk.read("x.encore") == bundle);
    for (const auto& entry : fs::directory_iterator(desk.path)) // nothing half-written
        CHECK(entry.path().filename().string().find("x.encore.") == std::string::npos);
    REQUIRE(run.client->ok(R"({"do":"capture","scene":"later"})"));
    CHECK(desk.run("verify x.encore") == 0);
}
