// The command line as a person or script uses it: the real executable, its output and exit statuses.
#include "signing/keys.h"
#include "tests/player/cli_desk.h"

#include <csignal>
#include <cstring>
#include <pty.h>
#include <thread>

using namespace cli_test;

TEST_CASE("cli: keygen, pack, trust, verify, inspect work together", "[cli]") {
    Desk desk;
    REQUIRE(desk.run("pack r.toml -o x.encore --key k.key --cert k.crt") == 0);
    CHECK(desk.run("verify x.encore") == 5);
    CHECK(desk.one_line());
    CHECK(desk.output.find("Acme Ltd") != std::string::npos);
    CHECK(desk.run("inspect x.encore") == 0);
    CHECK(desk.output.find("not trusted") != std::string::npos);
    CHECK(desk.run("trust add x.encore") == 0);
    CHECK(desk.run("verify x.encore") == 0);
    CHECK(desk.run("verify --json x.encore") == 0);
    CHECK(desk.output.find("\"result\": \"ok\"") != std::string::npos);
    CHECK(desk.run("inspect --json x.encore") == 0);
    CHECK(desk.output.find("\"state\": \"trusted\"") != std::string::npos);
    CHECK(desk.output.find("\"max_minutes\": 30") != std::string::npos);
    CHECK(desk.run("trust list --json") == 0);
    CHECK(desk.output.find("\"name\": \"Acme Ltd\"") != std::string::npos);
    CHECK(desk.run("trust remove 'Acme Ltd'") == 0);
    CHECK(desk.run("trust add k.crt") == 0);
    CHECK(desk.run("verify x.encore") == 0);
}

TEST_CASE("cli: every command that shows a fingerprint shows the same words", "[cli]") {
    Desk desk;
    fs::remove(desk.path + "/k.key");
    fs::remove(desk.path + "/k.crt");
    REQUIRE(desk.run("keygen --name 'Acme Ltd' --out k") == 0);
    const std::string label = "in words     ";
    const size_t at = desk.output.find(label);
    REQUIRE(at != std::string::npos);
    const std::string words =
        desk.output.substr(at + label.size(), desk.output.find('\n', at) - at - label.size());
    CHECK(words.size() == 8 * 6 - 1);
    const auto says = [&](const std::string& arguments, int status) {
        INFO(arguments);
        CHECK(desk.run(arguments) == status);
        CHECK(desk.output.find(words) != std::string::npos);
    };
    REQUIRE(desk.run("pack r.toml -o x.encore --key k.key --cert k.crt") == 0);
    says("verify x.encore", 5);
    says("run x.encore --headless", 5);
    says("inspect x.encore", 0);
    says("inspect --json x.encore", 0);
    says("trust add x.encore", 0);
    says("trust list", 0);
    says("trust list --json", 0);
}

TEST_CASE("cli: inspect says what a bundle wants, also of a publisher not yet trusted", "[cli]") {
    Desk desk;
    const std::string machine = "[appliance]\nname = \"demo\"\n[machine]\nmemory = \"64M\"\n",
                      disk = "[[disk]]\nimage = \"disk.img\"\n";
    desk.write("n.toml", machine + "network = true\nsound = true\n" + disk +
                             "[policy]\nmax_minutes = 30\nidle_seconds = 120\nexpires = \"2099-12-31\"\n"
                             "network = true\nnetworks = [\"192.168.0.0/16\"]\nforward = [\"8080:80\"]\n");
    REQUIRE(desk.run("pack n.toml -o n.encore --key k.key --cert k.crt") == 0);
    CHECK(desk.run("inspect n.encore") == 0);
    for (const char* line :
         {"not trusted on this computer", "time limit   30 minutes\n", "idle limit   120 seconds untouched\n",
          "last day     2099-12-31\n", "wants        to reach the internet\n",
          "wants        to reach the private network 192.168.0.0/16, which takes an operator's grant\n",
          "wants        port 8080 of this computer's 127.0.0.1, to lead to its port 80\n",
          "wants        to be heard\n"}) {
        INFO(line << desk.output);
        CHECK(desk.output.find(line) != std::string::npos);
    }
    // A card without the policy's word, and a device that is to be silent, are no wishes.
    desk.write("q.toml", machine + "network = true\nsound = true\n" + disk + "[policy]\nsound = false\n");
    REQUIRE(desk.run("pack q.toml -o q.encore --key k.key --cert k.crt") == 0);
    CHECK(desk.run("inspect q.encore") == 0);
    CHECK(desk.output.find("wants") == std::string::npos);
}

