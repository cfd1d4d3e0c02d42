#include "player/control_socket.h"

#include "vmm/base/bell.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace player {
namespace {

constexpr size_t kMaxLine = 64u << 10;
constexpr size_t kMaxOutput = 1u << 20;
constexpr size_t kMaxClients = 16;

// A socket file whose server is gone refuses connections.
bool is_abandoned_socket(const sockaddr_un& address) {
    struct stat status {};
    if (::lstat(address.sun_path, &status) != 0 || !S_ISSOCK(status.st_mode))
        return false;
    base::UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return probe.valid() &&
           ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
           errno == ECONNREFUSED;
}

} // namespace

base::Result<std::unique_ptr<ControlSocket>> ControlSocket::open(Session& session, std::string path,
                                                                 ShellLink shell, DisplayState* display) {
    std::unique_ptr<ControlSocket> socket(new ControlSocket(session, display));
    socket->wake_ = base::make_bell();
    if (!socket->wake_.valid())
        return base::fail(fmt::format("cannot make a socket: {}", std::strerror(errno)));
    if (!path.empty())
        TRY(socket->listen(path));
    using Caller = ControlProtocol::Caller;
    if (shell.socket.valid())
        socket->clients_.push_back(
            {std::move(shell.socket), shell.is_shell ? Caller::Shell : Caller::Anybody});
    socket->thread_ = std::thread([raw = socket.get()] { raw->serve(); });
    return socket;
}

base::Result<void> ControlSocket::listen(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        return base::fail(fmt::format("'{}' cannot name a socket: a path of at most {} characters can", path,
                                      sizeof address.sun_path - 1));
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    listener_ = base::UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!listener_.valid())
        return base::fail(fmt::format("cannot make a socket: {}", std::strerror(errno)));
    // unix(7): the socket's own mode is what bind() gives the file, so it is never open to others.
    ::fchmod(listener_.get(), 0600);
    if (is_abandoned_socket(address))
        ::unlink(address.sun_path);
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return base::fail(fmt::format("cannot make control socket {}: {}", path,
                                      errno == EADDRINUSE ? "the name is in use" : std::strerror(errno)));
    path_ = path;
    ::chmod(path.c_str(), 0600);
    if (::listen(listener_.get(), 8) != 0)
        return base::fail(fmt::format("cannot listen on control socket {}: {}", path, std::strerror(errno)));
    return {};
}

ControlSocket::~ControlSocket() {
    if (thread_.joinable()) {
        base::ring(wake_.get());
        thread_.join();
    }
    if (!path_.empty())
        ::unlink(path_.c_str());
}

void ControlSocket::serve() {
    for (;;) {
        std::vector<pollfd> waits = {
            {wake_.get(), POLLIN, 0},
            {listener_.get(), static_cast<short>(clients_.size() < kMaxClients ? POLLIN : 0), 0}};
        for (const Client& client : clients_)
            waits.push_back(
                {client.fd.get(),
                 static_cast<short>((client.closing ? 0 : POLLIN) | (client.output.empty() ? 0 : POLLOUT)),
                 0});
        if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR)
            return;
        if ((waits[0].revents & POLLIN) != 0)
            return;
        std::vector<Client> kept;
        for (size_t i = 0; i < clients_.size(); ++i) {
            Client& client = clients_[i];
            const short happened = waits[i + 2].revents;
            bool alive = true;
            if ((happened & (POLLIN | POLLHUP | POLLERR)) != 0 && !client.closing)
                alive = receive(client);
            else if ((happened & POLLERR) != 0)
                alive = false;
            alive = alive && send(client) && client.output.size() <= kMaxOutput;
            if (alive && !(client.closing && client.output.empty()))
                kept.push_back(std::move(client));
            else if (client.who == ControlProtocol::Caller::Shell)
                session_.shell_left();
        }
        clients_ = std::move(kept);
        if ((waits[1].revents & POLLIN) != 0)
            accept_client();
    }
}

void ControlSocket::accept_client() {
    base::UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.valid())
        clients_.push_back({std::move(fd)});
}

// False: the client is gone.
bool ControlSocket::receive(Client& client) {
    char buffer[4096];
    const ssize_t got = ::recv(client.fd.get(), buffer, sizeof buffer, 0);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    if (got == 0) { // no more requests; the answers under way are still delivered
        client.closing = true;
        return true;
    }
    client.input.append(buffer, static_cast<size_t>(got));
    take_lines(client);
    return true;
}

void ControlSocket::take_lines(Client& client) {
    for (size_t end; (end = client.input.find('\n')) != std::string::npos;) {
        std::string line = client.input.substr(0, end);
        client.input.erase(0, end + 1);
        if (std::exchange(client.skipping, false))
            continue;
        if (!line.empty() && line.back() == '\r')
            line.pop_back();
        if (!line.empty())
            client.output += protocol_.answer(line, client.who) + '\n';
    }
    if (client.input.size() <= kMaxLine)
        return;
    client.input.clear();
    if (!std::exchange(client.skipping, true))
        client.output +=
            fmt::format("{{\"error\":\"a line has at most {} bytes\",\"ok\":false}}\n", kMaxLine);
}

bool ControlSocket::send(Client& client) {
    while (!client.output.empty()) {
        const ssize_t put = ::send(client.fd.get(), client.output.data(), client.output.size(), MSG_NOSIGNAL);
        if (put < 0)
            return errno == EAGAIN || errno == EINTR;
        client.output.erase(0, static_cast<size_t>(put));
    }
    return true;
}

} // namespace player
