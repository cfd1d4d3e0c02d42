#include "vmm/jail/root.h"

#include <array>
#include <cstring>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace jail {
namespace {

constexpr std::array kLibraries{"usr", "lib", "lib64"};

// pivot_root(2), in two steps: what is made in the current folder between them is the new root's.
bool begin_root() {
    constexpr const char* kAny = "/tmp"; // some folder to stand on
    return ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
           ::mount("none", kAny, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=0555") == 0 &&
           ::chdir(kAny) == 0;
}

bool end_root() {
    return ::syscall(SYS_pivot_root, ".", ".") == 0 && ::umount2(".", MNT_DETACH) == 0 && ::chdir("/") == 0 &&
           ::mount("none", "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr) ==
               0;
}

} // namespace

bool make_empty_root() { return begin_root() && end_root(); }

bool make_root_of_libraries() {
    if (!begin_root())
        return false;
    for (const char* name : kLibraries) {
        std::array<char, 16> path{'/'}, target{};
        std::strncpy(path.data() + 1, name, path.size() - 2);
        struct stat info;
        if (::lstat(path.data(), &info) != 0)
            continue;
        if (S_ISLNK(info.st_mode)) { // into /usr, on today's systems
            if (::readlink(path.data(), target.data(), target.size() - 1) < 0 ||
                ::symlink(target.data(), name) != 0)
                return false;
        } else if (::mkdir(name, 0555) != 0 ||
                   ::mount(path.data(), name, nullptr, MS_BIND | MS_REC, nullptr) != 0) {
            return false;
        }
    }
    if (::mkdir("etc", 0555) != 0)
        return false;
    const int cache = ::open("etc/ld.so.cache", O_CREAT | O_WRONLY | O_CLOEXEC, 0444);
    if (cache < 0)
        return false;
    ::close(cache);
    // Without the cache the loader looks in its usual folders.
    (void)::mount("/etc/ld.so.cache", "etc/ld.so.cache", nullptr, MS_BIND, nullptr);
    return end_root();
}

bool take_libraries_away() {
    for (const char* name : {"/usr", "/lib", "/lib64", "/etc/ld.so.cache"})
        (void)::umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW); // links and what is not there say no
    for (const char* name : {"/usr/lib", "/lib/x86_64-linux-gnu", "/lib64/ld-linux-x86-64.so.2"}) {
        struct stat info;
        if (::stat(name, &info) == 0)
            return false;
    }
    return true;
}

} // namespace jail