TEST_CASE("cli: an operator's file keeps people from trusting publishers by hand, and says who is asked",
          "[cli]") {
    Desk desk;
    REQUIRE(desk.run("pack r.toml -o x.encore --key k.key --cert k.crt") == 0);
    fs::create_directories(desk.path + "/xdg/encore");
    desk.write("xdg/encore/operator.toml", "[trust]\nby_hand = false\nask = \"the IT desk, room 12\"\n");
    for (const char* what : {"x.encore", "k.crt", "--issuer k.crt", "--timestamp-authority k.crt"}) {
        INFO(what);
        CHECK(desk.run(std::string("trust add ") + what) == 11);
        CHECK(desk.one_line());
        CHECK(desk.output.find("ask the IT desk, room 12") != std::string::npos);
        CHECK(desk.output.find(desk.path + "/xdg/encore/operator.toml") != std::string::npos);
    }
    CHECK_FALSE(fs::exists(desk.path + "/xdg/encore/trust"));
    CHECK(desk.run("verify x.encore") == 5);
    // A file that might forbid it and cannot be read does.
    desk.write("xdg/encore/operator.toml", "[trust]\nby_hnad = false\n");
    CHECK(desk.run("trust add x.encore") == 9);
    CHECK(desk.run("verify x.encore") == 5);
    desk.write("xdg/encore/operator.toml", "[trust]\nby_hand = true\n");
    CHECK(desk.run("trust add x.encore") == 0);
    CHECK(desk.run("verify x.encore") == 0);
    // Who is trusted already can be taken out.
    desk.write("xdg/encore/operator.toml", "[trust]\nby_hand = false\n");
    CHECK(desk.run("trust list") == 0);
    CHECK(desk.run("trust remove 'Acme Ltd'") == 0);
    CHECK(desk.run("verify x.encore") == 5);
}

TEST_CASE("cli: stock tar lists a bundle and stock openssl verifies it", "[cli]") {
    Desk desk;
    for (const char* kind : {"", " --rsa"}) {
        fs::remove(desk.path + "/k2.key");
        fs::remove(desk.path + "/k2.crt");
        REQUIRE(desk.run(std::string("keygen --name Acme --out k2") + kind) == 0);
        REQUIRE(desk.run("pack r.toml -o x.encore --key k2.key --cert k2.crt") == 0);
        REQUIRE(desk.shell("tar tf x.encore") == 0);
        CHECK(desk.output == "encore.bundle\nmanifest.json\nmanifest.cms\nblobs/chunks.0\nblobs/index.0\n");
        REQUIRE(desk.shell("tar xf x.encore manifest.json manifest.cms") == 0);
        const char* verify =
            "openssl cms -verify -binary -inform DER -in manifest.cms -content manifest.json "
            "-CAfile k2.crt -out checked";
        CHECK(desk.shell(verify) == 0);
        CHECK(desk.read("checked") == desk.read("manifest.json"));
        CHECK(desk.shell("sed -i s/64/65/ manifest.json") == 0);
        CHECK(desk.shell(verify) != 0);
    }
}

