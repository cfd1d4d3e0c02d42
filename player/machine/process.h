// The machine's process, from outside: encore-machine, started with nothing but its socket.
#pragma once
#include "vmm/jail/program.h"

namespace machine {

class Process {
  public:
    // `socket` is the process's end of the channel. To be called by a thread that outlives the process: the
    // kernel ends it with that thread. Errors: encore-machine is not installed, or cannot be started.
    static base::Result<Process> start(const base::UniqueFd& socket);

    [[nodiscard]] pid_t pid() const { return program_.pid(); }
    // Kills what still runs, and waits. How it had ended if it had: "was ended by signal 11 (...)".
    std::string end();
    // What it wrote on its standard error, which nobody else sees: printable, and not too much of it.
    [[nodiscard]] std::string said() const;

  private:
    Process(jail::Program program, base::UniqueFd errors)
        : program_(std::move(program)), errors_(std::move(errors)) {}

    jail::Program program_;
    base::UniqueFd errors_; // a memfd
};

} // namespace machine
