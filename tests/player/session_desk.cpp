#include "tests/player/session_desk.h"

namespace session_test {

bool eventually(const std::function<bool()>& holds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(90);
    while (!holds()) {
        if (std::chrono::steady_clock::now() > end)
            return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
}

Desk::Desk(const std::string& policy, const char* guest) {
    std::string name = fs::temp_directory_path() / "encore-session-XXXXXX";
    REQUIRE(::mkdtemp(name.data()));
    path = name;
    fs::copy(guest, path + "/disk.img");
    write("r.toml", "[appliance]\nname = \"guest\"\ntitle = \"Session guest\"\n[machine]\nmemory = \"16M\"\n"
                    "[[disk]]\nimage = \"disk.img\"\n" +
                        policy);
    REQUIRE(run("keygen --name 'Acme Ltd' --out k") == 0);
    REQUIRE(run("trust add k.crt") == 0);
    REQUIRE(run("pack r.toml -o x.encore --key k.key --cert k.crt") == 0);
    bundle_ = read("x.encore");
}

std::string Desk::read(const std::string& name) const {
    std::ifstream in(path + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

int Desk::run(const std::string& arguments) {
    const std::string line =
        fmt::format("cd {0} && XDG_DATA_HOME={0}/data XDG_CACHE_HOME={0}/cache XDG_CONFIG_HOME={0}/config "
                    "XDG_STATE_HOME={0}/state timeout 120 {1} {2} > out.txt 2>&1",
                    path, ENCORE_BINARY, arguments);
    const int status = std::system(line.c_str());
    output = read("out.txt");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

pid_t Desk::start(std::vector<std::string> arguments, const std::string& display) {
    arguments.insert(arguments.begin(), {"run", bundle});
    return spawn(std::move(arguments), display);
}

pid_t Desk::spawn(std::vector<std::string> arguments, const std::string& display) {
    arguments.insert(arguments.begin(), program);
    const pid_t child = ::fork();
    if (child == 0) {
        enter();
        ::unsetenv("WAYLAND_DISPLAY");
        if (!display.empty())
            ::setenv("DISPLAY", display.c_str(), 1);
        const int out = ::open((path + "/out.txt").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        ::dup2(out, 1);
        ::dup2(out, 2);
        std::vector<char*> argv;
        for (std::string& argument : arguments)
            argv.push_back(argument.data());
        argv.push_back(nullptr);
        if (::chdir(path.c_str()) == 0)
            ::execv(argv[0], argv.data());
        ::_exit(127);
    }
    return child;
}

void Desk::enter() const {
    ::setenv("XDG_DATA_HOME", (path + "/data").c_str(), 1);
    ::setenv("XDG_CACHE_HOME", (path + "/cache").c_str(), 1);
    ::setenv("XDG_CONFIG_HOME", (path + "/config").c_str(), 1);
    ::setenv("XDG_STATE_HOME", (path + "/state").c_str(), 1);
}

pid_t Desk::machine_of(pid_t player) {
    std::error_code gone;
    for (const auto& thread : fs::directory_iterator(fmt::format("/proc/{}/task", player), gone)) {
        std::ifstream children(thread.path() / "children");
        for (pid_t child = 0; children >> child;) {
            std::string name;
            std::getline(std::ifstream(fmt::format("/proc/{}/comm", child)), name);
            if (name == "encore-machine")
                return child;
        }
    }
    return 0;
}

int Desk::finish(pid_t child, int signal) {
    if (signal != 0)
        ::kill(child, signal);
    int status = 0;
    const bool ended = eventually([&] { return ::waitpid(child, &status, WNOHANG) == child; });
    if (!ended) {
        ::kill(child, SIGKILL);
        ::waitpid(child, &status, 0);
    }
    CHECK(ended);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

size_t Desk::leftovers() const {
    size_t count = 0;
    for (const auto& entry : fs::directory_iterator(path + "/cache/encore/sessions"))
        count += entry.path().filename() != ".lock";
    return count;
}

} // namespace session_test