TEST_CASE("cli: unsigned, tampered, untrusted, expired, and other files have answers of their own", "[cli]") {
    Desk desk;
    REQUIRE(desk.run("pack r.toml -o x.encore --key k.key --cert k.crt") == 0);
    REQUIRE(desk.run("pack r.toml -o u.encore --unsigned") == 0);
    REQUIRE(desk.run("trust add k.crt") == 0);
    CHECK(desk.run("verify u.encore") == 3);
    CHECK(desk.one_line());
    CHECK(desk.output.find("not signed") != std::string::npos);
    std::string bytes = desk.read("x.encore"), changed = bytes;
    changed[bytes.size() / 2] ^= 4;
    desk.write("t.encore", changed);
    CHECK(desk.run("verify t.encore") == 4);
    CHECK(desk.one_line());
    CHECK(desk.output.find("member blobs/chunks.0: chunk ") != std::string::npos);
    CHECK(desk.output.find(" of disk0") != std::string::npos);
    CHECK(desk.run("verify --json t.encore") == 4);
    CHECK(desk.output.find("\"result\": \"tampered\"") != std::string::npos);
    for (const size_t at : {300, 700, 1300}) { // in the first header, the manifest's, the manifest
        changed = bytes;
        changed[at] ^= 1;
        desk.write("m.encore", changed);
        CHECK(desk.run("verify m.encore") == 4);
        CHECK(desk.run("inspect m.encore") == 4);
    }
    desk.write("cut.encore", bytes.substr(0, bytes.size() - 700));
    CHECK(desk.run("verify cut.encore") == 4);
    CHECK(desk.run("verify r.toml") == 8);
    CHECK(desk.run("verify missing.encore") == 1);
    CHECK(desk.one_line());
}

TEST_CASE("cli: wrong usage and wrong recipes say what and where", "[cli]") {
    Desk desk;
    CHECK(desk.run("") == 2);
    CHECK(desk.run("frobnicate") == 2);
    CHECK(desk.run("pack r.toml -o x.encore") == 2);
    CHECK(desk.run("pack r.toml -o x.encore --key k.key") == 2);
    CHECK(desk.run("pack r.toml -o x.encore --key k.key --cert k.crt --unsigned") == 2);
    CHECK(desk.run("keygen --name x --out k") == 1); // exists
    for (const char* verb : {"", "keygen ", "pack ", "verify ", "inspect ", "trust "}) {
        CHECK(desk.run(std::string(verb) + "--help") == 0);
        CHECK(desk.output.find("5 publisher not trusted") != std::string::npos);
    }
    CHECK(desk.run("--version") == 0);
    desk.write("bad.toml", desk.read("r.toml") + "max_minuts = 3\n");
    CHECK(desk.run("pack bad.toml -o x.encore --key k.key --cert k.crt") == 9);
    CHECK(desk.output.rfind("encore: bad.toml:10: ", 0) == 0);
    CHECK(desk.one_line());
    CHECK(desk.run("pack r.toml -o no/such/folder/x.encore --key k.key --cert k.crt") == 1);
    CHECK_FALSE(fs::exists(desk.path + "/x.encore"));
}

TEST_CASE("cli: pack ended by SIGINT or SIGKILL leaves the folder as it was", "[cli]") {
    Desk desk;
    REQUIRE(desk.run("pack r.toml -o x.encore --key k.key --cert k.crt") == 0);
    const std::string before = desk.read("x.encore");
    // Large enough to be caught at work, incompressible enough to matter.
    REQUIRE(desk.shell("dd if=/dev/urandom of=disk.img bs=1M count=40 && "
                       "printf '\\125\\252' | dd of=disk.img bs=1 seek=510 conv=notrunc") == 0);
    size_t files = std::distance(fs::directory_iterator(desk.path), {});
    int stopped = 0;
    for (int round = 0; round < 6; ++round) {
        pid_t child = ::fork();
        if (child == 0) {
            if (::chdir(desk.path.c_str()) == 0)
                ::execl(ENCORE_BINARY, "encore", "pack", "r.toml", "-o", "x.encore", "--key", "k.key",
                        "--cert", "k.crt", "--level", "19", nullptr);
            ::_exit(127);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(40 + 60 * round));
        const int signal = round % 2 ? SIGKILL : SIGINT;
        ::kill(child, signal);
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            break; // it was faster; nothing to compare with any more
        CHECK((WIFSIGNALED(status) || WEXITSTATUS(status) == 130));
        ++stopped;
        CHECK(desk.read("x.encore") == before);
        CHECK(static_cast<size_t>(std::distance(fs::directory_iterator(desk.path), {})) == files);
    }
    CHECK(stopped > 0);
}

