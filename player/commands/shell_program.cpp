#include "player/commands/shell_program.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <unistd.h>

namespace player {

base::Result<std::string> find_shell() {
    std::error_code error;
    const auto own = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
    // Where both are installed, and where both are built.
    for (const auto& place : {own / "encore-kiosk", own.parent_path() / "kiosk/encore-kiosk"})
        if (::access(place.c_str(), X_OK) == 0)
            return place.string();
    return base::fail(fmt::format("encore-kiosk is not in {}; install both programs together", own.string()));
}

base::Result<> become_shell(const std::vector<std::string>& arguments) {
    std::string program = TRY(find_shell());
    std::vector<std::string> words = {program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words)
        argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execv(program.c_str(), argv.data());
    return base::fail(fmt::format("cannot start {}: {}", program, std::strerror(errno)));
}

} // namespace player
