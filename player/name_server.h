// Which name server this computer asks, for a network process that cannot look (resolv.conf(5)).
#pragma once
#include <cstdint>
#include <string>
#include <sys/stat.h>

namespace player {

// The first IPv4 name server in such a file; 0: there is none.
[[nodiscard]] uint32_t read_name_server(const std::string& path);

class NameServerWatch {
  public:
    NameServerWatch();
    [[nodiscard]] uint32_t address() const { return address_; }
    // Whether it is another one since it was asked last. Costs a look at the file.
    bool changed();

  private:
    struct stat seen_ {};
    uint32_t address_ = 0;
};

} // namespace player