TEST_CASE("cli: mistakes are named in one line, with what to do", "[cli]") {
    Desk desk;
    const std::string disk = "[[disk]]\nimage = \"disk.img\"\n";
    const auto recipe = [&](const char* name, const std::string& more, const std::string& rest) {
        desk.write(name, "[appliance]\nname = \"demo\"\n" + more + "[machine]\nmemory = \"16M\"\n" + rest);
    };
    desk.write("shot.jpg", "\xff\xd8\xff\xe0 no PNG");
    recipe("picture.toml", "picture = \"shot.jpg\"\n", disk);
    recipe("order.toml", "", "[boot]\norder = [\"disk\", \"floppy\"]\n" + disk);
    recipe("scenes.toml", "", disk + "[policy]\nscenes = []\n");
    recipe("sceneless.toml", "", disk + "[policy]\nscenes = [\"No Scene!\"]\n");
    recipe("nowhere.toml", "picture = \"nowhere.png\"\n", disk);
    for (const auto& [name, starts] : {std::pair("old", -9), {"early", 3}}) {
        const auto pair = signing::generate_key_pair(
            {.name = "Acme", .organisation = {}, .valid_days = 2, .starts_in_days = starts});
        REQUIRE((pair && signing::write_key_pair(*pair, desk.path + "/" + name)));
    }
    desk.write("secret", "open sesame\n");
    desk.write("wrong", "open barley\n");
    desk.write("empty", "");
    REQUIRE(desk.run("keygen --name Acme --out p --passphrase-file secret") == 0);
    const std::string keys = " -o x.encore --key k.key --cert k.crt",
                      locked = "pack r.toml -o x.encore --key p.key --cert p.crt";
    struct Mistake {
        std::string arguments;
        int status;
        const char* says;
    };
    const Mistake mistakes[] = {
        {"pack r.toml -o x.encore --key old.key --cert old.crt", 6, "expired on"},
        {"pack r.toml -o x.encore --key early.key --cert early.crt", 6, "is valid only from"},
        {"pack picture.toml" + keys, 9, "make a PNG of it"},
        {"pack nowhere.toml" + keys, 9, "cannot open"},
        {"pack sceneless.toml" + keys, 9, "\"scenes\""},
        {"pack order.toml" + keys, 9, "there is no [[floppy]]; add one, or leave it out"},
        {"pack scenes.toml" + keys, 9, "must be a list such as [\"start\", \"power-on\"]"},
        {locked + " --passphrase-file wrong", 1, "the passphrase is not the key's"},
        {locked + " --passphrase-file empty", 1, "has to be a passphrase"},
        {locked + " --passphrase-file nowhere", 1, "cannot read the passphrase from nowhere"},
        {"rn x.encore", 2, "there is no verb rn (did you mean run?)"},
        {"trust ad x", 2, "there is no verb ad (did you mean add?)"},
        {"trust", 2, "a verb is missing: add, list, remove"},
        {"run --hedless x", 2, "there is no option --hedless (did you mean --headless?)"},
        {"pack --outptu x", 2, "there is no option --outptu (did you mean --output?)"},
        {"zzzzz", 2, "there is no verb zzzzz; see: encore --help"},
    };
    for (const Mistake& mistake : mistakes) {
        INFO(mistake.arguments);
        CHECK(desk.run(mistake.arguments) == mistake.status);
        CHECK(desk.one_line());
        INFO(desk.output);
        CHECK(desk.output.find(mistake.says) != std::string::npos);
        CHECK_FALSE(fs::exists(desk.path + "/x.encore"));
    }
    CHECK(desk.run(locked + " --passphrase-file secret") == 0);
    CHECK(desk.shell("sh -c '" ENCORE_BINARY " " + locked + " --passphrase-file /dev/fd/3 3<secret'") == 0);
}

