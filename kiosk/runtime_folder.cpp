#include "kiosk/runtime_folder.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace kiosk {
namespace {

constexpr const char* kPrefix = "encore-kiosk-";
constexpr size_t kSuffix = 6; // mkdtemp's

std::vector<std::string> names_in(int folder) {
    std::vector<std::string> names;
    const std::unique_ptr<DIR, int (*)(DIR*)> entries(
        ::fdopendir(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), ::closedir);
    while (const dirent* entry = entries ? ::readdir(entries.get()) : nullptr)
        names.emplace_back(entry->d_name);
    return names;
}

// Our sockets are all that is ever in one; whatever else is there keeps the folder.
void empty_folder(int folder) {
    struct stat status {};
    for (const std::string& name : names_in(folder))
        if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(status.st_mode))
            ::unlinkat(folder, name.c_str(), 0);
}

// The place may be everybody's (/tmp): only folders of this user's, never through a link.
void remove_stale(const std::string& place) {
    const base::UniqueFd here(::open(place.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!here.valid())
        return;
    for (const std::string& name : names_in(here.get())) {
        if (!name.starts_with(kPrefix) || name.size() != std::strlen(kPrefix) + kSuffix)
            continue;
        const base::UniqueFd folder(
            ::openat(here.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        struct stat status {};
        if (!folder.valid() || ::fstat(folder.get(), &status) != 0 || status.st_uid != ::geteuid() ||
            ::flock(folder.get(), LOCK_EX | LOCK_NB) != 0)
            continue;
        empty_folder(folder.get());
        ::unlinkat(here.get(), name.c_str(), AT_REMOVEDIR);
    }
}

} // namespace

std::string runtime_place() {
    const char* folder = std::getenv("XDG_RUNTIME_DIR");
    if (folder != nullptr && *folder == '/')
        return folder;
    std::error_code error;
    return std::filesystem::temp_directory_path(error);
}

base::Result<base::UniqueFd> take_seat(const std::string& place) {
    const std::string path = place + "/encore-kiosk.lock";
    base::UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!lock.valid())
        return base::fail(fmt::format("cannot write {}: {}; is XDG_RUNTIME_DIR a folder of yours?", path,
                                      std::strerror(errno)));
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
        return base::fail("a kiosk runs here already");
    return lock;
}

base::Result<RuntimeFolder> RuntimeFolder::make(const std::string& place) {
    remove_stale(place);
    for (int tries = 0; tries < 8; ++tries) {
        RuntimeFolder made;
        std::string name = place + "/" + kPrefix + std::string(kSuffix, 'X');
        if (::mkdtemp(name.data()) == nullptr)
            break;
        made.path_ = name;
        made.lock_ = base::UniqueFd(::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        struct stat status {};
        if (made.lock_.valid() && ::flock(made.lock_.get(), LOCK_EX | LOCK_NB) == 0 &&
            ::fstat(made.lock_.get(), &status) == 0 && status.st_nlink > 0)
            return made;
        // Somebody who cleans up found it before it was locked: another one.
    }
    return base::fail(fmt::format("cannot make a folder in {}: {}", place, std::strerror(errno)));
}

RuntimeFolder::~RuntimeFolder() {
    if (path_.empty() || !lock_.valid())
        return;
    empty_folder(lock_.get());
    ::rmdir(path_.c_str());
}

} // namespace kiosk
