// A client of a session's control socket.
#pragma once
#include "tests/json.h"
#include "tests/player/session_desk.h"

#include <sys/socket.h>
#include <sys/un.h>

namespace session_test {

using nlohmann::json;

class Client {
  public:
    explicit Client(const std::string& path);
    ~Client() { ::close(fd_); }
    Client(const Client&) = delete;

    void send(const std::string& text) {
        REQUIRE(::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
    }
    json receive();
    json ask(const std::string& line);
    bool ok(const std::string& line) { return ask(line).at("ok").get<bool>(); }

  private:
    int fd_ = -1;
    std::string buffer_;
};

} // namespace session_test