TEST_CASE("cli: advice that names a command can be pasted, and works", "[cli]") {
    Desk desk;
    const std::string name = "it's a demo.encore";
    fs::rename(desk.path + "/r.toml", desk.path + "/my recipe.toml");
    const std::string quoted = "\"" + name + "\"", keys = " --key k.key --cert k.crt";
    // What stands after the last "encore" of what was said, with the placeholders filled in.
    const auto pasted = [&](const std::vector<std::pair<std::string, std::string>>& filled) {
        const std::string line = desk.output.substr(0, desk.output.find('\n'));
        const size_t at = line.rfind(": encore ");
        REQUIRE(at != std::string::npos);
        std::string command = line.substr(at + std::strlen(": encore "));
        for (const auto& [placeholder, value] : filled)
            command.replace(command.find(placeholder), placeholder.size(), value);
        INFO(command);
        return desk.run(command);
    };
    desk.write("scenes.toml", desk.read("my recipe.toml") + "scenes = [\"start\"]\n");
    REQUIRE(desk.run("pack scenes.toml -o scenes.encore" + keys) == 0);
    CHECK(desk.output.find(
              ": encore scene add scenes.encore --name start --key k.key --cert k.crt --after SECONDS") !=
          std::string::npos);
    REQUIRE(desk.run("pack \"my recipe.toml\" -o " + quoted + keys) == 0);
    CHECK(desk.run("verify " + quoted) == 5);
    CHECK(pasted({}) == 0); // trust add
    CHECK(desk.run("verify " + quoted) == 0);
    CHECK(desk.run("run --headless --scene nowhere " + quoted) == 2);
    CHECK(pasted({}) == 0); // scene list
    CHECK(desk.run("scene remove " + quoted + " nowhere" + keys) == 2);
    CHECK(pasted({}) == 0); // scene list
    REQUIRE(desk.run("trust add scenes.encore") == 0);
    CHECK(desk.run("run --headless --boot scenes.encore") == 11);
    CHECK(pasted({}) == 0); // policy explain
    REQUIRE(desk.run("keygen --name Other --out other") == 0);
    CHECK(desk.run("scene remove " + quoted + " x --key other.key --cert other.crt") == 11);
    CHECK(pasted({{"KEY", "other.key"}, {"CERT", "other.crt"}}) == 0); // sign
    CHECK(desk.run("verify " + quoted) == 5);
    CHECK(desk.run("import disk.img --recipe \"new recipe.toml\"") == 0);
    CHECK(pasted({}) == 0); // pack
    CHECK(desk.run("pack \"my recipe.toml\" -o new.encore") == 2);
    CHECK(pasted({{"NAME", "Somebody"}, {"PREFIX", "somebody"}}) == 0); // keygen
    CHECK(fs::exists(desk.path + "/somebody.key"));
    CHECK(desk.run("pin check </dev/null") == 1);
    CHECK(desk.output.find(": encore pin set\n") != std::string::npos);
    CHECK(desk.run("trust remove 'no such publisher'") == 1);
    CHECK(pasted({}) == 0); // trust list
    CHECK(desk.run("packk") == 2);
    CHECK(pasted({}) == 0); // --help
}

