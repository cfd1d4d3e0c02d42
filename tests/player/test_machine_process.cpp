// The process in which a session's guest runs: what it may do, and what becomes of the session when it ends,
// or of it when the session does.
#include "tests/player/running_session.h"

#include <map>
#include <set>

using namespace session_test;

namespace {

std::map<std::string, std::string> status_of(pid_t process) {
    std::map<std::string, std::string> fields;
    std::ifstream status(fmt::format("/proc/{}/status", process));
    for (std::string line; std::getline(status, line);)
        if (const size_t colon = line.find(":\t"); colon != std::string::npos)
            fields[line.substr(0, colon)] = line.substr(colon + 2);
    return fields;
}

bool lives(pid_t process) {
    const auto fields = status_of(process);
    return fields.contains("State") && fields.at("State")[0] != 'Z';
}

} // namespace

TEST_CASE("machine process: it is behind its walls before the guest runs, with what it was handed",
          "[machine]") {
    Desk desk;
    Running run(desk, {});
    REQUIRE(run.says("pristine"));
    const pid_t machine = Desk::machine_of(run.child);
    REQUIRE(machine != 0);
    const auto fields = status_of(machine);
    CHECK(fields.at("Seccomp") == "2");
    CHECK(fields.at("NoNewPrivs") == "1");
    for (const char* set : {"CapPrm", "CapEff", "CapInh", "CapAmb"})
        CHECK(fields.at(set) == "0000000000000000");
    for (const auto& thread : fs::directory_iterator(fmt::format("/proc/{}/task", machine))) {
        std::ifstream file(thread.path() / "status");
        const std::string text{std::istreambuf_iterator<char>(file), {}};
        CHECK(text.find("Seccomp:\t2") != std::string::npos);
        // The process's table, and one of its own. Kernels before 5.9 do not count.
        INFO(text.substr(0, text.find('\n')));
        CHECK((text.find("Seccomp_filters:\t2\n") != std::string::npos ||
               text.find("Seccomp_filters:") == std::string::npos));
    }
    std::error_code denied;
    for (const auto& entry : fs::directory_iterator(fmt::format("/proc/{}/fd", machine), denied)) {
        const std::string target = fs::read_symlink(entry.path(), denied);
        INFO(target);
        // Its socket, memory, eventfds, the bundle, nameless files of the session's, /dev/null.
        const bool named = target.starts_with('/') && !target.starts_with("/memfd:") &&
                           target.find(" (deleted)") == std::string::npos;
        CHECK((!named || target == "/dev/null" || target == desk.path + "/x.encore"));
    }
    CHECK(run.client->ok(R"({"do":"quit"})"));
    CHECK(run.finish() == 0);
    CHECK(eventually([&] { return !lives(machine); }));
}

TEST_CASE("machine process: its death ends the session with a sentence, and nothing is left", "[machine]") {
    Desk desk;
    for (int i = 0; i < 2; ++i) { // the second as after any other session
        Running run(desk, {});
        REQUIRE(run.says("pristine"));
        REQUIRE(run.client->ok(R"({"do":"type","text":"w"})"));
        REQUIRE(run.says("written"));
        const pid_t machine = Desk::machine_of(run.child);
        REQUIRE(machine != 0);
        ::kill(machine, SIGKILL);
        CHECK(run.finish() == 1);
        CHECK(desk.says("encore: the machine's process was ended by signal 9", "out.txt"));
        CHECK(desk.says("start the session again", "out.txt"));
        CHECK_FALSE(lives(machine));
        CHECK(desk.leftovers() == 0);
        CHECK(desk.bundle_untouched());
        CHECK(desk.run("run x.encore --headless --expect pristine --timeout 60") == 0);
    }
}

TEST_CASE(
    "machine process: translated code that is refused ends the session with a sentence, and nothing is left",
    "[machine]") {
    Desk desk;
    fs::create_directories(desk.path + "/refusing");
    fs::copy(ENCORE_BINARY, desk.path + "/refusing/encore");
    fs::copy(REFUSING_MACHINE, desk.path + "/refusing/encore-machine");
    desk.program = desk.path + "/refusing/encore";
    for (int i = 0; i < 2; ++i) {
        Running run(desk, {});
        REQUIRE(run.says("pristine"));
        const pid_t machine = Desk::machine_of(run.child);
        REQUIRE(machine != 0);
        CHECK(status_of(machine).at("Seccomp") == "2");
        REQUIRE(run.client->ok(R"({"do":"type","text":"w"})"));
        REQUIRE(run.says("written"));
        REQUIRE(run.client->ok(R"({"do":"type","text":"q"})"));
        CHECK(run.finish() == 1); // 0: it has turned itself off
        CHECK(desk.says("encore: the program's code was not run: a check of its translation failed "
                        "(instruction is not allowed); report this with the name of the program",
                        "out.txt"));
        CHECK_FALSE(lives(machine));
        CHECK(desk.leftovers() == 0);
        CHECK(desk.bundle_untouched());
    }
    CHECK(desk.run("run x.encore --headless --expect pristine --timeout 60") == 0);
}

TEST_CASE("machine process: the player's death is its own", "[machine]") {
    Desk desk;
    Running run(desk, {});
    REQUIRE(run.says("pristine"));
    const pid_t machine = Desk::machine_of(run.child);
    REQUIRE(machine != 0);
    CHECK(Desk::finish(std::exchange(run.child, -1), SIGKILL) == -SIGKILL);
    CHECK(eventually([&] { return !lives(machine); }));
    CHECK(desk.leftovers() == 0);
}

TEST_CASE("machine process: a machine that is put together anew has a new one", "[machine]") {
    Desk desk;
    Running run(desk, {});
    REQUIRE(run.says("pristine"));
    const pid_t first = Desk::machine_of(run.child);
    REQUIRE(run.client->ok(R"({"do":"revert"})")); // to power-on
    const pid_t second = Desk::machine_of(run.child);
    CHECK(second != 0);
    CHECK(second != first);
    CHECK(eventually([&] { return !lives(first); }));
    REQUIRE(run.client->ok(R"({"do":"quit"})"));
    CHECK(run.finish() == 0);
}

TEST_CASE("machine process: without its program there is a sentence", "[machine]") {
    Desk desk;
    fs::create_directories(desk.path + "/a/b/installed");
    fs::copy(ENCORE_BINARY, desk.path + "/a/b/installed/encore");
    const std::string line = fmt::format("cd {0} && XDG_DATA_HOME={0}/data XDG_CACHE_HOME={0}/cache "
                                         "a/b/installed/encore run x.encore --headless --timeout 5 2>err.txt",
                                         desk.path);
    CHECK(WEXITSTATUS(std::system(line.c_str())) == 1);
    CHECK(desk.says("encore: the machine's program, encore-machine, is missing; install Encore again",
                    "err.txt"));
}
