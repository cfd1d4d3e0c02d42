#include "player/machine/process.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/mman.h>

namespace machine {
namespace {

// The program, opened once: a session that outlives an update of the package goes on with machines of its own
// kind.
base::Result<std::string> program() {
    static const base::UniqueFd opened = [] {
        std::error_code error;
        const auto own = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
        base::UniqueFd fd;
        // Beside the running program where it is installed, in the folders around it where it is built.
        for (const char* place :
             {"encore-machine", "../player/encore-machine", "../../player/encore-machine"})
            if (!fd.valid())
                fd = base::UniqueFd(::open((own / place).c_str(), O_PATH | O_CLOEXEC));
        return fd;
    }();
    if (!opened.valid())
        return base::fail("encore-machine is not beside this program; install both together");
    return fmt::format("/proc/self/fd/{}", opened.get());
}

} // namespace

base::Result<Process> Process::start(const base::UniqueFd& socket) {
    const std::string path = TRY(program());
    base::UniqueFd errors(::memfd_create("encore-machine-errors", MFD_CLOEXEC));
    if (!errors.valid())
        return base::fail(fmt::format("cannot start the machine's process: {}", std::strerror(errno)));
    std::vector<std::string> arguments;
    if (const char* level = std::getenv("ENCORE_LOG"); level != nullptr)
        arguments.emplace_back(level);
    const std::array descriptors{socket.get(), errors.get()};
    return Process(TRY(jail::Program::start(path, arguments, descriptors, jail::Program::Network::None)),
                   std::move(errors));
}

std::string Process::end() {
    program_.kill(); // changes nothing for one that is ending by itself
    return program_.wait();
}

std::string Process::said() const {
    constexpr size_t kMost = 2000;
    std::string text(kMost, '\0');
    const ssize_t got = ::pread(errors_.get(), text.data(), text.size(), 0);
    text.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
    for (char& c : text)
        if ((c < ' ' && c != '\n') || c > '~') // its writer may have been taken over; this may be a terminal
            c = '?';
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    return text;
}

} // namespace machine
