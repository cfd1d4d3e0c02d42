// Scenes from capture to revert, with the real executable and, where a test looks inside, with sessions of
// its own in this process.
#include "tests/json.h"
#include "tests/player/scene_desk.h"

#include <malloc.h>
#include <random>

using namespace session_test;

namespace {

uint32_t ticks(Session& session) { // the BIOS's count of timer interrupts
    const auto machine = session.machine();
    machine->pause();
    const auto count = machine->read<uint32_t>(0x46C);
    machine->start();
    return count;
}

// Of a process; 0 where this user may not look.
struct Footprint {
    size_t mappings = 0, files = 0, threads = 0, data_kib = 0, resident_kib = 0;
    static Footprint of(pid_t process) {
        const std::string folder = fmt::format("/proc/{}/", process);
        Footprint print;
        std::ifstream maps(folder + "maps");
        for (std::string line; std::getline(maps, line);)
            ++print.mappings;
        std::error_code denied;
        for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder + "fd", denied))
            ++print.files;
        std::ifstream status(folder + "status");
        for (std::string line; std::getline(status, line);)
            if (line.starts_with("VmData:"))
                print.data_kib = std::stoul(line.substr(7));
            else if (line.starts_with("VmRSS:"))
                print.resident_kib = std::stoul(line.substr(6));
            else if (line.starts_with("Threads:"))
                print.threads = std::stoul(line.substr(8));
        return print;
    }
};

} // namespace

TEST_CASE("scene: a session begins exactly where it was captured", "[scene]") {
    SceneDesk desk;
    // No boot messages come first; keyboard and disk work; the disk is as it was at the scene.
    CHECK(desk.run("run x.encore --headless --serial serial.txt --type a --expect 'key 1e' --type w --expect "
                   "written --keys r --expect dirty --timeout 60") == 0);
    CHECK(desk.read("serial.txt") == "key 1e\r\nwritten\r\ndirty\r\n");
    // At power-on the publisher's disk is still what was packed.
    CHECK(desk.run("run x.encore --boot --headless --expect pristine --timeout 60") == 0);
    CHECK(desk.run("run x.encore --scene start --headless --expect-screen 'session guest' --timeout 60") ==
          0);
    CHECK(desk.run("run x.encore --scene nosuch --headless --timeout 5") == 2);
    CHECK(desk.run("run x.encore --memory 32M --headless --timeout 5") == 2);
    CHECK(desk.run("verify x.encore") == 0);
    CHECK(desk.leftovers() == 0);
}

TEST_CASE(
    "scene: no key is lost, typed at once when a scene or the machine starts, to a guest that reads slowly",
    "[scene]") {
    SceneDesk desk({}, SLOW_READER, "--at ready");
    std::string text;
    for (unsigned i = 0; i < 100; ++i)
        text += std::to_string(100 + i * 7 % 900);
    for (const char* start : {"", " --boot"})
        CHECK(desk.run("run x.encore" + std::string(start) + " --headless --type '" + text + "' --expect '" +
                       text + "' --timeout 60") == 0);
}

TEST_CASE("scene: 200 reverts in place each leave what the publisher signed", "[scene]") {
    SceneDesk desk;
    auto session = desk.open();
    session->start();
    uint64_t heard = 0;
    const auto prints = [&] {
        return std::array{Footprint::of(::getpid()), Footprint::of(session->machine()->process())};
    };
    std::array<Footprint, 2> early;
    for (unsigned i = 0; i < 200; ++i) {
        if (i % 10 == 0) { // use it: keyboard, disk
            REQUIRE(session->typist().type("aw"));
            REQUIRE(hears(*session, heard, "written\r\n"));
            CHECK(session->overlay_bytes() > 0);
        }
        const auto machine = session->machine();
        const auto root = session->revert_with_receipt();
        if (!root)
            FAIL("revert " << i << ": " << root.error().message);
        CHECK(root->size() == 64);
        CHECK(session->machine() == machine);
        CHECK(session->overlay_bytes() == 0);
        if (i == 50)
            early = prints();
    }
    const auto late = prints();
    for (size_t i = 0; i < late.size(); ++i) {
        INFO((i == 0 ? "the player" : "the machine's process"));
        CHECK(late[i].threads != 0);
        CHECK(late[i].mappings <= early[i].mappings + 4);
        CHECK(late[i].files == early[i].files);
        CHECK(late[i].threads == early[i].threads);
#ifndef __SANITIZE_ADDRESS__ // which keeps what was freed for a while
        CHECK(late[i].resident_kib <= early[i].resident_kib + 2048);
#endif
    }
    // Timer, keyboard and disk after the last one; the picture too.
    const uint32_t before = ticks(*session);
    CHECK(eventually([&] { return ticks(*session) > before + 3; }));
    REQUIRE(session->typist().type("b"));
    CHECK(hears(*session, heard, "key 30"));
    REQUIRE(session->typist().type("r"));
    CHECK(hears(*session, heard, "dirty"));
    CHECK(session->machine()->text_screen().find("session guest") != std::string::npos);
    CHECK(session->revert_count() == 200);
}

