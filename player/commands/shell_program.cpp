#include "player/commands/shell_program.h"

#include "player/installed_files.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>

namespace player {

base::Result<std::string> find_shell() {
    std::string shell = find_program("encore-kiosk");
    if (shell.empty())
        return base::fail(
            "encore-kiosk is not beside this program; install the package encore-kiosk of the same version");
    return shell;
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
