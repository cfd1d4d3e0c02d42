#include "kiosk/seat_lock.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/file.h>

namespace kiosk {
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

} // namespace kiosk
