#include "tests/player/session_client.h"

namespace session_test {

Client::Client(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(eventually([&] {
        fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0)
            return true;
        ::close(fd_);
        return false;
    }));
    timeval patience{90, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

json Client::receive() {
    while (buffer_.find('\n') == std::string::npos) {
        char bytes[4096];
        const ssize_t got = ::recv(fd_, bytes, sizeof bytes, 0);
        REQUIRE(got > 0);
        buffer_.append(bytes, static_cast<size_t>(got));
    }
    const size_t end = buffer_.find('\n');
    json answer = json_of(buffer_.substr(0, end));
    buffer_.erase(0, end + 1);
    return answer;
}

json Client::ask(const std::string& line) {
    send(line + "\n");
    return receive();
}

} // namespace session_test
