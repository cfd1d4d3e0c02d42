#include "player/shell_link.h"

#include "player/installed_files.h"

#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

namespace player {

base::Result<ShellLink> adopt_shell(int fd) {
    if (fd < 0)
        return ShellLink{};
    int domain = 0, type = 0;
    socklen_t size = sizeof domain;
    if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain != AF_UNIX ||
        ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM)
        return base::fail("--shell takes a socket that this program inherits; it is for encore-kiosk", 2);
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    ShellLink link{base::UniqueFd(fd)};
    // unix(7), SO_PEERCRED: whoever called socketpair().
    ucred peer{};
    size = sizeof peer;
    std::error_code error;
    link.is_shell = ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == ::geteuid() &&
                    peer.pid == ::getppid() &&
                    std::filesystem::equivalent(fmt::format("/proc/{}/exe", peer.pid),
                                                find_program("encore-kiosk"), error);
    return link;
}

} // namespace player
