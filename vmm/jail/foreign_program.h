// Programs that are not ours and read strangers' files, walled in. Such a program gets the descriptors it is
// handed and the system's libraries to start from; when close_wall() has returned, it has the descriptors and
// nothing else: no name that a file can hold (a path, a URL, json:) leads anywhere.
//
// Three layers, each by itself enough against names in files:
// - namespaces of its own (user, mount, process, network, IPC, host name): its root is an empty read-only
//   folder, from which the libraries are taken away as soon as they are loaded;
// - Landlock, where the kernel has it: reading below the libraries' folders, running the program, no more;
// - a seccomp filter, always: no sockets, no files to write, no other processes, no mounts.
// Beside them no_new_privs, limits, no privileges, an empty environment, and its end with ours.
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/jail/walls.h"

#include <span>
#include <string>
#include <sys/types.h>
#include <vector>

namespace jail {

class ForeignProgram {
  public:
    // Landlock: namespaces cannot be had here, and the system's own libraries stay readable.
    // None: neither can be had. The filter and the limits hold all the same.
    enum class Wall { None, Landlock, Namespaces };

    // `program` is looked up in /usr, or is a path; `descriptors` become 3, 4, ... there, and as many of the
    // first as `listening` says are announced as sd_listen_fds(3) has it. On an error nothing was run.
    // To be called by a thread that outlives the program: the kernel ends it with that thread.
    static base::Result<ForeignProgram> start(const std::string& program,
                                              const std::vector<std::string>& arguments,
                                              std::span<const int> descriptors, int listening);

    ForeignProgram(ForeignProgram&& other) noexcept;
    ForeignProgram& operator=(ForeignProgram&&) = delete;
    ~ForeignProgram(); // kills what still runs

    [[nodiscard]] Wall wall() const { return wall_; }
    // False: the program is gone.
    [[nodiscard]] bool close_wall();
    // Its exit status; -1 when a signal ended it.
    int wait();

  private:
    ForeignProgram(Wall wall, pid_t child, base::UniqueFd keeper)
        : wall_(wall), child_(child), keeper_(std::move(keeper)) {}

    Wall wall_;
    pid_t child_;           // 0: waited for
    base::UniqueFd keeper_; // to the first process of the namespaces, which takes the libraries away
};

// What this system lets a wall be made of, found by building each and running nothing behind it.
base::Result<Walls> possible_walls();

} // namespace jail
