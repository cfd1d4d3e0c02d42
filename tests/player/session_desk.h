// A folder with a signed bundle of the session guest, a key, a trust store and a cache of its own, and the
// real executable run in it.
#pragma once
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace session_test {

namespace fs = std::filesystem;

// Only a test that fails waits to the end: on a busy computer anything may take a while.
inline bool eventually(const std::function<bool()>& holds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(90);
    while (!holds()) {
        if (std::chrono::steady_clock::now() > end)
            return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
}

class Desk {
  public:
    explicit Desk(const std::string& policy = {}, const char* guest = SESSION_GUEST) {
        std::string name = fs::temp_directory_path() / "encore-session-XXXXXX";
        REQUIRE(::mkdtemp(name.data()));
        path = name;
        fs::copy(guest, path + "/disk.img");
        write("r.toml",
              "[appliance]\nname = \"guest\"\ntitle = \"Session guest\"\n[machine]\nmemory = \"16M\"\n"
              "[[disk]]\nimage = \"disk.img\"\n" +
                  policy);
        REQUIRE(run("keygen --name 'Acme Ltd' --out k") == 0);
        REQUIRE(run("trust add k.crt") == 0);
        REQUIRE(run("pack r.toml -o x.encore --key k.key --cert k.crt") == 0);
        bundle_ = read("x.encore");
    }
    ~Desk() { fs::remove_all(path); }
    Desk(const Desk&) = delete;

    void write(const std::string& name, const std::string& text) {
        std::ofstream(path + "/" + name, std::ios::binary) << text;
    }
    [[nodiscard]] std::string read(const std::string& name) const {
        std::ifstream in(path + "/" + name, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    // Runs `encore ARGUMENTS` to its end; what it says goes to `output`.
    int run(const std::string& arguments) {
        const std::string line = fmt::format(
            "cd {0} && XDG_DATA_HOME={0}/data XDG_CACHE_HOME={0}/cache XDG_CONFIG_HOME={0}/config "
            "XDG_STATE_HOME={0}/state timeout 120 {1} {2} > out.txt 2>&1",
            path, ENCORE_BINARY, arguments);
        const int status = std::system(line.c_str());
        output = read("out.txt");
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    // Starts `encore run x.encore ARGUMENTS` and comes back at once.
    pid_t start(std::vector<std::string> arguments, const std::string& display = {}) {
        arguments.insert(arguments.begin(), {"run", bundle});
        return spawn(std::move(arguments), display);
    }
    // The same with any verb.
    pid_t spawn(std::vector<std::string> arguments, const std::string& display = {}) {
        arguments.insert(arguments.begin(), ENCORE_BINARY);
        const pid_t child = ::fork();
        if (child == 0) {
            ::setenv("XDG_DATA_HOME", (path + "/data").c_str(), 1);
            ::setenv("XDG_CACHE_HOME", (path + "/cache").c_str(), 1);
            ::setenv("XDG_CONFIG_HOME", (path + "/config").c_str(), 1);
            ::setenv("XDG_STATE_HOME", (path + "/state").c_str(), 1);
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
    // The exit status, or minus the signal that ended it.
    static int finish(pid_t child, int signal = 0) {
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
    [[nodiscard]] bool says(const std::string& text, const std::string& file = "serial.txt") const {
        return read(file).find(text) != std::string::npos;
    }
    [[nodiscard]] bool bundle_untouched() const { return read("x.encore") == bundle_; }
    // What sessions left in the cache, beside the directory's own lock.
    [[nodiscard]] size_t leftovers() const {
        size_t count = 0;
        for (const auto& entry : fs::directory_iterator(path + "/cache/encore/sessions"))
            count += entry.path().filename() != ".lock";
        return count;
    }

    std::string path, output;
    std::string bundle = "x.encore"; // what start() plays

  private:
    std::string bundle_;
};

} // namespace session_test
