// A program of ours in a process of its own: started by us, it walls itself in (room.h) before it looks at
// anything of a guest's. It begins with the descriptors that it is handed and none besides, an empty
// environment, no memory of ours (exec, not only fork: no keys), and namespaces of its own where this
// computer's users may have them.
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

#include <span>
#include <string>
#include <sys/types.h>
#include <vector>

namespace jail {

class Program {
  public:
    enum class Network : uint8_t { None, OfThisComputer };

    // `path` is an executable file; `descriptors`, at most 16, become 3, 4, ... there; 0 to 2 are
    // /dev/null. To be called by a thread that outlives the program: the kernel ends it with that thread.
    // Errors: it cannot be run.
    static base::Result<Program> start(const std::string& path, const std::vector<std::string>& arguments,
                                       std::span<const int> descriptors, Network network);

    Program(Program&& other) noexcept;
    Program& operator=(Program&& other) noexcept;
    ~Program(); // kills what still runs

    [[nodiscard]] pid_t pid() const { return child_; }
    void kill();
    // Until it has ended. How it did: "ended with status 3", "was ended by signal 9 (Killed)".
    std::string wait();

  private:
    explicit Program(pid_t child) : child_(child) {}
    pid_t child_; // 0: waited for
};

} // namespace jail
