// The wall around readers of images, past all checks of headers: what a reader that has been taken over can
// still do.
#include "tests/vmm/jail/elsewhere.h"
#include "tests/vmm/jail/foreign_probes.h"
#include "vmm/base/verify.h"
#include "vmm/jail/foreign_program.h"

#include <array>
#include <catch2/catch.hpp>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <map>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

namespace fs = std::filesystem;
using jail::ForeignProgram;
using namespace jail_test;
using Wall = ForeignProgram::Wall;

namespace {

struct Told {
    bool said_ready = false, wall_closed = false;
    std::map<std::string, int> errors;
};

// Until the prisoner hangs up. A `wall` is closed when it has got ready.
Told listen(int socket, ForeignProgram* jail) {
    Told told;
    FILE* stream = ::fdopen(::dup(socket), "r");
    char line[200];
    while (std::fgets(line, sizeof line, stream) != nullptr) {
        const std::string text(line);
        if (text == "ready\n") {
            told.said_ready = true;
            told.wall_closed = jail == nullptr || jail->close_wall();
            (void)!::write(socket, "go\n", 3);
        } else if (const size_t at = text.find('='); at != std::string::npos) {
            told.errors[text.substr(0, at)] = std::atoi(text.c_str() + at + 1);
        }
    }
    std::fclose(stream);
    return told;
}

// What the prisoner is about: a folder with a file, a listening socket, shared memory, all of this user's.
class World {
  public:
    explicit World(std::string program) : program_(std::move(program)) {
        folder_ = make_folder();
        std::ofstream(folder_ + "/file") << "secret";
        ::chmod((folder_ + "/file").c_str(), 0600);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        socklen_t length = sizeof address.sun_family; // unix(7): the kernel chooses five characters
        auto* generic = reinterpret_cast<sockaddr*>(&address);
        listening_ = base::UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        unconnected_ = base::UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        VERIFY(::bind(listening_.get(), generic, length) == 0 && ::listen(listening_.get(), 9) == 0);
        length = sizeof address;
        VERIFY(::getsockname(listening_.get(), generic, &length) == 0);
        shared_ = ::shmget(IPC_PRIVATE, 4096, 0600);
        VERIFY(shared_ >= 0);
        std::array<int, 2> pair{};
        VERIFY(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) == 0);
        ours_ = base::UniqueFd{pair[0]};
        theirs_ = base::UniqueFd{pair[1]};
        words_ = {folder_, fmt::format("{}", ::getpid()), std::string(address.sun_path + 1, 5),
                  fmt::format("{}", shared_)};
    }
    ~World() {
        ::shmctl(shared_, IPC_RMID, nullptr);
        fs::remove_all(folder_);
    }
    World(const World&) = delete;

    // The same program, free.
    Told free() {
        const pid_t child = ::fork();
        if (child == 0) {
            const int to_test = ::fcntl(theirs_.get(), F_DUPFD, 10),
                      other = ::fcntl(unconnected_.get(), F_DUPFD, 10);
            ::dup2(to_test, kToTest);
            ::dup2(other, kUnconnected);
            ::execl(program_.c_str(), "prisoner", words_[0].c_str(), words_[1].c_str(), words_[2].c_str(),
                    words_[3].c_str(), nullptr);
            ::_exit(127);
        }
        theirs_.reset();
        Told told = listen(ours_.get(), nullptr);
        ::waitpid(child, nullptr, 0);
        return told;
    }
    std::pair<Told, Wall> jailed() {
        const std::array<int, 2> descriptors{theirs_.get(), unconnected_.get()};
        auto jail = ForeignProgram::start(program_, words_, descriptors, 0);
        VERIFY(jail);
        theirs_.reset();
        Told told = listen(ours_.get(), &*jail);
        jail->wait();
        return {told, jail->wall()};
    }
    [[nodiscard]] bool untouched() const {
        std::ifstream in(folder_ + "/file");
        struct stat info {};
        return std::string(std::istreambuf_iterator<char>(in), {}) == "secret" &&
               ::stat((folder_ + "/file").c_str(), &info) == 0 && (info.st_mode & 0777) == 0600 &&
               std::distance(fs::directory_iterator(folder_), {}) == 1;
    }

  private:
    std::string program_, folder_;
    std::vector<std::string> words_;
    base::UniqueFd listening_, unconnected_, ours_, theirs_;
    int shared_ = -1;
};

const char* to_string(Wall wall) {
    return wall == Wall::Namespaces ? "namespaces" : wall == Wall::Landlock ? "landlock" : "none";
}

// What is not as it should be, a line each; and the wall that stood.
std::string judge(const std::string& program, bool nobody, const Lacks& lacks) {
    if (nobody)
        become_nobody();
    do_without(lacks);
    std::string wrong;
    const auto layers = jail::possible_walls();
    VERIFY(layers);
    World world(program);
    const auto [told, wall] = world.jailed();
    const Wall best = layers->namespaces ? Wall::Namespaces : layers->landlock ? Wall::Landlock : Wall::None;
    if (wall != best || !layers->filter || (lacks.namespaces && layers->namespaces) ||
        (lacks.landlock && layers->landlock))
        wrong += fmt::format("the wall is {}, the best was {}\n", to_string(wall), to_string(best));
    if (!told.said_ready || !told.wall_closed)
        wrong += "it never got to work, or its wall did not close\n";
    for (const Probe& probe : kProbes) {
        const auto answer = told.errors.find(probe.name);
        const bool said = answer != told.errors.end(), denied = said && answer->second != 0;
        const bool must = static_cast<int>(wall) >= static_cast<int>(probe.wall);
        if (probe.wall == DeniedFrom::Never ? !said || denied : must && !denied)
            wrong += fmt::format("behind {} it {} {}\n", to_string(wall), must ? "could" : "could not",
                                 probe.name);
    }
    if (!world.untouched())
        wrong += "the user's files are not what they were\n";
    return wrong + to_string(wall);
}

std::string judge_free(const std::string& program, bool nobody) {
    if (nobody)
        become_nobody();
    World world(program);
    const Told told = world.free();
    std::string wrong;
    for (const Probe& probe : kProbes) {
        const auto answer = told.errors.find(probe.name);
        // Another program has nothing to say.
        const bool said = answer != told.errors.end();
        const bool allowed = probe.what == Try::BecomeAnother ? !said : said && answer->second == 0;
        if (!allowed)
            wrong += fmt::format("{}: {}\n", probe.name,
                                 answer == told.errors.end() ? "no answer" : std::strerror(answer->second));
    }
    return wrong;
}

} // namespace

TEST_CASE(
    "jail: what a reader that was taken over tries is denied, as root and not, with every wall there may be",
    "[jail]") {
    const PublicCopy prisoner(FOREIGN_PRISONER);
    everywhere([&](bool user, const Lacks& lacks) {
        const std::string answer = apart([&] { return judge(prisoner.path, user, lacks); });
        INFO(answer);
        CHECK(answer.find('\n') == std::string::npos); // the wall's name and no complaint
        if (lacks.namespaces && lacks.landlock)
            CHECK(answer == "none");
    });
}

TEST_CASE("jail: the same program does all of that when it is free", "[jail]") {
    const auto user = GENERATE(false, true);
    if (user && ::geteuid() != 0)
        return;
    const PublicCopy prisoner(FOREIGN_PRISONER);
    CHECK(apart([&] { return judge_free(prisoner.path, user); }) == "");
}
