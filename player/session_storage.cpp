#include "player/session_storage.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <random>
#include <sys/file.h>
#include <sys/stat.h>

namespace player {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLockName = "lock";

base::Result<std::string> cache_home() {
    // XDG Base Directory Specification 0.8: a relative path is to be ignored.
    if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg != nullptr && xdg[0] == '/')
        return std::string(xdg);
    if (const char* home = std::getenv("HOME"); home != nullptr && home[0] == '/')
        return std::string(home) + "/.cache";
    return base::fail("no folder for session data: set XDG_CACHE_HOME or HOME");
}

base::Result<base::UniqueFd> open_locked(const std::string& path, int operation) {
    base::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd.valid())
        return base::fail(fmt::format("cannot open {}: {}", path, std::strerror(errno)));
    while (::flock(fd.get(), operation) != 0)
        if (errno != EINTR)
            return base::fail(fmt::format("cannot lock {}: {}", path, std::strerror(errno)));
    return fd;
}

// Held while folders are made or removed, so that nobody sees a folder before its owner has locked it.
base::Result<base::UniqueFd> lock_directory(const std::string& directory) {
    return open_locked(directory + "/.lock", LOCK_EX);
}

void remove_stale(const std::string& directory) {
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(directory, ignored)) {
        if (!entry.is_directory(ignored) || entry.is_symlink(ignored))
            continue;
        auto lock = open_locked(entry.path().string() + "/" + kLockName, LOCK_EX | LOCK_NB);
        if (lock) // nobody holds it: its session is dead
            fs::remove_all(entry.path(), ignored);
    }
}

} // namespace

base::Result<std::unique_ptr<SessionStorage>> SessionStorage::open(std::string home, Files files) {
    if (home.empty())
        home = TRY(cache_home());
    std::unique_ptr<SessionStorage> storage(new SessionStorage);
    storage->directory_ = home + "/encore/sessions";
    storage->files_ = files;
    std::error_code failed;
    fs::create_directories(storage->directory_, failed);
    if (failed)
        return base::fail(fmt::format("cannot make {} for session data: {}; set XDG_CACHE_HOME to a folder "
                                      "that can be written",
                                      storage->directory_, failed.message()));
    ::chmod(storage->directory_.c_str(), 0700);
    auto lock = TRY(lock_directory(storage->directory_));
    remove_stale(storage->directory_);
    return storage;
}

SessionStorage::~SessionStorage() {
    if (folder_.empty())
        return;
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
}

base::Result<void> SessionStorage::make_folder() {
    auto directory_lock = TRY(lock_directory(directory_));
    std::random_device random;
    folder_ = fmt::format("{}/{}-{:08x}", directory_, ::getpid(), random());
    if (::mkdir(folder_.c_str(), 0700) != 0)
        return base::fail(fmt::format("cannot make {}: {}", folder_, std::strerror(errno)));
    lock_ = TRY(open_locked(folder_ + "/" + kLockName, LOCK_EX | LOCK_NB));
    const std::string owner = fmt::format("{}\n", ::getpid());
    if (::write(lock_.get(), owner.data(), owner.size()) != static_cast<ssize_t>(owner.size()))
        return base::fail(fmt::format("cannot write {}/{}: {}", folder_, kLockName, std::strerror(errno)));
    return {};
}

base::Result<base::UniqueFd> SessionStorage::create_file() {
    if (files_ == Files::Nameless) {
        base::UniqueFd fd(::open(directory_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
        if (fd.valid())
            return fd;
        // open(2): EOPNOTSUPP from the file system, EISDIR or ENOENT from a kernel that knows no O_TMPFILE.
        if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL)
            return base::fail(
                fmt::format("cannot make a session file in {}: {}", directory_, std::strerror(errno)));
        files_ = Files::Named;
    }
    if (folder_.empty())
        TRY(make_folder());
    const std::string path = fmt::format("{}/overlay{}", folder_, next_file_++);
    base::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd.valid())
        return base::fail(fmt::format("cannot make {}: {}", path, std::strerror(errno)));
    return fd;
}

} // namespace player