TEST_CASE("scene: reverts do not translate anew the code that they put back", "[scene]") {
    SceneDesk desk;
    auto session = desk.open();
    session->start();
    uint64_t heard = 0;
    vmm::CodeUse early;
    constexpr unsigned kReverts = 300, kWarm = 100;
    for (unsigned i = 0; i < kReverts; ++i) {
        const auto machine = session->machine();
        REQUIRE(session->typist().type("a"));
        REQUIRE(hears(*session, heard, "key 1e")); // the boot sector's code has run
        machine->pause();
        machine->write<uint64_t>(0x7C00 + i % 64 * 8, ~uint64_t{i}); // and is overwritten
        REQUIRE(session->revert());
        if (i == kWarm)
            early = machine->code_use();
    }
    const vmm::CodeUse late = session->machine()->code_use();
    const uint64_t died = late.invalidated - early.invalidated;
    // Some blocks are new: an interrupt may begin one anywhere.
    INFO(died << " died, " << late.revived - early.revived << " came back, "
              << late.translated - early.translated << " are new");
    CHECK(died >= (kReverts - kWarm) / 2);
    CHECK(late.translated - early.translated < died / 10);
    CHECK(late.flushes == early.flushes);
}

TEST_CASE("scene: 4,000 reverts in a row hold no more memory than the 1,000 before them", "[scene]") {
    SceneDesk desk;
    auto session = desk.open();
    session->start();
    const auto machine = session->machine();
    std::mt19937 random(1);
    const auto pages = static_cast<uint32_t>(session->manifest().machine.memory >> vmm::kPageShift);
    std::vector<uint32_t> dirty(200);
    for (uint32_t& page : dirty)
        page = random() % pages;
    dirty[0] = 0x7C00 >> vmm::kPageShift; // the guest's code
    constexpr unsigned kWarm = 1000, kReverts = 4000;
    struct mallinfo2 early {};
    Footprint warm, warm_machine;
    vmm::CodeUse code;
    for (unsigned i = 0; i < kWarm + kReverts; ++i) {
        if (i == kWarm) {
            early = ::mallinfo2();
            warm = Footprint::of(::getpid());
            warm_machine = Footprint::of(machine->process());
            code = machine->code_use();
        }
        machine->key({0x1E, true}); // it answers, or is reverted in the middle of that
        std::this_thread::sleep_for(std::chrono::milliseconds(i % 8));
        machine->pause();
        for (const uint32_t page : dirty)
            machine->write<uint32_t>(page << vmm::kPageShift, i);
        REQUIRE(session->revert());
    }
    const Footprint late = Footprint::of(::getpid()), late_machine = Footprint::of(machine->process());
    const struct mallinfo2 now = ::mallinfo2();
    REQUIRE(session->revert_with_receipt());
    // No block of the heap a revert, however small, beyond the text that the session keeps; a sanitizer's
    // heap counts for itself and says 0.
    constexpr size_t kSmallestBlock = 16;
    uint64_t said = 0;
    (void)session->serial().text_since(said);
    INFO(said << " bytes on the serial line");
    CHECK(now.uordblks + now.hblkhd < early.uordblks + early.hblkhd + kReverts * kSmallestBlock + 2 * said);
    CHECK(late.files == warm.files);
    CHECK(late.threads == warm.threads);
    CHECK(late.mappings <= warm.mappings + kReverts / 50); // they come and go by a few
    CHECK(late_machine.threads != 0);
    CHECK(late_machine.files == warm_machine.files);
    CHECK(late_machine.threads == warm_machine.threads);
    CHECK(late_machine.mappings <= warm_machine.mappings + kReverts / 50);
    CHECK(late_machine.data_kib <= warm_machine.data_kib + 256); // an arena of the heap's
    // Nor of the code cache: an interrupt may begin a block anywhere, but there are only so many places.
    CHECK(machine->code_use().translated - code.translated < kReverts / 10);
    CHECK(machine->code_use().flushes == code.flushes);
}