namespace {

// The player with a kiosk beside it that does nothing.
struct KioskCommandDesk : Desk {
    KioskCommandDesk() {
        fs::create_directory(path + "/bin");
        fs::copy(ENCORE_BINARY, path + "/bin/encore");
        write("bin/encore-kiosk", "#!/bin/sh\n");
        REQUIRE(shell("chmod +x bin/encore-kiosk") == 0);
    }
    // Runs it for a person at a terminal who answers each question about a PIN with the next of these.
    int typed(const std::string& arguments, const std::vector<std::string>& answers) {
        int terminal = -1;
        const pid_t child = ::forkpty(&terminal, nullptr, nullptr, nullptr);
        if (child == 0) {
            const std::string line =
                fmt::format("cd {0} && export XDG_DATA_HOME={0}/xdg XDG_CONFIG_HOME={0}/xdg "
                            "XDG_STATE_HOME={0}/xdg && exec bin/encore {1}",
                            path, arguments);
            ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
            ::_exit(127);
        }
        REQUIRE(child > 0);
        output.clear();
        size_t looked = 0, next = 0;
        char buffer[4096];
        // Its end is an error (EIO) to the reader.
        for (ssize_t n; (n = ::read(terminal, buffer, sizeof buffer)) > 0;) {
            output.append(buffer, static_cast<size_t>(n));
            for (const char* question : {"New staff PIN: ", "Once more: "})
                if (const size_t at = output.find(question, looked); at != std::string::npos) {
                    looked = at + std::strlen(question);
                    const std::string answer = (next < answers.size() ? answers[next++] : "") + "\n";
                    CHECK(::write(terminal, answer.data(), answer.size()) > 0);
                }
        }
        ::close(terminal);
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    bool says(const std::string& text) const { return output.find(text) != std::string::npos; }
};

} // namespace

TEST_CASE("kiosk install: a catalog that is not there is refused, before anything is written", "[cli]") {
    KioskCommandDesk desk;
    for (const char* arguments :
         {"--catalog nowhere", "", "--catalog r.toml", "--catalog nowhere --dry-run"}) {
        INFO(arguments);
        CHECK(desk.shell(std::string("bin/encore kiosk install ") + arguments) == 1);
        CHECK(desk.one_line());
        CHECK_FALSE(fs::exists(desk.path + "/xdg/encore/kiosk-session"));
    }
    CHECK(desk.shell("bin/encore kiosk install --system") == 2);
    CHECK(desk.one_line());
    CHECK(desk.shell("bin/encore kiosk install --account nobody") == 2);
    CHECK(desk.one_line());
    // Its advice, as it is printed.
    CHECK(desk.shell("bin/encore kiosk install --catalog \"it's there\"") == 1);
    const size_t advice = desk.output.find("mkdir -p ");
    REQUIRE(advice != std::string::npos);
    REQUIRE(desk.shell(desk.output.substr(advice, desk.output.size() - advice - 1)) == 0);
    CHECK(desk.shell("bin/encore kiosk install --catalog \"it's there\"") == 0);
    CHECK(desk.says("No staff PIN is set yet")); // nobody was there to ask
    CHECK(fs::exists(desk.path + "/xdg/encore/kiosk-session"));
}

TEST_CASE("kiosk install: it asks for a PIN where there is none, once", "[cli]") {
    KioskCommandDesk desk;
    fs::create_directory(desk.path + "/demos");
    CHECK(desk.typed("kiosk install --catalog demos", {"2468", "2469"}) == 1);
    CHECK(desk.says("are not the same"));
    CHECK_FALSE(fs::exists(desk.path + "/xdg/encore/kiosk-session"));
    CHECK(desk.typed("kiosk install --catalog demos", {"2468", "2468"}) == 0);
    CHECK_FALSE(desk.says("No staff PIN"));
    CHECK(desk.shell("sh -c 'echo 2468 | bin/encore pin check'") == 0);
    CHECK(desk.typed("kiosk install --catalog demos", {}) == 0);
    CHECK_FALSE(desk.says("New staff PIN"));
    CHECK(desk.shell("bin/encore kiosk install --system --catalog demos --account no-such-account") == 1);
    CHECK(desk.one_line());
    CHECK(desk.says("sudo useradd --create-home --shell /bin/sh no-such-account"));
}
