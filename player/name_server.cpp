#include "player/name_server.h"

#include <arpa/inet.h>
#include <fstream>
#include <sstream>
#include <utility>

namespace player {
namespace {

constexpr const char* kFile =
    "/etc/resolv.conf"; // often a link to where one is written as networks come and go

}

uint32_t read_name_server(const std::string& path) {
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) {
        std::istringstream words(line);
        std::string key, value;
        in_addr number{};
        if (words >> key >> value && key == "nameserver" && ::inet_pton(AF_INET, value.c_str(), &number) == 1)
            return ntohl(number.s_addr);
    }
    return 0;
}

NameServerWatch::NameServerWatch() { changed(); }

bool NameServerWatch::changed() {
    struct stat now {};
    if (::stat(kFile, &now) == 0 && now.st_dev == seen_.st_dev && now.st_ino == seen_.st_ino &&
        now.st_size == seen_.st_size && now.st_mtim.tv_sec == seen_.st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == seen_.st_mtim.tv_nsec)
        return false;
    seen_ = now;
    const uint32_t address = read_name_server(kFile);
    return address != std::exchange(address_, address);
}

} // namespace player
