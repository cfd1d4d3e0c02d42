// A session's life as a person or script sees it: the real executable, a signed bundle, a small real guest.
#include "tests/player/running_session.h"

#include <cstring>

using namespace session_test;

namespace {

// The guest must find its disk as the publisher made it.
void check_pristine(Desk& desk) {
    CHECK(desk.run("run x.encore --headless --expect pristine --timeout 60") == 0);
    CHECK(desk.bundle_untouched());
    CHECK(desk.leftovers() == 0);
}

// The left channel of a WAV file.
std::vector<int16_t> left_channel(const std::string& wav) {
    constexpr size_t kHeader = 44;
    std::vector<int16_t> samples;
    for (size_t at = kHeader; at + 4 <= wav.size(); at += 4) {
        samples.emplace_back();
        std::memcpy(&samples.back(), &wav[at], sizeof samples.back());
    }
    return samples;
}

} // namespace

TEST_CASE("session: what the guest wrote is gone after it turned itself off", "[session]") {
    Desk desk;
    CHECK(desk.run("run x.encore --headless --serial serial.txt --expect pristine --type w --expect written "
                   "--keys r --expect dirty --type q --timeout 60") == 0);
    CHECK(desk.says("pristine\r\nwritten\r\ndirty\r\n")); // a reset keeps what was written
    check_pristine(desk);
}

TEST_CASE("session: signals end it cleanly and leave nothing", "[session]") {
    Desk desk;
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
        fs::remove(desk.path + "/serial.txt");
        const pid_t child = desk.start({"--headless", "--serial", "serial.txt", "--expect", "pristine",
                                        "--type", "w", "--expect", "never"});
        REQUIRE(eventually([&] { return desk.says("written"); }));
        CHECK(desk.finish(child, signal) == 130);
        CHECK(desk.leftovers() == 0);
    }
    check_pristine(desk);
}

TEST_CASE("session: kill -9 at any moment leaves nothing behind", "[session]") {
    Desk desk;
    for (int i = 0; i < 6; ++i) {
        const pid_t child = desk.start({"--headless", "--serial", "serial.txt", "--expect", "pristine",
                                        "--type", "w", "--expect", "never"});
        std::this_thread::sleep_for(std::chrono::milliseconds(37 * i * i));
        if (i == 5)
            REQUIRE(eventually([&] { return desk.says("written"); }));
        CHECK(desk.finish(child, SIGKILL) == -SIGKILL);
    }
    check_pristine(desk);
}

TEST_CASE("session: with a network it says which walls stand, and the end of that process is its own",
          "[session]") {
    Desk desk;
    desk.write("n.toml", "[appliance]\nname = \"guest\"\n[machine]\nmemory = \"16M\"\nnetwork = true\n"
                         "[[disk]]\nimage = \"disk.img\"\n[policy]\nnetwork = true\n");
    REQUIRE(desk.run("pack n.toml -o n.encore --key k.key --cert k.crt") == 0);
    desk.bundle = "n.encore";
    Running run(desk, {"--type", "w"});
    REQUIRE(run.says("written"));
    json status;
    REQUIRE(eventually([&] {
        status = run.client->ask(R"({"do":"status"})");
        return !status.at("walls").at("network").is_null();
    }));
    CHECK(status.at("walls").at("network").at("filter") == true);
    CHECK(status.at("connections") == 0);
    const std::string children = fmt::format("/proc/{0}/task", run.child);
    pid_t network = 0;
    for (const auto& thread : fs::directory_iterator(children)) {
        std::ifstream in(thread.path() / "children");
        for (pid_t child = 0; in >> child;)
            network = child;
    }
    REQUIRE(network > 0);
    REQUIRE(::kill(network, SIGKILL) == 0);
    CHECK(run.finish() == 1);
    CHECK(desk.says(
        "encore: the part of Encore that carries the guest's network was ended by signal 9 (Killed); the "
        "session has ended, open it again\n",
        "out.txt"));
    CHECK(desk.leftovers() == 0);
    check_pristine(desk);
}

TEST_CASE("session: an expectation that does not come true is status 124 and says what was awaited",
          "[session]") {
    Desk desk;
    CHECK(desk.run("run x.encore --headless --expect 'no(thing)+ like this' --timeout 3") == 124);
    CHECK(desk.output.find("waiting for 'no(thing)+ like this' on the serial line") != std::string::npos);
    CHECK(desk.output.find("session guest") != std::string::npos); // the screen
    CHECK(desk.run("run x.encore --headless --expect pristine --type q --expect never --timeout 60") == 1);
    CHECK(desk.output.find("ended while waiting for 'never'") != std::string::npos);
    CHECK(desk.run("run x.encore --headless --expect-screen '^session +guest *$' --timeout 60") == 0);
    CHECK(
        desk.run("run x.encore --headless --expect pristine --keyboard-layout de --type zü --expect 'key 1a' "
                 "--keys ü --expect 'key 1a' --timeout 60") == 0);
    CHECK(desk.run("run x.encore --headless --keyboard-layout nowhere --timeout 60") == 2);
    CHECK(desk.run("run x.encore --headless --type ü --timeout 60") == 2);
    CHECK(desk.says("'ü' (U+00FC)", "out.txt"));
    CHECK(desk.run("run x.encore --headless --type-after 2 --type q --timeout 60") == 0);
}

