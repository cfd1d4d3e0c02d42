#include "vmm/jail/program.h"

#include "vmm/jail/spawn.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/wait.h>

namespace jail {
namespace {

[[noreturn]] void become_program(Spawn& spawn, void*) {
    ::setsid(); // Ctrl-C is for us to decide about
    if (spawn.namespaces != 0 && !map_user(spawn))
        give_up(spawn.report, kNoWall);
    const Arranged arranged = arrange_descriptors(spawn);
    if (!arranged.done || !become_obedient())
        give_up(arranged.report, kNoWall);
    execute(spawn, arranged);
}

} // namespace

base::Result<Program> Program::start(const std::string& path, const std::vector<std::string>& arguments,
                                     std::span<const int> descriptors, Network network) {
    const base::UniqueFd executable(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!executable.valid())
        return base::fail(fmt::format("{} is missing: {}; install Encore again", path, std::strerror(errno)));
    // User 0 there, with all privileges over its namespaces until it has emptied them: see enter().
    Spawn spawn(0);
    spawn.program = executable.get();
    spawn.borrows_memory = true;
    std::vector<std::string> words{path};
    words.insert(words.end(), arguments.begin(), arguments.end());
    for (std::string& word : words)
        spawn.arguments.push_back(word.data());
    spawn.arguments.push_back(nullptr);
    static char language[] = "LC_ALL=C";
    spawn.environment = {language, nullptr};
    for (const int descriptor : descriptors)
        spawn.descriptors.at(static_cast<size_t>(spawn.count++)) = descriptor;
    constexpr unsigned long kOwn = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
    const unsigned long wanted = kOwn | (network == Network::None ? CLONE_NEWNET : 0);
    for (const unsigned long namespaces : {wanted, 0ul}) {
        spawn.namespaces = namespaces;
        const Attempt tried = TRY(attempt(spawn, become_program, nullptr));
        if (tried.outcome == Attempt::Outcome::Runs)
            return Program(tried.child);
        if (tried.outcome == Attempt::Outcome::NoProgram)
            break;
    }
    return base::fail(fmt::format("{} cannot be run; install Encore again", path));
}

Program::Program(Program&& other) noexcept : child_(std::exchange(other.child_, 0)) {}

Program& Program::operator=(Program&& other) noexcept {
    std::swap(child_, other.child_);
    return *this;
}

Program::~Program() {
    kill();
    wait();
}

void Program::kill() {
    if (child_ != 0)
        ::kill(child_, SIGKILL);
}

std::string Program::wait() {
    if (child_ == 0)
        return "has ended";
    const int status = wait_for(std::exchange(child_, 0));
    if (!WIFSIGNALED(status))
        return fmt::format("ended with status {}", WEXITSTATUS(status));
    if (WTERMSIG(status) == SIGSYS)
        return "did what it may not and was ended";
    return fmt::format("was ended by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
}

} // namespace jail
