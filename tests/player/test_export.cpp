// encore export, by the real executable: what others read in the package (qemu-img, tar, sha256sum), and what
// our own import makes of it again.
#include "tests/player/cli_desk.h"

#include <csignal>
#include <thread>

using namespace cli_test;

namespace {

constexpr const char* kSigned = " --key k.key --cert k.crt";

// A desk with a machine of two disks, a CD and a floppy, packed as x.encore, without rules.
struct ExportDesk : Desk {
    ExportDesk() {
        // Not whole grains: 64 KiB each, 512 of them a table.
        REQUIRE(shell("dd if=/dev/urandom of=a.img bs=1000 count=900 && truncate -s 70001664 a.img && "
                      "printf '\\125\\252' | dd of=a.img bs=1 seek=510 conv=notrunc && "
                      "printf 'at the end' | dd of=a.img bs=1 seek=70001600 conv=notrunc && "
                      "printf 'far out' | dd of=a.img bs=1 seek=34000000 conv=notrunc") == 0);
        REQUIRE(
            shell("truncate -s 3M b.img && printf '\\125\\252' | dd of=b.img bs=1 seek=510 conv=notrunc") ==
            0);
        REQUIRE(
            shell("truncate -s 2M c.iso && printf '\\001CD001' | dd of=c.iso bs=1 seek=32768 conv=notrunc && "
                  "dd if=/dev/urandom of=f.img bs=512 count=2880") == 0);
        write("m.toml", kMachine);
        REQUIRE(run(std::string("pack m.toml -o x.encore") + kSigned) == 0);
        REQUIRE(run("trust add k.crt") == 0);
    }
    bool says(const std::string& text) const { return output.find(text) != std::string::npos; }
    size_t files() const { return static_cast<size_t>(std::distance(fs::directory_iterator(path), {})); }
    static constexpr const char* kMachine =
        "[appliance]\nname = \"demo\"\ntitle = \"Acme & <Sons>\"\nversion = \"2.1\"\ndescription = "
        "\"Two\\nlines\"\n"
        "[machine]\nmemory = \"96M\"\nsound = true\nnetwork = true\n[boot]\norder = [\"cdrom\", \"disk\"]\n"
        "[[disk]]\nimage = \"a.img\"\n[[disk]]\nimage = \"b.img\"\n[[disk]]\nsize = \"3G\"\n"
        "[[cdrom]]\nimage = \"c.iso\"\n[[floppy]]\nimage = \"f.img\"\nformat = \"raw\"\n";
};

} // namespace

