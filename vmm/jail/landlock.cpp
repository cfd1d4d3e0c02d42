#include "vmm/jail/landlock.h"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <initializer_list>
#include <sys/syscall.h>
#include <unistd.h>

namespace jail {
namespace {

// Documentation/userspace-api/landlock.rst. Later kernels know more rights than Debian 12's headers do.
struct Ruleset {
    uint64_t file_system, network, scopes;
};
struct [[gnu::packed]] PathBeneath {
    uint64_t allowed;
    int32_t parent;
};
constexpr unsigned kCreate = 444, kAddRule = 445, kRestrictSelf = 446; // system calls
constexpr unsigned kAskVersion = 1, kRulePathBeneath = 1;
constexpr uint64_t kExecute = 1, kReadFile = 4;

// A ruleset that forbids all that this kernel's version can forbid; -1: there is none.
int forbid_everything(bool connects) {
    const long version = ::syscall(kCreate, nullptr, 0, kAskVersion);
    if (version < 1)
        return -1;
    uint64_t rights = (1u << 13) - 1; // execute to make_sym
    if (version >= 2)
        rights |= 1u << 13; // refer
    if (version >= 3)
        rights |= 1u << 14; // truncate
    if (version >= 5)
        rights |= 1u << 15; // ioctl_dev
    constexpr uint64_t kBind = 1, kConnect = 2, kAbstractSocket = 1, kSignal = 2;
    const Ruleset all{rights, version >= 4 ? kBind | (connects ? 0 : kConnect) : 0,
                      version >= 6 ? kAbstractSocket | kSignal : 0};
    const size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    return static_cast<int>(::syscall(kCreate, &all, size, 0));
}

bool allow(int ruleset, int parent, uint64_t rights) {
    const PathBeneath rule{rights, parent};
    return ::syscall(kAddRule, ruleset, kRulePathBeneath, &rule, 0) == 0;
}

bool allow(int ruleset, const char* path, uint64_t rights) {
    const int parent = ::open(path, O_PATH | O_CLOEXEC);
    if (parent < 0)
        return errno == ENOENT;
    const bool added = allow(ruleset, parent, rights);
    ::close(parent);
    return added;
}

bool restrict_self(int ruleset, bool complete) {
    const bool done = complete && ::syscall(kRestrictSelf, ruleset, 0) == 0;
    ::close(ruleset);
    return done;
}

} // namespace

bool read_only_libraries(int program) {
    const int ruleset = forbid_everything(false);
    if (ruleset < 0)
        return false;
    bool done = true;
    for (const char* name :
         {"/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache"})
        done = done && allow(ruleset, name, kReadFile);
    // A program is run by its loader.
    done = done && allow(ruleset, "/lib64/ld-linux-x86-64.so.2", kExecute | kReadFile) &&
           (program < 0 || allow(ruleset, program, kExecute | kReadFile));
    return restrict_self(ruleset, done);
}

bool no_names(bool connects) {
    const int ruleset = forbid_everything(connects);
    return ruleset >= 0 && restrict_self(ruleset, true);
}

} // namespace jail
