// The publisher's and the player's desk: a folder in which the real executable is run.
#pragma once
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace cli_test {

namespace fs = std::filesystem;

// A folder with a key, a recipe and a trust store of its own.
class Desk {
  public:
    Desk() {
        std::string name = fs::temp_directory_path() / "encore-cli-XXXXXX";
        REQUIRE(::mkdtemp(name.data()));
        path = name;
        std::string disk(300000, 0);
        for (size_t i = 0; i < disk.size(); ++i)
            disk[i] = static_cast<char>(i * 2654435761u >> 13);
        disk.resize(512 * 600, '\1');
        disk.replace(510, 2, "\x55\xaa"); // a boot sector's mark, without which nothing is a disk
        write("disk.img", disk);
        write("r.toml", "[appliance]\nname = \"demo\"\ntitle = \"A demo\"\n[machine]\nmemory = \"64M\"\n"
                        "[[disk]]\nimage = \"disk.img\"\n[policy]\nmax_minutes = 30\n");
        REQUIRE(run("keygen --name 'Acme Ltd' --out k") == 0);
    }
    ~Desk() { fs::remove_all(path); }
    Desk(const Desk&) = delete;

    void write(const std::string& name, const std::string& text) {
        std::ofstream(path + "/" + name, std::ios::binary) << text;
    }
    std::string read(const std::string& name) {
        std::ifstream in(path + "/" + name, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    // Runs `encore ARGUMENTS`; standard output and error go to `output`.
    int run(const std::string& arguments) { return shell(std::string(ENCORE_BINARY) + " " + arguments); }
    int shell(const std::string& command) {
        std::string line = fmt::format("cd {0} && XDG_DATA_HOME={0}/xdg XDG_CONFIG_HOME={0}/xdg "
                                       "XDG_STATE_HOME={0}/xdg {1} > out.txt 2>&1",
                                       path, command);
        int status = std::system(line.c_str());
        output = read("out.txt");
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    bool one_line() { return !output.empty() && output.find('\n') == output.size() - 1; }

    std::string path, output;
};

} // namespace cli_test