TEST_CASE("scene: a revert ends what the guest was in the middle of", "[scene]") {
    SceneDesk desk;
    auto session = desk.open();
    session->start();
    uint64_t heard = 0;
    for (unsigned i = 0; i < 20; ++i) {
        REQUIRE(session->typist().type("rwrw")); // resets, writes, and keys still to come
        std::this_thread::sleep_for(std::chrono::milliseconds(3 * i));
        const auto root = session->revert_with_receipt();
        if (!root)
            FAIL("revert " << i << ": " << root.error().message);
        (void)session->serial().text_since(heard);
        REQUIRE(session->typist().type("c"));
        REQUIRE(hears(*session, heard, "key 2e"));
    }
}

TEST_CASE("scene: jump goes to another scene and revert stays there", "[scene]") {
    SceneDesk desk;
    REQUIRE(
        desk.run("scene add x.encore --name later --from start --warm 0 --type a --at 'key 1e' --timeout 60" +
                 kSign) == 0);
    auto session = desk.open();
    CHECK(session->scene() == "start");
    session->start();
    uint64_t heard = 0;
    REQUIRE(session->jump("later"));
    CHECK(session->scene() == "later");
    REQUIRE(session->typist().type("b"));
    CHECK(hears(*session, heard, "key 30"));
    CHECK(session->revert_with_receipt());
    REQUIRE(session->jump(""));
    CHECK(hears(*session, heard, "pristine"));
    CHECK_FALSE(session->jump("nosuch"));
    CHECK(session->state() == player::SessionEnd::None);
}

TEST_CASE("scene: a second scene costs what differs; list, rename, set-start and remove", "[scene]") {
    SceneDesk desk;
    const size_t one = desk.size();
    REQUIRE(
        desk.run("scene add x.encore --name later --title 'A key later' --from start --warm 0 --type a --at "
                 "'key 1e' --timeout 60" +
                 kSign) == 0);
    CHECK(desk.size() < one + one / 2);
    CHECK(desk.run("scene add x.encore --name later --warm 0" + kSign) == 2);
    CHECK(desk.run("scene add x.encore --name 'No Name' --warm 0" + kSign) == 2);
    REQUIRE(desk.run("scene list x.encore --json") == 0);
    auto list = json_of(desk.output);
    REQUIRE(list.size() == 2);
    CHECK(list[1].at("title") == "A key later");
    CHECK(list[1].at("start") == false);
    REQUIRE(desk.run("scene rename x.encore later end" + kSign) == 0);
    REQUIRE(desk.run("scene set-start x.encore end" + kSign) == 0);
    REQUIRE(desk.run("scene remove x.encore start" + kSign) == 0);
    REQUIRE(desk.run("scene list x.encore --json") == 0);
    list = json_of(desk.output);
    REQUIRE(list.size() == 1);
    CHECK(list[0].at("name") == "end");
    CHECK(list[0].at("start") == true);
    CHECK(desk.run("run x.encore --headless --type b --expect 'key 30' --receipt --timeout 60") == 0);
    CHECK(desk.output.find("pristine " + list[0].at("root").get<std::string>()) != std::string::npos);
    REQUIRE(desk.run("scene set-start x.encore --boot" + kSign) == 0);
    CHECK(desk.run("run x.encore --headless --expect pristine --timeout 60") == 0);
    CHECK(desk.run("scene remove x.encore nosuch" + kSign) == 2);
    CHECK(desk.run("verify x.encore") == 0);
}

TEST_CASE("scene: a changed byte in a page stops the machine with the chunk's name", "[scene]") {
    SceneDesk desk;
    const auto bundle = appliance_format::Bundle::open(desk.path + "/x.encore");
    REQUIRE(bundle);
    REQUIRE((*bundle)->authenticate(signing::TrustStore::standard(std::time(nullptr))));
    const std::string ram = (*bundle)->manifest().scenes[0].ram;
    const auto ref = (*bundle)->open_blob(ram)->chunk_ref(7); // the boot sector's page
    REQUIRE(ref);
    const size_t at = (*bundle)->raw_pack(ref->pack).offset + ref->offset + 9;
    std::string changed = desk.read("x.encore");
    changed[at] = static_cast<char>(changed[at] ^ 4);
    desk.write("x.encore", changed);
    CHECK(desk.run("run x.encore --headless --serial serial.txt --type a --expect key --timeout 30") == 4);
    CHECK(desk.output.find("chunk 7 of " + ram) != std::string::npos);
    CHECK(desk.read("serial.txt").empty());
}