TEST_CASE("export: qemu-img finds every sector in disks that it holds to be sound", "[export]") {
    ExportDesk desk;
    REQUIRE(desk.run("export x.encore o.ova") == 0);
    CHECK(desk.says("o.ova: exported\n"));
    CHECK(desk.says("note: it starts from cdrom, disk in this order"));
    REQUIRE(desk.shell("tar tf o.ova") == 0);
    CHECK(desk.output == "demo.ovf\ndemo.mf\ndemo-disk1.vmdk\ndemo-disk2.vmdk\ndemo-disk3.vmdk\n"
                         "demo-cdrom4.iso\ndemo-floppy5.img\n");
    REQUIRE(desk.shell("mkdir o && tar xf o.ova -C o") == 0);
    for (const auto& [disk, original] :
         {std::pair("o/demo-disk1.vmdk", "a.img"), {"o/demo-disk2.vmdk", "b.img"}}) {
        INFO(disk);
        CHECK(desk.shell(std::string("qemu-img check ") + disk) == 0);
        CHECK(desk.says("No errors were found"));
        REQUIRE(desk.shell(fmt::format("qemu-img info {}", disk)) == 0);
        CHECK(desk.says("create type: streamOptimized"));
        REQUIRE(desk.shell(fmt::format("qemu-img convert -f vmdk -O raw {} back.img", disk)) == 0);
        CHECK(desk.shell(fmt::format("cmp back.img {}", original)) == 0);
    }
    REQUIRE(desk.shell("qemu-img info o/demo-disk3.vmdk") == 0);
    CHECK(desk.says("3221225472 bytes"));
    CHECK(fs::file_size(desk.path + "/o/demo-disk3.vmdk") < 100'000);
    CHECK(desk.shell("cmp o/demo-cdrom4.iso c.iso") == 0);
    CHECK(desk.shell("cmp o/demo-floppy5.img f.img") == 0);
    // DSP0243 6.2, put into sha256sum's words.
    REQUIRE(
        desk.shell("sh -c 'cd o && sed \"s/SHA256(\\(.*\\))= \\(.*\\)/\\2  \\1/\" demo.mf | sha256sum -c'") ==
        0);
    CHECK(desk.says("demo.ovf: OK"));
    CHECK(desk.says("demo-disk1.vmdk: OK"));
    const std::string description = desk.read("o/demo.ovf");
    CHECK(description.find("Acme &amp; &lt;Sons&gt;") != std::string::npos);
    CHECK(description.find(fmt::format("ovf:size=\"{}\"", fs::file_size(desk.path + "/o/demo-disk1.vmdk"))) !=
          std::string::npos);
    // The same bundle is the same package.
    REQUIRE(desk.run("export x.encore again.ova") == 0);
    CHECK(desk.shell("cmp o.ova again.ova") == 0);
}

TEST_CASE("export: import makes the same machine of it", "[export]") {
    ExportDesk desk;
    REQUIRE(desk.run("export x.encore o.ova --level 1") == 0);
    REQUIRE(desk.run("import o.ova --recipe back.toml") == 0);
    CHECK(desk.one_line()); // nothing was lost on the way back
    REQUIRE(desk.run("inspect --json x.encore") == 0);
    const std::string before = desk.output;
    REQUIRE(desk.run(std::string("import o.ova -o y.encore") + kSigned) == 0);
    REQUIRE(desk.run("inspect --json y.encore") == 0);
    for (const char* line :
         {"\"title\": \"Acme & <Sons>\"", "\"version\": \"2.1\"", "\"description\": \"Two\\nlines\"",
          "\"memory\": 100663296", "\"sound\": true", "\"network\": true"}) {
        INFO(line);
        CHECK(before.find(line) != std::string::npos);
        CHECK(desk.says(line));
    }
    for (const char* blob : {"disk0", "disk1", "disk2", "cdrom0", "floppy0"}) {
        INFO(blob);
        const auto root = [&](const std::string& text) {
            const size_t at = text.find(fmt::format("\"name\": \"{}\"", blob));
            REQUIRE(at != std::string::npos);
            return text.substr(text.find("\"sha256\"", at), 80);
        };
        CHECK(root(desk.output) == root(before));
    }
}

TEST_CASE("export: bundles that are changed, strangers' or under rules are refused in one line", "[export]") {
    ExportDesk desk;
    const auto refuses = [&](const std::string& arguments, int status, const char* why) {
        INFO(arguments);
        CHECK(desk.run("export " + arguments) == status);
        INFO(desk.output);
        CHECK(desk.one_line());
        CHECK(desk.says(why));
        CHECK_FALSE(fs::exists(desk.path + "/o.ova"));
    };
    REQUIRE(desk.run("keygen --name Other --out other") == 0);
    desk.write("rules.toml", std::string(ExportDesk::kMachine) + "[policy]\nmax_minutes = 5\n");
    REQUIRE(desk.run(std::string("pack rules.toml -o rules.encore") + kSigned) == 0);
    refuses("rules.encore o.ova", 11, "encore export rules.encore o.ova --key KEY --cert CERT");
    refuses("rules.encore o.ova --key other.key --cert other.crt", 11, "only its publisher");
    refuses("x.encore o.ova --scene nowhere", 2,
            "there is no scene nowhere; see: encore scene list x.encore");
    refuses("x.encore no/such/o.ova", 1, "no/such");
    refuses("m.toml o.ova", 8, "m.toml");
    REQUIRE(desk.run("pack m.toml -o u.encore --unsigned") == 0);
    refuses("u.encore o.ova", 3, "not signed");
    REQUIRE(desk.run("pack m.toml -o s.encore --key other.key --cert other.crt") == 0);
    refuses("s.encore o.ova", 5, "encore trust add s.encore");
    std::string bytes = desk.read("x.encore");
    bytes[bytes.size() / 2] ^= 1;
    desk.write("t.encore", bytes);
    refuses("t.encore o.ova", 4, "chunk");
    desk.write("kernel.toml",
               "[appliance]\nname = \"k\"\n[machine]\nmemory = \"64M\"\n[boot]\nkernel = \"b.img\"\n");
    REQUIRE(desk.run(std::string("pack kernel.toml -o k.encore") + kSigned) == 0);
    refuses("k.encore o.ova", 1, "a kernel alone cannot be exported");
    CHECK(desk.run(std::string("export rules.encore o.ova") + kSigned) == 0);
    CHECK(fs::exists(desk.path + "/o.ova"));
}

TEST_CASE("export: stopped or killed it leaves the folder as it was", "[export]") {
    ExportDesk desk;
    desk.write("o.ova", "an older one");
    // Large enough to be caught at work.
    REQUIRE(desk.shell("dd if=/dev/urandom of=big.img bs=1M count=60 && "
                       "printf '\\125\\252' | dd of=big.img bs=1 seek=510 conv=notrunc") == 0);
    desk.write("m.toml",
               "[appliance]\nname = \"big\"\n[machine]\nmemory = \"64M\"\n[[disk]]\nimage = \"big.img\"\n");
    REQUIRE(desk.run(std::string("pack m.toml -o x.encore --level 1") + kSigned) == 0);
    const size_t before = desk.files();
    int stopped = 0;
    for (const int signal : {SIGINT, SIGKILL, SIGTERM}) {
        const pid_t child = ::fork();
        if (child == 0) {
            ::setenv("XDG_DATA_HOME", (desk.path + "/xdg").c_str(), 1);
            ::setenv("XDG_STATE_HOME", (desk.path + "/xdg").c_str(), 1);
            if (::chdir(desk.path.c_str()) == 0)
                ::execl(ENCORE_BINARY, "encore", "export", "x.encore", "o.ova", "--level", "9", nullptr);
            ::_exit(127);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        ::kill(child, signal);
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            break; // it was faster; nothing to compare with any more
        CHECK((WIFSIGNALED(status) || WEXITSTATUS(status) == 130));
        ++stopped;
        CHECK(desk.read("o.ova") == "an older one");
        CHECK(desk.files() == before);
    }
    CHECK(stopped > 0);
}
