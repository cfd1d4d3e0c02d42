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
bool eventually(const std::function<bool()>& holds);

class Desk {
  public:
    explicit Desk(const std::string& policy = {}, const char* guest = SESSION_GUEST);
    ~Desk() { fs::remove_all(path); }
    Desk(const Desk&) = delete;

    void write(const std::string& name, const std::string& text) {
        std::ofstream(path + "/" + name, std::ios::binary) << text;
    }
    [[nodiscard]] std::string read(const std::string& name) const;
    // Runs `encore ARGUMENTS` to its end; what it says goes to `output`.
    int run(const std::string& arguments);
    // Starts `encore run x.encore ARGUMENTS` and comes back at once.
    pid_t start(std::vector<std::string> arguments, const std::string& display = {});
    // The same with any verb.
    pid_t spawn(std::vector<std::string> arguments, const std::string& display = {});
    // The process in which a player's guest runs; 0: there is none.
    static pid_t machine_of(pid_t player);
    // The exit status, or minus the signal that ended it.
    static int finish(pid_t child, int signal = 0);
    [[nodiscard]] bool says(const std::string& text, const std::string& file = "serial.txt") const {
        return read(file).find(text) != std::string::npos;
    }
    // From now on this process, too, keeps its data in the desk's folder.
    void enter() const;
    [[nodiscard]] bool bundle_untouched() const { return read("x.encore") == bundle_; }
    // What sessions left in the cache, beside the directory's own lock.
    [[nodiscard]] size_t leftovers() const;

    std::string path, output;
    std::string bundle = "x.encore";     // what start() plays
    std::string program = ENCORE_BINARY; // what start() and spawn() run

  private:
    std::string bundle_;
};

} // namespace session_test
