// A child with nothing of ours but named descriptors: the steps that both kinds of jailed program share. What
// runs between clone and exec is a copy of a process with several threads: system calls on data made before,
// no allocation, no locks.
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

#include <array>
#include <optional>
#include <string>
#include <sys/resource.h>
#include <sys/types.h>
#include <vector>

namespace jail {

inline constexpr uid_t kNobody = 65534;
inline constexpr int kFirstDescriptor = 3, kMostDescriptors = 16;

// What the child says before it becomes the program; silence until the descriptor closes is success.
enum Failure : char { kNoWall = 'w', kNoProgram = 'p' };

// All that the child needs, made before it exists.
struct Spawn {
    int program = -1;               // by descriptor: its name means nothing behind the wall
    std::vector<char*> arguments{}; // ends with a null pointer, as does environment
    std::vector<char*> environment{};
    std::array<int, kMostDescriptors> descriptors{};
    int count = 0;
    unsigned long namespaces = 0; // CLONE_NEW...
    // The child does nothing but exec, and borrows our memory until then: a copy of a large process' tables
    // costs it much time, and the process itself more, fault by fault.
    bool borrows_memory = false;
    std::string uid_map{}, gid_map{};
    int report = -1; // of the child: to the parent
    base::UniqueFd null{};
    bool root = false;

    // `inside`: the user's number in a user namespace.
    explicit Spawn(uid_t inside);
};

// ---- in the child
[[noreturn]] void give_up(int report, Failure failure);
// user_namespaces(7)
[[nodiscard]] bool map_user(const Spawn& spawn);
// Descriptors 0 to 2 are /dev/null, the named ones follow, all others go with exec.
struct Arranged {
    bool done = false;
    int program = -1, report = -1; // where these are now
};
[[nodiscard]] Arranged arrange_descriptors(const Spawn& spawn);
// Its end with ours, no privileges by exec, no core files, no signal blocked.
[[nodiscard]] bool become_obedient();
[[nodiscard]] bool limit(int what, rlim_t most);
// A privileged user's files must not be the program's: another user's number, or, where a container has no
// other, that one's without its privileges.
[[nodiscard]] bool drop_privileges();
// Of whoever runs no other program any more.
[[nodiscard]] bool drop_capabilities();
[[noreturn]] void execute(const Spawn& spawn, const Arranged& arranged);

// ---- in the parent
struct Attempt {
    enum class Outcome : uint8_t { NoWall, NoProgram, Runs } outcome = Outcome::NoWall;
    pid_t child = 0; // when it runs
};
// Clones; the child calls `live`, which does not return, and changes nothing of `spawn` that matters to us.
// To be called by a thread that outlives the program: the kernel ends it with that thread. Errors: kHost; the
// child does not exist then.
using Life = void (*)(Spawn& spawn, void* context);
base::Result<Attempt> attempt(Spawn& spawn, Life live, void* context);
// Its status as waitpid(2) has it.
int wait_for(pid_t child);

} // namespace jail
