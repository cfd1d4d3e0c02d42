#include "player/machine/process.h"

#include "player/installed_files.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

namespace machine {
namespace {

constexpr size_t kErrorBytes = 64u << 10; // that it may write on its standard error

// The program, opened once: a session that outlives an update of the package goes on with machines of its own
// kind.
base::Result<std::string> program() {
    static const base::UniqueFd opened(
        ::open(player::find_program("encore-machine").c_str(), O_PATH | O_CLOEXEC));
    if (!opened.valid())
        return base::fail("the machine's program, encore-machine, is missing; install Encore again");
    return fmt::format("/proc/self/fd/{}", opened.get());
}

} // namespace

base::Result<Process> Process::start(const base::UniqueFd& socket) {
    const std::string path = TRY(program());
    base::UniqueFd errors(::memfd_create("encore-machine-errors", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!errors.valid() || ::ftruncate(errors.get(), kErrorBytes) != 0 ||
        ::fcntl(errors.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
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
    static_assert(kMost <= kErrorBytes);
    std::string text(kMost, '\0');
    const ssize_t got = ::pread(errors_.get(), text.data(), text.size(), 0);
    text.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
    text.resize(std::min(text.find('\0'), text.size()));
    for (char& c : text)
        if ((c < ' ' && c != '\n') || c > '~') // its writer may have been taken over; this may be a terminal
            c = '?';
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    return text;
}

} // namespace machine