TEST_CASE("scene: an author captures while the guest runs on, again and again", "[scene]") {
    SceneDesk desk;
    SessionOptions options;
    options.bundle = desk.path + "/x.encore";
    auto session = Session::open(options);
    REQUIRE(session);
    CHECK_FALSE((*session)->capture_as_author("nobody")); // not an author
    options.author = std::make_shared<const signing::Signer>(
        *signing::Signer::load(desk.path + "/k.key", desk.path + "/k.crt", std::time(nullptr)));
    session = Session::open(options);
    REQUIRE(session);
    (*session)->start();
    uint64_t heard = 0;
    for (const char* key : {"a", "b"}) {
        REQUIRE((*session)->typist().type(key));
        REQUIRE(hears(**session, heard, "key"));
        CHECK((*session)->capture_as_author({}));
    }
    CHECK_FALSE((*session)->capture_as_author("scene-1")); // taken
    REQUIRE((*session)->typist().type("c"));
    CHECK(hears(**session, heard, "key 2e"));
    CHECK(desk.run("verify x.encore") == 0);
    CHECK(desk.run(
              "run x.encore --scene scene-2 --headless --type d --expect 'key 20' --receipt --timeout 60") ==
          0);
}

TEST_CASE("scene: bundles of every format version so far still open at their scene", "[scene]") {
    Desk desk;
    // The second: with policies of clock and identity, and a generation ID in its devices' state.
    for (const char* version : {"format-1", "format-1-identity"}) {
        INFO(version);
        fs::copy(fmt::format("{}/{}.encore", GOLDEN, version), desk.path);
        REQUIRE(desk.run(fmt::format("trust add {}/{}.crt", GOLDEN, version)) == 0);
        REQUIRE(desk.run(fmt::format("verify {}.encore", version)) == 0);
        CHECK(desk.run(
                  fmt::format("run {}.encore --headless --type a --expect 'key 1e' --type r --expect dirty "
                              "--receipt --timeout 60",
                              version)) == 0);
        CHECK(desk.output.find("pristine") != std::string::npos);
        // What the state of an earlier version lacks is the same after every revert, too.
        ::setenv("XDG_DATA_HOME", (desk.path + "/data").c_str(), 1);
        ::setenv("XDG_CACHE_HOME", (desk.path + "/cache").c_str(), 1);
        SessionOptions options;
        options.bundle = fmt::format("{}/{}.encore", desk.path, version);
        auto session = Session::open(std::move(options));
        REQUIRE(session);
        (*session)->start();
        for (int i = 0; i < 3; ++i) {
            const auto root = (*session)->revert_with_receipt();
            CHECK((root ? root->size() : 0) == 64);
        }
    }
}

TEST_CASE("scene: kill -9 while capturing leaves the old bundle or the new one", "[scene]") {
    SceneDesk desk;
    const std::string before = desk.read("x.encore");
    for (int i = 0; i < 12; ++i) {
        const std::string command = fmt::format(
            "cd {0} && XDG_DATA_HOME={0}/data XDG_CACHE_HOME={0}/cache timeout -s KILL {1} {2} scene add "
            "x.encore "
            "--name k --from start --warm 0 --type a --at 'key 1e' --key k.key --cert k.crt > out.txt 2>&1",
            desk.path, 0.02 + 0.012 * i, ENCORE_BINARY);
        [[maybe_unused]] const int killed = std::system(command.c_str());
        if (desk.read("x.encore") != before) {
            CHECK(desk.run("verify x.encore") == 0);
            desk.write("x.encore", before);
        }
    }
    for (const auto& entry : fs::directory_iterator(desk.path)) // no half-written file beside it
        CHECK(entry.path().filename().string().find("x.encore") != 1);
    CHECK(desk.run("run x.encore --headless --type a --expect 'key 1e' --timeout 60") == 0);
}