TEST_CASE(
    "session: the recipe's keyboard is the default of what is typed, and the command line's goes before it",
    "[session]") {
    Desk desk;
    std::string recipe = desk.read("r.toml");
    recipe.replace(recipe.find("memory"), 0, "keyboard = \"de\"\n");
    desk.write("de.toml", recipe);
    const std::string sign = " --key k.key --cert k.crt";
    REQUIRE(desk.run("pack de.toml -o x.encore" + sign) == 0);
    REQUIRE(desk.run("inspect x.encore") == 0);
    CHECK(desk.output.find("keyboard     de\n") != std::string::npos);
    const std::string to = "run x.encore --headless --timeout 60 --expect pristine ";
    CHECK(desk.run(to + "--type ü --expect 'key 1a' --keys z --expect 'key 15'") == 0);
    CHECK(desk.run(to + "--keyboard-layout us --type z --expect 'key 2c'") == 0);
    CHECK(desk.run(to + "--keyboard-layout us --type ü --expect 'key 1a'") == 2);
    CHECK(desk.run(to + "--type Ж --expect never") == 2);
    CHECK(desk.output.find("on no key of the de layout") != std::string::npos);
    REQUIRE(desk.run("scene add x.encore --name typed --expect pristine --type ü --expect 'key 1a' --warm 0" +
                     sign) == 0);

    {
        Running run(desk, {});
        REQUIRE(run.says("pristine"));
        CHECK(run.client->ok(R"({"do":"type","text":"ü"})"));
        CHECK(run.says("key 1a"));
        CHECK(run.client->ok(R"({"do":"key","keys":"z","layout":"us"})"));
        CHECK(run.says("key 2c"));
    }

    // An unknown name is reported when the bundle is packed, with its line.
    recipe.replace(recipe.find("\"de\""), 4, "\"nowhere\"");
    desk.write("nowhere.toml", recipe);
    CHECK(desk.run("pack nowhere.toml -o n.encore" + sign) == 9);
    CHECK(desk.output.find("nowhere.toml:5: there is no keyboard layout 'nowhere'") != std::string::npos);
    CHECK_FALSE(fs::exists(desk.path + "/n.encore"));
}

TEST_CASE("session: a guest that halts for good ends a script at once, and nobody has to watch it",
          "[session]") {
    Desk desk;
    CHECK(desk.run("run x.encore --headless --expect pristine --type '!' --expect never --timeout 100") == 1);
    CHECK(
        desk.output.find("the guest halted with interrupts disabled while waiting for 'never' on the serial "
                         "line") != std::string::npos);
    CHECK(desk.output.find("session guest") != std::string::npos); // the screen
    // What it said and showed before counts.
    CHECK(desk.run("run x.encore --headless --expect pristine --type '!' --expect halting --timeout 100") ==
          0);
    CHECK(desk.run("run x.encore --headless --expect pristine --type '!' --expect halting --expect-screen "
                   "'session guest' --timeout 100") == 0);
    const std::string sign = " --warm 0 --timeout 60 --key k.key --cert k.crt";
    REQUIRE(desk.run("scene add x.encore --name ready --start --at pristine" + sign) == 0);
    CHECK(desk.run("run x.encore --headless --type '!' --screenshot halted.png --receipt") == 0);
    CHECK(desk.output.find("the guest has halted with interrupts disabled") != std::string::npos);
    CHECK(desk.output.find("pristine ") != std::string::npos);
    CHECK(fs::file_size(desk.path + "/halted.png") > 0);
    // It can be captured as it stands, but not at a moment that will not come.
    CHECK(desk.run("scene add x.encore --name never --type '!' --at never" + sign) == 1);
    CHECK(desk.output.find("halted with interrupts disabled while waiting for 'never'") != std::string::npos);
    REQUIRE(desk.run("scene add x.encore --name halted --type '!' --at halting" + sign) == 0);
    CHECK(desk.run("run x.encore --headless --scene halted --timeout 100") == 0);
    CHECK(desk.run("run x.encore --headless --scene halted --expect never --timeout 100") == 1);
}

TEST_CASE("session: wrong words on the command line are status 2 and nothing runs", "[session]") {
    Desk desk;
    CHECK(desk.run("run x.encore --headless --expect '('") == 2);
    CHECK(desk.run("run x.encore --headless --keys ctrl-nosuch") == 2);
    CHECK(desk.run("run x.encore --headless --type '\\x'") == 2);
    CHECK(desk.run("run x.encore --headless --memory lots") == 2);
    CHECK(desk.run("run x.encore --headless --expect-picture big") == 2);
    CHECK(desk.run("run x.encore --headless --kernel-append quiet") == 2);
    CHECK(desk.run("run x.encore --headless --memory 1M") == 7);
    CHECK(desk.run("run x.encore --headless --cdrom missing.iso") == 1);
    CHECK(desk.output.find("missing.iso") != std::string::npos);
}

TEST_CASE("session: unsigned, tampered, untrusted and expired bundles do not run", "[session]") {
    Desk desk;
    const std::string how = " --headless --serial serial.txt --expect pristine --timeout 60";
    REQUIRE(desk.run("pack r.toml -o u.encore --unsigned") == 0);
    CHECK(desk.run("run u.encore" + how) == 3);
    std::string changed = desk.read("x.encore");
    changed[700] = static_cast<char>(changed[700] ^ 1); // in the manifest
    desk.write("t.encore", changed);
    CHECK(desk.run("run t.encore" + how) == 4);
    REQUIRE(desk.run("keygen --name Other --out o") == 0);
    REQUIRE(desk.run("pack r.toml -o o.encore --key o.key --cert o.crt") == 0);
    CHECK(desk.run("run o.encore" + how) == 5);
    CHECK(desk.run("run r.toml" + how) == 8);
    CHECK_FALSE(fs::exists(desk.path + "/serial.txt"));
    CHECK_FALSE(fs::exists(desk.path + "/cache"));
}

TEST_CASE("session: damage found while running ends it with the member's name", "[session]") {
    Desk desk;
    std::string changed = desk.read("x.encore");
    // A byte of the packed boot sector: tar puts the first chunk right after its member's header.
    size_t member = changed.find("blobs/chunks.0");
    while (member != std::string::npos && changed.compare(member + 257, 5, "ustar") != 0)
        member = changed.find("blobs/chunks.0", member + 1); // the manifest names it too
    REQUIRE(member != std::string::npos);
    changed[member + 512 + 40] = static_cast<char>(changed[member + 512 + 40] ^ 0x10);
    desk.write("t.encore", changed);
    const int status = desk.run("run t.encore --headless --serial serial.txt --expect pristine --timeout 30");
    CHECK(status == 4);
    CHECK(desk.output.find("disk0") != std::string::npos);
    CHECK_FALSE(desk.says("pristine"));
}

TEST_CASE("session: when no more can be written the guest gets an error and runs on", "[session]") {
    Desk desk;
    CHECK(desk.run("run x.encore --headless --overlay 0M --expect pristine --type w --expect 'write error' "
                   "--type a --expect 'key 1e' --timeout 60") == 0);
    CHECK(desk.output.find("written as much as it may") != std::string::npos);
}

TEST_CASE("session: the publisher may end it at a reset, or start afresh at power-off", "[session]") {
    {
        Desk desk("[policy]\nreset_ends_session = true\n");
        CHECK(
            desk.run("run x.encore --headless --serial serial.txt --expect pristine --type r --timeout 60") ==
            0);
        CHECK(desk.read("serial.txt") == "pristine\r\n");
    }
    Desk desk("[policy]\npower_off_ends_session = false\n");
    CHECK(desk.run("run x.encore --headless --serial serial.txt --expect pristine --type w --expect written "
                   "--type q --expect pristine --timeout 60") == 0);
}

TEST_CASE("session: a screenshot is a PNG of the guest's screen", "[session]") {
    Desk desk;
    CHECK(desk.run("run x.encore --headless --expect pristine --screenshot s.png --timeout 60") == 0);
    const std::string png = desk.read("s.png");
    REQUIRE(png.size() > 100);
    CHECK(png.substr(0, 8) == "\x89PNG\r\n\x1a\n");
    CHECK(png.substr(16, 8) == std::string("\0\0\x02\xd0\0\0\x01\x90", 8)); // 720 x 400
}

TEST_CASE("session: the PC's speaker is heard without a sound device, unless the rules say no", "[session]") {
    const std::string play = "run x.encore --headless --audio out.wav --expect played --timeout 60";
    Desk desk("", SPEAKER_GUEST);
    CHECK(desk.run(play) == 0);
    const std::vector<int16_t> samples = left_channel(desk.read("out.wav"));
    std::vector<size_t> rises;
    for (size_t i = 1; i < samples.size(); ++i)
        if (samples[i - 1] < 0 && samples[i] >= 0)
            rises.push_back(i);
    REQUIRE(rises.size() > 500); // a second's worth, less what a busy host skips
    const double length = static_cast<double>(rises.back() - rises.front()) / 48000;
    CHECK(static_cast<double>(rises.size() - 1) / length == Approx(1000).epsilon(0.02));

    Desk silent("[policy]\nsound = false\n", SPEAKER_GUEST);
    CHECK(silent.run(play) == 0);
    CHECK(left_channel(silent.read("out.wav")).empty());
}
